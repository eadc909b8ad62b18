"""The runs that searches are measured on: 20 params and 20 metrics each, the same for both sides."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from typing import Any

import numpy as np

from benchmarks.harness.bench import say
from benchmarks.harness.connection import post
from benchmarks.harness.peer_rows import PeerRows
from benchmarks.harness.points import START
from benchmarks.harness.servers import Server, Tracking

PER_CALL = 1000
WIDTH = 20
PARAMS = [f"param_{number:02}" for number in range(WIDTH)]
METRICS = [f"metric_{number:02}" for number in range(WIDTH)]

_PARAM = ",".join(f'{{"key":"{key}","value":"%.4f"}}' for key in PARAMS)
_METRIC = ",".join(f'{{"key":"{key}","value":%r,"timestamp":{START},"step":10}}' for key in METRICS)
_RUN = (
    '{"experiment_id":"%s","run_id":"%s","run_name":"run-%s","user_id":"bench","status":"FINISHED",'
    f'"start_time":%d,"end_time":%d,"params":[{_PARAM}],"metrics":[{_METRIC}]}}'
)


def _chunk(number: int) -> tuple[list[str], list[list[float]], list[list[float]]]:
    """Ids, params and metrics of the runs of one import call; uniform between 0 and 1."""
    source = np.random.default_rng(number)
    ids = [uuid.UUID(bytes=source.bytes(16), version=4).hex for _ in range(PER_CALL)]
    params = source.random((PER_CALL, WIDTH)).tolist()
    return ids, params, source.random((PER_CALL, WIDTH)).tolist()


def import_bodies(experiment: str, chunks: range) -> Iterator[bytes]:
    """Bodies of headrace's public bulk call, ``runs/import``, of `PER_CALL` runs each."""
    for number in chunks:
        runs = []
        for n, (one, params, metrics) in enumerate(zip(*_chunk(number), strict=True)):
            start = START + number * PER_CALL + n
            runs.append(_RUN % (experiment, one, one[:8], start, start + 1000, *params, *metrics))
        yield f'{{"runs":[{",".join(runs)}]}}'.encode()


def import_runs(server: Server, experiment: str, chunks: range) -> float:
    """Import runs over HTTP, one call after the other; runs per second of the server's time."""
    waited = 0.0
    with server.connect() as connection:
        for number, body in zip(chunks, import_bodies(experiment, chunks), strict=True):
            result = connection.timed(post(server.port, "/api/headrace/v1/runs/import", body))[0]
            waited += result
            if (number + 1) % 100 == 0:
                say(f"{(number + 1) * PER_CALL:,} runs, last call {result:.3f} s")
    return len(chunks) * PER_CALL / waited


def fill_peer(rows: PeerRows, chunks: range) -> None:
    """Write the same runs as rows of MLflow's tables."""
    for number in chunks:
        ids, params, metrics = _chunk(number)
        rows.runs(ids, START + number * PER_CALL)
        rows.insert(
            "params",
            (
                (key, f"{value:.4f}", one)
                for one, of_run in zip(ids, params, strict=True)
                for key, value in zip(PARAMS, of_run, strict=True)
            ),
        )
        points: list[tuple[str, str, float]] = [
            (key, one, value)
            for one, of_run in zip(ids, metrics, strict=True)
            for key, value in zip(METRICS, of_run, strict=True)
        ]
        rows.insert("metrics", ((key, value, START, one, 10, False) for key, one, value in points))
        rows.insert(
            "latest_metrics", ((key, value, START, 10, False, one) for key, one, value in points)
        )
        if (number + 1) % 20 == 0:
            say(f"{(number + 1) * PER_CALL:,} runs in MLflow's tables")


def one_by_one(server: Server, experiment: str, seconds: float) -> float:
    """Runs per second through the stock calls, ``runs/create`` and then one ``log-batch`` with all."""
    ids, params, metrics = _chunk(0)
    begin = time.perf_counter()
    done = 0
    with server.connect() as connection:
        tracking = Tracking(connection)
        while time.perf_counter() - begin < seconds:
            body: dict[str, Any] = {"run_id": tracking.run(experiment)}
            body["params"] = [
                {"key": key, "value": f"{value:.4f}"}
                for key, value in zip(PARAMS, params[done % len(ids)], strict=True)
            ]
            body["metrics"] = [
                {"key": key, "value": value, "timestamp": START, "step": 10}
                for key, value in zip(METRICS, metrics[done % len(ids)], strict=True)
            ]
            connection.post("/api/2.0/mlflow/runs/log-batch", body)
            done += 1
    return done / (time.perf_counter() - begin)
