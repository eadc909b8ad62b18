"""Versions of registered models."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from typing import Any

from headrace.client.experiments import listed
from headrace.client.paging import PagedList
from headrace.client.registered_models import RegisteredModelCalls
from headrace.client.values import pairs
from headrace.entities import ModelVersion
from headrace.errors import AlreadyExists, InvalidParameter, NotFound
from headrace.protocol.lineage import ITEMS, Lineage, Lineages
from headrace.protocol.model_uris import Kind, parse_model_uri
from headrace.protocol.model_versions import ModelVersions

#: What MLflow's client asks for at once.
_PAGE = 10_000


class ModelVersionCalls(RegisteredModelCalls):
    """Versions. A version may be given as int or str."""

    def create_model_version(
        self,
        name: str,
        source: str,
        run_id: str | None = None,
        tags: Mapping[str, Any] | None = None,
        run_link: str | None = None,
        description: str | None = None,
        await_creation_for: int | None = None,
        model_id: str | None = None,
        *,
        digest: str | None = None,
    ) -> ModelVersion:
        """Register a version of an existing model.

        Args:
            name: The registered model.
            source: Where its files are: ``runs:/<run id>/<path>``, ``models:/m-<id>``, a URI; or
                ``models:/<name>/<version>`` to copy that version.
            run_id: The run that made it; needed where the source is of a run.
            tags: Values are taken as text. Those of checks (``headrace.check.…``) are left out: set them
                on the version.
            run_link: Where people see the run.
            description: For people.
            await_creation_for: Ignored: a version is ready at once.
            model_id: The logged model that it is.
            digest: SHA-256 of the folder, 64 hexadecimal digits; never changed afterwards.

        Raises:
            NotFound: No such registered model.
            InvalidParameter: The source does not belong to that run or logged model.
        """
        made: ModelVersion = self._call(
            ModelVersions.create_model_version,
            name=name,
            source=str(source),
            run_id=run_id,
            tags=pairs(tags),
            run_link=run_link,
            description=description,
            model_id=model_id,
            digest=digest,
        ).model_version
        return made

    def copy_model_version(self, src_model_uri: str | ModelVersion, dst_name: str) -> ModelVersion:
        """Copy a version to another model, which is made if there is none: its files, run, tags and
        description, but not its checks, aliases and stage.

        Args:
            src_model_uri: ``models:/<name>/<version>``, ``models:/<name>@<alias>``, or the version itself.
            dst_name: The model that gets the copy.

        Raises:
            InvalidParameter: It names no version.
        """
        if isinstance(src_model_uri, ModelVersion):
            source = src_model_uri
        else:
            source = self._version_at(src_model_uri)
        with contextlib.suppress(AlreadyExists):
            self.create_registered_model(dst_name)
        return self.create_model_version(
            dst_name,
            f"models:/{source.name}/{source.version}",
            run_id=source.run_id,
            tags=source.tags,
            run_link=source.run_link,
            description=source.description,
            model_id=source.model_id,
            digest=source.digest,
        )

    def _version_at(self, uri: str) -> ModelVersion:
        """The version that a ``models:/`` URI of a registered model names."""
        found = parse_model_uri(uri)
        if not found.registered or found.path:
            raise InvalidParameter(
                f"'{uri[:300]}' names no version: write models:/<name>/<version> or models:/<name>@<alias>."
            )
        match found.kind:
            case Kind.VERSION:
                return self.get_model_version(found.name, found.version)
            case Kind.STAGE:
                versions = self.get_latest_versions(found.name, [found.stage])
                if not versions:
                    raise NotFound(
                        f"No version of the model '{found.name}' is in stage {found.stage}."
                    )
                return versions[0]
        return self.get_model_version_by_alias(found.name, found.alias or "latest")

    def update_model_version(
        self, name: str, version: str | int, description: str | None = None
    ) -> ModelVersion:
        """Give a version another description; None takes it away."""
        found: ModelVersion = self._call(
            ModelVersions.update_model_version,
            name=name,
            version=str(version),
            description=description,
        ).model_version
        return found

    def delete_model_version(self, name: str, version: str | int) -> None:
        """Delete a version and the aliases that point to it. Its number is never given again; its files stay.

        Raises:
            GuardRefused: One of those aliases is guarded.
        """
        self._call(ModelVersions.delete_model_version, name=name, version=str(version))

    def get_model_version(self, name: str, version: str | int) -> ModelVersion:
        """A version.

        Raises:
            NotFound: There is none.
        """
        found: ModelVersion = self._call(
            ModelVersions.get_model_version, name=name, version=str(version)
        ).model_version
        return found

    def search_model_versions(
        self,
        filter_string: str | None = None,
        max_results: int = _PAGE,
        order_by: Sequence[str] | None = None,
        page_token: str | None = None,
    ) -> PagedList[ModelVersion]:
        """One page of versions, last updated first unless ordered.

        Args:
            filter_string: ``name = 'fraud' AND version_number > 3``, ``run_id = '…'``; see docs/search.md.
            max_results: Size of the page, at most 200,000.
            order_by: ``["version_number DESC"]``; also ``name`` and the two timestamps.
            page_token: ``token`` of the page before.
        """
        page = self._call(
            ModelVersions.search_model_versions,
            filter=filter_string,
            max_results=max_results,
            order_by=listed(order_by),
            page_token=page_token,
        )
        return PagedList(page.model_versions, page.next_page_token)

    def get_model_version_download_uri(self, name: str, version: str | int) -> str:
        """Where the files of a version are."""
        found = self._call(
            ModelVersions.get_model_version_download_uri, name=name, version=str(version)
        )
        return str(found.artifact_uri)

    def transition_model_version_stage(
        self,
        name: str,
        version: str | int,
        stage: str,
        archive_existing_versions: bool = False,
    ) -> ModelVersion:
        """Move a version to another stage.

        Args:
            name: The model.
            version: The version.
            stage: ``None``, ``Staging``, ``Production`` or ``Archived``, in any case.
            archive_existing_versions: Move those that are in Staging, or Production, to Archived.
        """
        found: ModelVersion = self._call(
            ModelVersions.transition_model_version_stage,
            name=name,
            version=str(version),
            stage=stage,
            archive_existing_versions=archive_existing_versions,
        ).model_version
        return found

    def set_model_version_tag(
        self,
        name: str,
        version: str | int | None = None,
        key: str | None = None,
        value: Any = None,
        stage: str | None = None,
    ) -> None:
        """Set a tag of a version, or of the newest version in a stage; the value is taken as text."""
        number = self._chosen(name, version, stage)
        self._call(
            ModelVersions.set_model_version_tag,
            name=name,
            version=number,
            key=key,
            value=str(value),
        )

    def delete_model_version_tag(
        self,
        name: str,
        version: str | int | None = None,
        key: str | None = None,
        stage: str | None = None,
    ) -> None:
        """Delete a tag of a version, or of the newest version in a stage, if it has it."""
        number = self._chosen(name, version, stage)
        self._call(ModelVersions.delete_model_version_tag, name=name, version=number, key=key)

    def lineage(self, name: str, version: str | int, max_results: int = ITEMS) -> Lineage:
        """Where a version comes from (run, code, data, what it is a copy of), and what was made of it
        (copies, runs that read it, their models): at most so many of each kind."""
        found: Lineage = self._call(
            Lineages.get_lineage, name=name, version=str(version), max_results=max_results
        ).lineage
        return found

    def _chosen(self, name: str, version: str | int | None, stage: str | None) -> str:
        """The version that a call means.

        Raises:
            InvalidParameter: Both are given, or none.
            NotFound: Nothing is in that stage.
        """
        if (version is None) == (stage is None):
            raise InvalidParameter("Give version or stage, and not both.")
        if stage is None:
            return str(version)
        found = self.get_latest_versions(name, [stage])
        if not found:
            raise NotFound(f"Could not find any model version for {stage} stage.")
        return found[0].version
