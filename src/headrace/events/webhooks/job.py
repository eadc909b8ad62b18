"""The job that delivers: a thread that reads the log, and a thread with the event loop that sends."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from headrace.engine import Engine
from headrace.engine.webhooks import queue
from headrace.errors import HeadraceError
from headrace.events.targets import Sender, Targets
from headrace.events.webhooks.delivering import Lanes, Work
from headrace.events.webhooks.fanout import FanOut
from headrace.events.webhooks.hooks import Listed
from headrace.events.webhooks.notes import Notes
from headrace.events.webhooks.retries import Schedule
from headrace.events.webhooks.upkeep import EVERY_S, KEEP_DAYS, Upkeep

_log = logging.getLogger(__name__)

#: Seconds that messages under way get to be answered when the job stops.
_PATIENCE_S = 3.0
#: Seconds between two looks for what is due, at most and at least.
_LOOK_S, _REST_S = 1.0, 0.1
#: Threads that speak to the database.
_THREADS = 3


class WebhookJob:
    """Delivers a store's events to its webhooks, while `headrace.events.background` says so."""

    def __init__(
        self,
        engine: Engine,
        targets: Targets,
        *,
        schedule: Schedule | None = None,
        keep_days: float = KEEP_DAYS,
        timeout: float = 30.0,
    ) -> None:
        """Make it; `start` begins.

        Args:
            engine: The store.
            targets: Who may be sent to.
            schedule: How what failed is tried again; default: for a day.
            keep_days: Days that done deliveries are kept.
            timeout: Seconds that a target has to answer.
        """
        self._engine = engine
        self._targets = targets
        self._schedule = schedule or Schedule()
        self._upkeep = Upkeep(engine, self._schedule, keep_days)
        self._timeout = timeout
        self._stopping = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._look_now = asyncio.Event()
        self._end = asyncio.Event()
        self._lanes: Lanes | None = None
        self._fan_out = FanOut(engine, self._changed, self._queued)
        self._thread = threading.Thread(target=self._run, name="headrace-deliveries", daemon=True)

    def start(self) -> None:
        """Begin; returns at once."""
        self._thread.start()

    def stop(self) -> None:
        """End, within seconds. What is not delivered then is delivered by whoever starts next."""
        self._stopping.set()
        with contextlib.suppress(RuntimeError):  # it was stopped before
            self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join()

    def _run(self) -> None:
        try:
            with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
                runner.run(self._main())
        except Exception:  # noqa: BLE001 - said here, for the thread has nobody to tell
            _log.exception("Webhooks are not delivered any more.")

    async def _main(self) -> None:
        with ThreadPoolExecutor(_THREADS, thread_name_prefix="headrace-deliveries") as threads:
            self._threads = threads
            sender = Sender(self._targets, timeout=self._timeout)
            notes = Notes(self._engine, threads)
            self._lanes = Lanes(sender, self._take, notes.add, self._schedule)
            side = [asyncio.create_task(one) for one in (self._look(), self._keep_up())]
            writing = asyncio.create_task(notes.run())
            self._fan_out.start()
            await self._end.wait()
            await self._loop.run_in_executor(threads, self._fan_out.stop)
            for task in side:
                task.cancel()
            await asyncio.gather(*side, return_exceptions=True)
            await self._lanes.close(_PATIENCE_S)
            notes.end()
            await writing
            await sender.close()

    # From the thread that reads the log.

    def _changed(self, webhooks: Sequence[Listed]) -> None:
        self._call(self._use, list(webhooks))

    def _queued(self, webhooks: frozenset[int]) -> None:
        self._call(self._wake, webhooks)

    def _call(self, function: Callable[[Any], None], argument: Any) -> None:
        with contextlib.suppress(RuntimeError):  # the loop ended
            self._loop.call_soon_threadsafe(function, argument)

    # On the loop.

    def _use(self, webhooks: list[Listed]) -> None:
        if self._lanes is not None and not self._stopping.is_set():
            self._lanes.use(webhooks)
            self._look_now.set()

    def _wake(self, webhooks: frozenset[int]) -> None:
        if self._lanes is not None and not self._stopping.is_set():
            if webhooks:
                self._lanes.wake(webhooks)
            else:
                self._look_now.set()

    async def _take(self, webhook: int, held: set[str], subjects: int, each: int) -> list[Work]:
        taken = set(held)

        def work() -> list[Work]:
            with self._engine.read() as connection:
                return queue.take(
                    connection, webhook, taken, subjects=subjects, each=each, now=_now()
                )

        return await self._loop.run_in_executor(self._threads, work)

    async def _look(self) -> None:
        """Wake the lanes for what is due by time, and for what other processes queued."""
        assert self._lanes is not None
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._look_now.wait(), _LOOK_S)
            self._look_now.clear()
            try:
                self._lanes.wake(await self._loop.run_in_executor(self._threads, self._due))
            except Exception as error:  # noqa: BLE001 - it goes on: nothing would be tried again any more
                _complain("What is due cannot be read", error)
            await asyncio.sleep(_REST_S)

    def _due(self) -> list[int]:
        with self._engine.read() as connection:
            return queue.due(connection, _now())

    async def _keep_up(self) -> None:
        assert self._lanes is not None
        while True:
            failing = self._lanes.failing(self._schedule.total)
            try:
                await self._loop.run_in_executor(
                    self._threads, self._upkeep.run, failing, self._stopping.is_set
                )
            except Exception as error:  # noqa: BLE001 - it goes on: what is old would stay for ever
                _complain("Old deliveries cannot be put in order", error)
            await asyncio.sleep(EVERY_S)


def _complain(what: str, error: Exception) -> None:
    _log.warning("%s: %s", what, error, exc_info=not isinstance(error, HeadraceError))


def _now() -> int:
    return time.time_ns() // 1_000_000
