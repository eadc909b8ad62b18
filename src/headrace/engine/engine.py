"""The store over a database.

`Engine` begins and ends transactions; what happens inside one is in `headrace.engine.session` and the
noun files. On SQLite writes go through one `GroupWriter`; on PostgreSQL every call has a connection of
its own.
"""

from __future__ import annotations

import contextlib
import getpass
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import sqlalchemy as sa

from headrace.engine import migrations
from headrace.engine.database import CONNECTIONS, Database
from headrace.engine.events.feed import Feed
from headrace.engine.events.log import EventLog
from headrace.engine.events.operations import EventOperations
from headrace.engine.keys import KeyCache, SessionKeys
from headrace.engine.lease import Lease
from headrace.engine.metrics.compactor import Compactor
from headrace.engine.operations import PREPARED, Session
from headrace.engine.watch import Signs, Watch
from headrace.engine.webhooks.guard import Guard
from headrace.engine.webhooks.redelivery import Redelivery
from headrace.engine.webhooks.secrets import Secrets
from headrace.engine.writer import GroupWriter
from headrace.errors import HeadraceError, StoreClosed, Unavailable, Unsupported
from headrace.protocol.operation import Operation
from headrace.protocol.store import Store

#: A PostgreSQL transaction that lost a deadlock is tried again this often.
_DEADLOCK_TRIES = 5
#: Operations that are not one transaction.
_BY_THEMSELVES = frozenset(
    ("list_events", "trim_events", "redeliver", "test_webhook", "test_mlflow_webhook")
)
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
        served: bool = False,
    ) -> None:
        """Open a store, creating its schema when the database is empty.

        Args:
            url: ``sqlite:///path`` or ``postgresql://user:password@host/name``.
            artifact_root: URI below which experiments keep artifacts unless they name a location.
            actor: Who makes the changes; default: the user of this process.
            compact: Run the metric compactor, and look for lost runs, in this process. Without it lost
                runs are looked for only now.
            served: The store is opened to be served: runs could not be heard while it was not, so
                those that may be lost get time to speak.

        Raises:
            SchemaMismatch: The database was made by another version of headrace.
            Unavailable: The database cannot be reached.
            InvalidParameter: The URL names no database this engine knows.
        """
        self._database = Database(url)
        self._artifact_root = artifact_root.rstrip("/") if len(artifact_root) > 1 else artifact_root
        self._actor = _whoami() if actor is None else actor
        self._served = served
        self._keys = KeyCache()
        try:
            migrations.prepare(self._database)
        except BaseException:  # cleans up, raises again
            self._database.close()
            raise
        self._writer = GroupWriter(self._database) if self._database.is_sqlite else None
        self._pool = ThreadPoolExecutor(CONNECTIONS, thread_name_prefix="headrace-engine")
        self._compactor = Compactor(self._database, self.transact) if compact else None
        self._signs = Signs()
        #: Wakes those who wait for what is committed.
        self.feed = Feed(self._database)
        #: The event log, for readers in this process.
        self.log = EventLog(self._database)
        self.events = EventOperations(self.log, self.feed, self.transact, self._note_trimmed)
        #: Keeps the secrets of webhooks, and judges what they ask for; a server gives it its rules.
        self.webhook_guard = Guard(Secrets(self._database))
        self._redelivery = Redelivery(
            self._database, self.log, self.transact, lambda: self.feed.committed(True, {})
        )
        self._watch = Watch(self._look, start=compact, served=served)

    def call(self, operation: Operation, request: Any) -> Any:
        """Carry out an operation in a transaction of its own."""
        return self.perform(operation, request, self._actor)

    def perform(self, operation: Operation, request: Any, actor: str) -> Any:
        """Carry out an operation in somebody's name."""
        if operation.name in _BY_THEMSELVES:
            return self._by_itself(operation.name)(request, actor)
        if operation.reads:
            with self._database.read() as connection:
                session = self._session(connection, actor)
                response = getattr(session, operation.name)(request)
            session.committed()
            return response
        name = operation.name
        if name in PREPARED:
            prepare, name = PREPARED[name]
            request = prepare(request)
        return self.transact(self._work(name, request, actor))

    def submit(self, operation: Operation, request: Any, actor: str) -> Future[Any]:
        """Like `perform`, without waiting: the future resolves when the call is durable."""
        if self._writer is None or operation.reads or operation.name in _BY_THEMSELVES:
            return self._in_pool(self.perform, operation, request, actor)
        if operation.name not in PREPARED:
            return self._writer.submit(self._work(operation.name, request, actor))
        prepare, name = PREPARED[operation.name]
        writer = self._writer
        answer: Future[Any] = Future()

        # No thread of the pool waits for the writer: reads need them.
        def hand_over(prepared: Future[Any]) -> None:
            try:
                writer.submit(self._work(name, prepared.result(), actor)).add_done_callback(finish)
            except Exception as error:  # noqa: BLE001 - the caller gets it, whatever it is
                answer.set_exception(error)

        def finish(written: Future[Any]) -> None:
            error = written.exception()
            if error is None:
                answer.set_result(written.result())
            else:
                answer.set_exception(error)

        self._in_pool(prepare, request).add_done_callback(hand_over)
        return answer

    def run(self, function: Callable[..., Any], *arguments: Any) -> Future[Any]:
        """Call a function that may wait for the database in one of the engine's threads.

        Raises:
            Unavailable: The store is closed.
        """
        return self._in_pool(function, *arguments)

    def _by_itself(self, name: str) -> Callable[[Any, str], Any]:
        """What carries out an operation that is not one transaction.

        Raises:
            Unsupported: It needs a server around this engine.
        """
        if name == "redeliver":
            return self._redelivery.redeliver
        if name.startswith("test_"):
            raise Unsupported(
                "This store is not served, so nothing sends its webhooks' messages: start headrace server on it."
            )
        found: Callable[[Any, str], Any] = getattr(self.events, name)
        return found

    def within(self, work: Callable[[Session], Any], actor: str = "") -> Any:
        """Run work over a session in a write transaction; its result, once that is durable.

        Args:
            work: May run twice, where the first time lost a deadlock or met a full disk.
            actor: In whose name events are written.
        """

        def inside(connection: sa.Connection) -> tuple[Any, Callable[[], None]]:
            session = self._session(connection, actor)
            result = work(session)
            session.write_events()
            return result, session.committed

        return self.transact(inside)

    def _in_pool(self, function: Callable[..., Any], *arguments: Any) -> Future[Any]:
        try:
            return self._pool.submit(function, *arguments)
        except RuntimeError:
            raise StoreClosed("The store is closed; open it again.") from None

    def transact(self, work: Callable[[sa.Connection], tuple[Any, Callable[[], None]]]) -> Any:
        """Run work in a write transaction; its result, once that is durable.

        A result that is a `HeadraceError` is raised then: it says no, and what was written stays.
        """
        if self._writer is not None:
            return self._writer.submit(work).result()
        for last in range(_DEADLOCK_TRIES - 1, -1, -1):
            try:
                with self._database.write() as connection:
                    result, after = work(connection)
                after()
                if isinstance(result, HeadraceError):
                    raise result
                return result
            except Unavailable as error:
                lost = getattr(getattr(error.__cause__, "orig", None), "sqlstate", None)
                if not last or lost != _DEADLOCK:
                    raise
        raise AssertionError("unreachable")

    def change(self, method: str, request: Any, actor: str = "") -> Any:
        """Run one of the session's own methods, which is no operation, in a write transaction."""
        return self.within(lambda session: getattr(session, method)(request), actor)

    def ask(self, method: str, request: Any = None) -> Any:
        """Run one of the session's own methods, which is no operation, in a read transaction."""
        with self._database.read() as connection:
            session = self._session(connection, "")
            found = getattr(session, method)(request)
        session.committed()
        return found

    def lease(self, name: str) -> Lease:
        """A lease on what only one process per store may do at a time; it is not taken yet."""
        return Lease(self._database, name)

    def read(self) -> contextlib.AbstractContextManager[sa.Connection]:
        """A connection in a read transaction that sees one snapshot."""
        return self._database.read()

    def compact(self) -> None:
        """Compact all metric batches now, as the background compactor would in time."""
        Compactor(self._database, self.transact, start=False).run_once(everything=True)

    def close(self) -> None:
        """Finish accepted writes and release threads and connections."""
        self._pool.shutdown()
        self._watch.close()
        self.feed.close()
        if self._compactor is not None:
            self._compactor.close()
        if self._writer is not None:
            self._writer.close()
        self._database.close()

    def _look(self, heard: int) -> int:
        """Mark silent runs as lost, of those that may be silent for at most so many milliseconds."""
        with self._database.read() as connection:
            if not self._session(connection, "").any_silent(heard):
                return 0  # nearly always: no write transaction is begun for nothing
        found: int = self.transact(self._work("mark_lost", heard, ""))
        return found

    def _session(self, connection: sa.Connection, actor: str) -> Session:
        return Session(
            connection,
            SessionKeys(connection, self._keys),
            actor=actor,
            artifact_root=self._artifact_root,
            signs=self._signs,
            feed=self.feed,
            webhook_guard=self.webhook_guard,
            served=self._served,
        )

    def _note_trimmed(
        self, connection: sa.Connection, actor: str, before: int, after: int
    ) -> Callable[[], None]:
        session = self._session(connection, actor)
        session.emit("events.trimmed", "event_log", {"before": before, "after": after})
        session.write_events()
        return session.committed

    def _work(
        self, name: str, request: Any, actor: str
    ) -> Callable[[sa.Connection], tuple[Any, Callable[[], None]]]:
        def work(connection: sa.Connection) -> tuple[Any, Callable[[], None]]:
            session = self._session(connection, actor)
            response = getattr(session, name)(request)
            session.write_events()
            return response, session.committed

        return work


def _whoami() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # no such user in this container
        return ""
