"""Tells the event log which files of runs were stored, or deleted, through the artifact proxy.

Nobody who uploads waits for it. What comes for one run within a quarter of a second is one event, written by one
transaction. A server that is killed in that time loses it; one that stops in good order does not.
"""

from __future__ import annotations

import logging
import posixpath
import threading
import urllib.parse
from concurrent.futures import Future
from typing import Any

from headrace.engine import Engine
from headrace.errors import HeadraceError
from headrace.protocol.ingest import Ingest, LogArtifacts, StoredFile
from headrace.protocol.limits import check_run_id
from headrace.protocol.operation import operation_of
from headrace.protocol.runs import GetRun

_log = logging.getLogger("headrace.server")

#: Seconds that files of one run are waited for.
_WINDOW = 0.25
#: Files that an event names.
_MOST_FILES = 100
#: Artifact locations of runs never change; so many are remembered.
_REMEMBERED = 10_000

_LOG_ARTIFACTS = operation_of(Ingest.log_artifacts)
#: Runs that a path may belong to, each with the folder that its artifacts would be in, and whether files
#: were deleted there.
_Place = tuple[tuple[tuple[str, str], ...], bool]


class _Files:
    """What happened in one place: the first files, and how many there were."""

    def __init__(self) -> None:
        self.sizes: dict[str, int | None] = {}
        self.count = 0

    def add(self, path: str, size: int | None) -> None:
        if path not in self.sizes:
            self.count += 1
            if len(self.sizes) >= _MOST_FILES:
                return
        self.sizes[path] = size


class ArtifactEvents:
    """Gathers what went through the proxy. Thread-safe."""

    def __init__(self, engine: Engine, window: float = _WINDOW) -> None:
        """Begin; `close` ends.

        Args:
            engine: Has the runs, and the event log.
            window: Seconds in which files of one run become one event.
        """
        self._engine = engine
        self._window = window
        self._lock = threading.Lock()
        self._flushing = threading.Lock()
        self._places: dict[_Place, _Files] = {}
        self._timer: threading.Timer | None = None
        self._roots: dict[str, str] = {}

    def stored(self, path: str, size: int | None = None) -> None:
        """A file was stored, by its path below the proxy's root."""
        self._add(path, size, deleted=False)

    def deleted(self, path: str) -> None:
        """A file or a folder was deleted."""
        self._add(path, None, deleted=True)

    def close(self) -> None:
        """Tell what was not told yet; the engine must still be open."""
        with self._lock:
            timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()
        self._flush()

    def _add(self, path: str, size: int | None, *, deleted: bool) -> None:
        candidates = _candidates(path)
        if not candidates:
            return
        with self._lock:
            self._places.setdefault((candidates, deleted), _Files()).add(path, size)
            if self._timer is None:
                self._timer = threading.Timer(self._window, self._flush)
                self._timer.daemon = True
                self._timer.start()

    def _flush(self) -> None:
        with self._flushing:  # so that `close` waits for the timer's
            with self._lock:
                places, self._places = self._places, {}
                self._timer = None
            for (candidates, deleted), files in places.items():
                try:
                    self._tell(candidates, files, deleted=deleted)
                except HeadraceError as error:  # the files are stored all the same
                    _log.warning("Artifacts at '%s' are in no event: %s", candidates[0][1], error)

    def _tell(
        self, candidates: tuple[tuple[str, str], ...], files: _Files, *, deleted: bool
    ) -> None:
        found = next((one for one in candidates if self._root_of(one[0]) == one[1]), None)
        if found is None:
            return  # no run's: a logged model's, or somebody's own folder
        run_id, root = found
        artifacts = tuple(
            StoredFile(path=posixpath.relpath(path, root), size=size)
            for path, size in files.sizes.items()
        )
        request = LogArtifacts(
            run_id=run_id, artifacts=artifacts, count=files.count, deleted=deleted
        )
        self._engine.submit(_LOG_ARTIFACTS, request, "").add_done_callback(_complain)

    def _root_of(self, run_id: str) -> str | None:
        """Where a run keeps its artifacts, below the proxy's root; None when elsewhere, or no run."""
        root = self._roots.get(run_id)
        if root is None:
            try:
                uri = self._engine.get_run(GetRun(run_id=run_id)).run.info.artifact_uri
            except HeadraceError:
                return None
            split = urllib.parse.urlsplit(uri)
            proxied = split.scheme == "mlflow-artifacts"
            root = urllib.parse.unquote(split.path).strip("/") if proxied else "?"
            if len(self._roots) >= _REMEMBERED:
                self._roots.clear()
            self._roots[run_id] = root
        return root


def _candidates(path: str) -> tuple[tuple[str, str], ...]:
    """The runs that a path may belong to: whatever stands before a part ``artifacts``."""
    parts = path.strip("/").split("/")
    found = []
    for place in range(len(parts) - 1):
        if parts[place + 1] == "artifacts":
            try:
                check_run_id(parts[place])
            except HeadraceError:
                continue
            found.append((parts[place], "/".join(parts[: place + 2])))
    return tuple(found)


def _complain(done: Future[Any]) -> None:
    error = done.exception()
    if error is not None:  # a run that was deleted, or a database that is away
        _log.warning("Stored artifacts are in no event: %s", error)
