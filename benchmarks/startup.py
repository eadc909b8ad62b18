"""How soon a server answers, and what it weighs while nobody asks."""

from __future__ import annotations

import statistics
from collections.abc import Iterator

from benchmarks.harness.bench import SQLITE, Bench, say
from benchmarks.harness.report import Row, compare
from benchmarks.harness.servers import HEADRACE, start

NAME = "startup"
METHOD = (
    "*Ready* is from the start of the process to the first 200 from `/health`, median of several starts over a store that exists "
    "(the first start, which makes the schema, is in the note). *Idle memory* is the resident memory of all the server's "
    "processes, added up as `top` shows it, once they are at rest."
)


def run(bench: Bench) -> Iterator[Row]:
    """Seconds to ready and megabytes at rest, on SQLite."""
    ready: dict[str, float] = {}
    memory: dict[str, float] = {}
    first_starts, shares = [], []
    for kind in bench.kinds():
        folder = bench.folder("startup")
        url = bench.database(SQLITE, folder)
        times = []
        starts = bench.size(7, 2) if kind == HEADRACE else bench.size(3, 1)
        for number in range(starts + 1):
            with start(kind, bench.python_of(kind), url, folder) as server:
                if number:
                    times.append(server.ready_seconds)
                else:
                    first_starts.append(f"{kind} {server.ready_seconds:.2f} s")
                if number == starts:
                    server.settle()
                    memory[kind] = server.resident() / 1e6
                    shares.append(
                        f"{kind} {len(server.members())} processes, {server.proportional() / 1e6:.0f} MB "
                        "with shared pages counted once"
                    )
        ready[kind] = statistics.median(times)
        say(
            f"{kind}: ready {ready[kind]:.2f} s, {memory[kind]:.0f} MB; {first_starts[-1]}; {shares[-1]}"
        )
    yield compare(
        NAME,
        "server ready",
        "s",
        ready,
        more_is_better=False,
        at_most=1,
        note=f"first start on an empty store: {', '.join(first_starts)}",
    )
    yield compare(
        NAME,
        "resident memory, idle",
        "MB",
        memory,
        more_is_better=False,
        at_most=150,
        note="; ".join(shares),
    )
