"""Reading a long series whole, and as a chart."""

from __future__ import annotations

import re
import statistics
import subprocess
from collections.abc import Callable, Iterator

import numpy as np

from benchmarks.harness.bench import Bench, say
from benchmarks.harness.connection import get
from benchmarks.harness.peer_rows import PeerRows
from benchmarks.harness.points import START, log_batches
from benchmarks.harness.processes import environment
from benchmarks.harness.report import Row, compare
from benchmarks.harness.servers import HEADRACE, Server, Tracking

NAME = "history"
METHOD = (
    "A series of 1,000,000 noisy float64 points, logged to headrace by 1,000 `log-batch` calls and written to MLflow "
    "as rows (at its speed the calls take half an hour). *Whole, stock*: `metrics/get-history` in pages of 25,000, as MLflow's own reader asks, until the last "
    "byte. *Whole, columns*: headrace's `GET /api/headrace/v1/metrics/columns`, against MLflow's stock pages. *Chart*: "
    "1,000 buckets of min, max and last from headrace's `metrics/chart`, against the nearest that MLflow has, 1,000 sampled points from "
    "`get-history-bulk-interval`. *In the engine*: the same chart by a Python call, without HTTP."
)
KEY = "metric_0"
_TOKEN = re.compile(rb'"next_page_token":\s*"([^"]*)"')

_IN_ENGINE = """
import statistics, sys, time
from headrace.engine import Engine
from headrace.protocol.metrics import GetMetricChart
engine = Engine(sys.argv[1], artifact_root="mlflow-artifacts:", compact=False)
times = []
for _ in range(50):
    start = time.perf_counter()
    chart = engine.get_metric_chart(GetMetricChart(run_id=sys.argv[2], metric_key=sys.argv[3], buckets=1000))
    times.append(time.perf_counter() - start)
assert sum(bucket.count for bucket in chart.buckets) == int(sys.argv[4]), len(chart.buckets)
engine.close()
print(statistics.median(times))
"""


def run(bench: Bench) -> Iterator[Row]:
    """Seconds for the whole series, milliseconds for its chart, on each database."""
    points = bench.size(1_000_000, 60_000)
    for database in bench.databases:
        stock: dict[str, float] = {}
        columns: dict[str, float] = {}
        chart: dict[str, float] = {}
        engine: dict[str, float] = {}
        if bench.ours:
            folder = bench.folder("headrace-history")
            url = bench.database(database, folder)
            try:
                with bench.serve(HEADRACE, url, folder) as server:
                    series = _log(server, points)
                    server.settle()
                    stock[HEADRACE] = _median(3, _pages, server, series, points)
                    columns[HEADRACE] = _median(5, _columns, server, series, points)
                    chart[HEADRACE] = 1e3 * _median(50, _chart, server, series, points)
                    engine[HEADRACE] = 1e3 * _chart_in_engine(bench, url, series, points)
                _tell(HEADRACE, stock, chart)
                say(f"columns {columns[HEADRACE]:.3f} s, engine chart {engine[HEADRACE]:.1f} ms")
            finally:
                bench.discard(database, folder)
        if bench.peer:
            _measure_peer(bench, database, points, stock, chart)
        columns |= {kind: figure for kind, figure in stock.items() if kind != HEADRACE}
        what = f"a series of {points:,} points"
        yield compare(
            NAME, f"{what} whole, columns, {database}", "s", columns, more_is_better=False, times=50
        )
        yield compare(
            NAME, f"{what} whole, stock, {database}", "s", stock, more_is_better=False, times=50
        )
        yield compare(
            NAME, f"{what}, chart, {database}", "ms", chart, more_is_better=False, times=50
        )
        yield compare(
            NAME,
            f"{what}, chart in the engine, {database}",
            "ms",
            engine,
            more_is_better=False,
            at_most=10,
        )


def _measure_peer(
    bench: Bench, database: str, points: int, stock: dict[str, float], chart: dict[str, float]
) -> None:
    folder = bench.folder("mlflow-history")
    url = bench.database(database, folder)
    series = "0" * 31 + "1"
    try:
        values = np.random.default_rng(0).standard_normal(points).tolist()
        with PeerRows(bench, database, url, folder) as rows:
            rows.runs([series], START)
            rows.insert(
                "metrics",
                ((KEY, value, START + n, series, n, False) for n, value in enumerate(values)),
            )
            last = points - 1
            rows.insert("latest_metrics", [(KEY, values[last], START + last, last, False, series)])
        for kind in bench.kinds():
            if kind == HEADRACE:
                continue
            with bench.serve(kind, url, folder) as server:
                stock[kind] = _pages(server, series, points)
                chart[kind] = 1e3 * _median(3, _interval, server, series)
            _tell(kind, stock, chart)
    finally:
        bench.discard(database, folder)


def _tell(kind: str, stock: dict[str, float], chart: dict[str, float]) -> None:
    say(f"{kind}: stock pages {stock[kind]:.2f} s, chart {chart[kind]:.1f} ms")


def _log(server: Server, points: int) -> str:
    with server.connect() as connection:
        tracking = Tracking(connection)
        series = tracking.run(tracking.experiment("history"))
        requests = log_batches(server.port, [series], 1000, 1)
        for number in range(points // 1000):
            connection.timed(requests(0, number))
    return series


def _median(times: int, measure: Callable[..., float], *arguments: object) -> float:
    return statistics.median(measure(*arguments) for _ in range(times))


def _pages(server: Server, series: str, points: int) -> float:
    """Seconds to fetch the series in pages of 25,000."""
    path = "/api/2.0/mlflow/metrics/get-history"
    seconds, found, token = 0.0, 0, b""
    with server.connect() as connection:
        while True:
            query = [("run_id", series), ("metric_key", KEY), ("max_results", "25000")]
            if token:
                query.append(("page_token", token.decode()))
            taken, reply = connection.timed(get(server.port, path, query))
            seconds += taken
            body = reply.plain()
            found += body.count(b'"value"')
            match = _TOKEN.search(body)
            if match is None or not match[1]:
                break
            token = match[1]
    if found != points:
        raise RuntimeError(f"{server.kind} answered {found:,} of {points:,} points")
    return seconds


def _columns(server: Server, series: str, points: int) -> float:
    query = [("run_id", series), ("metric_key", KEY), ("limit", str(points))]
    with server.connect() as connection:
        taken, reply = connection.timed(get(server.port, "/api/headrace/v1/metrics/columns", query))
    if reply.json()["count"] != points:
        raise RuntimeError(f"{server.kind} answered {reply.json()['count']} of {points} points")
    return taken


def _chart(server: Server, series: str, points: int) -> float:
    query = [("run_id", series), ("metric_key", KEY), ("buckets", "1000")]
    with server.connect() as connection:
        taken, reply = connection.timed(get(server.port, "/api/headrace/v1/metrics/chart", query))
    if sum(bucket["count"] for bucket in reply.json()["buckets"]) != points:
        raise RuntimeError(f"{server.kind}'s chart has not all of {points} points")
    return taken


def _interval(server: Server, series: str) -> float:
    query = [("run_ids", series), ("metric_key", KEY), ("max_results", "1000")]
    path = "/api/2.0/mlflow/metrics/get-history-bulk-interval"
    with server.connect() as connection:
        taken, _reply = connection.timed(get(server.port, path, query))
    return taken


def _chart_in_engine(bench: Bench, url: str, series: str, points: int) -> float:
    command = [str(bench.python), "-c", _IN_ENGINE, url, series, KEY, str(points)]
    return float(
        subprocess.run(command, check=True, stdout=subprocess.PIPE, env=environment()).stdout
    )
