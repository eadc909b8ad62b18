"""Waking those who wait for the log to grow, in this process and in others.

Nothing is carried here that must arrive: a wake-up only says *look*, and who never gets one looks every
now and then all the same. So the write path pays a flag and a call.

In this process writers call `Feed.committed`. Other processes are heard

- on PostgreSQL by LISTEN. NOTIFY is sent by a thread, after the commit, and for many commits at once: inside
  the transaction it would make all commits of the database wait for each other.
- on SQLite by looking at the number of the last event, while somebody listens. What runs of other processes
  got that is no event is not heard there.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import select
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import sqlalchemy as sa

from headrace.engine.database import Database
from headrace.engine.events.numbering import ends
from headrace.errors import HeadraceError

_log = logging.getLogger(__name__)

_CHANNEL = "headrace_events"
#: Seconds between two looks at a SQLite file that other processes may write to.
_LOOK_S = 0.02
#: Seconds after which listeners look though nobody called them: a notification was lost, say.
_ANYWAY_S = 1.0
#: What runs got that is no event is gathered for so many seconds.
_GATHER_S = 0.2
#: Runs that one notification names at most; PostgreSQL takes 8000 bytes.
_NAMED = 40
_RECONNECT_S = 1.0


class Move(NamedTuple):
    """A run got what is no event.

    Attributes:
        run_id: Its public id.
        experiment_id: Its experiment's number.
        what: ``metrics`` or ``console``.
    """

    run_id: str
    experiment_id: int
    what: str


#: Called with None when the log may have grown; with moves when runs got what is no event.
Listener = Callable[[tuple[Move, ...] | None], None]


class Feed:
    """Tells listeners of one process what was committed. Thread-safe.

    Listeners are called in whatever thread it is, must return at once, and must not raise.
    """

    def __init__(self, database: Database) -> None:
        """Make a feed; its thread begins with the first listener (on PostgreSQL: or writer)."""
        self._database = database
        self._lock = threading.Lock()
        self._listeners: tuple[Listener, ...] = ()
        self._moves: dict[tuple[str, str], int] = {}
        self._unheard = False  # committed here, and not told to other processes yet
        self._thread: threading.Thread | None = None
        self._closed = False
        self._gone = False  # the pipe is closed
        self._wake = os.pipe()
        self._woken = False
        for end in self._wake:
            os.set_blocking(end, False)

    def listen(self, listener: Listener) -> Callable[[], None]:
        """Have a function called from now on; what is returned ends that."""
        with self._lock:
            self._listeners = (*self._listeners, listener)
            self._begin()

        def leave() -> None:
            with self._lock:
                self._listeners = tuple(one for one in self._listeners if one is not listener)

        return leave

    def committed(self, events: bool, moves: Mapping[tuple[str, str], int]) -> None:
        """Tell what a transaction of this process has committed.

        Args:
            events: It wrote events.
            moves: Experiments by (run's public id, what it got).
        """
        if events:
            for listener in self._listeners:
                listener(None)
        if self._database.is_sqlite and not self._listeners:
            return
        with self._lock:
            if self._closed:
                return
            self._moves.update(moves)
            self._unheard |= events
            self._begin()
        self._rouse()

    def close(self) -> None:
        """End the thread. Listeners are not called any more."""
        with self._lock:
            self._closed = True
            self._listeners = ()
            thread = self._thread
        self._rouse()
        if thread is not None:
            thread.join()
        with self._lock:
            if not self._gone:
                self._gone = True
                for end in self._wake:
                    os.close(end)

    def _begin(self) -> None:
        if self._thread is None and not self._closed:
            target = self._watch_file if self._database.is_sqlite else self._converse
            self._thread = threading.Thread(target=target, name="headrace-feed", daemon=True)
            self._thread.start()

    def _rouse(self) -> None:
        if not self._woken:
            with self._lock, contextlib.suppress(BlockingIOError):
                if not self._gone:
                    self._woken = True
                    os.write(self._wake[1], b"x")

    def _wait(self, seconds: float, *more: int) -> bool:
        """Sleep until roused; whether one of the other descriptors has something to say."""
        poll = select.poll()  # not select(): a server has thousands of descriptors
        for one in (self._wake[0], *more):
            poll.register(one, select.POLLIN)
        ready = {one for one, _ in poll.poll(seconds * 1000)}
        if self._wake[0] in ready:
            # Emptied before the flag is cleared, and the flag before the work is looked at.
            with contextlib.suppress(BlockingIOError):
                os.read(self._wake[0], 4096)
            self._woken = False
        return any(one in ready for one in more)

    def _call(self, what: tuple[Move, ...] | None) -> None:
        for listener in self._listeners:
            listener(what)

    def _gathered(self) -> tuple[Move, ...]:
        with self._lock:
            moves, self._moves = self._moves, {}
        return tuple(Move(run, experiment, what) for (run, what), experiment in moves.items())

    # SQLite

    def _watch_file(self) -> None:
        last = 0
        next_gather = next_anyway = 0.0
        while not self._closed:
            self._wait(_LOOK_S if self._listeners else _ANYWAY_S)
            now = time.monotonic()
            if self._moves and now >= next_gather:
                next_gather = now + _GATHER_S
                self._call(self._gathered())
            if not self._listeners:
                continue
            try:
                with self._database.read() as connection:
                    end = ends(connection).last
            except HeadraceError:
                continue  # it cannot answer now: somebody has it for himself
            if now >= next_anyway or end != last:
                next_anyway = now + _ANYWAY_S
                last = end
                self._call(None)

    # PostgreSQL

    def _converse(self) -> None:
        while not self._closed:
            try:
                with self._database.unlocked() as connection:
                    connection.detach()  # it is changed below, and must not go back to the pool
                    self._listen_and_notify(connection)
            except Exception as error:  # noqa: BLE001 - the driver's errors, whichever driver it is
                if not self._closed:
                    _log.warning("Listening for events is interrupted: %s", error)
                    self._call(None)  # meanwhile listeners look by themselves
                    self._wait(_RECONNECT_S)

    def _listen_and_notify(self, connection: sa.Connection) -> None:
        connection.exec_driver_sql(
            "SET synchronous_commit = off"
        )  # a notification is not worth an fsync
        connection.exec_driver_sql(f"LISTEN {_CHANNEL}")
        driver: Any = connection.connection.dbapi_connection
        own = driver.info.backend_pid
        next_gather = 0.0
        while not self._closed:
            pause = _ANYWAY_S
            if self._moves:
                pause = max(next_gather - time.monotonic(), 0.0)
            heard = self._wait(pause, driver.fileno())
            if self._unheard:
                self._unheard = False
                connection.exec_driver_sql(f"NOTIFY {_CHANNEL}")
            if self._moves and time.monotonic() >= next_gather:
                next_gather = time.monotonic() + _GATHER_S
                moves = self._gathered()
                self._call(moves)
                self._tell(connection, moves)
            grown = not heard
            told: list[Move] = []
            for note in driver.notifies(timeout=0):
                if note.pid == own:
                    continue  # listeners here were called when it was committed
                if note.payload:
                    told += _moves_of(note.payload)
                else:
                    grown = True
            if told:
                self._call(tuple(told))
            if grown:
                self._call(None)

    def _tell(self, connection: sa.Connection, moves: tuple[Move, ...]) -> None:
        for start in range(0, len(moves), _NAMED):
            payload = json.dumps(moves[start : start + _NAMED], separators=(",", ":"))
            connection.exec_driver_sql("SELECT pg_notify(%s, %s)", (_CHANNEL, payload))


def _moves_of(payload: str) -> Iterable[Move]:
    try:
        return [
            Move(str(run), int(experiment), str(what))
            for run, experiment, what in json.loads(payload)
        ]
    except (ValueError, TypeError):
        return ()  # somebody else's notification on our channel
