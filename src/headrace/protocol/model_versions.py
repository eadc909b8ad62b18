"""Versions of registered models: declarations."""

from __future__ import annotations

from headrace.entities import KeyValue, ModelVersion
from headrace.protocol.limits import Int64, Required
from headrace.protocol.operation import Empty, Interface, Request, Response, operation

#: Versions of one page at most, and unless the request says otherwise.
MAX_PAGE = 200_000

#: Stages in the order of the numbers that the database has for them.
STAGES = ("None", "Staging", "Production", "Archived")
#: The stages that `transition_model_version_stage` may empty.
ACTIVE_STAGES = ("Staging", "Production")

_READ, _EDIT = "registered_model:read", "registered_model:edit"


class CreateModelVersion(Request, frozen=True, kw_only=True):
    """A new version.

    Attributes:
        source: Where the model is: a folder's URI, ``runs:/…``, ``models:/m-<id>``; or
            ``models:/<name>/<version>``, of which the new one is a copy then.
        run_id: The run that made it.
        model_id: The logged model that it is.
        digest: SHA-256 of the folder, in hexadecimal digits, with or without ``sha256:`` before it. No
            client of MLflow gives one.
    """

    name: Required
    source: Required
    run_id: str | None = None
    run_link: str = ""
    description: str = ""
    tags: tuple[KeyValue, ...] = ()
    model_id: str | None = None
    digest: str = ""


class ModelVersionKey(Request, frozen=True, kw_only=True):
    name: Required
    version: Required


class ModelVersionResponse(Response, frozen=True, kw_only=True):
    model_version: ModelVersion


class UpdateModelVersion(Request, frozen=True, kw_only=True):
    """A description that is not given is taken away, as in MLflow."""

    name: Required
    version: Required
    description: str = ""


class TransitionModelVersionStage(Request, frozen=True, kw_only=True):
    """``stage`` is one of `STAGES`, in any case."""

    name: Required
    version: Required
    stage: Required
    archive_existing_versions: bool = False


class SearchModelVersions(Request, frozen=True, kw_only=True):
    """``max_results`` is from 1 to 200,000."""

    filter: str = ""
    max_results: Int64 = MAX_PAGE
    order_by: tuple[str, ...] = ()
    page_token: str = ""


class ModelVersionsPage(Response, frozen=True, kw_only=True):
    model_versions: tuple[ModelVersion, ...] = ()
    next_page_token: str = ""


class DownloadUri(Response, frozen=True, kw_only=True):
    artifact_uri: str


class SetModelVersionTag(Request, frozen=True, kw_only=True):
    name: Required
    version: Required
    key: Required
    value: str = ""


class DeleteModelVersionTag(Request, frozen=True, kw_only=True):
    name: Required
    version: Required
    key: Required


class ModelVersions(Interface):
    """Versions of registered models, as MLflow has them.

    Numbers begin with 1 and grow; a model never has one twice, also after a version was deleted. Every
    method raises `NotFound` for a model or a version that does not exist, and `InvalidParameter` for a
    version that is no number.
    """

    @operation("POST", "/mlflow/model-versions/create", permission="registered_model:edit")
    def create_model_version(self, request: CreateModelVersion) -> ModelVersionResponse:
        """Register a version; it is READY at once.

        Raises:
            InvalidParameter: The source does not belong to the run or the logged model that is named with
                it, or has ``..`` in it; see docs/registry.md.
        """
        raise NotImplementedError

    @operation("GET", "/mlflow/model-versions/get", permission=_READ, reads=True)
    def get_model_version(self, request: ModelVersionKey) -> ModelVersionResponse:
        """Get a version."""
        raise NotImplementedError

    @operation("PATCH", "/mlflow/model-versions/update", permission=_EDIT)
    def update_model_version(self, request: UpdateModelVersion) -> ModelVersionResponse:
        """Give a version another description."""
        raise NotImplementedError

    @operation("DELETE", "/mlflow/model-versions/delete", permission="registered_model:delete")
    def delete_model_version(self, request: ModelVersionKey) -> Empty:
        """Delete a version and the aliases that point to it.

        Raises:
            GuardRefused: One of them is guarded.
        """
        raise NotImplementedError

    @operation(("GET", "POST"), "/mlflow/model-versions/search", permission=_READ, reads=True)
    def search_model_versions(self, request: SearchModelVersions) -> ModelVersionsPage:
        """Search versions, last updated first unless ``order_by`` says otherwise; prompts as for models."""
        raise NotImplementedError

    @operation("GET", "/mlflow/model-versions/get-download-uri", permission=_READ, reads=True)
    def get_model_version_download_uri(self, request: ModelVersionKey) -> DownloadUri:
        """Where the files of a version are."""
        raise NotImplementedError

    @operation("POST", "/mlflow/model-versions/transition-stage", permission=_EDIT)
    def transition_model_version_stage(
        self, request: TransitionModelVersionStage
    ) -> ModelVersionResponse:
        """Move a version to another stage, and those that are there to Archived if asked to.

        Raises:
            InvalidParameter: No such stage, or versions cannot be archived from it.
        """
        raise NotImplementedError

    @operation("POST", "/mlflow/model-versions/set-tag", permission=_EDIT)
    def set_model_version_tag(self, request: SetModelVersionTag) -> Empty:
        """Set a tag of a version: key at most 250 characters, value at most 100,000."""
        raise NotImplementedError

    @operation("DELETE", "/mlflow/model-versions/delete-tag", permission=_EDIT)
    def delete_model_version_tag(self, request: DeleteModelVersionTag) -> Empty:
        """Delete a tag of a version, if it has it."""
        raise NotImplementedError
