"""`headrace.evaluate` logs what it found, and nothing of what it could not."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import LinearRegression, LogisticRegression

import headrace
from headrace import Threshold
from headrace.errors import GuardRefused, HeadraceError, InvalidParameter, Unsupported

pd = importlib.import_module("pandas")

FRAME = pd.DataFrame({"x": np.arange(8.0), "kind": [*"aabbaabb"], "y": [0, 0, 0, 1, 0, 1, 1, 1]})


def model(frame: Any) -> Any:
    return (frame["x"] > 3).astype(int)


def test_a_run_has_metrics_plots_tables_data_and_model(tracking_uri: str) -> None:
    headrace.set_tracking_uri(tracking_uri)
    with headrace.start_run() as run:
        result = headrace.evaluate(
            model,
            headrace.data.from_pandas(FRAME, name="held out", targets="y"),
            kind="classification",
            slices=["kind"],
            thresholds={"accuracy_score": Threshold(min=0.9)},
            model_id="m-0123456789abcdef0123456789abcdef",
            prefix="val_",
        )
        assert headrace.active_run() is run
    assert result.run_id == run.info.run_id
    assert not result.passed
    found = headrace.get_run(run.info.run_id)
    assert found.data.metrics["val_accuracy_score"] == result.metrics["accuracy_score"] == 0.75
    (used,) = found.inputs.dataset_inputs
    assert used.dataset.name == "held out"
    assert {tag.key: tag.value for tag in used.tags} == {"mlflow.data.context": "evaluation"}
    (read,) = found.inputs.model_inputs
    assert read.model_id == "m-0123456789abcdef0123456789abcdef"
    client = headrace.Client()
    files = {file.path for file in client.list_artifacts(run.info.run_id, "evaluation/val")}
    assert files >= {
        f"evaluation/val/{name}"
        for name in ("evaluation.json", "slices.csv", "checks.csv", "confusion_matrix.png")
    }
    path = client.download_artifacts(run.info.run_id, "evaluation/val/evaluation.json")
    assert json.loads(Path(path).read_text())["run_id"] == run.info.run_id
    assert headrace.Evaluation.load(path).checks == result.checks
    uri = result.artifacts["confusion_matrix.png"].uri
    assert uri is not None
    assert uri.endswith("/evaluation/val/confusion_matrix.png")


def test_without_a_run_one_is_made_and_ended(tmp_path: Path) -> None:
    FRAME.to_csv(tmp_path / "held-out.csv", index=False)
    result = headrace.evaluate(
        model, tmp_path / "held-out.csv", "y", model_type="classifier", plots=False
    )
    assert headrace.active_run() is None
    run = headrace.get_run(result.run_id or "")
    assert (run.info.status, run.info.run_name) == ("FINISHED", "evaluation")
    (used,) = run.inputs.dataset_inputs
    assert used.dataset.name == "held-out"
    assert json.loads(used.dataset.source) == {"uri": str(tmp_path / "held-out.csv")}
    files = headrace.Client().list_artifacts(result.run_id or "", "evaluation")
    assert not [file.path for file in files if file.path.endswith(".png")]
    again = headrace.evaluate(np.array([1.0, 2]), None, np.array([1.5, 2]), plots=False)
    assert headrace.get_run(again.run_id or "").inputs.dataset_inputs == ()


def test_what_raises_has_logged_nothing() -> None:
    def broken(frame: Any) -> Any:
        raise ValueError("no")

    bad: list[dict[str, Any]] = [
        {"model": broken},
        {"targets": "z"},
        {"thresholds": {"acuracy": Threshold(min=1)}},
        {"slices": ["planet"]},
        {"prefix": "a=b"},
        {"kind": "clustering"},
        {"model_type": "classifier"},
        {"evaluators": "shap"},
        {"baseline": broken},
    ]
    with headrace.start_run() as run:
        for given in bad:
            arguments: dict[str, Any] = {"model": model, "data": FRAME, "targets": "y"}
            with pytest.raises(HeadraceError):
                headrace.evaluate(**{**arguments, "kind": "classification", **given})
    found = headrace.get_run(run.info.run_id)
    assert found.data.metrics == {}
    assert found.inputs.dataset_inputs == ()
    assert headrace.Client().list_artifacts(run.info.run_id) == []
    experiment = run.info.experiment_id
    for given in bad:
        with pytest.raises(HeadraceError):
            headrace.evaluate(
                **{"model": model, "data": FRAME, "targets": "y", "kind": "classification", **given}
            )
    assert len(headrace.Client().search_runs([experiment])) == 1


def test_it_only_computes_when_asked() -> None:
    result = headrace.evaluate(model, FRAME, "y", kind="classification", log=False)
    assert result.run_id is None
    assert result.metrics["accuracy_score"] == 0.75
    assert not Path(".headrace").exists()


def test_the_names_of_mlflow_say_the_same() -> None:
    def first(values: Any) -> Any:
        return (values["x"] > 3).astype(int)

    result = headrace.evaluate(
        first,
        FRAME[["x"]].to_numpy(),
        targets=FRAME["y"],
        model_type="classifier",
        feature_names=["x"],
        evaluators="default",
        evaluator_config={"pos_label": 0, "metric_prefix": "test_", "explainability_nsamples": 5},
        extra_metrics=[headrace.make_metric(eval_fn=lambda predictions, targets: 7, name="seven")],
        plots=False,
    )
    metrics = headrace.get_run(result.run_id or "").data.metrics
    assert metrics["test_seven"] == 7
    assert metrics["test_true_positives"] == 3
    with pytest.raises(InvalidParameter, match="kind or model_type, not both"):
        headrace.evaluate(model, FRAME, "y", kind="regression", model_type="regressor")
    with pytest.raises(Unsupported, match="'default' only"):
        headrace.evaluate(model, FRAME, "y", evaluators=["shap"])
    with pytest.raises(InvalidParameter, match="2 feature_names for 3 columns"):
        headrace.evaluate(model, FRAME, "y", kind="regression", feature_names=["x", "y"])


def test_a_registered_version_gets_its_checks_which_guards_read(tracking_uri: str) -> None:
    headrace.set_tracking_uri(tracking_uri)
    client = headrace.Client(tracking_uri)
    with headrace.start_run():
        headrace.log_model(
            LogisticRegression(C=1e6).fit(FRAME[["x"]], FRAME["y"]),
            "steps",
            registered_model_name="steps",
        )
    client.set_registered_model_alias("steps", "candidate", "1")
    client.set_guard("steps", "champion", ["accuracy_score", "slice:kind_a/f1_score"])

    def evaluated(least: float, uri: str, **given: Any) -> headrace.Evaluation:
        return headrace.evaluate(
            uri,
            FRAME,
            "y",
            kind="classification",
            slices=["kind"],
            thresholds={"accuracy_score": least, "slice:kind=a/f1_score": 0.1},
            plots=False,
            **given,
        )

    def tags() -> dict[str, str]:
        version = client.get_model_version("steps", "1")
        return {key: word for key, word in version.tags.items() if key.startswith("headrace.")}

    failed = evaluated(0.99, "models:/steps@candidate")
    assert not failed.passed
    assert "roc_auc" in failed.metrics  # the model inside was asked for probabilities
    assert tags() == {
        "headrace.check.accuracy_score": "failed",
        "headrace.check.slice:kind_a/f1_score": "passed",
        "headrace.evaluation.run_id": failed.run_id,
    }
    with pytest.raises(GuardRefused):
        client.set_registered_model_alias("steps", "champion", "1")
    run = headrace.get_run(failed.run_id or "")
    (read,) = run.inputs.model_inputs
    assert read.model_id == client.get_model_version("steps", "1").model_id

    unlogged = evaluated(0.5, "models:/steps/1", log=False)
    assert unlogged.passed
    assert tags()["headrace.check.accuracy_score"] == "failed"
    passed = evaluated(0.5, "models:/steps/latest", baseline="models:/steps@candidate")
    assert passed.baseline_metrics == passed.metrics
    client.set_registered_model_alias("steps", "champion", "1")
    evaluated(0.99, "models:/steps/1", prefix="shifted_")
    assert tags()["headrace.check.accuracy_score"] == "passed"
    assert tags()["headrace.check.shifted_accuracy_score"] == "failed"
    with pytest.raises(HeadraceError, match=r"steps.*7|7.*steps"):
        evaluated(0.5, "models:/steps/7")
    with pytest.raises(HeadraceError):
        evaluated(0.5, "models:/steps@nobody")


def test_a_model_may_be_a_folder_or_of_a_run(tmp_path: Path) -> None:
    native = LinearRegression().fit(FRAME[["x"]], FRAME["y"])
    headrace.models.save_model(native, tmp_path / "model")
    with headrace.start_run() as run:
        headrace.log_model(native, "line")
        expected = headrace.evaluate(native, FRAME, "y", kind="regression", log=False).metrics
        for uri in (tmp_path / "model", str(tmp_path / "model"), f"runs:/{run.info.run_id}/line"):
            found = headrace.models.evaluate(uri, FRAME, "y", kind="regression", log=False)
            assert found.metrics == pytest.approx(expected)
