"""Evaluates a model or predictions. Pure: it computes and judges, and logs nothing."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, NamedTuple

from headrace.errors import InvalidParameter
from headrace.models.evaluation import artifacts
from headrace.models.evaluation.arrays import Floats, as_array, vector, weights
from headrace.models.evaluation.artifacts import Artifact
from headrace.models.evaluation.bootstrap import intervals
from headrace.models.evaluation.custom import Custom, named
from headrace.models.evaluation.kinds import Scored, inferred, scored
from headrace.models.evaluation.plan import Plan
from headrace.models.evaluation.predicting import Predicted, is_model, predict
from headrace.models.evaluation.result import Evaluation, worst
from headrace.models.evaluation.rows import Rows
from headrace.models.evaluation.slices import Slice, groups
from headrace.models.evaluation.thresholds import Check, Judge, Threshold, thresholds_of

_log = logging.getLogger("headrace")


def evaluate(model: Any, data: Any, targets: Any, plan: Plan) -> Evaluation:
    """Evaluate a model, or predictions that were made before.

    Args:
        model: A function of the features, an object with ``predict``, or predictions; None: they are a column of the
            data, see `Plan`.
        data: `Rows`, or what they are made of; may be None for predictions.
        targets: A column of the data, or one value for each row; None: what the data set says.
        plan: What is asked.

    Raises:
        InvalidParameter: Something in what was given cannot be; the message says what, and where.
        NotFound: No file has the path of the data.
    """
    plan = plan.checked()
    wanted = thresholds_of(plan.thresholds)
    custom = Custom(named(plan.metrics))
    asked = _Question(model, data, targets, plan)
    subject = asked.scored(asked.model, asked.given)
    metrics, slices = _measured(subject, asked, custom)
    base_metrics, base_slices = _baseline(asked, custom)
    result = Evaluation(
        kind=asked.kind,
        rows=len(subject),
        metrics=metrics,
        primary=subject.primary,
        slices=slices,
        worst_slice=worst(slices, subject.primary),
        errors=custom.errors,
        notes=[*asked.notes, *subject.notes],
        baseline_metrics=base_metrics,
    )
    judge = Judge(
        metrics,
        slices,
        baseline=base_metrics,
        baseline_slices=base_slices,
        directions=custom.directions,
        own=custom.names,
        errors=custom.errors,
    )
    result.checks = _judged(judge, wanted)
    if plan.bootstrap:
        result.intervals = intervals(subject, plan.bootstrap, plan.confidence, plan.seed)
    result.artifacts = {one.file: one for one in _artifacts(subject, result)}
    return result


def _judged(judge: Judge, wanted: Mapping[str, Threshold]) -> dict[str, Check]:
    checks = [judge.check(key, threshold) for key, threshold in wanted.items()]
    return {check.name: check for check in checks}


class _Question:
    """What was asked, taken apart.

    Attributes:
        model: None where predictions were given.
        given: The predictions that were given; None where there is a model.
        rows: The data.
        kind: Said or inferred.
        notes: What was inferred.
        groups: Rows of the slices.
    """

    def __init__(self, model: Any, data: Any, targets: Any, plan: Plan) -> None:
        self._plan = plan
        self.notes: list[str] = []
        self.rows = data if isinstance(data, Rows) else Rows(data, _count(model, targets, data))
        self.model, self.given, predictions_name = self._predictions(model)
        if targets is None:
            targets = self.rows.targets
        if targets is None:
            raise InvalidParameter("Give targets: the name of a column of the data, or an array.")
        self._truth, self._target = self.rows.column(targets, "targets")
        self._weight, weight_name = self._weights()
        roles = (
            self._target,
            predictions_name,
            weight_name,
            plan.groups,
            *(plan.quantiles or {}).values(),
        )
        self._taken = {name for name in roles if isinstance(name, str | int)}
        if plan.kind is None:
            self.kind, why = inferred(self._truth, self.model, plan)
            self.notes.append(f"kind='{self.kind}' was inferred: {why}.")
            _log.info("%s", self.notes[0])
        else:
            self.kind = plan.kind
        self.groups = groups(self.rows, plan.slices)

    def _predictions(self, model: Any) -> tuple[Any, Any, Any]:
        """The model, or the predictions and the name of their column."""
        column = self._plan.predictions
        if model is not None and column is not None:
            raise InvalidParameter("Give a model or predictions, not both.")
        if model is not None and is_model(model):
            return model, None, None
        if column is None and model is None:
            column = self.rows.predictions
        given = model if column is None else column
        if given is None:
            raise InvalidParameter(
                "Give what is to be evaluated: a model (a function, or an object with predict), or predictions."
            )
        if isinstance(given, str):
            name = self.rows.named(given, "predictions")
            return None, self.rows.frame[name], name
        return None, given, None

    def _weights(self) -> tuple[Floats | None, Any]:
        if self._plan.sample_weight is None:
            return None, None
        values, name = self.rows.column(self._plan.sample_weight, "sample weights")
        return weights(values), name

    def scored(self, model: Any, given: Any) -> Scored:
        """The rows with what a model says of them, or with predictions."""
        if model is None:
            count = len(as_array(given, "predictions"))
            if count != self.rows.count:
                raise InvalidParameter(f"There are {count} predictions for {self.rows.count} rows.")
            predicted = Predicted(values=given)
        else:
            predicted = predict(
                model,
                self.rows,
                self._plan.features,
                self._taken,
                classify=self.kind == "classification",
            )
        return scored(
            self.kind, self._truth, predicted, self._weight, self.rows, self._plan, self._target
        )


def _count(model: Any, targets: Any, data: Any) -> int | None:
    """How many rows there are when there are no data but arrays."""
    if data is not None:
        return None
    if model is not None and is_model(model):
        raise InvalidParameter("A model needs data to predict from.")
    return None if targets is None or isinstance(targets, str) else len(vector(targets, "targets"))


class _Base(NamedTuple):
    metrics: dict[str, float] | None
    slices: list[Slice]


def _baseline(asked: _Question, custom: Custom) -> _Base:
    """The baseline's metrics: measured on the same rows, or as they were."""
    given = asked._plan.baseline
    if given is None:
        return _Base(None, [])
    if isinstance(given, Evaluation):
        if given.kind != asked.kind:
            raise InvalidParameter(f"The baseline is a {given.kind}, this is a {asked.kind}.")
        return _Base(given.metrics, given.slices)
    if isinstance(given, Mapping):
        return _Base({str(name): float(value) for name, value in given.items()}, [])
    try:
        model = given if is_model(given) else None
        if isinstance(given, str):
            given = asked.rows.frame[asked.rows.named(given, "baseline")]
        subject = asked.scored(model, None if model is not None else given)
    except InvalidParameter as error:
        raise InvalidParameter(f"The baseline: {error.message}") from error
    return _Base(*_measured(subject, asked, custom))


def _measured(
    subject: Scored, asked: _Question, custom: Custom
) -> tuple[dict[str, float], list[Slice]]:
    """The metrics of all rows, and of each slice."""
    frame = asked.rows.frame
    metrics = subject.metrics()
    metrics |= custom.compute(subject, frame, metrics)
    slices = []
    for name, by, rows in asked.groups:
        part: dict[str, float] = {}
        if len(rows):
            some = subject.take(rows)
            part = some.metrics()
            part |= custom.compute(some, frame.iloc[rows], part, f"slice {name}")
        slices.append(
            Slice(
                name=name,
                by=by,
                count=len(rows),
                share=len(rows) / len(subject),
                small=len(rows) < max(asked._plan.small, 1),
                metrics=part,
            )
        )
    return metrics, slices


def _artifacts(subject: Scored, result: Evaluation) -> list[Artifact]:
    found = subject.artifacts()
    if result.slices:
        found.append(artifacts.table("slices", _slice_table(result.slices)))
    if result.intervals:
        low, high = zip(*result.intervals.values(), strict=True)
        columns = {"metric": list(result.intervals), "low": low, "high": high}
        found.append(artifacts.table("intervals", columns))
    if result.checks:
        names = ("name", "metric", "passed", "value", "limit", "baseline", "why")
        checks = result.checks.values()
        found.append(
            artifacts.table(
                "checks", {name: [getattr(one, name) for one in checks] for name in names}
            )
        )
    return found


def _slice_table(slices: list[Slice]) -> dict[str, list[Any]]:
    names = list(dict.fromkeys(name for one in slices for name in one.metrics))
    columns = ("name", "by", "count", "share", "small")
    return {
        **{
            ("slice" if name == "name" else name): [getattr(one, name) for one in slices]
            for name in columns
        },
        **{name: [one.metrics.get(name) for one in slices] for name in names},
    }
