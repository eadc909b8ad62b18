"""Names that people bring along from MLflow are there, or say what to do instead."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from sklearn.linear_model import LinearRegression

import headrace as mlflow
from headrace.errors import InvalidParameter, NotFound


@pytest.fixture(autouse=True)
def _own_record(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "state"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    mlflow.sklearn.save_model(LinearRegression().fit([[0.0], [1.0]], [0, 1]), tmp_path / "m")
    return tmp_path / "m"


def test_the_types_of_signatures_are_where_mlflow_has_them(folder: Path) -> None:
    from headrace.models.signature import infer_signature
    from headrace.types import ColSpec, Schema
    from headrace.types.schema import DataType

    assert infer_signature is mlflow.models.infer_signature
    signature = mlflow.models.ModelSignature(Schema([ColSpec(DataType.double, "x")]))
    mlflow.models.set_signature(folder, signature)
    assert mlflow.models.Model.load(folder).get_input_schema() == signature.inputs
    # It still is what this user saved here, so it opens without a word.
    loaded = mlflow.pyfunc.load_model(folder)
    with pytest.raises(InvalidParameter, match="'x'"):
        loaded.predict({"y": [1.0]})


def test_the_signature_of_what_was_logged_stays(tracking_uri: str, folder: Path) -> None:
    mlflow.set_tracking_uri(tracking_uri)
    model = mlflow.models.load_model(folder, as_="native")
    with mlflow.start_run():
        info = mlflow.sklearn.log_model(model, name="line", registered_model_name="lines")
    signature = mlflow.models.infer_signature(np.zeros((2, 1)))
    for uri in (info.model_uri, "models:/lines/1"):
        with pytest.raises(InvalidParameter, match="headrace models download"):
            mlflow.models.set_signature(uri, signature)
    found = mlflow.models.get_model_info("models:/lines/1")
    assert found.model_id == info.model_id
    assert found.name == "line"
    assert found.run_id == info.run_id
    assert found.digest == info.digest
    assert found.registered_model_version == 1
    for _ in range(2):
        assert mlflow.models.scan_model("models:/lines/1").verdict == "safe"


def test_an_alias_that_is_not_there_is_not_found(tracking_uri: str) -> None:
    mlflow.set_tracking_uri(tracking_uri)
    mlflow.Client().create_registered_model("lines")
    with pytest.raises(NotFound, match="no alias 'champion'"):
        mlflow.pyfunc.load_model("models:/lines@champion")


def test_the_registry_is_in_the_tracking_store() -> None:
    mlflow.set_tracking_uri("here")
    mlflow.set_registry_uri("here")
    assert mlflow.get_registry_uri() == mlflow.get_tracking_uri()
    with pytest.raises(InvalidParameter, match="set_tracking_uri"):
        mlflow.set_registry_uri("elsewhere")


@pytest.mark.parametrize(
    ("module", "name", "says"),
    [
        ("", "autolog", "log_model"),
        ("sklearn", "autolog", "log_model"),
        ("", "spark", "PythonModel"),
        ("", "genai", "GenAI"),
        ("models", "build_docker", "mlflow models serve"),
        ("models", "validate_serving_input", "load_model"),
        ("models", "add_libraries_to_model", "lock_with_hashes"),
        ("models", "MetricThreshold", "headrace.Threshold"),
        ("pyfunc", "spark_udf", "MLflow"),
    ],
)
def test_a_name_that_is_not_here_says_what_is(module: str, name: str, says: str) -> None:
    where = getattr(mlflow, module) if module else mlflow
    assert not hasattr(where, name)
    with pytest.raises(AttributeError, match=says):
        getattr(where, name)
