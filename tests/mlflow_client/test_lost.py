"""A stock MLflow client, which knows no lost runs, sees them as running."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import sqlalchemy as sa

from headrace.client.remote import RemoteStore
from headrace.engine import Engine, schema
from headrace.engine.database import parse_url
from support.api import Api
from support.journal import Journal
from support.mlflow_client import ENVIRONMENT
from support.server import Server

_CLIENT = """
import json, sys, warnings
warnings.simplefilter("ignore")
import mlflow
mlflow.set_tracking_uri(sys.argv[1])
client = mlflow.MlflowClient()
run = client.get_run(sys.argv[2])
found = client.search_runs([run.info.experiment_id])
said = [run.info.status, [one.info.status for one in found]]
with mlflow.start_run(run_id=sys.argv[2]):
    pass
said.append(client.get_run(sys.argv[2]).info.status)
print(json.dumps(said))
"""


def test_a_lost_run_is_running_and_can_be_taken_up(
    server: Callable[..., Server], database_url: str, tmp_path: Path
) -> None:
    running = server(database_url, "--artifacts", str(tmp_path / "artifacts"))
    store = RemoteStore(running.url)
    api = Api(store)
    run_id = api.new_run()
    Journal(store).say_alive(run_id)
    engine = sa.create_engine(parse_url(database_url), poolclass=sa.NullPool)
    with engine.begin() as connection:
        connection.execute(sa.update(schema.heartbeat).values(seen_time=1_700_000_000_000))
    Engine(database_url, artifact_root="file:///nowhere", compact=False).close()
    assert api.run(run_id).info.lost
    done = subprocess.run(
        [sys.executable, "-c", _CLIENT, running.url, run_id],
        check=True,
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, **ENVIRONMENT},
        timeout=300,
    )
    assert json.loads(done.stdout.splitlines()[-1]) == ["RUNNING", ["RUNNING"], "FINISHED"]
    info = api.run(run_id).info
    assert (info.lost, info.seen_time) == (False, None)
    store.close()
