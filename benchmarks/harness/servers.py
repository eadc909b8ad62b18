"""Both servers under test, and the ways in which each is started."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.harness.connection import Connection, get
from benchmarks.harness.load import free_port
from benchmarks.harness.peer import peer_url
from benchmarks.harness.processes import Tree, environment

HEADRACE = "headrace"
#: ``mlflow server`` as its documentation says: four workers and the job runner.
MLFLOW_DEFAULT = "mlflow, default"
#: One worker, job runner off: the least memory and the fastest start.
MLFLOW_BEST = "mlflow, best case"
MLFLOWS = (MLFLOW_DEFAULT, MLFLOW_BEST)


class Server(Tree):
    """A tracking server on a loopback port, answering ``/health``.

    Attributes:
        kind: `HEADRACE`, `MLFLOW_DEFAULT` or `MLFLOW_BEST`.
        ready_seconds: From the start of the process to the first good answer.
    """

    def __init__(
        self, kind: str, command: Sequence[str], port: int, folder: Path, env: dict[str, str]
    ) -> None:
        self.kind = kind
        self.port = port
        start = time.perf_counter()
        super().__init__(command, folder / f"server-{port}.log", env=env, cwd=folder)
        try:
            self._wait(300)
        except BaseException:
            self.stop()
            raise
        self.ready_seconds = time.perf_counter() - start

    def connect(self, timeout: float = 600) -> Connection:
        """A new connection to the server; an answer that takes longer is a `TimeoutError`."""
        return Connection(self.port, timeout)

    def _wait(self, limit: float) -> None:
        end = time.monotonic() + limit
        request = get(self.port, "/health")
        while time.monotonic() < end:
            self.check()
            try:
                with Connection(self.port, timeout=20) as connection:
                    if connection.exchange(request).status == 200:
                        return
            except OSError:
                pass  # not listening yet
            time.sleep(0.01)
        raise RuntimeError(f"{self.kind} was not ready in {limit} s; see {self.log}")

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def start(kind: str, python: Path, database: str, folder: Path) -> Server:
    """Start a server over a database; artifacts go to ``folder/artifacts``.

    Args:
        kind: `HEADRACE`, `MLFLOW_DEFAULT` or `MLFLOW_BEST`.
        python: Of the environment that the server is installed in.
        database: URL.
        folder: For logs and artifacts.
    """
    folder.mkdir(parents=True, exist_ok=True)
    port = free_port()
    artifacts = str(folder / "artifacts")
    env = environment()
    if kind == HEADRACE:
        command = [str(python.parent / "headrace"), "server", "--store", database]
        command += ["--artifacts", artifacts, "--port", str(port)]
    else:
        env |= {"MLFLOW_DISABLE_TELEMETRY": "true", "PATH": f"{python.parent}:{env['PATH']}"}
        command = [
            str(python.parent / "mlflow"),
            "server",
            "--backend-store-uri",
            peer_url(database),
        ]
        command += ["--artifacts-destination", artifacts, "--port", str(port)]
        if kind == MLFLOW_BEST:
            command += ["--workers", "1"]
            env["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] = "false"
    return Server(kind, command, port, folder, env)


class Tracking:
    """The few calls that benchmarks need to set a scene; the same for both servers."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection

    def experiment(self, name: str) -> str:
        """Make an experiment; its id."""
        answer = self.connection.post("/api/2.0/mlflow/experiments/create", {"name": name})
        return str(answer["experiment_id"])

    def run(self, experiment: str) -> str:
        """Make a run; its id."""
        answer = self.connection.post(
            "/api/2.0/mlflow/runs/create",
            {"experiment_id": experiment, "start_time": 1_700_000_000_000, "run_name": "bench"},
        )
        return str(answer["run"]["info"]["run_id"])
