"""Metrics of the user's own."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score

from headrace.errors import InvalidParameter
from headrace.models.evaluation import Evaluation, Plan, Threshold, evaluate, make_metric

pd = importlib.import_module("pandas")


def of(people: Any, metrics: Any, **plan: Any) -> Evaluation:
    return evaluate("p", people, "churned", Plan(metrics=metrics, **plan))


def cost(predictions: Any, targets: Any, data: Any) -> float:
    return float(((predictions != targets) * data["weight"]).sum())


def test_functions_get_what_they_ask_for(people: Any) -> None:
    wrong = (people["p"] > 0.5) != (people["churned"] == "yes")
    seen: dict[str, Any] = {}

    def everything(metrics: Any, sample_weight: Any, probabilities: Any, eval_df: Any) -> int:
        seen.update(metrics=metrics, weight=sample_weight, shape=probabilities.shape)
        return len(eval_df)

    found = of(
        people,
        {
            "cost": cost,
            "rates": lambda p, t: {"wrong": (p != t).mean(), "right": np.float32((p == t).mean())},
            "everything": everything,
            "kappa": cohen_kappa_score,
        },
    )
    assert found.errors == {}
    assert found.metrics["cost"] == pytest.approx(people["weight"][wrong].sum())
    assert found.metrics["rates/wrong"] == pytest.approx(wrong.mean())
    assert found.metrics["rates/right"] == pytest.approx(1 - wrong.mean())
    assert found.metrics["everything"] == 400
    assert seen["metrics"]["accuracy_score"] == found.metrics["accuracy_score"]
    assert (seen["weight"], seen["shape"]) == (None, (400, 2))
    predicted = np.where(people["p"] > 0.5, "yes", "no")
    assert found.metrics["kappa"] == cohen_kappa_score(people["churned"], predicted)


def test_one_that_fails_is_named_and_the_others_are_kept(
    people: Any, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(predictions: Any, targets: Any, data: Any) -> float:
        return float(data["nothing"].sum())

    found = of(
        people,
        {
            "broken": broken,
            "cost": cost,
            "text": lambda p, t: "much",
            "rows": lambda p, t: p,
            "f1_score": cost,
            "odd": lambda p, t: {"a=b": 1},
        },
        slices=["plan"],
        thresholds={"broken": Threshold(max=1), "cost": Threshold(max=1e9)},
    )
    assert found.errors["broken"] == "KeyError: 'nothing'"
    assert "a number" in found.errors["text"]
    assert "a number" in found.errors["rows"]
    assert "built-in metric 'f1_score'" in found.errors["f1_score"]
    assert "a=b" in found.errors["odd"]
    assert found.metrics["cost"] > 0
    assert all("cost" in one.metrics for one in found.slices)
    assert "Metric 'broken' could not be computed: KeyError: 'nothing'" in caplog.text
    assert not found.checks["broken"].passed
    assert found.checks["broken"].why == "It could not be computed: KeyError: 'nothing'."
    assert found.checks["cost"].passed


def test_names_and_functions_are_checked() -> None:
    assert make_metric(eval_fn=cost).name == "cost"
    with pytest.raises(InvalidParameter, match="needs a name"):
        make_metric(eval_fn=lambda p, t: 1)
    with pytest.raises(InvalidParameter, match="Invalid metric name: 'a=b'"):
        make_metric(eval_fn=cost, name="a=b")
    with pytest.raises(InvalidParameter, match="not a int"):
        make_metric(eval_fn=3)  # type: ignore[arg-type]
    with pytest.raises(InvalidParameter, match="Two metrics have the name 'cost'"):
        evaluate([1.5], None, [1.5], Plan(metrics=[cost, cost]))
