"""Processes by handle: start, weigh with all children, stop."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Protocol

import psutil


def environment(**extra: str) -> dict[str, str]:
    """This environment without what would slow one side down or point it elsewhere."""
    drop = ("PYTHONDONTWRITEBYTECODE", "PYTHONPATH", "VIRTUAL_ENV")
    kept = {
        name: value
        for name, value in os.environ.items()
        if name not in drop and not name.startswith(("MLFLOW_", "HEADRACE_"))
    }
    return kept | extra


class Resident(Protocol):
    """What has a resident memory."""

    def resident(self) -> int:
        """In bytes."""


class Tree:
    """A process with its descendants.

    Started in a session of its own, with its output in `log`.
    """

    def __init__(
        self,
        command: Sequence[str],
        log: Path,
        *,
        env: Mapping[str, str],
        cwd: Path,
        user: str | None = None,
        stop_signal: int = signal.SIGTERM,
    ) -> None:
        self.log = log
        self._stop_signal = stop_signal
        with log.open("ab") as output:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=dict(env),
                cwd=cwd,
                user=user,
                group=user,
                extra_groups=() if user else None,
                start_new_session=True,
            )
        self.root = psutil.Process(self.process.pid)

    def members(self) -> list[psutil.Process]:
        """The process and all its descendants that live now."""
        with contextlib.suppress(psutil.NoSuchProcess):
            return [self.root, *self.root.children(recursive=True)]
        return []

    def check(self) -> None:
        """Raise when the process has ended by itself."""
        if self.process.poll() is not None:
            tail = self.log.read_text(errors="replace")[-2000:]
            raise RuntimeError(
                f"{self.process.args!r} ended with {self.process.returncode}:\n{tail}"
            )

    def resident(self) -> int:
        """Resident memory of all members in bytes; pages that they share count for each, as in top."""
        return self._total(lambda one: int(one.memory_info().rss))

    def proportional(self) -> int:
        """Memory of all members in bytes, shared pages counted once (PSS)."""
        return self._total(lambda one: int(one.memory_full_info().pss))

    def cpu_seconds(self) -> float:
        """CPU time that the living members have used."""
        return self._total(lambda one: int(1000 * sum(one.cpu_times()[:2]))) / 1000

    def _total(self, read: Callable[[psutil.Process], int]) -> int:
        total = 0
        for member in self.members():
            # It may have ended between listing and reading.
            with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
                total += read(member)
        return total

    def settle(self, limit: float = 90.0) -> None:
        """Wait until the tree is idle: under 5 % of a core for 2 seconds."""
        end = time.monotonic() + limit
        while time.monotonic() < end:
            before = self.cpu_seconds()
            time.sleep(2)
            if self.cpu_seconds() - before < 0.1:
                return

    def stop(self) -> None:
        """End the process, and whatever of its descendants outlives it."""
        members = self.members()
        if self.process.poll() is None:
            self.process.send_signal(self._stop_signal)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(20)
        for member in members:
            with contextlib.suppress(psutil.NoSuchProcess):
                member.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(10)


@contextlib.contextmanager
def watching_memory(tree: Resident, every: float = 0.02) -> Iterator[list[int]]:
    """Sample a tree's resident memory in the background; the list holds one number, the peak."""
    peak = [tree.resident()]
    done = threading.Event()

    def watch() -> None:
        while not done.wait(every):
            peak[0] = max(peak[0], tree.resident())

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield peak
    finally:
        done.set()
        thread.join()
