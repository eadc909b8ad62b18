"""How fast a server delivers what waits for a webhook."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

from benchmarks.harness.bench import Bench, say
from benchmarks.harness.load import free_port
from benchmarks.harness.processes import environment
from benchmarks.harness.report import Row
from benchmarks.harness.servers import HEADRACE, Server

NAME = "webhooks"
METHOD = (
    "Events of as many subjects as there are events (or of 100, or of one) are written to a store that has one webhook "
    "for all of them, then a server is started over it. The target is a process of its own on loopback that answers each "
    "POST at once over connections that are kept. The rate is over the time from its first to its last request; each of "
    "the events has arrived exactly once then. MLflow keeps no deliveries and has no webhook for runs, so there is nothing "
    "to compare with."
)
_TARGET = 1000.0
_COUNTER = Path(__file__).parent / "harness" / "hook_counter.py"


def run(bench: Bench) -> Iterator[Row]:
    """Deliveries per second on each database, by how many subjects they are of."""
    if not bench.ours:
        return
    count = bench.size(20_000, 500)
    for database in bench.databases:
        for subjects, what in ((count, "each of its own subject"), (100, "of 100 subjects"), (1, "of one subject")):  # fmt: skip
            events = count if subjects > 1 else count // 10
            rate, most = _measure(bench, database, events, subjects)
            say(f"{database}, {what}: {rate:,.0f} deliveries/s, {most} in flight")
            target = _TARGET if subjects > 64 else None
            yield Row(
                NAME,
                f"webhook, {events:,} events {what}, {database}",
                "deliveries/s",
                rate,
                None,
                None,
                None,
                f"≥ {target:,.0f}" if target else "",
                rate >= target if target else None,
                f"at most {most} in flight",
            )


def _measure(bench: Bench, database: str, events: int, subjects: int) -> tuple[float, int]:
    folder = bench.folder(f"webhooks-{database.lower()}")
    url = bench.database(database, folder)
    try:
        with _Counter(events) as counter:
            _fill(url, counter.port, events, subjects)
            port = free_port()
            command = [str(bench.python), "-m", "headrace", "server", "--store", url]
            command += ["--artifacts", str(folder / "a"), "--port", str(port)]
            env = environment(HEADRACE_WEBHOOK_ALLOWED_TARGETS="127.0.0.1")
            with Server(HEADRACE, command, port, folder, env):
                return counter.result()
    finally:
        bench.discard(database, folder)


def _fill(url: str, port: int, events: int, subjects: int) -> None:
    # Loaded here: the other benchmarks need neither.
    from headrace.engine import Engine
    from headrace.protocol.webhooks import CreateWebhook

    engine = Engine(url, artifact_root="file:///nowhere", compact=False)
    engine.create_webhook(
        CreateWebhook(name="count", url=f"http://127.0.0.1:{port}/", types=("run.renamed",))
    )
    for first in range(0, events, 1000):
        rows = [
            ("run.renamed", f"run/{number % subjects:032x}", {"before": None, "after": str(number)}, 0)
            for number in range(first, min(first + 1000, events))
        ]  # fmt: skip
        engine.within(lambda session, rows=rows: session.emit_many(rows))  # type: ignore[misc]
    engine.close()


class _Counter:
    """The target, in a process of its own."""

    def __init__(self, count: int) -> None:
        self.process = subprocess.Popen(
            [sys.executable, str(_COUNTER), str(count)], stdout=subprocess.PIPE, text=True
        )
        self.port = int(self._line())

    def result(self) -> tuple[float, int]:
        """Requests per second, and the most that were there at a time, when all have come."""
        started = time.monotonic()
        seconds, ids, most = self._line().split()
        count = int(self.process.args[2])  # type: ignore[index]
        if int(ids) != count:
            raise RuntimeError(
                f"{ids} of {count} events came in {time.monotonic() - started:.0f} s"
            )
        return count / float(seconds), int(most)

    def _line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline()

    def __enter__(self) -> _Counter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        where: TracebackType | None,
    ) -> None:
        self.process.kill()
        self.process.wait()
