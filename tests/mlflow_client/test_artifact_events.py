"""What a stock MLflow client stores through the proxy is told of, like what our own client stores directly."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import headrace
from headrace.client.remote import RemoteStore
from support.api import Api
from support.mlflow_client import ENVIRONMENT
from support.server import Server

_CLIENT = """
import sys, warnings, pathlib
warnings.simplefilter("ignore")
import mlflow
mlflow.set_tracking_uri(sys.argv[1])
folder = pathlib.Path("out/deep")
folder.mkdir(parents=True)
for number in range(3):
    (folder / f"{number}.txt").write_text("x" * number)
with mlflow.start_run() as run:
    mlflow.log_artifacts("out", "models")
    mlflow.log_text("text", "note.txt")
    mlflow.artifacts.download_artifacts(run_id=run.info.run_id)
    mlflow.MlflowClient().list_artifacts(run.info.run_id)
print(run.info.run_id)
"""


def told(api: Api, run_id: str, kind: str, count: int) -> dict[str, Any]:
    """Files by path that events of a kind name, once they name so many."""
    deadline = time.monotonic() + 60
    while True:
        page = api.list_events(subject=[f"run/{run_id}"], type=[f"run.artifacts.{kind}"])
        files = [file for one in page.events for file in one.data["artifacts"]]
        assert sum(one.data["count"] for one in page.events) == len(files)
        if len(files) >= count:
            found = {file["path"]: file.get("size") for file in files}
            assert len(found) == len(files) == count, "each file once"
            return found
        assert time.monotonic() < deadline, files
        time.sleep(0.02)


def test_what_goes_through_the_proxy_is_an_event(
    server: Callable[..., Server], database_url: str, tmp_path: Path
) -> None:
    running = server(database_url, "--artifacts", str(tmp_path / "artifacts"))
    done = subprocess.run(
        [sys.executable, "-c", _CLIENT, running.url],
        check=True,
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, **ENVIRONMENT},
        timeout=300,
    )
    run_id = done.stdout.splitlines()[-1]
    store = RemoteStore(running.url)
    api = Api(store)
    assert told(api, run_id, "logged", 4) == {
        "models/deep/0.txt": 0,
        "models/deep/1.txt": 1,
        "models/deep/2.txt": 2,
        "note.txt": 4,
    }
    place = f"api/2.0/mlflow-artifacts/artifacts/0/{run_id}/artifacts"
    assert store.http.delete(f"{place}/models").is_success
    assert told(api, run_id, "deleted", 1) == {"models": None}
    # What is no run's is nobody's to tell of.
    assert store.http.put(
        "api/2.0/mlflow-artifacts/artifacts/0/x/artifacts/y", content=b"z"
    ).is_success
    assert store.http.put(f"{place}/last", content=b"z").is_success
    told(api, run_id, "logged", 5)
    store.close()


def test_what_was_stored_just_before_the_server_ends_is_told_of(
    server: Callable[..., Server], tmp_path: Path
) -> None:
    running = server(tmp_path / "store")
    store = RemoteStore(running.url)
    run_id = Api(store).new_run("0")
    url = f"api/2.0/mlflow-artifacts/artifacts/0/{run_id}/artifacts/a"
    assert store.http.put(url, content=b"abc").is_success
    store.close()
    running.stop()
    again = RemoteStore(server(tmp_path / "store").url)
    assert told(Api(again), run_id, "logged", 1) == {"a": 3}
    again.close()


def test_our_client_tells_of_each_file_once_by_either_way(
    server: Callable[..., Server], tmp_path: Path
) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    for number in range(3):
        (folder / f"{number}.txt").write_text("x" * number)
    running = server(tmp_path / "store")
    remote = headrace.Client(running.url)
    direct = remote.create_experiment("direct", (tmp_path / "elsewhere").as_uri())
    for experiment in ("0", direct):
        run_id = remote.create_run(experiment).info.run_id
        remote.log_artifacts(run_id, folder)
        remote.log_artifact(run_id, folder / "2.txt", "more")
        remote.log_text(run_id, "four", "t.txt")
        assert told(Api(remote._store), run_id, "logged", 5) == {  # type: ignore[arg-type]
            "0.txt": 0,
            "1.txt": 1,
            "2.txt": 2,
            "more/2.txt": 2,
            "t.txt": 4,
        }
    remote.close()
