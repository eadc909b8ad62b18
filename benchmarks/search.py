"""Searching runs, server against server, and at ten times the size alone."""

from __future__ import annotations

import json
import random
import statistics
from collections.abc import Callable, Iterator

from benchmarks.harness.bench import Bench, say
from benchmarks.harness.connection import post
from benchmarks.harness.many_runs import PER_CALL, fill_peer, import_runs, one_by_one
from benchmarks.harness.peer_rows import EXPERIMENT, PeerRows
from benchmarks.harness.report import Row, compare
from benchmarks.harness.servers import HEADRACE, MLFLOW_BEST, Server, Tracking

NAME = "search"
METHOD = (
    "`runs/search` for a page of 100 runs with `metrics.metric_03 > X` ordered by `metrics.metric_07 DESC`, among runs of "
    "20 params and 20 metrics each in one experiment; p50 of requests one after the other over one connection, each with "
    "another X. *Half* of the runs match (X near 0.5), or *one in 1,000* (X near 0.999). headrace's runs came through its "
    "public bulk call (`POST /api/headrace/v1/runs/import`, 1,000 runs per call); MLflow has none, and its `runs/create` "
    "and `log-batch` would have taken hours, so the same runs were written as rows into the tables that its own "
    "`mlflow db upgrade` made. MLflow is measured in its best case only; a search that it did not answer within 90 s was given "
    "up and counts as 90 s."
)
#: A search that takes longer is given up, and counts as having taken so many seconds.
PATIENCE = 90.0
CASES = {"half match": 0.49, "one in 1,000 matches": 0.9989}


def run(bench: Bench) -> Iterator[Row]:
    """p50 of a page on each database, at 100,000 runs and, if asked, at a million."""
    small = bench.size(100_000, 2_000)
    large = bench.size(1_000_000, 6_000)
    for database in bench.databases:
        page: dict[str, dict[str, float]] = {case: {} for case in CASES}
        bulk: dict[str, float] = {}
        grown: list[Row] = []
        if bench.ours:
            with bench.fresh(HEADRACE, database) as server:
                with server.connect() as connection:
                    experiment = Tracking(connection).experiment("search")
                bulk[HEADRACE] = import_runs(server, experiment, range(small // PER_CALL))
                bench.analyze()
                server.settle()
                _measure(bench, server, experiment, page)
                if bench.million:
                    chunks = range(small // PER_CALL, large // PER_CALL)
                    rate = import_runs(server, experiment, chunks)
                    bench.analyze()
                    server.settle(300)
                    at_large: dict[str, dict[str, float]] = {case: {} for case in CASES}
                    _measure(bench, server, experiment, at_large)
                    grown = [
                        _growth(case, database, small, large, page[case], at_large[case], rate)
                        for case in CASES
                    ]
        if bench.peer:
            _measure_peer(bench, database, small, page, bulk)
        for case, figures in page.items():
            yield compare(
                NAME,
                f"search page of 100, {small:,} runs, {case}, {database}",
                "ms",
                figures,
                more_is_better=False,
                times=20,
                at_most=30,
            )
        yield from grown
        yield compare(
            NAME,
            f"runs with 20 params and 20 metrics written, {database}",
            "runs/s",
            bulk,
            more_is_better=True,
            note="headrace by its bulk call, MLflow by runs/create and log-batch; one client",
        )


def _measure_peer(
    bench: Bench,
    database: str,
    small: int,
    page: dict[str, dict[str, float]],
    bulk: dict[str, float],
) -> None:
    folder = bench.folder("mlflow-search")
    url = bench.database(database, folder)
    try:
        with PeerRows(bench, database, url, folder) as rows:
            fill_peer(rows, range(small // PER_CALL))
        for case in CASES:
            # A server for each case: one that gave up on a search goes on with it, and slows the next.
            with bench.serve(MLFLOW_BEST, url, folder) as server:
                _measure(bench, server, str(EXPERIMENT), {case: page[case]})
        with bench.serve(MLFLOW_BEST, url, folder) as server:
            with server.connect() as connection:
                other = Tracking(connection).experiment("one by one")
            bulk[MLFLOW_BEST] = one_by_one(server, other, bench.seconds)
    finally:
        bench.discard(database, folder)


def _measure(
    bench: Bench, server: Server, experiment: str, page: dict[str, dict[str, float]]
) -> None:
    """p50 in milliseconds, filed by case under the server's kind."""
    for case in page:
        low = CASES[case]
        page[case][server.kind] = p50 = 1e3 * _p50(
            bench, server, _searches(server, experiment, low)
        )
        say(f"{server.kind}, {case}: p50 {p50:.1f} ms")


def _searches(server: Server, experiment: str, low: float) -> Callable[[int], bytes]:
    source = random.Random(7)

    def make(_number: int) -> bytes:
        threshold = low + (1 - low) * 0.02 * source.random()
        body = {
            "experiment_ids": [experiment],
            "filter": f"metrics.metric_03 > {threshold:.6f}",
            "order_by": ["metrics.metric_07 DESC"],
            "max_results": 100,
            "run_view_type": "ACTIVE_ONLY",
        }
        return post(server.port, "/api/2.0/mlflow/runs/search", json.dumps(body).encode())

    return make


def _p50(bench: Bench, server: Server, make: Callable[[int], bytes]) -> float:
    times: list[float] = []
    with server.connect(PATIENCE) as connection:
        try:
            for number in range(2):
                _, reply = connection.timed(make(number))
        except TimeoutError:
            say(f"{server.kind}: no answer within {PATIENCE} s")
            return PATIENCE
        runs = reply.json()["runs"]
        expected = {"metrics": 20, "params": 20}
        for noun, count in expected.items():
            if len(runs[0]["data"][noun]) != count:
                raise RuntimeError(f"{server.kind} answered runs without their {count} {noun}")
        if len(runs) != 100 and not bench.quick:
            raise RuntimeError(f"{server.kind} answered {len(runs)} runs instead of 100")
        while len(times) < 200 and (sum(times) < 30 or len(times) < 5):
            times.append(connection.timed(make(len(times)))[0])
    return statistics.median(times)


def _growth(
    case: str,
    database: str,
    small: int,
    large: int,
    before: dict[str, float],
    after: dict[str, float],
    rate: float,
) -> Row:
    ratio = after[HEADRACE] / before[HEADRACE]
    return Row(
        NAME,
        f"search page of 100, {large:,} runs, {case}, {database}",
        "ms",
        after[HEADRACE],
        None,
        None,
        ratio,
        f"≤ 3 × its own at {small:,}",
        ratio <= 3,
        f"the ratio is against headrace's {before[HEADRACE]:.3g} ms at {small:,} runs; "
        f"imported at {rate:,.0f} runs/s",
    )
