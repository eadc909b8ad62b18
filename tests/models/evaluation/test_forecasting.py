"""Forecasting: errors by series and by steps ahead, and intervals."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np
import pytest
from sklearn import metrics as sk

from headrace.errors import InvalidParameter
from headrace.models.evaluation import Evaluation, Plan, evaluate

pd = importlib.import_module("pandas")


@pytest.fixture(scope="module")
def sales() -> Any:
    """Forecasts of two shops, four months each, in no order."""
    frame = pd.DataFrame(
        {
            "shop": ["north"] * 4 + ["south"] * 4,
            "month": pd.to_datetime(["2024-01-01", "2024-02-01", "2024-03-01", "2024-04-01"] * 2),
            "sold": [10.0, 12, 14, 16, 100, 90, 80, 70],
            "forecast": [11.0, 12, 13, 20, 100, 100, 100, 100],
            "low": [8.0, 9, 10, 17, 90, 90, 90, 90],
            "high": [14.0, 15, 16, 23, 110, 110, 110, 110],
        }
    )
    return frame.sample(frac=1, random_state=0)


def of(frame: Any, **plan: Any) -> Evaluation:
    given: dict[str, Any] = {"series": "shop", "time": "month", "predictions": "forecast"}
    return evaluate(None, frame, "sold", Plan(**given | plan))


def test_the_values_are_those_of_the_formulas_and_of_scikit_learn(sales: Any) -> None:
    found = of(sales, quantiles={0.9: "high", 0.1: "low"})
    y, f = sales["sold"], sales["forecast"]
    assert found.kind == "forecasting"
    assert found.metrics == pytest.approx(
        {
            "example_count": 8,
            "series_count": 2,
            "mae": sk.mean_absolute_error(y, f),
            "rmse": sk.root_mean_squared_error(y, f),
            "smape": (2 * (f - y).abs() / (f.abs() + y.abs())).mean(),
            "wape": (f - y).abs().sum() / y.abs().sum(),
            "bias": (f - y).mean(),
            "pinball_0.1": sk.mean_pinball_loss(y, sales["low"], alpha=0.1),
            "pinball_0.9": sk.mean_pinball_loss(y, sales["high"], alpha=0.9),
            "coverage_80": 5 / 8,
            "coverage_gap_80": 0.8 - 5 / 8,
            "interval_width_80": (6 * 4 + 20 * 4) / 8,
        }
    )
    assert "No mase: it needs history=, the targets before the forecast." in found.notes


def test_errors_are_told_by_series_and_by_steps_ahead(sales: Any) -> None:
    found = of(sales, quantiles={0.1: "low", 0.9: "high"})
    by_series = pd.DataFrame(found.artifacts["by_series.csv"].table).set_index("series")
    assert by_series["mae"].to_dict() == {"north": 1.5, "south": 15.0}
    assert by_series["bias"].to_dict() == {"north": 1.0, "south": 15.0}
    assert by_series["coverage_80"].to_dict() == {"north": 0.75, "south": 0.5}
    by_horizon = pd.DataFrame(found.artifacts["by_horizon.csv"].table)
    assert by_horizon["horizon"].tolist() == [1, 2, 3, 4]
    assert by_horizon["mae"].tolist() == [0.5, 5, 10.5, 17]
    for group, part in sales.groupby("shop"):
        alone = of(part, quantiles={0.1: "low", 0.9: "high"}).metrics
        for name, value in by_series.loc[group].items():
            assert alone[name] == pytest.approx(value)
    assert (
        found.artifacts["forecast_over_time.csv"].table["series"] == ["south"] * 4 + ["north"] * 4
    )
    for name in ("forecast_over_time_plot.png", "error_by_horizon_plot.png"):
        assert found.artifacts[name].content.startswith(b"\x89PNG")


def test_mase_is_measured_by_the_history_of_each_series(sales: Any) -> None:
    # A season of two: north changes by 2 in the mean, south by 10.
    history = {"north": [1, 2, 3, 4], "south": [10, 20, 20, 30]}
    expected = np.mean([1 / 2, 0, 1 / 2, 4 / 2, 0, 10 / 10, 20 / 10, 30 / 10])
    assert of(sales, history=history, season=2).metrics["mase"] == pytest.approx(expected)
    frame = pd.DataFrame(
        {
            "shop": ["south", "north"] * 4,
            "month": [3, 3, 0, 0, 1, 1, 2, 2],
            "sold": [30, 4, 10, 1, 20, 2, 20, 3],
        }
    )
    assert of(sales, history=frame, season=2).metrics["mase"] == pytest.approx(expected)
    flat = of(sales, history=history | {"north": [5, 5, 5, 5]}, season=2)
    assert flat.metrics["mase"] == pytest.approx(6 / 4)
    assert "1 series do not change in their history and are left out of mase: north." in flat.notes


def test_arrays_alone_are_one_series() -> None:
    found = evaluate(
        [2.0, 3], None, [1.0, 3], Plan(kind="forecasting", history=[1, 3, 5], horizon=[7, 14])
    )
    assert found.metrics["mase"] == 0.25
    assert found.artifacts["by_horizon.csv"].table["horizon"].tolist() == [7, 14]


@pytest.mark.parametrize(
    ("plan", "message"),
    [
        ({"history": {"north": [1, 2, 3]}}, "no series 'south'"),
        ({"history": {"north": [1, 2, 3], "south": [1]}}, "'south' has 1 values"),
        ({"history": [1, 2, 3]}, "several series"),
        ({"quantiles": {10: "low"}}, "10 is no level"),
        ({"quantiles": {0.1: "lowest"}}, "no column 'lowest' for the quantiles 0.1"),
        ({"season": 0}, "season=0"),
        ({"time": "year"}, "no column 'year' for the times"),
    ],
)
def test_what_cannot_be_is_said(sales: Any, plan: Any, message: str) -> None:
    with pytest.raises(InvalidParameter, match=message):
        of(sales, **plan)
