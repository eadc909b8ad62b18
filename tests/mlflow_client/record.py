"""Record what MLflow's own server answers to the scenarios.

    python -m venv mlflow-env && mlflow-env/bin/pip install mlflow==3.17.2
    .venv/bin/python tests/mlflow_client/record.py mlflow-env/bin/mlflow

Starts that MLflow's server on a fresh SQLite store, runs every scenario with the client installed
here, and writes reference.json beside this file.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import httpx

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))


def main(command: str) -> None:
    from support.mlflow_client import play

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        environment = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(
                [
                    str(Path(command).absolute()),
                    "server",
                    "--port",
                    str(port),
                    "--workers",
                    "1",
                    "--backend-store-uri",
                    f"sqlite:///{folder / 'mlflow.db'}",
                ],
                cwd=folder,
                stdout=log,
                stderr=log,
                env=environment,
                start_new_session=True,
            )
        url = f"http://127.0.0.1:{port}"
        try:
            for _ in range(600):
                try:
                    if httpx.get(f"{url}/health").status_code == 200:
                        break
                except httpx.TransportError:
                    time.sleep(0.5)
            version = httpx.get(f"{url}/version").text
            scenarios = play(url, folder)
        finally:
            os.killpg(process.pid, 15)
            process.wait()
    answer = {"mlflow": version, "scenarios": scenarios}
    (HERE / "reference.json").write_text(json.dumps(answer, indent=1, ensure_ascii=False) + "\n")
    print(sum(len(steps) for steps in scenarios.values()), "steps recorded from MLflow", version)


if __name__ == "__main__":
    main(sys.argv[1])
