"""When runs count as lost: what this process knows beside the table ``heartbeat``.

`Signs` saves most writes of that table. `Watch` looks, every few seconds, for runs that have been silent for
too long. Both are about time, and clocks jump, machines sleep and servers are down; see
docs/internals/liveness.md.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable

_log = logging.getLogger(__name__)

#: Seconds between two looks.
INTERVAL_S = 10.0
#: A sign of life is written once in this part of the silence that is allowed.
_PART = 6
_MOST_SIGNS = 65_536
#: Clocks that disagree by more than this jumped.
_JUMP_S = 1.0
#: A look that comes so much later than it should was kept from it: the process was stopped.
_LATE_S = 10.0
#: Longer than any silence.
FOREVER_MS = 2**62


class Signs:
    """Which runs this engine has lately written to be alive. Thread-safe.

    With several engines over one database each knows its own writes: at worst one writes again.
    """

    def __init__(self) -> None:
        self._written: dict[int, float] = {}

    def due(self, run_id: int, silence_ms: int) -> bool:
        """Whether a sign of life must be written.

        Args:
            run_id: The run's number.
            silence_ms: How long it may be silent.
        """
        written = self._written.get(run_id)
        # Not by the clock on the wall, which may be set back.
        return written is None or time.monotonic() - written > silence_ms / 1000 / _PART

    def wrote(self, run_ids: Iterable[int]) -> None:
        """Note a write; call after its transaction has committed."""
        if len(self._written) > _MOST_SIGNS:
            self._written.clear()
        self._written.update(dict.fromkeys(run_ids, time.monotonic()))

    def forget(self, run_ids: Iterable[int]) -> None:
        """Note that what was written is there no more; call after the transaction has committed."""
        for run_id in run_ids:
            self._written.pop(run_id, None)


class Watch:
    """Looks for runs that fell silent, in a thread of its own.

    A run is silent only if it could have been heard. So a watch counts how long it has been there without
    an interruption, and runs that may be silent for longer than that are left alone.
    """

    def __init__(
        self,
        look: Callable[[int], int],
        *,
        start: bool = True,
        served: bool = False,
        interval_s: float = INTERVAL_S,
        wall: Callable[[], float] = time.time,
        steady: Callable[[], float] = time.monotonic,
    ) -> None:
        """Look once, then, in the background, again and again.

        Args:
            look: Marks the runs as lost that are overdue and may be silent for at most so many
                milliseconds; answers how many.
            start: Look again until `close`.
            served: Runs are heard through this process alone, so that nothing is known about the time
                before. Else the first look believes the database.
            interval_s: Seconds between two looks.
            wall: The clock that heartbeats are written by, in seconds.
            steady: A clock that nobody sets, in seconds.
        """
        self._look = look
        self._interval_s = interval_s
        self._wall, self._steady = wall, steady
        self._last_wall, self._last_steady = wall(), steady()
        self._since: float | None = self._last_steady if served else None
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        if not served:
            self.look()
        if start:
            self._thread = threading.Thread(target=self._run, name="headrace-watch", daemon=True)
            self._thread.start()

    def close(self) -> None:
        """Stop the background thread; a look that has begun is finished first."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()

    def look(self) -> int:
        """Look now; how many runs were lost."""
        wall, steady = self._wall(), self._steady()
        passed = steady - self._last_steady
        jumped = abs((wall - self._last_wall) - passed) > _JUMP_S
        if jumped or passed > self._interval_s + _LATE_S:
            self._since = steady
        self._last_wall, self._last_steady = wall, steady
        heard = FOREVER_MS if self._since is None else int((steady - self._since) * 1000)
        try:
            return self._look(heard)
        except Exception as error:  # noqa: BLE001 - opening a store must not fail by this, nor the thread end
            # While the database cannot answer, no run can be heard either.
            self._since = steady
            _log.info("Looking for lost runs is put off: %s", error)
            return 0

    def _run(self) -> None:
        while not self._stop.wait(self._interval_s):
            self.look()
