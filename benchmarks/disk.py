"""Disk per metric point, once compaction has been over it."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from benchmarks.harness.bench import SQLITE, Bench, say
from benchmarks.harness.connection import post
from benchmarks.harness.peer_rows import PeerRows
from benchmarks.harness.points import START
from benchmarks.harness.processes import environment
from benchmarks.harness.report import Row, compare
from benchmarks.harness.servers import HEADRACE, MLFLOW_DEFAULT, Tracking

NAME = "disk"
METHOD = (
    "1,000,000 points of normally distributed float64 noise (nothing for a compressor to find in the values) in 10 series "
    "of one run: consecutive steps, all series of a step sharing a timestamp, steps 250 ms apart and up to 20 ms of jitter. "
    "headrace gets them by `log-batch`, is stopped, and compacts all that its background compactor had not yet reached; MLflow's are written as rows. "
    "The figure is by how much the database grew: the SQLite file with its write-ahead log, or "
    "`pg_database_size` after a VACUUM on both sides."
)
SERIES = 10

_COMPACT = """
import sys
from headrace.engine import Engine
engine = Engine(sys.argv[1], artifact_root="mlflow-artifacts:", compact=False)
engine.compact()
engine.close()
"""


def run(bench: Bench) -> Iterator[Row]:
    """Bytes per point on each database."""
    steps = bench.size(100_000, 5_000)
    source = np.random.default_rng(3)
    values = source.standard_normal((steps, SERIES)).tolist()
    times = (START + 250 * np.arange(steps) + source.integers(0, 20, steps)).tolist()
    for database in bench.databases:
        figures: dict[str, float] = {}
        if bench.ours:
            figures[HEADRACE] = _ours(bench, database, values, times) / (steps * SERIES)
            say(f"{database}, headrace: {figures[HEADRACE]:.2f} bytes per point")
        if bench.peer:
            figures[MLFLOW_DEFAULT] = _peer(bench, database, values, times) / (steps * SERIES)
            say(f"{database}, MLflow: {figures[MLFLOW_DEFAULT]:.2f} bytes per point")
        yield compare(
            NAME,
            f"disk per metric point, {database}",
            "bytes",
            figures,
            more_is_better=False,
            at_most=12,
        )


def _ours(bench: Bench, database: str, values: list[list[float]], times: list[int]) -> int:
    folder = bench.folder("headrace-disk")
    url = bench.database(database, folder)
    try:
        with bench.serve(HEADRACE, url, folder) as server, server.connect() as connection:
            tracking = Tracking(connection)
            series = tracking.run(tracking.experiment("disk"))
        before = _size(bench, database, folder)
        with bench.serve(HEADRACE, url, folder) as server:
            per_call = 1000 // SERIES
            with server.connect() as connection:
                for start in range(0, len(values), per_call):
                    body = _body(series, start, values[start : start + per_call], times)
                    connection.timed(post(server.port, "/api/2.0/mlflow/runs/log-batch", body))
            say(
                f"written: {_size(bench, database, folder) / 2**20:.1f} MiB before compaction has ended"
            )
        command = [str(bench.python), "-c", _COMPACT, url]
        subprocess.run(command, check=True, env=environment())
        return _size(bench, database, folder) - before
    finally:
        bench.discard(database, folder)


def _body(series: str, start: int, rows: list[list[float]], times: list[int]) -> bytes:
    points = ",".join(
        f'{{"key":"metric_{key}","value":{value!r},"timestamp":{times[start + n]},"step":{start + n}}}'
        for n, row in enumerate(rows)
        for key, value in enumerate(row)
    )
    return f'{{"run_id":"{series}","metrics":[{points}]}}'.encode()


def _peer(bench: Bench, database: str, values: list[list[float]], times: list[int]) -> int:
    folder = bench.folder("mlflow-disk")
    url = bench.database(database, folder)
    series = "0" * 31 + "1"
    try:
        with PeerRows(bench, database, url, folder) as rows:
            rows.runs([series], START)
            before = _size(bench, database, folder)
            rows.insert(
                "metrics",
                (
                    (f"metric_{key}", value, times[step], series, step, False)
                    for step, row in enumerate(values)
                    for key, value in enumerate(row)
                ),
            )
        return _size(bench, database, folder) - before
    finally:
        bench.discard(database, folder)


def _size(bench: Bench, database: str, folder: Path) -> int:
    if database == SQLITE:
        return sum(path.stat().st_size for path in folder.glob("store.db*"))
    with bench.postgres.connect(folder.name) as connection:
        connection.execute("VACUUM")
        row = connection.execute("SELECT pg_database_size(current_database())").fetchone()
    assert row is not None
    return int(row[0])
