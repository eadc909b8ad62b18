"""SQLite across a fork.

SQLite keeps the locks of a file by process, in memory that a forked child gets a copy of. The child then
takes locks for held that only its parent holds: when the parent ends it removes the write-ahead log
beneath the child, and what the child commits is gone; or a lock that the parent held at that moment is
never free again. A connection that the child opens itself is no better, because all connections to one
file share that memory.

So a fork waits until no transaction is under way, and the child closes what it inherited, which clears
that memory, before it opens anything.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
from collections.abc import Iterator

from headrace.errors import Unavailable

#: Seconds that a fork waits for transactions.
_PATIENCE = 2.0


class Forks:
    """The SQLite connections of this process; use its one instance, `forks`."""

    def __init__(self) -> None:
        self._renew()
        self._connections: list[sqlite3.Connection] = []
        self._unsafe = False
        os.register_at_fork(
            before=self._before, after_in_parent=self._after, after_in_child=self._after_in_child
        )

    def _renew(self) -> None:
        self._changed = threading.Condition(threading.RLock())  # a signal handler may fork
        self._inside = 0
        self._forking = 0

    def add(self, connection: sqlite3.Connection) -> None:
        """Note a new connection."""
        self._connections.append(connection)

    def remove(self, connection: sqlite3.Connection) -> None:
        """Note that a connection is closed."""
        with contextlib.suppress(ValueError):
            self._connections.remove(connection)

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """While a connection is used.

        Raises:
            Unavailable: This is a forked child whose parent could not be waited for.
        """
        changed = self._changed
        with changed:
            if self._unsafe:
                raise Unavailable(
                    "This process was forked in the middle of a transaction, and cannot open a SQLite "
                    "store. What it logs is sent by the process that forked it; use the spawn method "
                    "of multiprocessing to read here."
                )
            while self._forking:
                changed.wait()
            self._inside += 1
        try:
            yield
        finally:
            with changed:
                self._inside -= 1
                if self._forking:
                    changed.notify_all()

    def _before(self) -> None:
        self._changed.acquire()
        self._forking += 1
        self._changed.wait_for(lambda: not self._inside, _PATIENCE)

    def _after(self) -> None:
        self._forking -= 1
        self._changed.notify_all()
        self._changed.release()

    def _after_in_child(self) -> None:
        inherited, self._connections = self._connections, []
        if self._inside and inherited:
            self._unsafe = True
            self._kept = inherited  # closing them might wait for a thread that is not here
        else:
            for connection in inherited:
                with contextlib.suppress(sqlite3.Error):
                    connection.close()
        self._renew()


forks = Forks()
