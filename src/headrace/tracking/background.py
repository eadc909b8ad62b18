"""What happens beside a run of this process: its captures, its console, its system metrics.

One daemon thread, begun with the first run. Nothing in it can fail a run: what goes wrong is said once.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from headrace.client.environment import flag
from headrace.client.values import now_ms
from headrace.protocol.ingest import ConsoleLine, WriteConsole
from headrace.tracking import capture, console, system_metrics
from headrace.tracking.choice import choice
from headrace.tracking.recorder import Point, Recorder

_log = logging.getLogger("headrace")

#: Seconds between two looks at the console.
_TICK = 0.5
#: Seconds that the end of the process waits for captures.
_PATIENCE = 10.0


class _Beside:
    """One run's share of the work."""

    def __init__(self, recorder: Recorder, *, metrics: bool) -> None:
        self.recorder = recorder
        self.sampler: Any = None
        self.next_sample = float("inf")
        self.wants_metrics = metrics
        self.console: Any = None

    def begin(self) -> None:
        """Start, from the thread that starts the run: what is printed next belongs to it."""
        if capture.enabled("console"):
            self.console = console.attach(self.write)
        if self.wants_metrics:
            self.next_sample = 0.0

    def write(self, stream: str, lines: Sequence[ConsoleLine], unfinished: str) -> None:
        """Journal what was printed."""
        self.recorder.step(
            WriteConsole(
                run_id=self.recorder.run_id,
                stream=stream,
                source=system_metrics.node_name() if self.recorder.shared else "",
                lines=tuple(lines),
                unfinished=unfinished,
            )
        )

    def sample(self) -> None:
        """Journal system metrics when it is time; the first look only sets the baselines."""
        if time.monotonic() < self.next_sample:
            return
        self.next_sample = time.monotonic() + system_metrics.interval()
        if self.sampler is None:
            node = system_metrics.node_name() if self.recorder.shared else ""
            self.sampler = system_metrics.Sampler(node)
        found = self.sampler.sample()
        now = now_ms()
        start = self.recorder.run.info.start_time
        step = max(0, (now - start) // 1000)
        self.recorder.points(Point(key, value, step, now) for key, value in found.items())


class _Background:
    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.runs: dict[int, _Beside] = {}
        #: Runs whose code, environment and host are not recorded yet.
        self.uncaptured: deque[tuple[Recorder, Iterator[capture.Document]]] = deque()
        self.captured = threading.Event()
        self.thread: threading.Thread | None = None
        self.wake = threading.Event()
        self.said: set[str] = set()
        os.register_at_fork(after_in_child=self.after_fork)

    def after_fork(self) -> None:
        # The parent watches its runs. What a child prints, and the CPU it uses, the parent's tee and
        # sampler do not see twice.
        self.lock = threading.Lock()
        self.runs = {}
        self.uncaptured = deque()
        self.captured = threading.Event()
        self.thread = None
        self.wake = threading.Event()

    def add(self, beside: _Beside, *, documents: bool) -> None:
        with self.lock:
            self.runs[id(beside.recorder)] = beside
            if documents:
                # It looks at what may change next now, and at the rest in the thread.
                self.captured.clear()
                self.uncaptured.append((beside.recorder, capture.documents()))
            if self.thread is None:
                self.thread = threading.Thread(
                    target=self.run, name="headrace-background", daemon=True
                )
                self.thread.start()
                self.wait_at_exit()
        self.wake.set()

    def wait_at_exit(self) -> None:
        """Let captures be finished before the interpreter starts no threads any more.

        Exit hooks come too late for uploads, which need threads. The hooks of Python's own thread pools
        come in time; theirs must be there first, because none can be added once they run.
        """
        early = getattr(threading, "_register_atexit", None)
        if early is not None and not flag("OFFLINE"):
            import concurrent.futures.thread  # noqa: F401 - for its hook

            with contextlib.suppress(RuntimeError):  # the interpreter is ending already
                early(finish)

    def run(self) -> None:
        while True:
            self.wake.wait(_TICK)
            self.wake.clear()
            while self.uncaptured:
                self.safely(self.capture)
            self.captured.set()
            for beside in list(self.runs.values()):
                self.safely(beside.sample)
            self.safely(console.collect)

    def capture(self) -> None:
        """Record a run's code, environment and host as artifacts."""
        recorder, documents = self.uncaptured[0]
        try:
            client = choice.client(recorder.uri)
            for document in documents:
                client.write_artifact(recorder.run_id, document.path, document.content)
                recorder.tags(document.tags)
        finally:
            self.uncaptured.popleft()

    def safely(self, work: Callable[[], object]) -> None:
        try:
            work()
        except Exception as error:  # noqa: BLE001 - nothing beside a run may fail it
            text = f"{type(error).__name__}: {error}"
            if text not in self.said and len(self.said) < 100:
                self.said.add(text)
                _log.warning("Something beside the run was not recorded: %s", text)


_background = _Background()


def begin(recorder: Recorder, *, metrics: bool | None, nested: bool) -> None:
    """Begin what happens beside a run.

    Args:
        recorder: The run's.
        metrics: Whether to sample system metrics; None: by the settings.
        nested: The run is inside another one of this process, which has the captures of both.
    """
    beside = _Beside(
        recorder,
        metrics=not nested and system_metrics.enabled(metrics),
    )
    _background.safely(beside.begin)
    _background.add(beside, documents=not nested)
    flush = recorder.journal.before_flush
    if console.collect not in flush:
        flush.append(console.collect)


def end(recorder: Recorder) -> None:
    """End what happens beside a run; what it printed is in the journal then."""
    with _background.lock:
        beside = _background.runs.pop(id(recorder), None)
    if beside is not None:
        _background.safely(console.collect)
        if beside.console is not None:
            _background.safely(beside.console.detach)


def finish() -> None:
    """At the end of the process: wait a little for captures that are under way."""
    if _background.uncaptured and _background.thread is not None:
        _background.wake.set()
        if not _background.captured.wait(_PATIENCE):
            _log.warning(
                "%d runs end without their code and environment recorded.",
                len(_background.uncaptured),
            )
