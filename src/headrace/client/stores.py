"""Opening stores, and sharing them: one engine per database and process."""

from __future__ import annotations

import atexit
import os
import threading
from typing import Any

from headrace.client.environment import setting
from headrace.errors import StoreClosed
from headrace.protocol.operation import Operation
from headrace.protocol.store import Store


def resolve(uri: str | os.PathLike[str] | None = None) -> str:
    """The canonical form of a tracking URI: a server's, or a database's URL.

    Args:
        uri: As for `open_store`; None means the environment (``HEADRACE_TRACKING_URI``, else
            ``MLFLOW_TRACKING_URI``), else the nearest ``.headrace`` directory.

    Raises:
        InvalidParameter: The URI names no store.
    """
    text = os.fspath(uri) if uri else setting("TRACKING_URI")
    if text is not None and is_remote(text):
        return text.rstrip("/")
    return _locate(text)[0]


def is_remote(uri: str) -> bool:
    """Whether a tracking URI names a server."""
    return uri.lower().startswith(("http://", "https://"))


def open_store(
    uri: str | os.PathLike[str] | None = None,
    artifacts: str | None = None,
    *,
    retries: int | None = None,
) -> Store:
    """The store that a tracking URI names.

    Stores are shared: opening the same one again gives another handle on the same engine, which is
    closed when every handle was, and at the latest when the process ends. Handles are thread-safe; in
    a forked child they open the store anew on their first call.

    Args:
        uri: A directory, ``sqlite:///path``, ``postgresql://…``, or ``http(s)://…``; None as for `resolve`.
        artifacts: URI of the artifact root, where a local store's is not beside its database.
        retries: How often a request to a server is repeated; default ``HEADRACE_HTTP_REQUEST_MAX_RETRIES``.

    Raises:
        InvalidParameter: The URI names no store.
        Unavailable: The database cannot be reached.
        SchemaMismatch: The database was made by another version of headrace.
    """
    text = os.fspath(uri) if uri else setting("TRACKING_URI")
    if text is not None and is_remote(text):
        from headrace.client.remote import RemoteStore  # lazily: a local store needs no HTTP

        return RemoteStore(text, retries)
    database_url, beside = _locate(text)
    return _Handle(database_url, artifacts or beside)


def close_stores() -> None:
    """Close every local store that this process opened. Handles on them are closed too."""
    with _shared.lock:
        engines, _shared.engines = list(_shared.engines.values()), {}
        _shared.generation += 1
    for engine, _count in engines:
        engine.close()


def _locate(uri: str | None) -> tuple[str, str]:
    from headrace.engine.location import locate  # the marked place, see `_open_engine`

    location = locate(uri)
    return location.database_url, location.artifacts


def _open_engine(database_url: str, artifacts: str) -> Store:
    # The one place where the client reaches the engine; lazily, so that talking to a server loads
    # neither SQLAlchemy nor numpy.
    from headrace.engine import Engine

    return Engine(database_url, artifact_root=artifacts)


class _Shared:
    """The engines of this process, by (database, artifact root), with the number of their handles."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.engines: dict[tuple[str, str], tuple[Store, int]] = {}
        self.generation = 0
        self.inherited: list[Any] = []

    def after_fork(self) -> None:
        # The parent's threads are not here and its connections are not ours: keep them untouched,
        # because closing them would speak on the parent's sockets, and open new ones when needed.
        self.inherited.append(self.engines)
        self.engines = {}
        self.generation += 1
        self.lock = threading.Lock()

    def acquire(self, key: tuple[str, str]) -> tuple[Store, int]:
        with self.lock:
            engine, count = self.engines.get(key) or (_open_engine(*key), 0)
            self.engines[key] = (engine, count + 1)
            return engine, self.generation

    def release(self, key: tuple[str, str], generation: int) -> None:
        with self.lock:
            if generation != self.generation or key not in self.engines:
                return
            engine, count = self.engines.pop(key)
            if count > 1:
                self.engines[key] = (engine, count - 1)
                return
        engine.close()


_shared = _Shared()
atexit.register(close_stores)
os.register_at_fork(after_in_child=_shared.after_fork)


class _Handle(Store):
    """One user's hold on a shared engine."""

    def __init__(self, database_url: str, artifacts: str) -> None:
        self.uri = database_url
        self._key = (database_url, artifacts)
        self._closed = False
        self._pid = os.getpid()
        self._engine, self._generation = _shared.acquire(self._key)

    def call(self, operation: Operation, request: Any) -> Any:
        if self._closed:
            raise StoreClosed(f"The store {self.uri} is closed; open it again.")
        if self._pid != os.getpid():
            self._pid = os.getpid()
            self._engine, self._generation = _shared.acquire(self._key)
        return self._engine.call(operation, request)

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            _shared.release(self._key, self._generation)
