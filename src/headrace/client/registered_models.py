"""Registered models and the aliases of their versions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from headrace.client.base import ClientBase
from headrace.client.experiments import listed
from headrace.client.paging import PagedList
from headrace.client.values import pairs
from headrace.entities import ModelVersion, RegisteredModel
from headrace.protocol.model_aliases import (
    AliasGuard,
    AliasMove,
    Approved,
    ModelAliases,
)
from headrace.protocol.registered_models import PAGE, RegisteredModels


class RegisteredModelCalls(ClientBase):
    """Named models, and aliases that point to their versions."""

    def create_registered_model(
        self,
        name: str,
        tags: Mapping[str, Any] | None = None,
        description: str | None = None,
        deployment_job_id: str | None = None,
    ) -> RegisteredModel:
        """Create a registered model without versions.

        Args:
            name: Unique; at most 256 characters, without ``/`` and ``:``.
            tags: Values are taken as text.
            description: For people.
            deployment_job_id: Of Databricks; ignored.

        Raises:
            AlreadyExists: A model, or a prompt, has that name.
        """
        made: RegisteredModel = self._call(
            RegisteredModels.create_registered_model,
            name=name,
            tags=pairs(tags),
            description=description,
        ).registered_model
        return made

    def rename_registered_model(self, name: str, new_name: str) -> RegisteredModel:
        """Rename a model with all that it has. ``models:/`` URIs of the old name lead nowhere then.

        Raises:
            AlreadyExists: Another model has the new name.
            GuardRefused: One of its aliases is guarded.
        """
        model: RegisteredModel = self._call(
            RegisteredModels.rename_registered_model, name=name, new_name=new_name
        ).registered_model
        return model

    def update_registered_model(
        self, name: str, description: str | None = None, deployment_job_id: str | None = None
    ) -> RegisteredModel:
        """Give a model another description; None takes it away."""
        model: RegisteredModel = self._call(
            RegisteredModels.update_registered_model, name=name, description=description
        ).registered_model
        return model

    def delete_registered_model(self, name: str) -> None:
        """Delete a model with its versions, aliases and their history. The files stay.

        Raises:
            GuardRefused: One of its aliases is guarded.
        """
        self._call(RegisteredModels.delete_registered_model, name=name)

    def search_registered_models(
        self,
        filter_string: str | None = None,
        max_results: int = PAGE,
        order_by: Sequence[str] | None = None,
        page_token: str | None = None,
    ) -> PagedList[RegisteredModel]:
        """One page of registered models, by name unless ordered.

        Args:
            filter_string: ``name LIKE 'fraud%' AND tags.team = 'risk'``; see docs/search.md. Prompts are found
                only with ``tags.`mlflow.prompt.is_prompt` = 'true'``.
            max_results: Size of the page, at most 1000.
            order_by: ``["last_updated_timestamp DESC"]``; also ``name`` and ``creation_timestamp``.
            page_token: ``token`` of the page before.
        """
        page = self._call(
            RegisteredModels.search_registered_models,
            filter=filter_string,
            max_results=max_results,
            order_by=listed(order_by),
            page_token=page_token,
        )
        return PagedList(page.registered_models, page.next_page_token)

    def get_registered_model(self, name: str) -> RegisteredModel:
        """A model with tags, aliases, and the newest version of each stage.

        Raises:
            NotFound: There is none of that name.
        """
        model: RegisteredModel = self._call(
            RegisteredModels.get_registered_model, name=name
        ).registered_model
        return model

    def get_latest_versions(
        self, name: str, stages: Sequence[str] | None = None
    ) -> list[ModelVersion]:
        """The newest version in each of some stages; default all four."""
        found = self._call(RegisteredModels.get_latest_versions, name=name, stages=listed(stages))
        return list(found.model_versions)

    def set_registered_model_tag(self, name: str, key: str, value: Any) -> None:
        """Set a tag; the value is taken as text, at most 100,000 characters."""
        self._call(RegisteredModels.set_registered_model_tag, name=name, key=key, value=str(value))

    def delete_registered_model_tag(self, name: str, key: str) -> None:
        """Delete a tag, if the model has it."""
        self._call(RegisteredModels.delete_registered_model_tag, name=name, key=key)

    def set_registered_model_alias(self, name: str, alias: str, version: str | int) -> None:
        """Let an alias point to a version.

        Args:
            name: The model.
            alias: Letters, digits, ``_`` and ``-``; neither ``latest`` nor ``v`` with a number.
            version: Its number.

        Raises:
            NotFound: No such version.
            GuardRefused: The alias is guarded, and the version lacks checks or people who agree. That you
                agree is kept.
        """
        self._call(
            RegisteredModels.set_registered_model_alias,
            name=name,
            alias=alias,
            version=str(version),
        )

    def delete_registered_model_alias(self, name: str, alias: str) -> None:
        """Delete an alias, if there is one.

        Raises:
            GuardRefused: It is guarded.
        """
        self._call(RegisteredModels.delete_registered_model_alias, name=name, alias=alias)

    def get_model_version_by_alias(self, name: str, alias: str) -> ModelVersion:
        """The version that an alias points to; ``latest`` is the one of the greatest number.

        Raises:
            InvalidParameter: No such alias.
        """
        found: ModelVersion = self._call(
            RegisteredModels.get_model_version_by_alias, name=name, alias=alias
        ).model_version
        return found

    # Beyond MLflow.

    def alias_history(
        self,
        name: str,
        alias: str | None = None,
        max_results: int = PAGE,
        page_token: str | None = None,
    ) -> PagedList[AliasMove]:
        """One page of an alias's moves, or of all aliases' of a model, newest first: who, when, from
        where to where."""
        page = self._call(
            ModelAliases.list_alias_history,
            name=name,
            alias=alias,
            max_results=max_results,
            page_token=page_token,
        )
        return PagedList(page.moves, page.next_page_token)

    def restore_alias(self, name: str, alias: str) -> AliasMove:
        """Let an alias point to where it did before its last move. Doing it twice changes nothing.

        Raises:
            NotFound: There never was such an alias, or that version is deleted.
            InvalidState: It pointed to nothing before.
            GuardRefused: It is guarded, and that version lacks checks or people who agree.
        """
        move: AliasMove = self._call(ModelAliases.restore_alias, name=name, alias=alias).move
        return move

    def set_guard(
        self, name: str, alias: str, checks: Sequence[str] | None = None, approvals: int = 0
    ) -> AliasGuard:
        """Guard an alias: it moves only to versions that pass. See `headrace.protocol.model_aliases`.

        Args:
            name: The model.
            alias: It need not exist yet.
            checks: Names of checks; each is the version's tag ``headrace.check.<name>``, and must be
                ``passed``.
            approvals: How many different people must agree.
        """
        guard: AliasGuard = self._call(
            ModelAliases.set_guard,
            name=name,
            alias=alias,
            checks=listed(checks),
            approvals=approvals,
        ).guard
        return guard

    def get_guards(self, name: str, alias: str | None = None) -> list[AliasGuard]:
        """The guards of a model's aliases, or of one, with who agrees to what so far."""
        found = self._call(ModelAliases.get_guards, name=name, alias=alias)
        return list(found.guards)

    def delete_guard(self, name: str, alias: str) -> None:
        """Guard an alias no more.

        Raises:
            NotFound: It is not guarded.
        """
        self._call(ModelAliases.delete_guard, name=name, alias=alias)

    def approve_alias(self, name: str, alias: str, version: str | int) -> Approved:
        """Agree that a guarded alias moves to a version; it does when enough agree and checks are passed.

        Raises:
            InvalidParameter: Nobody's agreement is asked for there.
            GuardRefused: You have no name in this store.
        """
        found: Approved = self._call(
            ModelAliases.approve_alias, name=name, alias=alias, version=str(version)
        )
        return found
