"""The registry: named models, their versions, and the aliases that point to versions."""

from __future__ import annotations

import msgspec

from headrace.entities.base import Entity, KeyValue, as_dict


class RegisteredModelAlias(Entity, frozen=True, kw_only=True):
    """A name that points to one version of a registered model."""

    alias: str
    version: str


class ModelVersion(Entity, frozen=True, kw_only=True):
    """One version of a registered model. Times are milliseconds since the Unix epoch.

    Attributes:
        version: A whole number from 1, as text; a model never has one twice.
        user_id: Who registered it, absent when unknown.
        current_stage: ``None``, ``Staging``, ``Production`` or ``Archived``.
        source: Where it was registered from, as it was given.
        status: ``READY``.
        aliases: Those that point to it.
        model_id: The logged model that it was made of.
        digest: SHA-256 of its folder, as whoever registered it said; nothing changes it.
        parent: ``models:/<name>/<version>`` as it is called now: the version that it is a copy of.
    """

    name: str
    version: str
    creation_timestamp: int
    last_updated_timestamp: int
    user_id: str | None = None
    current_stage: str
    description: str | None = None
    source: str | None = None
    run_id: str | None = None
    run_link: str | None = None
    status: str
    status_message: str | None = None
    tag_list: tuple[KeyValue, ...] = msgspec.field(default=(), name="tags")
    aliases: tuple[str, ...] = ()
    model_id: str | None = None
    digest: str | None = None
    parent: str | None = None

    @property
    def tags(self) -> dict[str, str]:
        """Tags by key."""
        return as_dict(self.tag_list)


class RegisteredModel(Entity, frozen=True, kw_only=True):
    """A named model and its newest versions. Times are milliseconds since the Unix epoch.

    Attributes:
        latest_versions: The version of the greatest number in each stage.
    """

    name: str
    creation_timestamp: int
    last_updated_timestamp: int
    user_id: str | None = None
    description: str | None = None
    latest_versions: tuple[ModelVersion, ...] = ()
    tag_list: tuple[KeyValue, ...] = msgspec.field(default=(), name="tags")
    alias_list: tuple[RegisteredModelAlias, ...] = msgspec.field(default=(), name="aliases")

    @property
    def tags(self) -> dict[str, str]:
        """Tags by key."""
        return as_dict(self.tag_list)

    @property
    def aliases(self) -> dict[str, str]:
        """Number of the version that each alias points to."""
        return {one.alias: one.version for one in self.alias_list}
