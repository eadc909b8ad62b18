"""The store over a database.

`Engine` begins and ends transactions; what happens inside one is in `headrace.engine.session` and the
noun files. On SQLite writes go through one `GroupWriter`; on PostgreSQL every call has a connection of
its own.
"""

from __future__ import annotations

import getpass
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import sqlalchemy as sa

from headrace.engine import migrations
from headrace.engine.database import CONNECTIONS, Database
from headrace.engine.keys import KeyCache, SessionKeys
from headrace.engine.metrics.compactor import Compactor
from headrace.engine.operations import Session
from headrace.engine.writer import GroupWriter
from headrace.errors import Unavailable
from headrace.protocol.operation import Operation
from headrace.protocol.store import Store

#: A PostgreSQL transaction that lost a deadlock is tried again this often.
_DEADLOCK_TRIES = 5
#: PostgreSQL's name of a deadlock; its message is in the language of the server.
_DEADLOCK = "40P01"


class Engine(Store):
    """A tracking store in SQLite or PostgreSQL.

    Thread-safe. Any number of engines, in any number of processes, may share one database. Calls
    return when what they changed is durable.
    """

    def __init__(
        self,
        url: str,
        *,
        artifact_root: str,
        actor: str | None = None,
        compact: bool = True,
    ) -> None:
        """Open a store, creating its schema when the database is empty.

        Args:
            url: ``sqlite:///path`` or ``postgresql://user:password@host/name``.
            artifact_root: URI below which experiments keep artifacts unless they name a location.
            actor: Who makes the changes; default: the user of this process.
            compact: Run the metric compactor in this process.

        Raises:
            SchemaMismatch: The database was made by another version of headrace.
            Unavailable: The database cannot be reached.
            InvalidParameter: The URL names no database this engine knows.
        """
        self._database = Database(url)
        self._artifact_root = artifact_root.rstrip("/") if len(artifact_root) > 1 else artifact_root
        self._actor = _whoami() if actor is None else actor
        self._keys = KeyCache()
        try:
            migrations.prepare(self._database)
        except BaseException:  # cleans up, raises again
            self._database.close()
            raise
        self._writer = GroupWriter(self._database) if self._database.is_sqlite else None
        self._pool = ThreadPoolExecutor(CONNECTIONS, thread_name_prefix="headrace-engine")
        self._compactor = Compactor(self._database, self.transact) if compact else None

    def call(self, operation: Operation, request: Any) -> Any:
        """Carry out an operation in a transaction of its own."""
        return self.perform(operation, request, self._actor)

    def perform(self, operation: Operation, request: Any, actor: str) -> Any:
        """Carry out an operation in somebody's name."""
        if operation.reads:
            with self._database.read() as connection:
                session, keys = self._session(connection, actor)
                response = getattr(session, operation.name)(request)
            keys.publish()
            return response
        return self.transact(self._work(operation, request, actor))

    def submit(self, operation: Operation, request: Any, actor: str) -> Future[Any]:
        """Like `perform`, without waiting: the future resolves when the call is durable."""
        if self._writer is not None and not operation.reads:
            return self._writer.submit(self._work(operation, request, actor))
        try:
            return self._pool.submit(self.perform, operation, request, actor)
        except RuntimeError:
            raise Unavailable("The store is closed; open it again.") from None

    def transact(self, work: Callable[[sa.Connection], tuple[Any, Callable[[], None]]]) -> Any:
        """Run work in a write transaction; its result, once that is durable."""
        if self._writer is not None:
            return self._writer.submit(work).result()
        for last in range(_DEADLOCK_TRIES - 1, -1, -1):
            try:
                with self._database.write() as connection:
                    result, after = work(connection)
                after()
                return result
            except Unavailable as error:
                lost = getattr(getattr(error.__cause__, "orig", None), "sqlstate", None)
                if not last or lost != _DEADLOCK:
                    raise
        raise AssertionError("unreachable")

    def compact(self) -> None:
        """Compact all metric batches now, as the background compactor would in time."""
        Compactor(self._database, self.transact, start=False).run_once(everything=True)

    def close(self) -> None:
        """Finish accepted writes and release threads and connections."""
        self._pool.shutdown()
        if self._compactor is not None:
            self._compactor.close()
        if self._writer is not None:
            self._writer.close()
        self._database.close()

    def _session(self, connection: sa.Connection, actor: str) -> tuple[Session, SessionKeys]:
        keys = SessionKeys(connection, self._keys)
        session = Session(connection, keys, actor=actor, artifact_root=self._artifact_root)
        return session, keys

    def _work(
        self, operation: Operation, request: Any, actor: str
    ) -> Callable[[sa.Connection], tuple[Any, Callable[[], None]]]:
        def work(connection: sa.Connection) -> tuple[Any, Callable[[], None]]:
            session, keys = self._session(connection, actor)
            response = getattr(session, operation.name)(request)
            return response, keys.publish

        return work


def _whoami() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # no such user in this container
        return ""
