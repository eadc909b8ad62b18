"""``headrace events bridge`` as a process, and events for it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from pathlib import Path

import sqlalchemy as sa

from headrace.engine import Engine
from headrace.engine.events.numbering import append
from headrace.engine.location import locate
from headrace.protocol.events import ListEvents


class BridgeProcess:
    """One bridge.

    Attributes:
        process: Its handle; signals go there.
    """

    def __init__(self, store: str | os.PathLike[str], log: Path, *arguments: str) -> None:
        """Start it.

        Args:
            store: What ``--store`` takes.
            log: File for its standard output and error.
            arguments: Address of the NATS server, and options.
        """
        self._log = log
        with log.open("wb") as output:
            self.process = subprocess.Popen(
                [
                    sys.executable, "-m", "headrace", "events", "bridge",
                    "--store", os.fspath(store), *arguments,
                ],
                stdout=output,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                env={**os.environ, "PYTHONUNBUFFERED": "1"},
            )  # fmt: skip

    def output(self) -> str:
        """What it has said so far."""
        return self._log.read_text(errors="replace")

    def wait_for(self, text: str) -> None:
        """Wait until it has said something."""
        deadline = time.monotonic() + 60
        while text not in self.output():
            assert time.monotonic() < deadline, self.output()
            time.sleep(0.02)

    def end(self) -> int:
        """Wait until it ends by itself; its exit code."""
        return self.process.wait(120)

    def stop(self) -> int:
        """SIGTERM; its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.end()

    def kill(self) -> None:
        """SIGKILL."""
        self.process.kill()
        self.process.wait()


def fill(store: str | os.PathLike[str], count: int) -> int:
    """Write events into a store, made if it is not there; the number of the last one.

    Straight into the log: to make as many changes takes a minute, and is not what these tests look at.
    """
    place = locate(os.fspath(store))
    engine = Engine(place.database_url, artifact_root=place.artifacts)
    try:
        now = time.time_ns() // 1_000_000
        rows = [
            (now, "run.created", f"run/{uuid.uuid4().hex}", "somebody", f'{{"number":{number}}}', 0)
            for number in range(count)
        ]

        def work(connection: sa.Connection) -> tuple[None, Callable[[], None]]:
            append(connection, rows)
            return None, lambda: None

        engine.transact(work)
        return engine.list_events(ListEvents(limit=0)).last
    finally:
        engine.close()
