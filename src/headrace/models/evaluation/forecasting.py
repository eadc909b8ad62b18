"""Forecasting: errors of forecasts, by series and by steps ahead.

- ``mae``, ``rmse``: scikit-learn's. ``bias``: mean of forecast - actual.
- ``smape``: mean of 2 |error| / (|actual| + |forecast|), from 0 to 2; where both are 0, so is the error.
- ``wape``: sum of |error| / sum of |actual|.
- ``mase``: mean of |error| / mean |change over a season| in the history of the series (Hyndman and Koehler, 2006).
- ``coverage_80``: share of actuals within the interval between the quantiles 0.1 and 0.9; ``coverage_gap_80``: how far
  that is from 0.8; ``interval_width_80``: mean width; ``pinball_0.1``: scikit-learn's pinball loss of a quantile.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any

import msgspec
import numpy as np

from headrace.errors import InvalidParameter
from headrace.models.evaluation import artifacts, plots
from headrace.models.evaluation.arrays import (
    Array,
    Floats,
    Indices,
    complete,
    evenly,
    numbers,
    vector,
)
from headrace.models.evaluation.artifacts import Artifact
from headrace.models.evaluation.plan import Plan
from headrace.models.evaluation.predicting import Predicted
from headrace.models.evaluation.rows import Rows

#: Series in the plot over time: those of the greatest error.
_PANELS = 6
#: Times of each of them.
_POINTS = 1_000


class Forecast(msgspec.Struct, frozen=True, kw_only=True):
    """Columns of a forecast, one value for each row.

    Attributes:
        actual: What was.
        predicted: What was forecast.
        weight: Of each row; None: all alike.
        series: Number of the series.
        time: Place on the axis of time: what was given, or the number of the row.
        horizon: Steps ahead.
        quantiles: Forecast quantiles by level, from the lowest.
        scale: What an error is divided by for MASE; None: no history was given.
    """

    actual: Floats
    predicted: Floats
    weight: Floats | None
    series: Indices
    time: Array
    horizon: Array
    quantiles: dict[float, Floats]
    scale: Floats | None


def forecast(
    truth: Array,
    predicted: Predicted,
    weight: Floats | None,
    rows: Rows,
    plan: Plan,
    target: Any,
) -> Forecasted:
    """Actuals and forecasts, ready to be measured.

    Args:
        truth: Actuals.
        predicted: Forecasts.
        weight: Weights of rows; None: all alike.
        rows: The data.
        plan: What is asked.
        target: The name of the column of targets; None: it is none.

    Raises:
        InvalidParameter: Values that are missing, infinite or no numbers, or of different lengths; a quantile that is
            none; a history that lacks a series.
    """
    actual = numbers(truth, "targets")
    values = numbers(vector(predicted.values, "predictions", len(actual)), "predictions")
    series, names = _series(rows, plan)
    time = np.arange(len(actual))
    if plan.time is not None:
        time = complete(rows.column(plan.time, "times")[0], "times")
    if plan.horizon is not None:
        horizon = complete(rows.column(plan.horizon, "horizons")[0], "horizons")
    else:
        horizon = _positions(series, time)
    columns = Forecast(
        actual=actual,
        predicted=values,
        weight=weight,
        series=series,
        time=time,
        horizon=horizon,
        quantiles=_quantiles(rows, plan.quantiles or {}),
        scale=_scales(plan, target, names, series),
    )
    return Forecasted(columns, names)


def _series(rows: Rows, plan: Plan) -> tuple[Indices, Array]:
    if plan.series is None:
        return np.zeros(rows.count, dtype=np.intp), np.array(["all"])
    return rows.codes(plan.series, "series")


def _positions(series: Indices, time: Array) -> Indices:
    """1 for the first time of each series, 2 for the second, …"""
    order = np.lexsort((time, series))
    _, starts, sizes = np.unique(series[order], return_index=True, return_counts=True)
    found = np.empty(len(series), dtype=np.intp)
    found[order] = np.arange(len(series)) - np.repeat(starts, sizes) + 1
    return found


def _quantiles(rows: Rows, given: Mapping[float, Any]) -> dict[float, Floats]:
    found = {}
    for level, column in given.items():
        if isinstance(level, bool) or not isinstance(level, float | int) or not 0 < level < 1:
            raise InvalidParameter(
                f"{level!r} is no level of a quantile: give numbers between 0 and 1."
            )
        noun = f"quantiles {level}"
        found[float(level)] = numbers(rows.column(column, noun)[0], noun)
    return dict(sorted(found.items()))


def _scales(plan: Plan, target: Any, names: Array, series: Indices) -> Floats | None:
    """For each row the mean absolute change over a season, in the history of its series."""
    if plan.history is None:
        return None
    past = _histories(plan, target, names)
    scales = np.full(len(names), np.nan)
    for number, name in enumerate(names.tolist()):
        if name not in past:
            raise InvalidParameter(
                f"The history has no series {name!r}: MASE needs what came before each."
            )
        values = numbers(vector(past[name], f"history of {name!r}"), f"history of {name!r}")
        changes = np.abs(values[plan.season :] - values[: -plan.season])
        if not len(changes):
            raise InvalidParameter(
                f"The history of {name!r} has {len(values)} values: more than a season ({plan.season}) are needed."
            )
        scales[number] = changes.mean() or np.nan
    return scales[series]


def _histories(plan: Plan, target: Any, names: Array) -> Mapping[Any, Any]:
    """The history of each series, in the order of time."""
    history = plan.history
    if not hasattr(history, "columns"):
        if isinstance(history, Mapping):
            return history
        if len(names) > 1:
            raise InvalidParameter(
                "There are several series: give the history as {name: values}, or as a frame."
            )
        return {names.tolist()[0]: history}
    past = Rows(history)
    if target is None:
        raise InvalidParameter(
            "A history in a frame needs targets by the name of their column; or give {series: values}."
        )
    values, _ = past.column(target, "history's targets")
    if isinstance(plan.time, str):
        order = np.argsort(past.column(plan.time, "history's times")[0], kind="stable")
    else:
        order = np.arange(past.count)
    if not isinstance(plan.series, str):
        return {names.tolist()[0]: values[order]}
    codes, found = past.codes(plan.series, "history's series")
    return {
        name: values[order][codes[order] == number] for number, name in enumerate(found.tolist())
    }


class Forecasted:
    """Rows with what was and what was forecast."""

    primary = "mae"

    def __init__(self, columns: Forecast, names: Array) -> None:
        self.columns = columns
        self.names = names

    def __len__(self) -> int:
        return len(self.columns.actual)

    @property
    def targets(self) -> Array:
        """What was."""
        return self.columns.actual

    @property
    def predictions(self) -> Array:
        """What was forecast."""
        return self.columns.predicted

    @property
    def weight(self) -> Floats | None:
        """Weights of rows."""
        return self.columns.weight

    probabilities: Floats | None = None

    @property
    def units(self) -> Indices | None:
        """What is resampled together: series; rows where there is one."""
        return self.columns.series if len(self.names) > 1 else None

    @property
    def notes(self) -> list[str]:
        """What to know about the metrics."""
        if self.columns.scale is None:
            return ["No mase: it needs history=, the targets before the forecast."]
        flat = self.names[np.unique(self.columns.series[np.isnan(self.columns.scale)])]
        if not len(flat):
            return []
        some = ", ".join(map(str, flat[:5]))
        return [
            f"{len(flat)} series do not change in their history and are left out of mase: {some}."
        ]

    def take(self, rows: Indices, units: Indices | None = None) -> Forecasted:
        """The same for some of the rows, whose series may have other numbers."""
        old = self.columns
        part = Forecast(
            actual=old.actual[rows],
            predicted=old.predicted[rows],
            weight=None if old.weight is None else old.weight[rows],
            series=old.series[rows] if units is None else units,
            time=old.time[rows],
            horizon=old.horizon[rows],
            quantiles={level: values[rows] for level, values in old.quantiles.items()},
            scale=None if old.scale is None else old.scale[rows],
        )
        return Forecasted(part, self.names)

    def metrics(self) -> dict[str, float]:
        """All metrics, by name."""
        from sklearn import metrics as sk

        it, weight = self.columns, self.weight
        found: dict[str, float] = {
            "example_count": len(self),
            "series_count": len(np.unique(it.series)),
        }
        everything = np.zeros(len(self), dtype=np.intp)
        found |= {name: float(values[0]) for name, values in self._grouped(everything).items()}
        found["mae"] = float(sk.mean_absolute_error(it.actual, it.predicted, sample_weight=weight))
        found["rmse"] = float(
            sk.root_mean_squared_error(it.actual, it.predicted, sample_weight=weight)
        )
        for level, values in it.quantiles.items():
            found[f"pinball_{level:g}"] = float(
                sk.mean_pinball_loss(it.actual, values, sample_weight=weight, alpha=level)
            )
        return found

    def _grouped(self, codes: Indices) -> dict[str, Floats]:
        """The metrics of each group of rows; there may be many, so all groups at once."""
        it = self.columns
        mean = _Means(codes, self.weight)
        error = it.predicted - it.actual
        size, total = np.abs(error), np.abs(it.actual) + np.abs(it.predicted)
        share = np.divide(2 * size, total, out=np.zeros(len(size)), where=total > 0)
        actual = mean(np.abs(it.actual))
        found = {
            "mae": mean(size),
            "rmse": np.sqrt(mean(error**2)),
            "smape": mean(share),
            "wape": np.divide(
                mean(size), actual, out=np.full(len(actual), np.nan), where=actual > 0
            ),
            "bias": mean(error),
        }
        if it.scale is not None:
            found["mase"] = mean(size / it.scale)
        for level, values in it.quantiles.items():
            under = it.actual - values
            found[f"pinball_{level:g}"] = mean(np.maximum(level * under, (level - 1) * under))
        for name, (low, high, nominal) in self._intervals.items():
            inside = ((low <= it.actual) & (it.actual <= high)).astype(np.float64)
            found[f"coverage_{name}"] = mean(inside)
            found[f"coverage_gap_{name}"] = np.abs(found[f"coverage_{name}"] - nominal)
            found[f"interval_width_{name}"] = mean(high - low)
        return found

    @cached_property
    def _intervals(self) -> dict[str, tuple[Floats, Floats, float]]:
        """Intervals between a quantile and the one that mirrors it: name in per cent, ends, nominal share."""
        quantiles = self.columns.quantiles
        found = {}
        for level, low in quantiles.items():
            other = next((one for one in quantiles if abs(1 - level - one) < 1e-9), None)
            if level < 0.5 and other is not None:
                share = other - level
                found[f"{round(100 * share, 3):g}"] = (low, quantiles[other], share)
        return found

    def artifacts(self) -> list[Artifact]:
        """Tables and plots."""
        by_horizon = self._by(self.columns.horizon, "horizon", None)
        steps = by_horizon["horizon"]
        if steps.dtype.kind not in "iuf":
            steps = [str(step) for step in steps]
        errors = [plots.Curve(name, steps, by_horizon[name], "o-") for name in ("mae", "rmse")]
        over_time, parts = self._over_time()
        return [
            artifacts.table("by_series", self._by(self.columns.series, "series", self.names)),
            artifacts.table("by_horizon", by_horizon),
            artifacts.plot(
                "error_by_horizon_plot",
                lambda: plots.lines("Error by steps ahead", "steps ahead", "error", errors),
            ),
            artifacts.table("forecast_over_time", over_time),
            artifacts.plot(
                "forecast_over_time_plot",
                lambda: plots.panels("Forecast over time", "time", parts),
            ),
        ]

    def _by(self, values: Array, name: str, names: Array | None) -> dict[str, Any]:
        """All metrics for each value of a column."""
        groups, codes, counts = np.unique(values, return_inverse=True, return_counts=True)
        groups = groups if names is None else names[groups]
        return {name: groups, "example_count": counts, **self._grouped(codes)}

    def _over_time(self) -> tuple[dict[str, list[Any]], list[tuple[str, Any, Any]]]:
        """The series with the greatest errors, as a table and as curves."""
        it = self.columns
        size = np.bincount(it.series, weights=np.abs(it.actual - it.predicted))
        worst = np.argsort(-size, kind="stable")[:_PANELS]
        table: dict[str, list[Any]] = {"series": [], "time": [], "actual": [], "forecast": []}
        parts = []
        for number in worst[np.isin(worst, it.series)]:
            rows = np.flatnonzero(it.series == number)
            rows = rows[np.argsort(it.time[rows], kind="stable")]
            rows = rows[evenly(len(rows), _POINTS)]
            name = str(self.names[number])
            times = it.time[rows]
            table["series"] += [name] * len(rows)
            table["time"] += [str(one) for one in times]
            table["actual"] += it.actual[rows].tolist()
            table["forecast"] += it.predicted[rows].tolist()
            curves = [
                plots.Curve("actual", times, it.actual[rows], "o-"),
                plots.Curve("forecast", times, it.predicted[rows]),
            ]
            bands = [
                plots.Band(f"{share} % interval", times, low[rows], high[rows])
                for share, (low, high, _) in self._intervals.items()
            ]
            parts.append((name, curves, bands))
        return table, parts


class _Means:
    """Weighted means of groups of rows. What is NaN in a column is left out of its mean."""

    def __init__(self, codes: Indices, weight: Floats | None) -> None:
        self._codes = codes
        self._weight = np.ones(len(codes)) if weight is None else weight
        self._count = int(codes.max()) + 1

    def __call__(self, values: Floats) -> Floats:
        weight = np.where(np.isnan(values), 0.0, self._weight)
        total = np.bincount(self._codes, weights=weight, minlength=self._count)
        summed = np.bincount(
            self._codes, weights=weight * np.nan_to_num(values), minlength=self._count
        )
        found = np.full(self._count, np.nan)
        np.divide(summed, total, out=found, where=total > 0)
        return found
