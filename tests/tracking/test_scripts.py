"""Scripts as MLflow's tutorials have them, with nothing changed but the import."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path

import headrace

QUICKSTART = """
import os
import tempfile
from random import random, randint

import headrace as mlflow

mlflow.set_experiment("quickstart")

if __name__ == "__main__":
    mlflow.log_param("config_value", randint(0, 100))
    mlflow.log_params({"param1": randint(0, 100), "param2": randint(0, 100)})
    mlflow.log_metric("accuracy", random() / 2.0)
    mlflow.log_metric("accuracy", random() + 0.1)
    mlflow.log_metrics({"f1": 0.5, "recall": 0.25}, step=2)
    with tempfile.TemporaryDirectory() as outputs:
        with open(os.path.join(outputs, "test.txt"), "w") as f:
            f.write("hello world!")
        mlflow.log_artifacts(outputs, artifact_path="states")
    mlflow.end_run()
"""

SWEEP = """
import numpy as np

import headrace as mlflow
from headrace import MlflowClient
from headrace.entities import ViewType

mlflow.set_experiment("sweep")

rng = np.random.default_rng(0)
features = rng.normal(size=(200, 3))
target = features @ np.array([1.0, -2.0, 0.5]) + rng.normal(scale=0.1, size=200)

with mlflow.start_run(run_name="ridge sweep") as parent:
    dataset = mlflow.data.from_numpy(features, targets=target)
    mlflow.log_input(dataset, context="training")
    for alpha in [0.0, 10.0, 1000.0]:
        with mlflow.start_run(nested=True, tags={"kind": "ridge"}):
            mlflow.log_param("alpha", alpha)
            weights = np.linalg.solve(
                features.T @ features + alpha * np.eye(3), features.T @ target
            )
            rmse = np.sqrt(np.mean((features @ weights - target) ** 2))
            mlflow.log_metric("rmse", rmse)
            mlflow.log_dict({"weights": weights.tolist()}, "model.json")

client = MlflowClient()
experiment = client.get_experiment_by_name("sweep")
best = client.search_runs(
    experiment_ids=[experiment.experiment_id],
    filter_string="params.alpha != '7' and tags.kind = 'ridge'",
    run_view_type=ViewType.ACTIVE_ONLY,
    max_results=1,
    order_by=["metrics.rmse ASC"],
)[0]
print("alpha", best.data.params["alpha"])
print("weights", len(mlflow.artifacts.load_dict(f"runs:/{best.info.run_id}/model.json")["weights"]))
print("children", len(mlflow.search_runs(filter_string=f"tags.`mlflow.parentRunId` = '{parent.info.run_id}'")))
print("last", mlflow.last_active_run().info.run_name is not None)
"""

CLIENT = """
import time

import headrace as mlflow
from headrace.entities import Metric, Param, RunTag

client = mlflow.MlflowClient()
try:
    experiment_id = client.create_experiment("Social NLP Experiments", tags={"version": "v1"})
except mlflow.MlflowException as error:
    print("taken", error.error_code)
client.set_experiment_tag(experiment_id, "nlp.framework", "Spark NLP")
run = client.create_run(experiment_id)
timestamp = int(time.time() * 1000)
metrics = [Metric(key="m", value=float(step), timestamp=timestamp, step=step) for step in range(3)]
client.log_batch(run.info.run_id, metrics=metrics, params=[Param("p", "p")], tags=[RunTag("t", "t")])
client.log_text(run.info.run_id, "text1", "file1.txt")
client.set_terminated(run.info.run_id, "KILLED")
run = client.get_run(run.info.run_id)
print(run.data.metrics, run.data.params, run.data.tags["t"], run.info.status)
print([f.path for f in client.list_artifacts(run.info.run_id)])
print([(m.step, m.value) for m in client.get_metric_history(run.info.run_id, "m")])
with mlflow.start_run(run_id=run.info.run_id):
    print(mlflow.active_run().info.run_id == run.info.run_id)
"""


def run(script: str, folder: Path, uri: str) -> str:
    file = folder / "train.py"
    file.write_text(script)
    done = subprocess.run(
        [sys.executable, "-W", "error", str(file)],
        cwd=folder,
        env={"PATH": "/usr/bin:/bin", "MLFLOW_TRACKING_URI": uri, "HOME": str(folder)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout


def test_the_quickstart(tracking_uri: str, tmp_path: Path) -> None:
    run(QUICKSTART, tmp_path, tracking_uri)
    headrace.set_tracking_uri(tracking_uri)
    headrace.set_experiment("quickstart")
    [found] = headrace.search_runs(output_format="list")
    assert set(found.data.params) == {"config_value", "param1", "param2"}
    assert set(found.data.metrics) == {"accuracy", "f1", "recall"}
    assert found.info.status == "FINISHED"
    assert found.data.tags["mlflow.source.name"] == str(tmp_path / "train.py")
    text = headrace.artifacts.load_text(f"runs:/{found.info.run_id}/states/test.txt")
    assert text == "hello world!"


def test_a_sweep_with_nested_runs(tracking_uri: str, tmp_path: Path) -> None:
    importlib.import_module("pandas")
    output = run(SWEEP, tmp_path, tracking_uri)
    assert output.split("\n")[:4] == ["alpha 0.0", "weights 3", "children 3", "last True"]


def test_the_client_tutorial(tracking_uri: str, tmp_path: Path) -> None:
    output = run(CLIENT, tmp_path, tracking_uri)
    assert output.split("\n")[:4] == [
        "{'m': 2.0} {'p': 'p'} t KILLED",
        "['file1.txt']",
        "[(0, 0.0), (1, 1.0), (2, 2.0)]",
        "True",
    ]
