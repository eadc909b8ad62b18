"""A run's artifacts: files and folders."""

from __future__ import annotations

import itertools
import logging
import os
import posixpath
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from headrace.client.runs import RunCalls
from headrace.entities import FileInfo
from headrace.errors import (
    EndpointNotFound,
    HeadraceError,
    InvalidParameter,
    MethodNotAllowed,
    NotFound,
)
from headrace.protocol.ingest import Ingest, LogArtifacts, StoredFile
from headrace.protocol.operation import operation_of
from headrace.protocol.store import Store

if TYPE_CHECKING:
    from headrace.artifacts import ArtifactStore

#: Artifact locations of runs never change; so many are remembered.
_REMEMBERED = 1000
#: Files that one event names.
_TOLD = 100

_log = logging.getLogger("headrace")


class FileCalls(RunCalls):
    """Files and folders under a run's artifact root. Paths are POSIX and relative to that root."""

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        self._locations: dict[str, str] = {}
        self._tells = True

    def log_artifact(
        self, run_id: str, local_path: str | os.PathLike[str], artifact_path: str | None = None
    ) -> None:
        """Copy a local file into a run's artifacts; a folder with all in it, under its name.

        Args:
            run_id: The run.
            local_path: What to copy.
            artifact_path: Folder to copy into; default the root.

        Raises:
            FileNotFoundError: No such file here.
        """
        from headrace.client import transfer  # lazily: metrics need no object stores

        path = Path(local_path)
        store = self.artifacts_of(run_id)
        name = path.name if path.name not in ("", "..") else path.resolve().name
        place = posixpath.join(artifact_path or "", name)
        told = _Told()
        if path.is_dir():
            transfer.upload_dir(store, path, place, told)
        else:
            transfer.upload(store, path, place, told)
        self._stored(run_id, store, told.files)

    def log_artifacts(
        self, run_id: str, local_dir: str | os.PathLike[str], artifact_path: str | None = None
    ) -> None:
        """Copy what is in a local folder, at any depth, into a run's artifacts.

        Args:
            run_id: The run.
            local_dir: The folder.
            artifact_path: Folder to copy into; default the root.

        Raises:
            NotADirectoryError: No such folder here.
        """
        from headrace.client import transfer

        told = _Told()
        store = self.artifacts_of(run_id)
        transfer.upload_dir(store, local_dir, artifact_path or "", told)
        self._stored(run_id, store, told.files)

    def list_artifacts(self, run_id: str, path: str | None = None) -> list[FileInfo]:
        """The direct children of a folder of a run's artifacts; none when it is not there."""
        return self.artifacts_of(run_id).list(path or "")

    def download_artifacts(
        self, run_id: str, path: str, dst_path: str | os.PathLike[str] | None = None
    ) -> str:
        """Bring a file or folder of a run's artifacts here; its local path.

        Args:
            run_id: The run.
            path: File or folder; ``""`` means everything.
            dst_path: Existing folder to put it into, under its whole path. Default: a new temporary
                folder; for artifacts that lie on this machine, their own place, without a copy.

        Raises:
            NotFound: The run has no such artifact.
        """
        return download(self.artifacts_of(run_id), path, dst_path)

    def artifacts_of(self, run_id: str) -> ArtifactStore:
        """The store of a run's artifacts, for reading and writing them directly."""
        uri = self._locations.get(run_id)
        if uri is None:
            uri = self.get_run(run_id).info.artifact_uri
            if len(self._locations) >= _REMEMBERED:
                self._locations.clear()
            self._locations[run_id] = uri
        return self.artifacts_at(uri)

    def artifacts_at(self, uri: str) -> ArtifactStore:
        """The store at an artifact URI; ``mlflow-artifacts:`` ones go through this client's server."""
        from headrace.client.artifacts import artifacts_at  # lazily: metrics need no object stores

        return artifacts_at(uri, remote=self._store)

    def _write(self, run_id: str, artifact_file: str, body: bytes) -> None:
        store = self.artifacts_of(run_id)
        store.write(artifact_file, (body,))
        self._stored(run_id, store, {artifact_file: len(body)})

    def _stored(self, run_id: str, store: ArtifactStore, files: dict[str, int]) -> None:
        """Tell the tracking store of files that went to where it does not see them.

        Args:
            run_id: The run.
            store: Where they went.
            files: Their sizes by path.
        """
        # What passes through a server's proxy, the server tells itself.
        if not files or store.uri.startswith("mlflow-artifacts:"):
            return
        from headrace.artifacts import artifact_path

        some = tuple(
            StoredFile(path=artifact_path(path), size=size)
            for path, size in itertools.islice(sorted(files.items()), _TOLD)
        )
        self._tell_stored(LogArtifacts(run_id=run_id, artifacts=some, count=len(files)))

    def _tell_stored(self, step: LogArtifacts) -> None:
        if not self._tells:
            return
        try:
            self._store.call(operation_of(Ingest.log_artifacts), step)
        except (EndpointNotFound, MethodNotAllowed):  # an MLflow server
            self._tells = False
        except HeadraceError as error:  # the files are stored, and that is what was asked for
            _log.debug("The artifacts of run %s were not told of: %s", step.run_id, error)


class _Told:
    """The sizes of the files that a transfer went through."""

    def __init__(self) -> None:
        self.files: dict[str, int] = {}

    def __call__(self, path: str, done: int, total: int) -> None:
        self.files[path] = total


def download(
    store: ArtifactStore, path: str, dst_path: str | os.PathLike[str] | None = None
) -> str:
    """Copy a file or folder out of an artifact store; see `FileCalls.download_artifacts`."""
    from headrace.artifacts import artifact_path
    from headrace.client import transfer

    path = artifact_path(path, root=True)
    if dst_path is None:
        here = _on_this_machine(store.uri, path)
        return here if here is not None else transfer.download(store, path)
    target = Path(dst_path).resolve()
    if not target.is_dir():
        raise InvalidParameter(f"'{dst_path}' is not a folder: make it first.")
    folder = (target / path).parent if path else target
    folder.mkdir(parents=True, exist_ok=True)
    return transfer.download(store, path, folder)


def _on_this_machine(uri: str, path: str) -> str | None:
    if not uri.startswith("file:"):
        return None
    place = Path(unquote(urlsplit(uri).path)) / path
    if path and not place.exists():
        raise NotFound(f"No artifact '{path}' in {uri}.")
    return str(place)
