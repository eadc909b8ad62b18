"""The job that evaluates rules: one thread that looks when something happened, and every second."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from headrace.engine import Engine
from headrace.engine.events.feed import Move
from headrace.errors import HeadraceError
from headrace.events.rules.actions import Actions
from headrace.events.rules.file import RuleFile
from headrace.events.rules.watcher import Watcher

_log = logging.getLogger(__name__)

#: Seconds between two looks when nothing happens.
_LOOK_S = 1.0
#: Seconds between two looks at the file.
_FILE_S = 2.0
#: Looks take about this part of the time of one core at most: whatever rules ask for, the rest is left to
#: those who log. What is not looked at at once is not lost; it is seen later. Windows, which cost most, have a
#: share of their own, so that an event waits for no more than so many seconds.
_SHARE = 0.1
_LONGEST_REST_S = 0.3
#: Without rules it only waits for one, and looks once in so many seconds at most.
_IDLE_S = 0.25


class RulesJob:
    """Evaluates the rules of a store while this process is the one that does so."""

    def __init__(
        self, engine: Engine, *, file: Path | None = None, calls: Sequence[str] = ()
    ) -> None:
        """Prepare; `start` begins.

        Args:
            engine: The store.
            file: A file of rules.
            calls: What rules may call, see `headrace.events.rules.actions.Actions`.
        """
        self._engine = engine
        self._file = None if file is None else RuleFile(engine, file)
        self._calls = calls
        self._lock = threading.Lock()
        self._moves: set[Move] = set()
        self._wake = threading.Event()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="headrace-rules", daemon=True)

    def start(self) -> None:
        """Begin to evaluate."""
        self._thread.start()

    def stop(self) -> None:
        """Write what is to be written, and end."""
        self._stop.set()
        self._wake.set()
        self._thread.join()

    def _heard(self, moves: tuple[Move, ...] | None) -> None:
        if moves:
            with self._lock:
                self._moves.update(moves)
        self._wake.set()

    def _run(self) -> None:
        leave = self._engine.feed.listen(self._heard)
        actions = Actions(self._engine, self._calls)
        try:
            while not self._stop.is_set():
                try:
                    self._evaluate(actions)
                except HeadraceError as error:
                    _log.warning("Rules are not evaluated for a moment: %s", error)
                except Exception:  # noqa: BLE001 - the thread must not end: rules would be silent without a word
                    _log.exception("Rules are not evaluated for a moment.")
                self._stop.wait(_LOOK_S)
        finally:
            leave()
            actions.close()

    def _evaluate(self, actions: Actions) -> None:
        """Evaluate until the job is stopped, or something fails: then what is kept is taken up anew."""
        if self._file is not None:
            self._file.look()
        watcher = Watcher(self._engine)
        actions.add(self._engine.ask("pending_firings"))
        looked_at_file = time.monotonic()
        while not self._stop.is_set():
            self._wake.wait(_LOOK_S)
            self._wake.clear()
            with self._lock:
                moves, self._moves = self._moves, set()
            begin, used = time.monotonic(), time.thread_time()
            actions.add(watcher.look(moves))
            if self._file is not None and begin - looked_at_file >= _FILE_S:
                looked_at_file = begin
                self._file.look()
            rest = (time.thread_time() - used) * (1 - _SHARE) / _SHARE
            self._stop.wait(_IDLE_S if watcher.idle else min(rest, _LONGEST_REST_S))
        watcher.close()
