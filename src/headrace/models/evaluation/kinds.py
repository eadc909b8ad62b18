"""The kinds of evaluation: which one it is, and the rows ready to be measured."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

from headrace.errors import InvalidParameter
from headrace.models.evaluation.arrays import Array, Floats, Indices
from headrace.models.evaluation.artifacts import Artifact
from headrace.models.evaluation.classification import classified
from headrace.models.evaluation.forecasting import forecast
from headrace.models.evaluation.plan import Plan
from headrace.models.evaluation.predicting import Predicted, native_of
from headrace.models.evaluation.ranking import ranked
from headrace.models.evaluation.regression import regressed
from headrace.models.evaluation.rows import Rows


class Scored(Protocol):
    """Rows with their targets and predictions, ready to be measured.

    Attributes:
        primary: The metric that slices are compared by.
    """

    primary: str

    @property
    def units(self) -> Indices | None:
        """For each row the number of what it belongs to and is resampled with; None: nothing."""

    @property
    def weight(self) -> Floats | None:
        """Of each row; None: all alike."""

    @property
    def targets(self) -> Array:
        """What should have been predicted, as it was given."""

    @property
    def predictions(self) -> Array:
        """What was predicted: labels, values, scores."""

    @property
    def probabilities(self) -> Floats | None:
        """One column per class, where they are known."""

    @property
    def notes(self) -> list[str]:
        """What to know about the metrics."""

    def __len__(self) -> int: ...

    def take(self, rows: Indices) -> Scored:
        """The same for some of the rows."""

    def metrics(self) -> dict[str, float]:
        """All metrics, by name; NaN where one has no meaning."""

    def artifacts(self) -> list[Artifact]:
        """Tables and plots."""


def scored(
    kind: str,
    truth: Array,
    predicted: Predicted,
    weight: Floats | None,
    rows: Rows,
    plan: Plan,
    target: Any,
) -> Scored:
    """The rows of an evaluation.

    Args:
        kind: Which.
        truth: Targets.
        predicted: Predictions.
        weight: Weights of rows; None: all alike.
        rows: The data.
        plan: What is asked.
        target: Name of the column of targets, None if it is none.

    Raises:
        InvalidParameter: Targets or predictions that do not fit the kind or each other.
    """
    if kind == "classification":
        return classified(truth, predicted, weight, plan)
    if kind == "regression":
        return regressed(truth, predicted, weight)
    if kind == "ranking":
        return ranked(truth, predicted, weight, rows, plan)
    return forecast(truth, predicted, weight, rows, plan, target)


def inferred(truth: Array, model: Any, plan: Plan) -> tuple[str, str]:
    """The kind when nobody has said it, and why it is this one.

    Raises:
        InvalidParameter: It cannot be told.
    """
    if plan.groups is not None:
        return "ranking", "groups were given"
    if any(one is not None for one in (plan.series, plan.horizon, plan.quantiles, plan.history)):
        return "forecasting", "series, horizons, quantiles or a history were given"
    if plan.classes is not None or plan.pos_label is not None:
        return "classification", "classes or a pos_label were given"
    models = [one for one in (model, native_of(model)) if one is not None]
    if any(hasattr(one, "classes_") or hasattr(one, "predict_proba") for one in models):
        return "classification", "the model has classes"
    if truth.dtype.kind in "bUS" or (truth.dtype.kind == "O" and not _all_numbers(truth)):
        return "classification", "the targets are labels"
    if any(_is_regressor(one) for one in models):
        return "regression", "the model is a regressor"
    numbers = truth.astype(np.float64)
    if np.any(numbers[~np.isnan(numbers)] % 1 != 0):
        return "regression", "the targets are numbers with fractions"
    raise InvalidParameter(
        f"The targets are whole numbers ({len(np.unique(numbers))} different ones), which may be labels or values: "
        "say kind='classification' or kind='regression'."
    )


def _all_numbers(truth: Array) -> bool:
    return all(
        isinstance(one, int | float | np.number) and not isinstance(one, bool) for one in truth
    )


def _is_regressor(model: Any) -> bool:
    if not hasattr(model, "__sklearn_tags__"):
        return getattr(model, "_estimator_type", None) == "regressor"
    from sklearn.base import is_regressor

    return bool(is_regressor(model))
