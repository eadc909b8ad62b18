"""Single metrics over the stock protocol, server against server."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.harness import load
from benchmarks.harness.bench import Bench, say
from benchmarks.harness.points import log_metrics
from benchmarks.harness.report import Row, compare
from benchmarks.harness.servers import Tracking

NAME = "log-metric"
METHOD = (
    "16 clients, each with one keep-alive connection and a run of its own, post MLflow's JSON `runs/log-metric` "
    "with one new point each, for 6 seconds."
)
CLIENTS = 16


def run(bench: Bench) -> Iterator[Row]:
    """Requests per second with 16 clients on each database."""
    for database in bench.databases:
        figures: dict[str, float] = {}
        notes = []
        for kind in bench.kinds():
            with bench.fresh(kind, database) as server:
                with server.connect() as connection:
                    tracking = Tracking(connection)
                    experiment = tracking.experiment("log-metric")
                    runs = [tracking.run(experiment) for _ in range(CLIENTS)]
                requests = log_metrics(server.port, runs)
                load.run(server.port, CLIENTS, 0.5, requests)
                result = load.run(server.port, CLIENTS, bench.seconds, requests, first=100_000)
            figures[kind] = result.rate
            say(
                f"{database}, {kind}: {result.rate:,.0f} requests/s, p50 {result.quantile(0.5) * 1e3:.1f} ms, "
                f"p99 {result.quantile(0.99) * 1e3:.1f} ms, generator busy {result.busy:.0%}, "
                f"{result.failed} failed {result.first_failure}"
            )
            if result.failed:
                notes.append(f"{kind} failed {result.failed} requests")
            if result.busy > 0.8:
                notes.append(f"generator busy {result.busy:.0%} beside {kind}")
        yield compare(
            NAME,
            f"log-metric, {CLIENTS} clients, {database}",
            "requests/s",
            figures,
            more_is_better=True,
            times=50,
            note="; ".join(notes),
        )
