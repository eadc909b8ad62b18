"""Real server processes on loopback."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import httpx

_READY_SECONDS = 60
_ADDRESS = re.compile(r"http://(?:127\.0\.0\.1|localhost):(\d+)")


class Server:
    """One ``headrace server`` process.

    Attributes:
        url: Base URL, without a slash at the end.
        process: Its handle; signals go there.
    """

    def __init__(
        self,
        store: str | os.PathLike[str],
        log: Path,
        *arguments: str,
        environment: dict[str, str] | None = None,
    ) -> None:
        """Start a server and wait until it answers.

        Args:
            store: What ``--store`` takes.
            log: File for its standard output and error.
            arguments: Further options.
            environment: Variables beyond this process's own; trackers' own settings are not inherited.
        """
        self.log = log
        self.url = ""
        inherited = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("HEADRACE_", "MLFLOW_"))
        }
        command = [sys.executable, "-m", "headrace", "server", "--store", os.fspath(store)]
        with log.open("wb") as output:
            self.process = subprocess.Popen(
                [*command, "--port", "0", *arguments],
                stdout=output,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                env={**inherited, "PYTHONUNBUFFERED": "1", **(environment or {})},
                cwd=log.parent,
            )
        try:
            self._wait()
        except BaseException:
            self.kill()
            raise

    def _wait(self) -> None:
        deadline = time.monotonic() + _READY_SECONDS
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise RuntimeError(
                    f"The server ended with {self.process.returncode}:\n{self.output()}"
                )
            if found := _ADDRESS.search(self.output()):
                url = f"http://127.0.0.1:{found.group(1)}"
                try:
                    if httpx.get(f"{url}/health", timeout=5).status_code == 200:
                        self.url = url
                        return
                except httpx.TransportError:
                    pass  # it says where before it listens
            time.sleep(0.02)
        raise RuntimeError(f"The server was not ready in {_READY_SECONDS} s:\n{self.output()}")

    def output(self) -> str:
        """What it has written so far."""
        return self.log.read_text(errors="replace")

    def stop(self) -> None:
        """Ask it to end, and check that it ends as it should: promptly, with 0, without a traceback."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                self.kill()
                raise AssertionError(f"The server ignored SIGTERM:\n{self.output()}") from None
        assert self.process.returncode == 0, (
            f"ended with {self.process.returncode}:\n{self.output()}"
        )
        assert "Traceback" not in self.output(), self.output()

    def kill(self) -> None:
        """SIGKILL, and children with it: what a power cut leaves of a process."""
        for pid in (*_children(self.process.pid), self.process.pid):
            with contextlib.suppress(ProcessLookupError):  # it was faster
                os.kill(pid, signal.SIGKILL)
        self.process.wait()


def _children(pid: int) -> Sequence[int]:
    """Process ids of a process's descendants, the youngest first."""
    found: list[int] = []
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            ids = [int(word) for word in path.read_text().split()]
        except OSError:
            continue  # the thread ended meanwhile
        for child in ids:
            found += [*_children(child), child]
    return found
