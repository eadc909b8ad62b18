"""Noting what became of deliveries: many at a time, because each transaction waits for a disk."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import Executor
from typing import NamedTuple

from headrace.engine import Engine
from headrace.engine.operations import Session
from headrace.engine.webhooks.queue import PARKED, Result, Settled, settle
from headrace.events.webhooks.delivering import Lane
from headrace.events.webhooks.hooks import Listed

_log = logging.getLogger(__name__)

#: Results in one transaction at most.
_MOST = 500
#: Seconds that results are gathered before they are written: deliveries do not wait for it.
_GATHER_S = 0.01
_AGAIN_S = 1.0


class _Note(NamedTuple):
    lane: Lane
    result: Result
    settled: Settled | None


class Notes:
    """Gathers results on the event loop and writes them by an executor."""

    def __init__(self, engine: Engine, threads: Executor) -> None:
        """Make it; `run` writes until it is told to end."""
        self._engine = engine
        self._threads = threads
        self._notes: list[_Note] = []
        self._some = asyncio.Event()
        self._ending = False

    def add(self, lane: Lane, result: Result, settled: Settled | None) -> None:
        """Take a result; see `headrace.events.webhooks.delivering.Report`."""
        self._notes.append(_Note(lane, result, settled))
        self._some.set()

    def end(self) -> None:
        """Have `run` end when all that was added is written, or cannot be."""
        self._ending = True
        self._some.set()

    async def run(self) -> None:
        """Write what is added."""
        while True:
            await self._some.wait()
            if not self._ending:
                await asyncio.sleep(_GATHER_S)
            self._some.clear()
            while self._notes:
                batch, self._notes = self._notes[:_MOST], self._notes[_MOST:]
                if not await self._write(batch):
                    return
            if self._ending:
                return

    async def _write(self, batch: list[_Note]) -> bool:
        """Write some until it is done; whether it was."""
        loop = asyncio.get_running_loop()
        while True:
            try:
                await loop.run_in_executor(self._threads, self._transact, batch)
                break
            except Exception as error:  # noqa: BLE001 - whatever it was, what was sent must be noted, or it is sent again
                _log.warning("What became of deliveries cannot be noted: %s", error)
                if self._ending:
                    return False
                await asyncio.sleep(_AGAIN_S)
        for note in batch:
            if note.settled is not None:
                note.lane.release(note.settled.subject)
        return True

    def _transact(self, batch: list[_Note]) -> None:
        def work(session: Session) -> None:
            settle(
                session.connection,
                {note.lane.webhook.id for note in batch},
                [note.result for note in batch],
                [note.settled for note in batch if note.settled is not None],
            )
            emit_parked(
                session,
                [(note.lane.webhook, note.result) for note in batch if note.result.state == PARKED],
            )

        self._engine.within(work)


def emit_parked(session: Session, parked: list[tuple[Listed, Result]]) -> None:
    """Write the events that tell of deliveries which are tried no more.

    None tells of the delivery of such an event: two webhooks that fail would tell each other for ever.
    """
    session.emit_many(
        [
            (
                "webhook.delivery.parked",
                f"webhook/{webhook.uuid}",
                {
                    "name": webhook.name,
                    "delivery_id": result.delivery.uuid,
                    "event": result.delivery.seq,
                    "attempts": result.delivery.attempts + 1,
                    "error": result.error,
                },
                None,
            )
            for webhook, result in parked
            if result.delivery.type != "webhook.delivery.parked"
        ]
    )


#: For type checkers: `Notes.add` is a `headrace.events.webhooks.delivering.Report`.
Add = Callable[[Lane, Result, Settled | None], None]
