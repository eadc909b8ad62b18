"""A running server, spoken to in plain HTTP."""

from __future__ import annotations

import itertools
import json
from typing import Any

import httpx

from support.server import Server

_numbers = itertools.count(1)


class Front:
    """A running server, seen through plain HTTP."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.http = httpx.Client(base_url=server.url, trust_env=False, timeout=60)

    def post(self, path: str, **fields: Any) -> httpx.Response:
        """POST a JSON body to an MLflow operation."""
        return self.http.post(f"/api/2.0/mlflow/{path}", json=fields)

    def new_run(self) -> str:
        """The id of a run in an experiment of its own name."""
        answer = self.post("experiments/create", name=f"experiment {next(_numbers)}")
        experiment_id = answer.json()["experiment_id"]
        return str(
            self.post("runs/create", experiment_id=experiment_id).json()["run"]["info"]["run_id"]
        )

    def log_lines(self) -> list[dict[str, Any]]:
        """The JSON lines that the server has logged so far."""
        lines = self.server.output().splitlines()
        return [json.loads(line) for line in lines if line.startswith("{")]
