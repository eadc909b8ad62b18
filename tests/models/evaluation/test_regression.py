"""Regression: the metrics are scikit-learn's."""

from __future__ import annotations

import decimal
from typing import Any

import numpy as np
import pytest
from sklearn import metrics as sk

from headrace.errors import InvalidParameter
from headrace.models.evaluation import Evaluation, Plan, evaluate


def of(predictions: Any, targets: Any, **plan: Any) -> Evaluation:
    return evaluate(predictions, None, targets, Plan(kind="regression", **plan))


@pytest.mark.parametrize("weighted", [False, True])
def test_the_values_are_those_of_scikit_learn(weighted: bool) -> None:
    random = np.random.default_rng(1)
    y, f = random.normal(5, 2, 200), random.normal(5, 2, 200)
    w = random.random(200) if weighted else None
    assert of(f, y, sample_weight=w).metrics == pytest.approx(
        {
            "example_count": 200,
            "mean_absolute_error": sk.mean_absolute_error(y, f, sample_weight=w),
            "mean_squared_error": sk.mean_squared_error(y, f, sample_weight=w),
            "root_mean_squared_error": sk.root_mean_squared_error(y, f, sample_weight=w),
            "sum_on_target": (y if w is None else y * w).sum(),
            "mean_on_target": np.average(y, weights=w),
            "r2_score": sk.r2_score(y, f, sample_weight=w),
            "max_error": sk.max_error(y, f),
            "mean_absolute_percentage_error": sk.mean_absolute_percentage_error(
                y, f, sample_weight=w
            ),
        }
    )


def test_numbers_may_come_as_objects() -> None:
    found = of([1, decimal.Decimal("2.5"), np.float32(4)], np.array([1, 2, 4], dtype=object))
    assert found.metrics["max_error"] == 0.5


def test_one_row_has_no_r2() -> None:
    assert np.isnan(of([1.5], [1.0]).metrics["r2_score"])


def test_residuals_are_drawn_and_counted() -> None:
    random = np.random.default_rng(2)
    y = random.normal(size=5_000)
    found = of(y + random.normal(size=5_000), y)
    assert found.artifacts["residuals.csv"].table["rows"].sum() == 5_000
    assert len(found.artifacts["predicted_vs_true.csv"].table["true"]) == 2_000
    plots = [name for name in found.artifacts if name.endswith(".png")]
    assert plots == ["predicted_vs_true_plot.png", "residuals_plot.png", "residuals_histogram.png"]
    for name in plots:
        assert found.artifacts[name].content.startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("predictions", "targets", "message"),
    [
        ([1.0], [1.0, 2.0], "1 predictions for 2 rows"),
        ([1.0, 2.0], [1.0, np.nan], "1 of 2 targets are missing .* row 1"),
        ([1.0, np.inf], [1.0, 2.0], "1 of 2 predictions are infinite: row 1"),
        ([1.0, None], [1.0, 2.0], "1 of 2 predictions are missing"),
        ([1.0, 2.0], ["a", "b"], "targets are no numbers but of type .* .row 0 has .*'a'"),
        ([1.0, 2.0], np.array([1.0, "2"], dtype=object), "row 1 has '2'"),
        ([1.0, 2.0], np.array(["2020-01-01"] * 2, dtype="datetime64[D]"), "no numbers"),
        (np.ones((2, 2)), [1.0, 2.0], r"shape \(2, 2\)"),
    ],
)
def test_what_cannot_be_is_said(predictions: Any, targets: Any, message: str) -> None:
    with pytest.raises(InvalidParameter, match=message):
        of(predictions, targets)
