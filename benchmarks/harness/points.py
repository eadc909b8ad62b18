"""Metric points as requests that are made once and only numbered on the way out."""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np

from benchmarks.harness.connection import post

#: Replaced by the six-digit number of a request. No point may come twice: MLflow's tables refuse it,
#: and headrace would drop it.
_NUMBER = b"@@@@@@"
#: Different bodies per client; each has values of its own.
_BODIES = 4
START = 1_700_000_000_000


def log_batches(port: int, runs: Sequence[str], points: int, keys: int) -> _Numbered:
    """Requests to ``runs/log-batch`` as MLflow's client words them, one run per client.

    Args:
        port: Of the server.
        runs: A run id per client.
        points: Per request, spread evenly over the keys; consecutive steps.
        keys: Number of metric keys.
    """
    bodies = []
    for client, run in enumerate(runs):
        values = np.random.default_rng(client).standard_normal((_BODIES, points))
        bodies.append(
            [
                json.dumps(
                    {
                        "run_id": run,
                        "metrics": [
                            {
                                "key": f"metric_{point % keys}",
                                "value": value,
                                "timestamp": f"<17000@@@@@@{point // keys:02}>"
                                if points // keys <= 100
                                else f"<1700@@@@@@{point // keys:03}>",
                                "step": f"<1@@@@@@{point // keys:03}>",
                            }
                            for point, value in enumerate(row)
                        ],
                    }
                )
                .replace('"<', "")
                .replace('>"', "")
                .encode()
                for row in values.tolist()
            ]
        )
    return _Numbered(port, "/api/2.0/mlflow/runs/log-batch", bodies)


def log_metrics(port: int, runs: Sequence[str]) -> _Numbered:
    """Requests to ``runs/log-metric`` as MLflow's client words them, one run per client."""
    bodies = []
    for client, run in enumerate(runs):
        values = np.random.default_rng(client).standard_normal(_BODIES)
        bodies.append(
            [
                b'{"run_uuid": "%s", "run_id": "%s", "key": "loss", "value": %r, '
                b'"timestamp": 1700000@@@@@@, "step": 1@@@@@@}'
                % (run.encode(), run.encode(), value)
                for value in values.tolist()
            ]
        )
    return _Numbered(port, "/api/2.0/mlflow/runs/log-metric", bodies)


class _Numbered:
    def __init__(self, port: int, path: str, bodies: list[list[bytes]]) -> None:
        self._requests = [[post(port, path, body) for body in of_client] for of_client in bodies]

    def __call__(self, client: int, number: int) -> bytes:
        requests = self._requests[client]
        return requests[number % len(requests)].replace(_NUMBER, b"%06d" % number)
