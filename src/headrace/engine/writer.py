"""Group commit for SQLite: one thread writes, and commits what has gathered.

SQLite has one writer at a time and pays one fsync per commit. So work from all threads goes through
one queue; the writer runs what is waiting, each piece in its own savepoint, commits once, and only
then answers. A piece that fails is rolled back alone. While one commit waits for the disk, the next
group gathers by itself; nothing is delayed on purpose.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

import sqlalchemy as sa

from headrace.engine.database import Database, execute_sqlite, translated
from headrace.errors import HeadraceError, StoreClosed

#: A piece of work gets the connection and returns its result and what to do after the commit.
Work = Callable[[sa.Connection], tuple[Any, Callable[[], None]]]

_Item = tuple[Work, Future[Any]]

_MAX_GROUP = 256


class _Undone(Exception):
    """The transaction is gone, without a commit."""


class GroupWriter:
    """The writer thread of one database file in this process.

    ``submit`` may be called from any thread. Its future resolves after the commit is on disk.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._queue: queue.SimpleQueue[_Item | None] = queue.SimpleQueue()
        self._closed = False
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="headrace-writer", daemon=True)
        self._thread.start()

    def submit(self, work: Work) -> Future[Any]:
        """Queue a piece of work.

        Raises:
            Unavailable: The writer is closed.
        """
        future: Future[Any] = Future()
        with self._lock:
            if self._closed:
                raise StoreClosed("The store is closed; open it again.")
            self._queue.put((work, future))
        return future

    def close(self) -> None:
        """Finish what was accepted, then stop."""
        with self._lock:
            self._closed = True
            self._queue.put(None)
        self._thread.join()

    def _run(self) -> None:
        stopping = False
        while not stopping:
            item = self._queue.get()
            group = []
            while True:
                if item is None:
                    stopping = True
                    break
                if item[1].set_running_or_notify_cancel():
                    group.append(item)
                if len(group) >= _MAX_GROUP:
                    break
                try:
                    item = self._queue.get_nowait()
                except queue.Empty:
                    break
            if group:
                self._commit(group)

    def _commit(self, group: list[_Item]) -> None:
        while group:
            group = self._attempt(group)

    def _attempt(self, group: list[_Item]) -> list[_Item]:
        """Run and commit a group; answers what must be tried again."""
        done: list[tuple[Future[Any], Any, Callable[[], None]]] = []
        try:
            with self._database.write() as connection:
                for item in group:
                    work, future = item
                    execute_sqlite(connection, "SAVEPOINT work")
                    try:
                        with translated():
                            result, after = work(connection)
                    except Exception as error:  # noqa: BLE001 - the caller gets it, whatever it is
                        future.set_exception(error)
                        if not connection.connection.in_transaction:
                            # A full disk ends SQLite's whole transaction. What ran before is undone
                            # too, and runs again without the piece that did not fit.
                            raise _Undone from None
                        execute_sqlite(connection, "ROLLBACK TO work")
                    else:
                        done.append((future, result, after))
                    execute_sqlite(connection, "RELEASE work")
        except _Undone:
            return [item for item in group if not item[1].done()]
        except BaseException as error:  # noqa: BLE001 - nothing of the group is on disk: all must know
            for _work, future in group:
                if not future.done():
                    future.set_exception(error)
            return []
        for future, result, after in done:
            after()
            if isinstance(result, HeadraceError):  # it says no, and what it wrote stays
                future.set_exception(result)
            else:
                future.set_result(result)
        return []
