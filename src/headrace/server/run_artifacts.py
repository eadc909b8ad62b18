"""The artifacts of runs and logged models, found through the store: `headrace.protocol.artifacts` on the server."""

from __future__ import annotations

import posixpath
import urllib.parse
from collections.abc import Iterable

from headrace.artifacts import ArtifactStore, artifact_path, open_artifacts
from headrace.artifacts.locations import lies_within
from headrace.engine import Engine
from headrace.entities import FileInfo
from headrace.errors import InvalidParameter, PermissionDenied, Unsupported
from headrace.protocol.artifacts import (
    ArtifactListing,
    Artifacts,
    ListArtifacts,
    ListLoggedModelArtifacts,
    PresignDownload,
    PresignedUrl,
    PresignUpload,
)
from headrace.protocol.logged_models import GetLoggedModel
from headrace.protocol.runs import GetRun

_PROXIED = ("mlflow-artifacts", "http", "https")
_WEEK = 7 * 24 * 3600


class ArtifactService(Artifacts):
    """Lists and presigns the artifacts of an engine's runs and logged models. Blocking; call it in a thread."""

    def __init__(
        self, engine: Engine, proxied: ArtifactStore | None, roots: Iterable[str] = ()
    ) -> None:
        """Make a service.

        Args:
            engine: Knows the runs and models.
            proxied: Behind the server's artifact proxy; None when that is off.
            roots: Paths and URIs below which the server may reach artifacts that do not go through the
                proxy; ``*`` for everywhere. An experiment's location is any client's to choose, so
                without this a client could read every file, and read and write every bucket, that
                the server can.
        """
        self._engine = engine
        self._proxied = proxied
        self._roots = tuple(roots)

    def list_artifacts(self, request: ListArtifacts) -> ArtifactListing:
        root = self._root_of(request.run_id or request.run_uuid)
        return self._list(root, request.path)

    def list_logged_model_artifacts(self, request: ListLoggedModelArtifacts) -> ArtifactListing:
        return self._list(self._root_of_model(request.model_id), request.artifact_directory_path)

    def _list(self, root: str, path: str) -> ArtifactListing:
        path = artifact_path(path, root=True)
        store, prefix = self._open(root)
        files = store.list(posixpath.join(prefix, path) if path else prefix)
        cut = len(prefix) + 1 if prefix else 0
        return ArtifactListing(
            root_uri=root,
            files=tuple(
                FileInfo(path=f.path[cut:], is_dir=f.is_dir, file_size=f.file_size) for f in files
            ),
        )

    def presign_upload(self, request: PresignUpload) -> PresignedUrl:
        if bool(request.run_id) == bool(request.model_id):
            raise InvalidParameter("Exactly one of run_id and model_id must be provided.")
        root = (
            self._root_of_model(request.model_id)
            if request.model_id
            else self._root_of(request.run_id)
        )
        return self._presign("PUT", root, request.path, request.expiration)

    def presign_download(self, request: PresignDownload) -> PresignedUrl:
        return self._presign("GET", self._root_of(request.run_id), request.path, request.expiration)

    def locate(self, run_id: str, path: str) -> tuple[ArtifactStore, str]:
        """The store that holds a run's artifact, and its path in there."""
        path = artifact_path(path)
        store, prefix = self._open(self._root_of(run_id))
        return store, posixpath.join(prefix, path)

    def locate_of_model(self, model_id: str, path: str) -> tuple[ArtifactStore, str]:
        """The store that holds a logged model's artifact, and its path in there."""
        path = artifact_path(path)
        store, prefix = self._open(self._root_of_model(model_id))
        return store, posixpath.join(prefix, path)

    def _presign(self, method: str, root: str, path: str, expires: int) -> PresignedUrl:
        path = artifact_path(path)
        if not 1 <= expires <= _WEEK:
            raise InvalidParameter(
                f"expiration must be between 1 and {_WEEK} seconds (got {expires})."
            )
        if _scheme(root) in _PROXIED:
            raise InvalidParameter(
                f"Presigned URLs are not for proxied artifact storage ('{root}'): send the artifact "
                "through the server, or give the experiment an artifact location in an object store."
            )
        store, prefix = self._open(root)
        return store.presign(method, posixpath.join(prefix, path), expires)

    def _root_of(self, run_id: str) -> str:
        if not run_id:
            raise InvalidParameter(
                "Missing value for required parameter 'run_id': give a run's id."
            )
        return self._engine.get_run(GetRun(run_id=run_id)).run.info.artifact_uri

    def _root_of_model(self, model_id: str) -> str:
        request = GetLoggedModel(model_id=model_id)
        return self._engine.get_logged_model(request).model.info.artifact_uri

    def _open(self, root: str) -> tuple[ArtifactStore, str]:
        """The store behind an artifact root, and the path of that root in it."""
        scheme = _scheme(root)
        if scheme == "mlflow-artifacts":
            if self._proxied is None:
                raise Unsupported(
                    f"The artifacts at '{root}' go through a proxy that this server does not run; "
                    "start it with --serve-artifacts."
                )
            path = urllib.parse.unquote(urllib.parse.urlsplit(root).path).lstrip("/")
            return self._proxied, artifact_path(path, root=True)
        if scheme in _PROXIED:
            raise Unsupported(f"The artifacts at '{root}' are on another server; ask that one.")
        if not any(allowed == "*" or lies_within(root, allowed) for allowed in self._roots):
            raise PermissionDenied(
                f"The server does not reach artifacts at '{root}', outside of its own artifact root: "
                "clients that can, do so themselves. The server's --allowed-artifacts adds places."
            )
        return open_artifacts(root), ""


def _scheme(uri: str) -> str:
    return urllib.parse.urlsplit(uri).scheme
