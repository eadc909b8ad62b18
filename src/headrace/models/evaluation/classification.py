"""Classification: two classes or more, by labels or probabilities.

Metrics are scikit-learn's, named as MLflow names them. What has no meaning for the rows at hand (ROC AUC
where one class occurs) is NaN.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np

from headrace.models.evaluation import artifacts, plots
from headrace.models.evaluation.arrays import Array, Floats, Indices, evenly
from headrace.models.evaluation.artifacts import Artifact
from headrace.models.evaluation.labels import Labels, labels_of
from headrace.models.evaluation.plan import Plan
from headrace.models.evaluation.predicting import Predicted

NAN = float("nan")
#: Points of a curve that are kept.
_POINTS = 1_000
_BINS = 10


def classified(truth: Array, predicted: Predicted, weight: Floats | None, plan: Plan) -> Classified:
    """Targets and predictions of a classification, ready to be measured."""
    return Classified(labels_of(truth, predicted, plan), weight, plan.average)


class Classified:
    """Rows with their true and predicted classes."""

    primary = "accuracy_score"
    #: What is resampled together.
    units: Indices | None = None

    def __init__(self, labels: Labels, weight: Floats | None, average: str) -> None:
        self.labels = labels
        self.weight = weight
        self.average = average

    def __len__(self) -> int:
        return len(self.labels.truth)

    @property
    def binary(self) -> bool:
        """Whether there are two classes."""
        return len(self.labels.classes) == 2

    @property
    def targets(self) -> Array:
        """The true labels."""
        return self.labels.classes[self.labels.truth]

    @property
    def predictions(self) -> Array:
        """The predicted labels."""
        return self.labels.classes[self.labels.predicted]

    @property
    def probabilities(self) -> Floats | None:
        """One column per class."""
        return self.labels.probabilities

    @property
    def notes(self) -> list[str]:
        """What to know about the metrics."""
        classes = self.labels.classes.tolist()
        said = []
        if self.binary:
            said.append(f"The positive label is {classes[1]!r}, the negative one {classes[0]!r}.")
        if self.probabilities is None:
            said.append(
                "There are no probabilities: no log_loss, no roc_auc, no precision_recall_auc."
            )
        absent = [classes[place] for place in range(len(classes)) if not self.support[place]]
        if absent:
            said.append(f"No target has the label {', '.join(map(repr, absent))}.")
        return said

    def take(self, rows: Indices) -> Classified:
        """The same for some of the rows."""
        labels, weight = self.labels, self.weight
        part = Labels(
            classes=labels.classes,
            truth=labels.truth[rows],
            predicted=labels.predicted[rows],
            probabilities=None if labels.probabilities is None else labels.probabilities[rows],
        )
        return Classified(part, None if weight is None else weight[rows], self.average)

    @cached_property
    def confusion(self) -> Array:
        """Rows (or their weights) by true class, and by predicted class."""
        from sklearn.metrics import confusion_matrix

        matrix: Array = confusion_matrix(
            self.labels.truth,
            self.labels.predicted,
            labels=np.arange(len(self.labels.classes)),
            sample_weight=self.weight,
        )
        return matrix

    @cached_property
    def support(self) -> Array:
        """Rows (or their weights) of each true class."""
        support: Array = self.confusion.sum(axis=1)
        return support

    def metrics(self) -> dict[str, float]:
        """All metrics, by name."""
        from sklearn.metrics import accuracy_score, precision_recall_fscore_support

        truth, predicted = self.labels.truth, self.labels.predicted
        found: dict[str, float] = {}
        if self.binary:
            cells = self.confusion.ravel().tolist()
            names = ("true_negatives", "false_positives", "false_negatives", "true_positives")
            found |= zip(names, map(float, cells), strict=True)
        found["example_count"] = len(self)
        found["accuracy_score"] = float(accuracy_score(truth, predicted, sample_weight=self.weight))
        precision, recall, f1, _ = precision_recall_fscore_support(
            truth,
            predicted,
            labels=None if self.binary else self._occurring(),
            average="binary" if self.binary else self.average,
            pos_label=1,
            sample_weight=self.weight,
            zero_division=0.0,
        )
        found |= {
            "precision_score": float(precision),
            "recall_score": float(recall),
            "f1_score": float(f1),
        }
        if self.probabilities is not None:
            found |= self._of_probabilities(self.probabilities)
        return found

    def _occurring(self) -> Array:
        """Classes that occur: what scikit-learn averages over when it is told no labels."""
        return np.union1d(self.labels.truth, self.labels.predicted)

    def _of_probabilities(self, probabilities: Floats) -> dict[str, float]:
        from sklearn.metrics import log_loss

        classes = np.arange(len(self.labels.classes))
        found = {
            "log_loss": float(
                log_loss(
                    self.labels.truth, probabilities, labels=classes, sample_weight=self.weight
                )
            )
        }
        if self.binary:
            roc, precision = self.areas[0] if self.support.all() else (NAN, NAN)
            return {**found, "roc_auc": roc, "precision_recall_auc": precision}
        if self.average != "micro":
            found["roc_auc"] = self._averaged_area()
        return found

    @cached_property
    def areas(self) -> list[tuple[float, float]]:
        """ROC AUC and average precision: of the positive class, or of each one against the rest."""
        from sklearn.metrics import average_precision_score, roc_auc_score

        assert self.probabilities is not None
        found = []
        for place in self.curves:
            positive = self.labels.truth == place
            scores = self.probabilities[:, place]
            if positive.all() or not positive.any():
                found.append((NAN, NAN))
                continue
            area = roc_auc_score(positive, scores, sample_weight=self.weight)
            precision = average_precision_score(positive, scores, sample_weight=self.weight)
            found.append((float(area), float(precision)))
        return found

    @property
    def curves(self) -> list[int]:
        """The classes that have a curve: the positive one, or all."""
        return [1] if self.binary else list(range(len(self.labels.classes)))

    def _averaged_area(self) -> float:
        areas = np.array([roc for roc, _ in self.areas])
        known = ~np.isnan(areas)
        if not known.any():
            return NAN
        weights = self.support[known] if self.average == "weighted" else None
        return float(np.average(areas[known], weights=weights))

    def artifacts(self) -> list[Artifact]:
        """Tables and plots."""
        made = [*self._confusion(), self._per_class()]
        if self.probabilities is not None:
            made += [*self._curves(), *self._calibration()]
            if self.binary:
                made += self._lift()
        return made

    def _names(self) -> list[str]:
        return [str(label) for label in self.labels.classes.tolist()]

    def _confusion(self) -> list[Artifact]:
        names, matrix = self._names(), self.confusion
        cells = {
            "true": [name for name in names for _ in names],
            "predicted": names * len(names),
            "count": matrix.ravel(),
        }
        return [
            artifacts.table("confusion_matrix_counts", cells),
            artifacts.plot(
                "confusion_matrix", lambda: plots.matrix("Confusion matrix", matrix, names)
            ),
        ]

    def _per_class(self) -> Artifact:
        from sklearn.metrics import precision_recall_fscore_support

        places = np.arange(len(self.labels.classes))
        precision, recall, f1, _ = precision_recall_fscore_support(
            self.labels.truth,
            self.labels.predicted,
            labels=places,
            sample_weight=self.weight,
            zero_division=0.0,
        )
        hits, total = np.diag(self.confusion), self.confusion.sum()
        columns: dict[str, Any] = {
            "positive_class": self._names(),
            "true_negatives": total - self.support - self.confusion.sum(axis=0) + hits,
            "false_positives": self.confusion.sum(axis=0) - hits,
            "false_negatives": self.support - hits,
            "true_positives": hits,
            "precision_score": precision,
            "recall_score": recall,
            "f1_score": f1,
        }
        if self.probabilities is not None and not self.binary:
            columns["roc_auc"] = [roc for roc, _ in self.areas]
            columns["precision_recall_auc"] = [precision for _, precision in self.areas]
        return artifacts.table("per_class_metrics", columns)

    def _curves(self) -> list[Artifact]:
        """ROC and precision-recall."""
        from sklearn.metrics import precision_recall_curve, roc_curve

        assert self.probabilities is not None
        names = self._names()
        roc: list[tuple[str, Any, Any, Any]] = []
        precision_recall: list[tuple[str, Any, Any, Any]] = []
        for place, (area, precision_area) in zip(self.curves, self.areas, strict=True):
            if np.isnan(area):
                continue
            positive, scores = self.labels.truth == place, self.probabilities[:, place]
            rates = roc_curve(positive, scores, sample_weight=self.weight)
            kept = evenly(len(rates[0]), _POINTS)
            title = f"{names[place]} (AUC {area:.3f})"
            roc.append((title, *(column[kept] for column in rates)))
            precision, recall, cuts = precision_recall_curve(
                positive, scores, sample_weight=self.weight, drop_intermediate=True
            )
            kept = evenly(len(precision), _POINTS)
            cuts = np.append(cuts, np.inf)
            title = f"{names[place]} (AP {precision_area:.3f})"
            precision_recall.append((title, recall[kept], precision[kept], cuts[kept]))
        return [
            *_curve("roc_curve", "ROC", ("false_positive_rate", "true_positive_rate"), roc),
            *_curve(
                "precision_recall_curve",
                "Precision-recall",
                ("recall", "precision"),
                precision_recall,
            ),
        ]

    def _calibration(self) -> list[Artifact]:
        """Predicted probability against the share of rows that have the label, in ten bins of equal width."""
        assert self.probabilities is not None
        names = self._names()
        weight = np.ones(len(self)) if self.weight is None else self.weight
        found = []
        for place in self.curves:
            scores = self.probabilities[:, place]
            bins = np.minimum((scores * _BINS).astype(int), _BINS - 1)
            count = np.bincount(bins, weights=weight, minlength=_BINS)
            hits = np.bincount(bins, weights=weight * (self.labels.truth == place), minlength=_BINS)
            mean = np.bincount(bins, weights=weight * scores, minlength=_BINS)
            some = count > 0
            found.append(
                (names[place], mean[some] / count[some], hits[some] / count[some], count[some])
            )
        columns = _stacked(("predicted_probability", "share_of_rows", "rows"), found)
        curves = [plots.Curve(name, x, y, "o-") for name, x, y, _ in found[: plots.MOST_CURVES]]
        return [
            artifacts.table("calibration_curve", columns),
            artifacts.plot(
                "calibration_curve_plot",
                lambda: plots.lines(
                    "Calibration",
                    "predicted probability",
                    "share of rows with the label",
                    curves,
                    diagonal=True,
                    unit=True,
                ),
            ),
        ]

    def _lift(self) -> list[Artifact]:
        """How many times more positives are among the rows of highest probability than among all."""
        assert self.probabilities is not None
        weight = np.ones(len(self)) if self.weight is None else self.weight
        positive = weight * (self.labels.truth == 1)
        if not positive.sum() > 0:
            return []
        order = np.argsort(-self.probabilities[:, 1], kind="stable")
        rows, hits = np.cumsum(weight[order]), np.cumsum(positive[order])
        # Where several rows have one probability, no order among them means anything: keep the last.
        scores = self.probabilities[order, 1]
        ends = np.flatnonzero(np.append(scores[1:] != scores[:-1], True) & (rows > 0))
        ends = ends[evenly(len(ends), _POINTS)]
        share = rows[ends] / rows[-1]
        gain = hits[ends] / hits[-1]
        columns = {"share_of_rows": share, "share_of_positives": gain, "lift": gain / share}
        curve = plots.Curve("", share, gain / share)
        return [
            artifacts.table("lift_curve", columns),
            artifacts.plot(
                "lift_curve_plot",
                lambda: plots.lines("Lift", "share of rows, most probable first", "lift", [curve]),
            ),
        ]


def _curve(
    name: str, title: str, axes: tuple[str, str], found: list[tuple[str, Any, Any, Any]]
) -> list[Artifact]:
    curves = [plots.Curve(label, x, y) for label, x, y, _ in found[: plots.MOST_CURVES]]
    x, y = (axis.replace("_", " ") for axis in axes)
    return [
        artifacts.table(name, _stacked((*axes, "threshold"), found)),
        artifacts.plot(
            f"{name}_plot",
            lambda: plots.lines(
                title, x, y, curves, steps=True, diagonal=name == "roc_curve", unit=True
            ),
        ),
    ]


def _stacked(names: tuple[str, ...], found: list[tuple[str, Any, Any, Any]]) -> dict[str, Any]:
    """Curves under each other, as one table."""
    columns: dict[str, Any] = {
        "class": [label for label, x, _, _ in found for _ in range(len(x))],
    }
    for number, name in enumerate(names, 1):
        parts = [one[number] for one in found]
        columns[name] = np.concatenate(parts) if parts else np.empty(0)
    return columns
