"""Registered models: declarations."""

from __future__ import annotations

from headrace.entities import KeyValue, ModelVersion, RegisteredModel
from headrace.protocol.limits import Int64, Required
from headrace.protocol.operation import Empty, Interface, Request, Response, operation

#: Registered models of one page at most, and unless the request says otherwise.
MAX_PAGE, PAGE = 1000, 100
#: A tag of models and of versions: they are prompts, which searches show only when asked for.
PROMPT_TAG = "mlflow.prompt.is_prompt"
#: What clients give as the source of a prompt's version, which has no files.
PROMPT_SOURCES = ("dummy-source", "prompt-template")

_READ, _EDIT = "registered_model:read", "registered_model:edit"


class CreateRegisteredModel(Request, frozen=True, kw_only=True):
    name: Required
    tags: tuple[KeyValue, ...] = ()
    description: str = ""


class RegisteredModelName(Request, frozen=True, kw_only=True):
    name: Required


class RegisteredModelResponse(Response, frozen=True, kw_only=True):
    registered_model: RegisteredModel


class UpdateRegisteredModel(Request, frozen=True, kw_only=True):
    """A description that is not given is taken away, as in MLflow."""

    name: Required
    description: str = ""


class RenameRegisteredModel(Request, frozen=True, kw_only=True):
    name: Required
    new_name: Required


class SearchRegisteredModels(Request, frozen=True, kw_only=True):
    """``max_results`` is from 0 to 1000."""

    filter: str = ""
    max_results: Int64 = PAGE
    order_by: tuple[str, ...] = ()
    page_token: str = ""


class RegisteredModelsPage(Response, frozen=True, kw_only=True):
    registered_models: tuple[RegisteredModel, ...] = ()
    next_page_token: str = ""


class GetLatestVersions(Request, frozen=True, kw_only=True):
    name: Required
    stages: tuple[str, ...] = ()


class LatestVersions(Response, frozen=True, kw_only=True):
    model_versions: tuple[ModelVersion, ...] = ()


class SetRegisteredModelTag(Request, frozen=True, kw_only=True):
    name: Required
    key: Required
    value: str = ""


class DeleteRegisteredModelTag(Request, frozen=True, kw_only=True):
    name: Required
    key: Required


class SetRegisteredModelAlias(Request, frozen=True, kw_only=True):
    name: Required
    alias: Required
    version: Required


class ModelAlias(Request, frozen=True, kw_only=True):
    name: Required
    alias: Required


class AliasedVersion(Response, frozen=True, kw_only=True):
    model_version: ModelVersion


class RegisteredModels(Interface):
    """Named models and the aliases of their versions, as MLflow has them.

    Names are unique and hold neither ``/`` nor ``:``; the name of a deleted or renamed model is free at
    once. Every method raises `NotFound` for a model that does not exist and `InvalidParameter` for a name
    that cannot be one.
    """

    @operation("POST", "/mlflow/registered-models/create", permission="registered_model:create")
    def create_registered_model(self, request: CreateRegisteredModel) -> RegisteredModelResponse:
        """Create a registered model, without versions.

        Raises:
            AlreadyExists: A model, or a prompt, has that name.
        """
        raise NotImplementedError

    @operation("GET", "/mlflow/registered-models/get", permission=_READ, reads=True)
    def get_registered_model(self, request: RegisteredModelName) -> RegisteredModelResponse:
        """Get a registered model with its tags, its aliases, and the newest version of each stage."""
        raise NotImplementedError

    @operation("PATCH", "/mlflow/registered-models/update", permission=_EDIT)
    def update_registered_model(self, request: UpdateRegisteredModel) -> RegisteredModelResponse:
        """Give a registered model another description."""
        raise NotImplementedError

    @operation("POST", "/mlflow/registered-models/rename", permission="registered_model:delete")
    def rename_registered_model(self, request: RenameRegisteredModel) -> RegisteredModelResponse:
        """Rename a registered model; its versions, aliases and history go with it.

        Raises:
            AlreadyExists: Another model has the new name.
            GuardRefused: One of its aliases is guarded.
        """
        raise NotImplementedError

    @operation("DELETE", "/mlflow/registered-models/delete", permission="registered_model:delete")
    def delete_registered_model(self, request: RegisteredModelName) -> Empty:
        """Delete a registered model with its versions, aliases and history, for good.

        Raises:
            GuardRefused: One of its aliases is guarded.
        """
        raise NotImplementedError

    @operation(("GET", "POST"), "/mlflow/registered-models/search", permission=_READ, reads=True)
    def search_registered_models(self, request: SearchRegisteredModels) -> RegisteredModelsPage:
        """Search registered models, by name unless ``order_by`` says otherwise.

        Prompts are shown only when the filter asks for them: ``tags.`mlflow.prompt.is_prompt` = 'true'``.
        """
        raise NotImplementedError

    @operation(
        ("POST", "GET"),
        "/mlflow/registered-models/get-latest-versions",
        permission=_READ,
        reads=True,
    )
    def get_latest_versions(self, request: GetLatestVersions) -> LatestVersions:
        """The version of the greatest number in each of some stages; default all four."""
        raise NotImplementedError

    @operation("POST", "/mlflow/registered-models/set-tag", permission=_EDIT)
    def set_registered_model_tag(self, request: SetRegisteredModelTag) -> Empty:
        """Set a tag of a registered model: key at most 250 characters, value at most 100,000."""
        raise NotImplementedError

    @operation("DELETE", "/mlflow/registered-models/delete-tag", permission=_EDIT)
    def delete_registered_model_tag(self, request: DeleteRegisteredModelTag) -> Empty:
        """Delete a tag of a registered model, if it has it."""
        raise NotImplementedError

    @operation("POST", "/mlflow/registered-models/alias", permission="model_alias:edit")
    def set_registered_model_alias(self, request: SetRegisteredModelAlias) -> Empty:
        """Let an alias point to a version.

        Raises:
            NotFound: No such version.
            GuardRefused: The alias is guarded, and the version lacks checks or agreement. That the caller
                agrees is kept.
        """
        raise NotImplementedError

    @operation("DELETE", "/mlflow/registered-models/alias", permission="model_alias:edit")
    def delete_registered_model_alias(self, request: ModelAlias) -> Empty:
        """Delete an alias, if there is one.

        Raises:
            GuardRefused: It is guarded.
        """
        raise NotImplementedError

    @operation("GET", "/mlflow/registered-models/alias", permission=_READ, reads=True)
    def get_model_version_by_alias(self, request: ModelAlias) -> AliasedVersion:
        """The version that an alias points to; ``latest`` is the one of the greatest number.

        Raises:
            InvalidParameter: No such alias; MLflow has that code for it.
        """
        raise NotImplementedError
