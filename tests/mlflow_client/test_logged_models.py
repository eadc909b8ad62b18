"""A stock MLflow client logs models to our server, finds, changes and loads them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import headrace
from headrace.errors import NotFound
from headrace.models.download import download_model, locate_model
from support.mlflow_client import ENVIRONMENT
from support.server import Server

_CLIENT = r"""
import json, sys, warnings, pathlib
warnings.simplefilter("ignore")
import numpy as np
import mlflow
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from sklearn.linear_model import LinearRegression

mlflow.set_tracking_uri(sys.argv[1])
seen = {}

def refused(call):
    try:
        call()
    except MlflowException as error:
        return [error.error_code, error.message]
    return None

class Double(mlflow.pyfunc.PythonModel):
    def predict(self, context, model_input):
        return [2 * value for value in model_input]

x = np.arange(8.0).reshape(-1, 2)
model = LinearRegression().fit(x, x[:, 0])
experiment = mlflow.set_experiment("stock").experiment_id
with mlflow.start_run() as run:
    mlflow.log_params({f"p{n}": n for n in range(120)})  # the client sends 100 at a time
    mlflow.log_metric("before", 0.25)
    info = mlflow.sklearn.log_model(model, name="linear", pip_requirements=["scikit-learn"])
    mlflow.pyfunc.log_model(name="double", python_model=Double(), pip_requirements=["mlflow"])
    seen["last"] = mlflow.last_logged_model().name
    data = mlflow.data.from_numpy(x, name="eval")
    mlflow.log_metric("acc", 0.5, model_id=info.model_id, dataset=data)
    mlflow.log_metrics({"acc": 0.75}, step=2, model_id=info.model_id)
run_id = run.info.run_id
logged = mlflow.get_logged_model(info.model_id)
seen["linear"] = {
    "status": str(logged.status), "params": len(logged.params), "run": logged.source_run_id == run_id,
    "metrics": sorted((m.key, m.value, m.step, m.dataset_name) for m in logged.metrics),
    "user": "mlflow.user" in logged.tags,
}
seen["outputs"] = [o.model_id for o in mlflow.get_run(run_id).outputs.model_outputs].count(info.model_id)
for uri in (info.model_uri, f"runs:/{run_id}/linear", logged.artifact_location):
    loaded = mlflow.pyfunc.load_model(uri)
    seen.setdefault("predicted", []).append([round(float(v), 6) for v in loaded.predict(x)])
seen["native"] = type(mlflow.sklearn.load_model(info.model_uri)).__name__
seen["double"] = mlflow.pyfunc.load_model(f"runs:/{run_id}/double").predict([1, 2])
client = MlflowClient()
seen["files"] = sorted(f.path for f in client.list_logged_model_artifacts(info.model_id))
seen["listed"] = sorted(f.path for f in mlflow.artifacts.list_artifacts(f"runs:/{run_id}/linear"))

external = mlflow.create_external_model(name="away", model_type="agent", params={"a": "b"}, tags={"t": "u"})
seen["external"] = [str(external.status), external.model_type, external.params, external.tags["t"]]
waiting = mlflow.initialize_logged_model(name="waiting")
seen["waiting"] = [str(waiting.status), mlflow.last_logged_model().model_id == waiting.model_id]
client.log_model_artifact(waiting.model_id, __file__)
seen["failed"] = str(mlflow.finalize_logged_model(waiting.model_id, "FAILED").status)
mlflow.set_logged_model_tags(waiting.model_id, {"a": "1", "b": 2})
mlflow.delete_logged_model_tag(waiting.model_id, "a")
mlflow.log_model_params({"depth": "3"}, waiting.model_id)
waiting = mlflow.get_logged_model(waiting.model_id)
seen["changed"] = [waiting.tags.get("a"), waiting.tags["b"], waiting.params]

def names(**query):
    return [m.name for m in mlflow.search_logged_models(output_format="list", **query)]

seen["search"] = {
    "all": names(),
    "limit": names(max_results=1),
    "filter": names(filter_string="metrics.acc > 0.6 AND params.p3 = '3'"),
    "status": names(filter_string="status = 3"),
    "order": names(order_by=[{"field_name": "metrics.acc", "ascending": False}, {"field_name": "name"}]),
    "dataset": names(filter_string="metrics.acc > 0.6", datasets=[{"dataset_name": "eval"}]),
    "frame": list(mlflow.search_logged_models(filter_string="name = 'away'")["model_type"]),
}
with mlflow.set_active_model(name="away") as active:
    seen["active"] = active.model_id == external.model_id
    with mlflow.start_run():
        mlflow.log_metric("m", 1)
    seen["about"] = [m.key for m in mlflow.get_logged_model(external.model_id).metrics]
seen["inactive"] = mlflow.get_active_model_id()
client.delete_logged_model(waiting.model_id)
seen["left"] = names()
seen["errors"] = {
    "deleted": refused(lambda: mlflow.get_logged_model(waiting.model_id)),
    "name": refused(lambda: mlflow.initialize_logged_model(name="a/b")),
    "tag": refused(lambda: mlflow.delete_logged_model_tag(external.model_id, "none")),
    "tags": refused(lambda: mlflow.set_logged_model_tags("m-none", {"a": "b"})),
    "params": refused(lambda: mlflow.log_model_params({"a": "c"}, external.model_id)),
    "filter": refused(lambda: names(filter_string="params.x > 'a'")),
    "order": refused(lambda: names(order_by=[{"field_name": "params.x"}])),
    "token": refused(lambda: client.search_logged_models([experiment], page_token="x")),
    "datasets": refused(lambda: names(datasets=[{"dataset_name": ""}])),
}
seen["ids"] = {"run": run_id, "linear": info.model_id, "waiting": waiting.model_id}
pathlib.Path(sys.argv[2]).write_text(json.dumps(seen))
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("logged")
    running = Server(folder / "store", folder / "server.log")
    yield running
    running.stop()


@pytest.fixture(scope="module")
def seen(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What the client saw."""
    folder = tmp_path_factory.mktemp("client")
    script, answer = folder / "script.py", folder / "answer.json"
    script.write_text(_CLIENT)
    done = subprocess.run(
        [sys.executable, str(script), server.url, str(answer)],
        capture_output=True,
        text=True,
        cwd=folder,
        env={**os.environ, **ENVIRONMENT},
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(answer.read_text())


def test_a_model_is_logged_whole(seen: Any) -> None:
    assert seen["linear"] == {
        "status": "READY",
        "params": 120,
        "run": True,
        "metrics": [["acc", 0.5, 0, "eval"], ["acc", 0.75, 2, None], ["before", 0.25, 0, None]],
        "user": True,
    }
    assert seen["outputs"] == 1
    assert seen["last"] == "double"
    assert {"MLmodel", "requirements.txt"} <= set(seen["files"])
    assert {"linear/MLmodel", "linear/requirements.txt"} <= set(seen["listed"])


def test_a_model_is_loaded_by_each_of_its_addresses(seen: Any) -> None:
    assert seen["predicted"] == [[0, 2, 4, 6]] * 3
    assert seen["native"] == "LinearRegression"
    assert seen["double"] == [2, 4]


def test_models_are_made_without_flavors(seen: Any) -> None:
    assert seen["external"] == ["READY", "agent", {"a": "b"}, "u"]
    assert seen["waiting"] == ["PENDING", True]
    assert seen["failed"] == "FAILED"
    assert seen["changed"] == [None, "2", {"depth": "3"}]


def test_models_are_found(seen: Any) -> None:
    everything = ["waiting", "away", "double", "linear"]
    assert seen["search"] == {
        "all": everything,
        "limit": everything[:1],
        "filter": ["linear"],
        "status": ["waiting"],
        "order": ["linear", "away", "double", "waiting"],
        "dataset": [],
        "frame": ["agent"],
    }
    assert seen["left"] == everything[1:]


def test_the_active_model_gets_metrics(seen: Any) -> None:
    assert (seen["active"], seen["about"], seen["inactive"]) == (True, ["m"], None)


def test_refusals_have_mlflows_codes(seen: Any) -> None:
    errors = seen["errors"]
    assert {what: error and error[0] for what, error in errors.items()} == {
        "deleted": "RESOURCE_DOES_NOT_EXIST",
        "name": "INVALID_PARAMETER_VALUE",
        "tag": "RESOURCE_DOES_NOT_EXIST",
        "tags": "INVALID_PARAMETER_VALUE",
        "params": "INVALID_PARAMETER_VALUE",
        "filter": "INVALID_PARAMETER_VALUE",
        "order": "INVALID_PARAMETER_VALUE",
        "token": "INVALID_PARAMETER_VALUE",
        "datasets": "INVALID_PARAMETER_VALUE",
    }
    assert "not found" in errors["deleted"][1]
    assert "Invalid model name ('a/b')" in errors["name"][1]


def test_our_client_gets_what_the_stock_client_logged(
    seen: Any, server: Server, tmp_path: Path
) -> None:
    ids = seen["ids"]
    with headrace.Client(server.url) as client:
        for number, uri in enumerate((f"models:/{ids['linear']}", f"runs:/{ids['run']}/linear")):
            folder = download_model(uri, client=client, dst_path=tmp_path / str(number))
            assert (folder / "MLmodel").read_text().count(ids["linear"])
            assert locate_model(uri, client=client).run_id == ids["run"]
        assert client.get_logged_model(ids["waiting"], allow_deleted=True).status == "FAILED"
        with pytest.raises(NotFound):
            client.get_logged_model(ids["waiting"])


def test_browsers_get_files_of_models(seen: Any, server: Server) -> None:
    with headrace.Client(server.url) as client:
        http = client._store.http  # type: ignore[attr-defined]
        base = f"ajax-api/2.0/mlflow/logged-models/{seen['ids']['linear']}/artifacts"
        listed = http.get(f"{base}/directories").json()
        assert listed["root_uri"].endswith(f"/models/{seen['ids']['linear']}/artifacts")
        assert "MLmodel" in {file["path"] for file in listed["files"]}
        got = http.get(f"{base}/files", params={"artifact_file_path": "MLmodel"})
        assert got.text.startswith("artifact_path")
        assert http.get(f"{base}/files").status_code == 400
        assert (
            http.get(f"{base}/files", params={"artifact_file_path": "../x"}).json()["error_code"]
            == "INVALID_PARAMETER_VALUE"
        )
