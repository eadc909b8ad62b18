"""Regression. Metrics are scikit-learn's, named as MLflow names them."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np

from headrace.models.evaluation import artifacts, plots
from headrace.models.evaluation.arrays import (
    Array,
    Floats,
    Indices,
    evenly,
    numbers,
    vector,
    weighted_mean,
)
from headrace.models.evaluation.artifacts import Artifact
from headrace.models.evaluation.predicting import Predicted

#: Rows that a plot of rows shows.
_POINTS = 2_000
_BINS = 40


def regressed(truth: Array, predicted: Predicted, weight: Floats | None) -> Regressed:
    """Targets and predictions of a regression, ready to be measured.

    Raises:
        InvalidParameter: Targets or predictions that are missing, infinite or no numbers, or of different
            lengths.
    """
    targets = numbers(truth, "targets")
    values = numbers(vector(predicted.values, "predictions", len(targets)), "predictions")
    return Regressed(targets, values, weight)


class Regressed:
    """Rows with their true and predicted values."""

    primary = "root_mean_squared_error"
    #: What is resampled together.
    units: Indices | None = None
    probabilities: Floats | None = None

    def __init__(self, targets: Floats, predictions: Floats, weight: Floats | None) -> None:
        self.targets = targets
        self.predictions = predictions
        self.weight = weight

    def __len__(self) -> int:
        return len(self.targets)

    @property
    def notes(self) -> list[str]:
        """What to know about the metrics."""
        return []

    def take(self, rows: Indices) -> Regressed:
        """The same for some of the rows."""
        return Regressed(
            self.targets[rows],
            self.predictions[rows],
            None if self.weight is None else self.weight[rows],
        )

    def metrics(self) -> dict[str, float]:
        """All metrics, by name."""
        from sklearn import metrics as sk

        both: tuple[Any, Any] = (self.targets, self.predictions)
        weight = self.weight
        total = self.targets if weight is None else self.targets * weight
        squared = float(sk.mean_squared_error(*both, sample_weight=weight))
        return {
            "example_count": len(self),
            "mean_absolute_error": float(sk.mean_absolute_error(*both, sample_weight=weight)),
            "mean_squared_error": squared,
            "root_mean_squared_error": squared**0.5,
            "sum_on_target": float(total.sum()),
            "mean_on_target": weighted_mean(self.targets, weight),
            # Of one row it says nothing, and scikit-learn warns.
            "r2_score": float(sk.r2_score(*both, sample_weight=weight))
            if len(self) > 1
            else np.nan,
            "max_error": float(sk.max_error(*both)),
            "mean_absolute_percentage_error": float(
                sk.mean_absolute_percentage_error(*both, sample_weight=weight)
            ),
        }

    @cached_property
    def _shown(self) -> Indices:
        """Rows of a plot: spread over the range of targets."""
        order = np.lexsort((self.predictions, self.targets))
        return order[evenly(len(order), _POINTS)]

    def artifacts(self) -> list[Artifact]:
        """Tables and plots."""
        truth, predicted = self.targets[self._shown], self.predictions[self._shown]
        residuals = self.targets - self.predictions
        counts, edges = np.histogram(residuals, bins=_BINS)
        return [
            artifacts.table(
                "predicted_vs_true",
                {"true": truth, "predicted": predicted, "residual": truth - predicted},
            ),
            artifacts.plot(
                "predicted_vs_true_plot",
                lambda: plots.scatter(
                    "Predicted and true",
                    "true",
                    "predicted",
                    plots.Curve("", truth, predicted),
                    diagonal=True,
                ),
            ),
            artifacts.plot(
                "residuals_plot",
                lambda: plots.scatter(
                    "Residuals",
                    "predicted",
                    "true - predicted",
                    plots.Curve("", predicted, truth - predicted),
                    diagonal=False,
                ),
            ),
            artifacts.table("residuals", {"from": edges[:-1], "to": edges[1:], "rows": counts}),
            artifacts.plot(
                "residuals_histogram",
                lambda: plots.histogram("Residuals", "true - predicted", edges, counts),
            ),
        ]
