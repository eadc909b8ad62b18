"""Work that follows from events, done by one process per store at a time.

Every server process has a `Background`; the one that holds the lease runs the jobs, and when it dies another
takes over within seconds. A job keeps its place in the database (`headrace.engine.events.cursors`), so it
goes on where the last one stopped, and may do again what that one did and did not note.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from typing import Protocol

from headrace.engine import Engine

_log = logging.getLogger(__name__)

#: Seconds between two tries to take the lease, and between two looks whether it is still held.
_LOOK_S = 1.0


class Job(Protocol):
    """Something that runs while the lease is held."""

    def start(self) -> None:
        """Begin, in threads of its own; return at once."""

    def stop(self) -> None:
        """End: finish or give up what is under way, within seconds, and note how far it came."""


class Background:
    """Runs jobs while this process holds the store's lease."""

    def __init__(self, engine: Engine, jobs: Sequence[Callable[[], Job]]) -> None:
        """Begin to try for the lease.

        Args:
            engine: The store.
            jobs: Make one job each, anew every time the lease is taken.
        """
        self._lease = engine.lease("background")
        self._makers = jobs
        self._running: list[Job] = []
        self._stop = threading.Event()
        #: Set while the jobs run.
        self.leading = threading.Event()
        self._thread = threading.Thread(target=self._run, name="headrace-background", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop the jobs and give the lease up."""
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while True:
            try:
                self._look()
            except Exception:  # noqa: BLE001 - the thread must not end: without it nothing is delivered any more
                _log.exception("Background work could not be started; trying again.")
                self._halt()
            if self._stop.wait(_LOOK_S):
                break
        self._halt()
        self._lease.release()

    def _look(self) -> None:
        held = self._lease.hold()
        if held and not self.leading.is_set():
            for make in self._makers:
                job = make()
                self._running.append(job)
                job.start()
            self.leading.set()
        elif not held and self.leading.is_set():
            _log.warning("The lease of background work was lost; it stops here.")
            self._halt()

    def _halt(self) -> None:
        running, self._running = self._running, []
        self.leading.clear()
        for job in reversed(running):
            try:
                job.stop()
            except Exception:  # noqa: BLE001 - the others must be stopped all the same
                _log.exception("%s could not be stopped.", type(job).__name__)
