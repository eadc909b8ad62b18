"""Models through the fluent API: logged, registered, loaded, and what happens when something is wrong."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import LinearRegression, LogisticRegression

import headrace
import headrace.pyfunc
import headrace.sklearn
from headrace.errors import (
    GuardRefused,
    InvalidParameter,
    NotFound,
    PolicyViolation,
    Unavailable,
)
from headrace.models import infer_signature, load_model, register_model
from support.server import Server

X = np.array([[0.0, 1.0], [1.0, 0.0], [2.0, 2.0], [3.0, 1.0]])
Y = np.array([0, 0, 1, 1])


@pytest.fixture
def model() -> LogisticRegression:
    return LogisticRegression().fit(X, Y)


@pytest.fixture
def client(tracking_uri: str) -> headrace.Client:
    headrace.set_tracking_uri(tracking_uri)
    return headrace.Client(tracking_uri)


def test_a_model_is_logged_to_the_run_and_comes_back_the_same(
    client: headrace.Client, model: LogisticRegression
) -> None:
    with headrace.start_run() as run:
        headrace.log_params({"C": 1.0})
        info = headrace.log_model(
            model, "classifier", signature=infer_signature(X, model.predict(X)), tags={"team": "a"}
        )
    logged = client.get_logged_model(info.model_id)
    assert info.model_uri == f"models:/{logged.model_id}"
    assert (logged.name, logged.status, logged.source_run_id) == (
        "classifier",
        "READY",
        run.info.run_id,
    )
    assert (logged.params["C"], logged.tags["team"]) == ("1.0", "a")
    assert logged.digest == info.digest
    outputs = client.get_run(run.info.run_id).outputs
    assert [one.model_id for one in outputs.model_outputs] == [logged.model_id]
    for uri in (info.model_uri, f"runs:/{run.info.run_id}/classifier"):
        assert load_model(uri).predict(X).tolist() == model.predict(X).tolist()
        native = load_model(uri, as_="native")
        assert isinstance(native, LogisticRegression)
        assert np.allclose(native.predict_proba(X), model.predict_proba(X))


def test_a_registered_model_is_found_by_each_of_its_names(
    client: headrace.Client, model: LogisticRegression
) -> None:
    with headrace.start_run():
        first = headrace.sklearn.log_model(model, name="m", registered_model_name="iris")
        second = headrace.sklearn.log_model(sk_model=model, name="m")
    assert first.registered_model_version == 1
    version = register_model(second.model_uri, "iris", tags={"by": "hand"})
    assert (version.version, version.model_id, version.digest) == (
        "2",
        second.model_id,
        second.digest,
    )
    client.set_registered_model_alias("iris", "champion", "2")
    client.transition_model_version_stage("iris", "1", "Production")
    for uri in ("models:/iris/1", "models:/iris@champion", "models:/iris/Production", "models:/iris/latest"):  # fmt: skip
        assert headrace.pyfunc.load_model(uri).predict(X).tolist() == [0, 0, 1, 1]
    with pytest.raises(NotFound, match="challenger"):
        load_model("models:/iris@challenger")


def test_without_a_run_the_model_belongs_to_the_experiment(
    client: headrace.Client, model: LogisticRegression
) -> None:
    headrace.set_experiment("alone")
    info = headrace.log_model(model)
    logged = client.get_logged_model(info.model_id)
    assert (logged.name, logged.source_run_id) == ("model", None)
    assert client.get_experiment(logged.experiment_id).name == "alone"


def test_what_changed_after_it_was_registered_is_not_opened(
    tmp_path: Path, model: LogisticRegression
) -> None:
    headrace.set_tracking_uri(tmp_path / "store")
    info = headrace.log_model(model, registered_model_name="iris")
    folder = Path(info.artifact_path.removeprefix("file://"))
    with (folder / "model.skops").open("r+b") as file:
        file.seek(100)
        file.write(b"\0\1\2\3")
    for uri in (info.model_uri, "models:/iris/1"):
        with pytest.raises(PolicyViolation, match=r"model\.skops|changed"):
            load_model(uri)


def test_a_guarded_alias_moves_only_to_what_was_checked(
    client: headrace.Client, model: LogisticRegression
) -> None:
    with headrace.start_run():
        headrace.log_model(model, registered_model_name="iris")
    client.set_guard("iris", "champion", checks=["accuracy_score"])
    with pytest.raises(GuardRefused, match="accuracy_score"):
        client.set_registered_model_alias("iris", "champion", "1")
    client.set_model_version_tag("iris", "1", "headrace.check.accuracy_score", "passed")
    client.set_registered_model_alias("iris", "champion", "1")
    (move,) = client.alias_history("iris", "champion")
    assert (move.before, move.after) == (None, "1")


def test_a_model_that_cannot_be_saved_is_noted_as_failed(client: headrace.Client) -> None:
    with headrace.start_run() as run, pytest.raises(InvalidParameter, match="flavor"):
        headrace.log_model(object(), "m")
    (logged,) = client.search_logged_models([run.info.experiment_id])
    assert logged.status == "FAILED"
    with pytest.raises(InvalidParameter, match="sk_model"):
        headrace.sklearn.log_model(name="m")


def test_while_the_store_is_away_the_model_waits_as_files_of_the_run(
    server: Callable[..., Server], model: LogisticRegression, caplog: pytest.LogCaptureFixture
) -> None:
    running = server()
    port = running.url.rpartition(":")[2]
    headrace.set_tracking_uri(running.url)
    with headrace.start_run() as run:
        headrace.log_metric("a", 1)
        headrace.flush()
        running.kill()
        info = headrace.log_model(model, "m", registered_model_name="iris")
        assert info.model_uri == f"runs:/{run.info.run_id}/m"
        assert "register it then" in caplog.text
        server(None, "--port", port)
    assert headrace.flush(60)
    assert load_model(info.model_uri).predict(X).tolist() == [0, 0, 1, 1]
    with pytest.raises(Unavailable):
        server_gone(model)


def server_gone(model: Any) -> None:
    """Without a run there is nowhere to keep it."""
    headrace.set_tracking_uri("http://127.0.0.1:9")
    headrace.log_model(model)


@pytest.mark.parametrize("name", ["sklearn", "pytorch", "onnx", "xgboost", "lightgbm", "keras", "transformers", "pyfunc"])  # fmt: skip
def test_every_flavor_has_mlflows_module(name: str) -> None:
    face = getattr(headrace, name)
    assert all(callable(getattr(face, f"{verb}_model")) for verb in ("save", "log", "load"))


def test_importing_the_faces_imports_no_library(tmp_path: Path) -> None:
    import subprocess
    import sys

    code = (
        "import sys, headrace.sklearn, headrace.pytorch, headrace.keras, headrace.pyfunc; "
        "print([name for name in ('sklearn', 'torch', 'keras', 'pandas', 'sqlalchemy') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env={**os.environ}
    )
    assert done.stdout.strip() == "[]"


def test_a_function_and_a_class_are_models_too(tmp_path: Path) -> None:
    headrace.set_tracking_uri(tmp_path / "store")
    fitted = LinearRegression().fit(X, Y)

    class Wrapper(headrace.pyfunc.PythonModel):
        def predict(self, context: Any, model_input: Any, params: Any = None) -> Any:
            return fitted.predict(model_input) + 1

    info = headrace.pyfunc.log_model(python_model=Wrapper(), name="wrapper")
    assert np.allclose(load_model(info.model_uri).predict(X), fitted.predict(X) + 1)
    info = headrace.pyfunc.log_model(python_model=lambda model_input: [0] * len(model_input))
    assert list(load_model(info.model_uri).predict(X)) == [0, 0, 0, 0]
