"""The fluent API's client: it goes on when the store is away."""

from __future__ import annotations

import json
import logging
import os
import posixpath
from collections.abc import Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import msgspec

from headrace.client.client import Client
from headrace.client.environment import flag, setting
from headrace.client.journal.journals import journal_for, pending, sync_before
from headrace.client.stores import is_remote, open_store, resolve
from headrace.client.tables import LOGGED_ARTIFACTS_TAG, table_note
from headrace.entities import KeyValue, Run
from headrace.errors import HeadraceError, NotFound, Unavailable
from headrace.protocol.ingest import Ingest, LogArtifacts, SetTags, StartRun
from headrace.protocol.limits import check_run_id
from headrace.protocol.operation import Operation
from headrace.protocol.places import database_url, nearest_store
from headrace.protocol.store import Store

if TYPE_CHECKING:
    from headrace.artifacts import ArtifactStore

_log = logging.getLogger("headrace")

#: How often a request is repeated that the journal can carry out later.
_RETRIES = 1


class LoggingClient(Client):
    """A client whose artifacts wait in the journal when they cannot be sent.

    With ``HEADRACE_OFFLINE=1`` it never asks the store: reading raises `Unavailable`.
    """

    def __init__(self, tracking_uri: str | None = None) -> None:
        #: Runs that began in the journal, so that nothing of them can be elsewhere.
        self.began: set[str] = set()
        self._tables: dict[tuple[str, str], bytes] = {}
        self._direct: Client | None = None
        if not flag("OFFLINE"):
            super().__init__(tracking_uri)
            return
        # Nothing of the store's code is loaded either.
        self._tracking_uri = _address(tracking_uri)
        self._begin(_Offline(self._tracking_uri))

    def start(self, step: StartRun) -> Run:
        """Create a run under its id; the same again gives the same run."""
        fields = msgspec.to_builtins(step)
        run: Run = self._at_once()._call(Ingest.start_run, **fields).run
        return run

    def close(self) -> None:
        if self._direct is not None:
            self._direct.close()
        super().close()

    def _at_once(self) -> Client:
        """A client for what can wait in the journal: it does not wait for a store that is away.

        Raises:
            Unavailable: The store was away when it was asked last, or is not to be asked.
        """
        if isinstance(self._store, _Offline):
            raise Unavailable("HEADRACE_OFFLINE is set.")
        if journal_for(self._tracking_uri).reachable is False:
            raise Unavailable(f"{self._tracking_uri} could not be reached just now.")
        if self._direct is None:
            self._direct = _Direct(self._tracking_uri)
        return self._direct

    def log_artifact(
        self, run_id: str, local_path: str | os.PathLike[str], artifact_path: str | None = None
    ) -> None:
        """As `Client.log_artifact`; waits in the journal when the store is away."""
        try:
            self._at_once().log_artifact(run_id, local_path, artifact_path)
        except (Unavailable, NotFound) as error:
            self._check_waits(error)
            path = Path(local_path)
            name = path.name if path.name not in ("", "..") else path.resolve().name
            self._stage_tree(run_id, path, posixpath.join(artifact_path or "", name), error)

    def log_artifacts(
        self, run_id: str, local_dir: str | os.PathLike[str], artifact_path: str | None = None
    ) -> None:
        """As `Client.log_artifacts`; waits in the journal when the store is away."""
        try:
            self._at_once().log_artifacts(run_id, local_dir, artifact_path)
        except (Unavailable, NotFound) as error:
            self._check_waits(error)
            folder = Path(local_dir)
            if not folder.is_dir():
                raise NotADirectoryError(f"'{local_dir}' is not a folder.") from None
            self._stage_tree(run_id, folder, artifact_path or "", error)

    def log_stream(self, run_id: str, stream: IO[bytes], artifact_file: str) -> None:
        """As `Client.log_stream`; waits in the journal when the store is away before it begins."""
        try:
            self.artifacts_of(run_id)
        except (Unavailable, NotFound) as error:
            self._check_waits(error)
            self._stage(run_id, artifact_file, stream.read(), error)
        else:
            super().log_stream(run_id, stream, artifact_file)

    def write_artifact(self, run_id: str, artifact_file: str, body: bytes) -> None:
        """Write bytes, by way of the journal: a server that is going away must not hold up the caller."""
        from headrace.artifacts.paths import artifact_path  # lazily: metrics need no artifacts

        check_run_id(run_id)
        path = artifact_path(artifact_file)
        try:
            journal_for(self._tracking_uri).stage(run_id, path, body)
        except OSError:  # no room on the disk
            super()._write(run_id, artifact_file, body)

    _write = write_artifact

    def artifacts_of(self, run_id: str) -> ArtifactStore:
        """As `Client.artifacts_of`, once what waited in the journal is there."""
        sync_before(self._tracking_uri)
        return super().artifacts_of(run_id)

    def _read_table(self, run_id: str, artifact_file: str) -> bytes | None:
        """As it was written last: here, if the store is away."""
        try:
            sync_before(self._tracking_uri)
            return self._at_once()._read_table(run_id, artifact_file)
        except (Unavailable, NotFound) as error:
            self._check_waits(error)
            written = self._tables.get((run_id, artifact_file))
            if written is None and run_id not in self.began:
                raise  # it may be there with rows that would be written over
            return written

    def _write_table(self, run_id: str, artifact_file: str, body: bytes) -> None:
        self._tables[run_id, artifact_file] = body
        self._write(run_id, artifact_file, body)
        try:
            self._at_once()._note_table(run_id, artifact_file)
        except (Unavailable, NotFound) as error:  # of the tag that names the run's tables
            self._check_waits(error)
            notes = [table_note(file) for run, file in self._tables if run == run_id]
            tag = KeyValue(LOGGED_ARTIFACTS_TAG, json.dumps(notes))
            journal_for(self._tracking_uri).step(SetTags(run_id=run_id, tags=(tag,)))

    def _tell_stored(self, step: LogArtifacts) -> None:
        journal_for(self._tracking_uri).step(step)

    def _check_waits(self, error: HeadraceError) -> None:
        """A run that the store does not know may still be on its way there."""
        if isinstance(error, NotFound) and not pending(self._tracking_uri):
            raise error

    def _stage(self, run_id: str, path: str, source: Path | bytes, error: HeadraceError) -> None:
        from headrace.artifacts.paths import artifact_path  # lazily: metrics need no artifacts

        check_run_id(run_id)
        journal_for(self._tracking_uri).stage(run_id, artifact_path(path), source)
        _log.debug("Artifact %s of run %s waits in the journal: %s", path, run_id, error)

    def _stage_tree(self, run_id: str, path: Path, place: str, error: HeadraceError) -> None:
        for file, name in _files(path):
            self._stage(run_id, posixpath.join(place, name) if name else place, file, error)


class _Direct(Client):
    """A client that gives up soon."""

    def __init__(self, uri: str) -> None:
        self._tracking_uri = resolve(uri)
        self._journal = uri
        self._begin(open_store(uri, retries=_RETRIES))

    def _tell_stored(self, step: LogArtifacts) -> None:
        journal_for(self._journal).step(step)


class _Offline(Store):
    """The store that is not asked."""

    def __init__(self, uri: str) -> None:
        self.uri = uri

    def call(self, operation: Operation, request: Any) -> Any:
        raise Unavailable(
            f"{operation.name} needs the store, and HEADRACE_OFFLINE is set. Unset it; what was logged "
            "is sent by: headrace sync"
        )


def _address(uri: str | None) -> str:
    """A tracking URI in the form that `headrace.client.stores.resolve` gives, without its code."""
    text = uri or setting("TRACKING_URI")
    if text is None:
        return database_url(nearest_store(Path.cwd()))
    if is_remote(text):
        return text.rstrip("/")
    if "://" in text:
        return text
    return database_url(Path(text).expanduser().resolve())


def _files(path: Path) -> Iterator[tuple[Path, str]]:
    """A file, or those in a folder at any depth, with their paths relative to it."""
    if not path.is_dir():
        yield path, ""
        return
    for folder, folders, names in os.walk(path):
        folders.sort()
        for name in sorted(names):
            file = Path(folder, name)
            yield file, file.relative_to(path).as_posix()
