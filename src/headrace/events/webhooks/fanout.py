"""From the log into the queue: each event once for each webhook that asks for it.

The new deliveries and the place in the log up to which events were looked at are written in one transaction, so
no event is left out and none is queued twice, whenever the process dies.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence

from headrace.engine import Engine
from headrace.engine.events.cursors import cursor, move_cursor
from headrace.engine.operations import Session
from headrace.engine.webhooks.queue import Fresh, put
from headrace.engine.webhooks.redelivery import fresh
from headrace.errors import Gone, HeadraceError
from headrace.events.webhooks.hooks import Listed, load, notified
from headrace.protocol.cloudevents import Row

_log = logging.getLogger(__name__)

CURSOR = "webhooks"
#: Events that are looked at with one transaction.
_STRETCH = 1000
#: Seconds after which a place is noted though nobody asked for the events before it.
_NOTE_S = 5.0
#: Seconds after which the log is looked at though nobody said that it grew.
_ANYWAY_S = 1.0
_CHANGES = frozenset(("webhook.created", "webhook.updated", "webhook.deleted"))


class FanOut:
    """A thread that reads the log and fills the queues."""

    def __init__(
        self,
        engine: Engine,
        changed: Callable[[Sequence[Listed]], None],
        queued: Callable[[frozenset[int]], None],
    ) -> None:
        """Make it; `start` begins.

        Args:
            engine: The store.
            changed: Told the active webhooks, at first and when one changed.
            queued: Told the numbers of webhooks that got deliveries; an empty set: look at all.
        """
        self._engine = engine
        self._changed = changed
        self._queued = queued
        self._grown = threading.Event()
        self._stop = False
        self._webhooks: list[Listed] = []
        self._place = 0  # looked at up to here
        self._noted = 0  # the same, as the database knows it
        self._note_at = 0.0
        self._thread = threading.Thread(target=self._run, name="headrace-webhooks", daemon=True)
        self._leave: Callable[[], None] = _nothing

    def start(self) -> None:
        """Begin."""
        self._leave = self._engine.feed.listen(self._hear)
        self._thread.start()

    def stop(self) -> None:
        """End after the stretch under way, and note the place."""
        self._stop = True
        self._grown.set()
        self._thread.join()
        self._leave()

    def _hear(self, moves: object) -> None:
        if moves is None:
            self._grown.set()

    def _run(self) -> None:
        begun = False
        while not self._stop:
            try:
                if not begun:
                    self._begin()
                    begun = True
                while not self._stop and self._step():
                    pass
            except Gone as error:
                _log.warning("Webhooks miss events: %s", error.message)
                self._place = self._engine.log.read(None, 0).oldest - 1
                continue
            except Exception as error:  # noqa: BLE001 - the thread must not end: nothing would be delivered any more
                expected = isinstance(error, HeadraceError)
                _log.warning(
                    "Events cannot be queued for webhooks: %s", error, exc_info=not expected
                )
                time.sleep(0 if self._stop else _ANYWAY_S)
                continue
            self._grown.wait(_ANYWAY_S)
            self._grown.clear()
            self._queued(frozenset())
        if begun:
            try:
                self._note(self._place, [])
            except HeadraceError as error:
                _log.info("The place in the log is not noted: %s", error)

    def _begin(self) -> None:
        with self._engine.read() as connection:
            found = cursor(connection, CURSOR)
        # Read before the webhooks: whatever is made later has a greater number.
        end = self._engine.log.end()
        self._reload()
        if (
            found is None
        ):  # nobody has looked at this log yet: nothing before its webhooks is for them
            self._noted = -1
            self._note(min([end, *(one.after_seq for one in self._webhooks)]), [])
        else:
            self._place = self._noted = found

    def _reload(self) -> None:
        self._webhooks = load(self._engine)
        self._changed(self._webhooks)

    def _step(self) -> bool:
        """Look at the next stretch; whether more may follow at once."""
        found = self._engine.log.read(self._place, _STRETCH)
        if found.next == self._place:
            return False
        if any(row.type in _CHANGES for row in found.rows):
            self._reload()
        queue = self._fresh(found.rows)
        if queue or time.monotonic() >= self._note_at:
            self._note(found.next, queue)
        else:
            self._place = found.next
        if queue:
            self._queued(frozenset(one.webhook for one in queue))
        return found.next < found.last

    def _fresh(self, rows: Sequence[Row]) -> list[Fresh]:
        if not self._webhooks:
            return []
        source = self._engine.log.source
        queue = []
        for row in rows:
            names = notified(row)
            queue += [
                fresh(webhook, row, source)
                for webhook in self._webhooks
                if webhook.gets(row, names)
            ]
        return queue

    def _note(self, place: int, queue: list[Fresh]) -> None:
        """Queue deliveries and note the place together."""
        if place == self._noted:
            return
        before = self._noted

        def work(session: Session) -> None:
            connection = session.connection
            if before >= 0 and cursor(connection, CURSOR) != before:
                raise _Overtaken
            put(connection, queue, session.now)
            move_cursor(connection, CURSOR, place)

        try:
            self._engine.within(work)
        except _Overtaken:
            # Another process held the lease meanwhile. What it queued is queued.
            with self._engine.read() as connection:
                self._place = self._noted = cursor(connection, CURSOR) or 0
            return
        self._place = self._noted = place
        self._note_at = time.monotonic() + _NOTE_S


class _Overtaken(Exception):
    """Somebody else moved the place."""


def _nothing() -> None:
    """Nobody listens yet."""
