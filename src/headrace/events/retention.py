"""Trimming the event log by age and size, while a server runs."""

from __future__ import annotations

import logging
import threading

from headrace.engine import Engine
from headrace.errors import HeadraceError
from headrace.protocol.events import TrimEvents

_log = logging.getLogger(__name__)

#: Seconds between two looks.
_EVERY_S = 600.0


class Retention:
    """A job of `headrace.events.background.Background`: keeps the log within its limits."""

    def __init__(self, engine: Engine, request: TrimEvents) -> None:
        """Make the job.

        Args:
            engine: The store.
            request: What is to go, each time.
        """
        self._engine = engine
        self._request = request
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="headrace-retention", daemon=True)

    def start(self) -> None:
        """Look now, and then every ten minutes."""
        self._thread.start()

    def stop(self) -> None:
        """Look no more; a trim under way is finished first."""
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while True:
            try:
                done = self._engine.trim_events(self._request)
                if done.trimmed:
                    _log.info(
                        "%d events were trimmed; the oldest is %d.", done.trimmed, done.oldest
                    )
            except HeadraceError as error:
                _log.warning("The event log could not be trimmed, trying again later: %s", error)
            if self._stop.wait(_EVERY_S):
                return
