"""Artifacts of runs and of logged models: declarations. The bytes themselves travel outside these structs."""

from __future__ import annotations

import msgspec

from headrace.entities import FileInfo
from headrace.protocol.limits import Int64, Required
from headrace.protocol.operation import Interface, Request, Response, operation


class ListArtifacts(Request, frozen=True, kw_only=True):
    """``path`` is relative to the run's artifact root; ``page_token`` is accepted and ignored."""

    run_id: str = ""
    run_uuid: str = ""
    path: str = ""
    page_token: str = ""


class ArtifactListing(Response, frozen=True, kw_only=True):
    """``files`` are the direct children, with paths relative to the artifact root of the run or model."""

    root_uri: str
    files: tuple[FileInfo, ...] = ()


class ListLoggedModelArtifacts(Request, frozen=True, kw_only=True):
    """``artifact_directory_path`` is relative to the model's artifact root; ``page_token`` is ignored."""

    model_id: Required
    artifact_directory_path: str = ""
    page_token: str = ""


class PresignUpload(Request, frozen=True, kw_only=True):
    """Exactly one of ``run_id`` and ``model_id``; ``expiration`` in seconds."""

    run_id: str = ""
    model_id: str = ""
    path: Required
    expiration: Int64 = 900


class PresignDownload(Request, frozen=True, kw_only=True):
    """``expiration`` in seconds, 1 to 604,800."""

    run_id: Required
    path: Required
    expiration: Int64 = 300


class PresignedUrl(Response, frozen=True, kw_only=True):
    presigned_url: str
    headers: dict[str, str] = msgspec.field(default_factory=dict)
    file_size: int | None = None


class Artifacts(Interface):
    """Listing artifacts of runs and logged models, and reaching them without the server in between."""

    @operation("GET", "/mlflow/artifacts/list", permission="run:read", reads=True)
    def list_artifacts(self, request: ListArtifacts) -> ArtifactListing:
        """List a directory of a run's artifacts; a directory that is not there is empty."""
        raise NotImplementedError

    @operation(
        "GET",
        "/mlflow/logged-models/{model_id}/artifacts/directories",
        permission="run:read",
        reads=True,
    )
    def list_logged_model_artifacts(self, request: ListLoggedModelArtifacts) -> ArtifactListing:
        """List a directory of a logged model's artifacts; a directory that is not there is empty.

        Raises:
            NotFound: There is no such model, or it is deleted.
        """
        raise NotImplementedError

    @operation("POST", "/mlflow/artifacts/presigned-upload-url", permission="run:edit", reads=True)
    def presign_upload(self, request: PresignUpload) -> PresignedUrl:
        """A URL to put one artifact to.

        Raises:
            Unsupported: The store has no such URLs (a local folder).
        """
        raise NotImplementedError

    @operation(
        "POST", "/mlflow/artifacts/presigned-download-url", permission="run:read", reads=True
    )
    def presign_download(self, request: PresignDownload) -> PresignedUrl:
        """A URL to get one artifact from.

        Raises:
            Unsupported: The store has no such URLs (a local folder).
        """
        raise NotImplementedError
