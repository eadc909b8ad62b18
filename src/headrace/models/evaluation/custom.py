"""Metrics of the user's own."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from headrace.errors import HeadraceError, InvalidParameter
from headrace.protocol.limits import check_key

if TYPE_CHECKING:
    import pandas as pd

_log = logging.getLogger("headrace")

#: What a metric's function may ask for by name, and what it is; the second half are others' names for the same.
_ASKED = {
    "predictions": "predictions",
    "targets": "targets",
    "data": "data",
    "metrics": "metrics",
    "sample_weight": "weight",
    "probabilities": "probabilities",
    "y_pred": "predictions",
    "y_true": "targets",
    "builtin_metrics": "metrics",
    "eval_df": "both",
}


class EvaluationMetric(msgspec.Struct, frozen=True):
    """A metric with a name.

    Attributes:
        eval_fn: The function, see `make_metric`.
        name: The metric's.
        greater_is_better: Which way is better; None: not known, so no threshold can depend on it.
    """

    eval_fn: Callable[..., Any]
    name: str
    greater_is_better: bool | None = None


def make_metric(
    *,
    eval_fn: Callable[..., Any],
    greater_is_better: bool | None = None,
    name: str | None = None,
    long_name: str | None = None,
    version: str | None = None,
    metric_details: str | None = None,
    metric_metadata: Mapping[str, Any] | None = None,
) -> EvaluationMetric:
    """A metric of your own, under the name that MLflow's users know.

    Args:
        eval_fn: ``(predictions, targets, data) -> float | dict``. Predictions and targets are pandas Series, data the
            frame. By these names, or ``metrics`` (the built-in ones, by name), ``sample_weight`` and
            ``probabilities``, it can ask for what it needs. A dictionary gives several metrics, ``name/key``.
        greater_is_better: Which way is better, for thresholds.
        name: Default: the function's.
        long_name: Taken for MLflow's sake, like the rest; not used.
        version: Not used.
        metric_details: Not used.
        metric_metadata: Not used.

    Raises:
        InvalidParameter: Not a function, or no acceptable name.
    """
    if not callable(eval_fn):
        raise InvalidParameter(f"A metric is a function, not a {type(eval_fn).__name__}.")
    name = name or getattr(eval_fn, "__name__", "")
    if not name or name == "<lambda>":
        raise InvalidParameter("A metric needs a name: give one, or a function that has one.")
    check_key(name, "metric")
    return EvaluationMetric(eval_fn, name, greater_is_better)


def named(metrics: Any) -> list[EvaluationMetric]:
    """Custom metrics as they may be given: functions, metrics, or a mapping of names to either.

    Raises:
        InvalidParameter: Something else, or a name twice.
    """
    given: list[tuple[str | None, Any]]
    if isinstance(metrics, Mapping):
        given = [(str(name), metric) for name, metric in metrics.items()]
    elif isinstance(metrics, Sequence) and not isinstance(metrics, str):
        given = [(None, metric) for metric in metrics]
    else:
        given = [(None, metric) for metric in ([] if metrics is None else [metrics])]
    found: dict[str, EvaluationMetric] = {}
    for name, metric in given:
        # MLflow's own metrics have the same fields.
        function = getattr(metric, "eval_fn", metric)
        made = make_metric(
            eval_fn=function,
            name=name or getattr(metric, "name", None),
            greater_is_better=getattr(metric, "greater_is_better", None),
        )
        if made.name in found:
            raise InvalidParameter(f"Two metrics have the name '{made.name}'.")
        found[made.name] = made
    return list(found.values())


class Custom:
    """Custom metrics over the rows of one evaluation.

    Attributes:
        errors: What went wrong, by metric. What is wrong in one does not touch the others.
    """

    def __init__(self, metrics: Sequence[EvaluationMetric]) -> None:
        self._metrics = metrics
        self.errors: dict[str, str] = {}

    def __len__(self) -> int:
        return len(self._metrics)

    @property
    def directions(self) -> dict[str, bool]:
        """Which way is better, where it is known."""
        return {
            one.name: one.greater_is_better
            for one in self._metrics
            if one.greater_is_better is not None
        }

    @property
    def names(self) -> list[str]:
        """Of all, those that failed included."""
        return [one.name for one in self._metrics]

    def compute(
        self, scored: Any, frame: pd.DataFrame, builtin: Mapping[str, float], where: str = ""
    ) -> dict[str, float]:
        """The values of those that work; `errors` has the rest.

        Args:
            scored: Rows of one kind.
            frame: Their data.
            builtin: Their built-in metrics.
            where: The slice, for messages.
        """
        if not self._metrics:
            return {}
        have = _Given(scored, frame, builtin)
        found: dict[str, float] = {}
        for metric in self._metrics:
            try:
                values = dict(_values(metric.name, have.call(metric.eval_fn)))
                clash = next((name for name in values if name in builtin), None)
                if clash is not None:
                    raise InvalidParameter(
                        f"There is a built-in metric '{clash}': take another name."
                    )
                found |= values
            except Exception as error:  # noqa: BLE001 - other people's code; it is said, and the rest goes on
                reason = error.message if isinstance(error, HeadraceError) else _said(error)
                self._failed(metric.name, reason, where)
        return found

    def _failed(self, name: str, reason: str, where: str) -> None:
        text = f"{reason} ({where})" if where else reason
        if name not in self.errors:
            self.errors[name] = text
            _log.warning("Metric '%s' could not be computed: %s", name, text)


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


class _Given:
    """What the functions can ask for."""

    def __init__(self, scored: Any, frame: pd.DataFrame, builtin: Mapping[str, float]) -> None:
        self._scored, self._frame, self._builtin = scored, frame, builtin

    def call(self, function: Callable[..., Any]) -> Any:
        """Call it with what it asks for by name; else with predictions, targets and, if it takes three, data."""
        try:
            parameters = list(inspect.signature(function).parameters.values())
        except (TypeError, ValueError):  # built in, of any number
            parameters = []
        named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
        placed = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
        needed = [one.name for one in parameters if one.kind in named and one.default is one.empty]
        offered = [one.name for one in parameters if one.kind in named and one.name in _ASKED]
        if needed and set(needed) <= set(_ASKED):
            return function(**{name: self._one(_ASKED[name]) for name in offered})
        places = [one for one in parameters if one.kind in placed and one.default is one.empty]
        order = ("predictions", "targets", "data")[: 2 if len(places) == 2 else 3]
        return function(*(self._one(name) for name in order))

    def _one(self, name: str) -> Any:
        import pandas as pd

        if name in ("predictions", "targets"):
            return pd.Series(getattr(self._scored, name), index=self._frame.index, name=name)
        if name == "data":
            return self._frame
        if name == "metrics":
            return dict(self._builtin)
        if name in ("weight", "probabilities"):
            return getattr(self._scored, name)
        both = {"prediction": self._scored.predictions, "target": self._scored.targets}
        return pd.DataFrame(both, index=self._frame.index)


def _values(name: str, result: Any) -> Iterator[tuple[str, float]]:
    result = getattr(result, "aggregate_results", result)  # MLflow's MetricValue
    if isinstance(result, Mapping):
        for key, value in result.items():
            full = f"{name}/{key}"
            check_key(full, "metric")
            yield full, _number(full, value)
    else:
        yield name, _number(name, result)


def _number(name: str, value: Any) -> float:
    if isinstance(value, bool | np.bool_):
        return float(value)
    if isinstance(value, str) or not hasattr(value, "__float__") or np.ndim(value) > 0:
        raise InvalidParameter(
            f"It gave a {type(value).__name__} for '{name}': a number, or numbers by name, are needed."
        )
    return float(value)
