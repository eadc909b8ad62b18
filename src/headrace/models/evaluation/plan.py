"""What an evaluation is asked to do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from headrace.errors import InvalidParameter, Unsupported

KINDS = ("classification", "regression", "ranking", "forecasting")

_OTHER_NAMES = {
    "classifier": "classification",
    "regressor": "regression",
    "ranker": "ranking",
    "forecaster": "forecasting",
}
#: Kinds of ``mlflow.evaluate`` that are about text.
_TEXT = {"question-answering", "text-summarization", "text", "retriever"}


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What `evaluate` does beyond the model, the data and the targets.

    "Column" below means the name of a column of the data, or an array with one value for each row.

    Attributes:
        kind: One of `KINDS`; None: told from the targets and the model.
        predictions: Column of predictions, instead of a model.
        features: Columns that the model is given. Default: those that the model names
            (``feature_names_in_``), else all but targets, predictions, weights and queries.
        sample_weight: Column of weights of rows.
        pos_label: The positive label of two. Default: the last class.
        classes: All labels, in the order of the columns of probabilities. Default: the model's
            ``classes_``, else the labels that occur, sorted.
        average: How precision, recall, F1 and ROC AUC of more than two classes are averaged:
            ``weighted`` (by support), ``macro``, or ``micro`` (no ROC AUC then).
        groups: Ranking: column of queries.
        k: Ranking: cut-offs.
        series: Forecasting: column of series; default: one series.
        time: Forecasting: column of times, which orders a series; default: the order of rows.
        horizon: Forecasting: column of steps ahead; default: the position in the series.
        quantiles: Forecasting: columns of predicted quantiles by their level, ``{0.1: "low", 0.9: "high"}``.
        history: Forecasting: the targets before the forecast, for MASE: an array, arrays by series, or a
            frame with the same columns.
        season: Forecasting: steps of a season, for MASE.
        slices: Groups of rows, see `headrace.models.evaluation.slices`.
        small: A slice of fewer rows is flagged.
        metrics: Custom metrics: functions, or what `make_metric` made; a mapping names them.
        thresholds: What has to hold, see `headrace.models.evaluation.thresholds`.
        baseline: What is compared with: a model, predictions, an earlier `Evaluation`, or metrics by name.
        bootstrap: So many resamples for confidence intervals; 0: none.
        confidence: Of the intervals.
        seed: Of the resamples.
    """

    kind: str | None = None
    predictions: Any = None
    features: Sequence[Any] | None = None
    sample_weight: Any = None
    pos_label: Any = None
    classes: Sequence[Any] | None = None
    average: str = "weighted"
    groups: Any = None
    k: Sequence[int] = (1, 3, 5, 10)
    series: Any = None
    time: Any = None
    horizon: Any = None
    quantiles: Mapping[float, Any] | None = None
    history: Any = None
    season: int = 1
    slices: Sequence[Any] = ()
    small: int = 30
    metrics: Any = ()
    thresholds: Mapping[str, Any] | None = None
    baseline: Any = None
    bootstrap: int = 0
    confidence: float = 0.95
    seed: int = 0

    def checked(self) -> Plan:
        """The same, with the kind under our name.

        Raises:
            InvalidParameter: A value that is not acceptable.
            Unsupported: A kind that only MLflow has.
        """
        if self.average not in ("weighted", "macro", "micro"):
            raise InvalidParameter(
                f"average='{self.average}': it is 'weighted', 'macro' or 'micro'."
            )
        if not self.k or any(type(cut) is not int or cut < 1 for cut in self.k):
            raise InvalidParameter(f"k={self.k!r}: give whole numbers from 1.")
        if type(self.season) is not int or self.season < 1:
            raise InvalidParameter(f"season={self.season!r}: give a whole number from 1.")
        if type(self.bootstrap) is not int or self.bootstrap < 0 or self.bootstrap == 1:
            raise InvalidParameter(
                f"bootstrap={self.bootstrap!r}: give the number of resamples, 2 or more (200, say), or 0."
            )
        if not 0 < self.confidence < 1:
            raise InvalidParameter(f"confidence={self.confidence!r}: give a share, such as 0.95.")
        return msgspec.structs.replace(self, kind=_kind(self.kind))


def _kind(kind: str | None) -> str | None:
    if kind is None or kind in KINDS:
        return kind
    if kind in _OTHER_NAMES:
        return _OTHER_NAMES[kind]
    if kind in _TEXT:
        raise Unsupported(f"kind '{kind}': headrace evaluates {', '.join(KINDS)}; not text.")
    raise InvalidParameter(f"Unknown kind '{kind}'; there are: {', '.join(KINDS)}.")
