"""The values of ``mlflow.models.evaluate``, recorded from an unmodified MLflow; and what is MLflow's is taken here."""

from __future__ import annotations

import importlib
import importlib.util
import json
import warnings
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from headrace.models.evaluation import Plan, Threshold, evaluate

HERE = Path(__file__).parent
RECORDED = json.loads((HERE / "mlflow.json").read_text())


@pytest.fixture(scope="module")
def record() -> ModuleType:
    """The program that recorded MLflow's values, for its data."""
    spec = importlib.util.spec_from_file_location("evaluation_record", HERE / "record.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def mlflow_models() -> Any:
    """MLflow's names; nothing of it is run that would keep a store in this process."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return importlib.import_module("mlflow.models")


def check(ours: dict[str, float], theirs: dict[str, float]) -> None:
    theirs = {name: value for name, value in theirs.items() if name != "score"}  # the model's own
    assert {name: ours.get(name) for name in theirs} == pytest.approx(theirs)


@pytest.mark.parametrize("classes", [2, 3])
def test_a_classification_has_its_values(record: ModuleType, classes: int) -> None:
    model, frame = record.classification(classes)
    theirs = RECORDED[f"{classes} classes"]
    assert {"log_loss", "roc_auc"} <= set(theirs)
    check(evaluate(model, frame, "y", Plan()).metrics, theirs)


def test_a_regression_has_its_values(record: ModuleType) -> None:
    found = evaluate("f", record.regression(), "y", Plan(kind="regressor")).metrics
    check(found, RECORDED["regression"])


def test_metrics_made_for_it_are_taken(mlflow_models: Any) -> None:
    value = importlib.import_module("mlflow.metrics").MetricValue

    def share(predictions: Any, targets: Any, metrics: Any) -> Any:
        return value(aggregate_results={"mean": (predictions == targets).mean()})

    metric = mlflow_models.make_metric(eval_fn=share, greater_is_better=True, name="share")
    plan = Plan(
        metrics=[metric],
        thresholds={"share/mean": Threshold(max_loss_vs_baseline=0)},
        baseline=["a", "b"],
    )
    found = evaluate(["a", "a"], None, ["a", "b"], plan)
    assert found.metrics["share/mean"] == 0.5
    assert not found.passed


def test_thresholds_made_for_it_are_taken(mlflow_models: Any) -> None:
    threshold = mlflow_models.MetricThreshold
    for given, passes in (
        (threshold(threshold=0.7, greater_is_better=True), True),
        (threshold(threshold=0.7, greater_is_better=False), False),
        (threshold(min_relative_change=0.4, greater_is_better=True), True),
        (threshold(min_relative_change=0.6, greater_is_better=True), False),
        (threshold(min_absolute_change=0.25, greater_is_better=True), True),
    ):
        plan = Plan(thresholds={"accuracy_score": given}, baseline={"accuracy_score": 0.5})
        assert evaluate([*"abaa"], None, [*"abab"], plan).passed is passes
