"""Batches of metrics over the stock protocol, server against server."""

from __future__ import annotations

import functools
from collections.abc import Iterator

from benchmarks.harness import load
from benchmarks.harness.bench import Bench, say
from benchmarks.harness.points import log_batches
from benchmarks.harness.report import Row, compare
from benchmarks.harness.servers import Tracking

NAME = "log-batch"
METHOD = (
    "Each client has one keep-alive connection and a run of its own, and posts MLflow's JSON `runs/log-batch` with "
    "1,000 new points over 10 keys, the next when the last is answered, for 6 seconds (requests under way are "
    "waited for and counted). The generator is one process with raw sockets and bodies made beforehand. *Again* is a client that repeats a batch "
    "which is already recorded, as after a lost answer."
)
POINTS, KEYS = 1000, 10


def run(bench: Bench) -> Iterator[Row]:
    """Points per second with 1 and 16 clients on each database."""
    for database in bench.databases:
        figures: dict[int, dict[str, float]] = {1: {}, 16: {}}
        again: dict[str, float] = {}
        notes: dict[int, list[str]] = {1: [], 16: []}
        for kind in bench.kinds():
            with bench.fresh(kind, database) as server:
                with server.connect() as connection:
                    tracking = Tracking(connection)
                    experiment = tracking.experiment("log-batch")
                    runs = [tracking.run(experiment) for _ in range(17)]
                load.run(server.port, 16, 0.5, log_batches(server.port, runs[:16], 10, 10))
                for clients in figures:
                    mine = runs[16:] if clients == 1 else runs[:16]
                    requests = log_batches(server.port, mine, POINTS, KEYS)
                    result = load.run(server.port, clients, bench.seconds, requests, first=1000)
                    figures[clients][kind] = result.rate * POINTS
                    say(
                        f"{database}, {clients} clients, {kind}: {result.rate * POINTS:,.0f} points/s, "
                        f"p50 {result.quantile(0.5) * 1e3:.1f} ms, generator busy {result.busy:.0%}, "
                        f"{result.failed} failed {result.first_failure}"
                    )
                    if result.failed:
                        notes[clients].append(f"{kind} failed {result.failed} requests")
                    if result.busy > 0.8:
                        notes[clients].append(f"generator busy {result.busy:.0%} beside {kind}")
                requests = log_batches(server.port, runs[16:], POINTS, KEYS)
                same = functools.partial(_same, requests(0, 1000))
                again[kind] = load.run(server.port, 1, bench.seconds, same).rate * POINTS
                say(f"{database}, the same batch again, {kind}: {again[kind]:,.0f} points/s")
        for clients, by_kind in figures.items():
            yield compare(
                NAME,
                f"log-batch, 1,000 metrics, {clients} client{'s' * (clients > 1)}, {database}",
                "points/s",
                by_kind,
                more_is_better=True,
                times=200,
                note="; ".join(notes[clients]),
            )
        yield compare(
            NAME,
            f"log-batch, the same 1,000 metrics again, 1 client, {database}",
            "points/s",
            again,
            more_is_better=True,
        )


def _same(request: bytes, _client: int, _number: int) -> bytes:
    return request
