"""Thresholds: what an evaluation has to reach, and the checks that say whether it did.

A threshold belongs to a metric, by its name, or to a slice's, as ``slice:country=DE/accuracy_score``; with ``*``
and ``?`` for several slices: ``slice:country=*/accuracy_score`` holds if it holds for each that is not small. A value
that is NaN passes nothing.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

import msgspec

from headrace.errors import InvalidParameter, InvalidState
from headrace.models.evaluation.directions import greater_is_better, is_built_in
from headrace.models.evaluation.slices import Slice
from headrace.protocol.limits import check_key

_SLICE = "slice:"
#: Characters of a check's name.
_LONGEST = 200
_LIMITS = (
    "min",
    "max",
    "max_increase_vs_baseline",
    "max_decrease_vs_baseline",
    "max_loss_vs_baseline",
    "min_gain_vs_baseline",
)


class ChecksFailed(InvalidState):
    """An evaluation did not reach its thresholds."""


class Threshold(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Limits of one metric. All that are given have to hold.

    Attributes:
        min: The value is at least this.
        max: The value is at most this.
        max_increase_vs_baseline: It is at most so much above the baseline's.
        max_decrease_vs_baseline: It is at most so much below the baseline's.
        max_loss_vs_baseline: It is at most so much worse, whichever way is better for the metric.
        min_gain_vs_baseline: It is at least so much better.
        relative: The four limits against the baseline are shares of the baseline's magnitude: 0.05 is 5 %.
        greater_is_better: Which way is better, for a metric of your own. Known for all others.
        check: Name of the check; default: what the threshold belongs to.
    """

    min: float | None = None
    max: float | None = None
    max_increase_vs_baseline: float | None = None
    max_decrease_vs_baseline: float | None = None
    max_loss_vs_baseline: float | None = None
    min_gain_vs_baseline: float | None = None
    relative: bool = False
    greater_is_better: bool | None = None
    check: str | None = None

    @property
    def needs_baseline(self) -> bool:
        """Whether it compares."""
        return any(getattr(self, name) is not None for name in _LIMITS[2:])


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """Whether one threshold holds.

    Attributes:
        name: As tags of a model version have it: letters, digits, ``_ - . space : /``.
        metric: What the threshold belongs to: ``accuracy_score``, ``slice:country=DE/accuracy_score``.
        passed: Whether it holds.
        value: Of the metric.
        limit: That has to be held: the one that failed, else the tightest.
        why: In words.
        baseline: The baseline's value; None: not compared.
    """

    name: str
    metric: str
    passed: bool
    value: float
    limit: float | None
    why: str
    baseline: float | None = None


def thresholds_of(given: Mapping[str, Any] | None) -> dict[str, Threshold]:
    """Thresholds as they may be given: `Threshold`, a number, a mapping, or MLflow's ``MetricThreshold``.

    A number is the least value that passes, or the greatest where less is better.

    Raises:
        InvalidParameter: Something else, limits that cannot be, or two checks of the same name.
    """
    found: dict[str, Threshold] = {}
    names: dict[str, str] = {}
    for metric, one in (given or {}).items():
        found[metric] = threshold = _threshold(metric, one)
        name = check_name(metric, threshold)
        if name in names:
            raise InvalidParameter(
                f"The thresholds of '{names[name]}' and '{metric}' give one check, '{name}': name one of them, with "
                "Threshold(check=…)."
            )
        names[name] = metric
    return found


def check_name(metric: str, threshold: Threshold) -> str:
    """The check's name: what tags cannot have in their keys becomes ``_``.

    Raises:
        InvalidParameter: It cannot be a name.
    """
    name = threshold.check or re.sub(r"[^\w\-. :/]", "_", metric)
    if len(name) > _LONGEST:
        raise InvalidParameter(
            f"The check of '{metric[:60]}…' has a name of {len(name)} characters: give it one of at most {_LONGEST}, "
            "with Threshold(check=…)."
        )
    check_key(name, "check")
    return name


def _threshold(metric: str, given: Any) -> Threshold:
    if isinstance(given, bool) or given is None:
        raise InvalidParameter(f"The threshold of '{metric}' is {given!r}: give a Threshold.")
    if isinstance(given, int | float):
        better = greater_is_better(_metric_of(metric))
        if better is None:
            raise InvalidParameter(
                f"'{metric}' may be better above {given} or below it: say Threshold(min=…) or Threshold(max=…)."
            )
        given = Threshold(min=given) if better else Threshold(max=given)
    elif isinstance(given, Mapping):
        try:
            given = msgspec.convert(dict(given), Threshold)
        except (msgspec.ValidationError, TypeError) as error:
            raise InvalidParameter(f"The threshold of '{metric}': {error}.") from error
    elif not isinstance(given, Threshold):
        given = _of_mlflow(metric, given)
    return _sensible(metric, given)


def _of_mlflow(metric: str, given: Any) -> Threshold:
    if not hasattr(given, "min_absolute_change"):
        raise InvalidParameter(
            f"The threshold of '{metric}' is a {type(given).__name__}: give a Threshold or a number."
        )
    if given.min_absolute_change is not None and given.min_relative_change is not None:
        raise InvalidParameter(
            f"The threshold of '{metric}' has an absolute and a relative change: give one of them."
        )
    better, change = given.greater_is_better, given.min_absolute_change
    return Threshold(
        min=given.threshold if better else None,
        max=None if better else given.threshold,
        min_gain_vs_baseline=given.min_relative_change if change is None else change,
        relative=change is None,
        greater_is_better=better,
    )


def _sensible(metric: str, threshold: Threshold) -> Threshold:
    for name in _LIMITS:
        limit = getattr(threshold, name)
        if limit is None:
            continue
        if (
            isinstance(limit, bool)
            or not isinstance(limit, int | float)
            or not math.isfinite(limit)
        ):
            raise InvalidParameter(f"The threshold of '{metric}': {name}={limit!r} is no number.")
        if name.endswith("baseline") and limit < 0:
            raise InvalidParameter(f"The threshold of '{metric}': {name}={limit} is below 0.")
    if all(getattr(threshold, name) is None for name in _LIMITS):
        raise InvalidParameter(f"The threshold of '{metric}' has no limit: {', '.join(_LIMITS)}.")
    low, high = threshold.min, threshold.max
    if low is not None and high is not None and low > high:
        raise InvalidParameter(f"The threshold of '{metric}': min={low} is above max={high}.")
    return threshold


def _metric_of(key: str) -> str:
    """The metric that a threshold is about, without its slice."""
    metric = key.rpartition("/")[2] if key.startswith(_SLICE) else key
    return re.sub(r"@(\d+)$", r"_at_\1", metric)


class Judge:
    """Judges thresholds by the metrics of an evaluation."""

    def __init__(
        self,
        metrics: Mapping[str, float],
        slices: Sequence[Slice],
        *,
        baseline: Mapping[str, float] | None,
        baseline_slices: Sequence[Slice],
        directions: Mapping[str, bool],
        own: Iterable[str],
        errors: Mapping[str, str],
    ) -> None:
        """Judge by these.

        Args:
            metrics: By name.
            slices: With their metrics.
            baseline: The baseline's metrics; None: there is none.
            baseline_slices: The baseline's slices.
            directions: Which way is better, for custom metrics.
            own: Names of custom metrics, those that failed included.
            errors: Why custom metrics failed.
        """
        self._metrics, self._slices = metrics, slices
        self._baseline, self._baseline_slices = baseline, baseline_slices
        self._directions, self._own, self._errors = directions, set(own), errors

    def check(self, key: str, threshold: Threshold) -> Check:
        """Whether a threshold holds.

        Raises:
            InvalidParameter: There cannot be such a metric or slice; or a limit needs a baseline, or a direction, that
                is not known.
        """
        if threshold.needs_baseline and self._baseline is None:
            raise InvalidParameter(f"The threshold of '{key}' compares: give a baseline.")
        if not key.startswith(_SLICE):
            metric = _metric_of(key)
            value = self._value(metric, self._metrics)
            base = None if self._baseline is None else self._baseline.get(metric, math.nan)
            return self._judged(key, metric, threshold, value, base)
        return self._of_slices(key, threshold)

    def _of_slices(self, key: str, threshold: Threshold) -> Check:
        rest = key.removeprefix(_SLICE)
        exact = [one for one in self._slices if rest.startswith(f"{one.name}/")]
        if exact:
            one = max(exact, key=lambda one: len(one.name))
            return self._of_slice(key, rest.removeprefix(f"{one.name}/"), threshold, one)
        pattern, _, metric = rest.rpartition("/")
        matching = [one for one in self._slices if fnmatchcase(one.name, pattern)]
        if not matching:
            names = ", ".join(one.name for one in self._slices[:20]) or "none"
            if not set(pattern) & set("*?") and self._values_may_be_absent(pattern):
                why = f"There is no row in slice '{pattern}'; slices: {names}."
                return self._failed(key, threshold, why)
            raise InvalidParameter(f"'{key}' names no slice; slices: {names}.")
        large = [one for one in matching if not one.small]
        if not large:
            why = f"All {len(matching)} slices that '{pattern}' names are small."
            return self._failed(key, threshold, why)
        checks = [(self._of_slice(key, metric, threshold, one), one) for one in large]
        failed = [pair for pair in checks if not pair[0].passed]
        check, one = (failed or checks)[0]
        if failed:
            why = f"{len(failed)} of {len(large)} slices; {one.name}: {check.why}"
        else:
            why = f"All {len(large)} slices; {one.name}: {check.why}"
        return msgspec.structs.replace(check, why=why)

    def _values_may_be_absent(self, pattern: str) -> bool:
        """Whether a slice is of a column that was sliced by, with a value that does not occur."""
        columns = ",".join(part.partition("=")[0] for part in pattern.split(","))
        return "=" in pattern and columns in {one.by for one in self._slices}

    def _of_slice(self, key: str, metric: str, threshold: Threshold, one: Slice) -> Check:
        metric = _metric_of(metric)
        value = self._value(metric, one.metrics if one.count else {metric: math.nan})
        base = None
        if self._baseline is not None:
            other = next((two for two in self._baseline_slices if two.name == one.name), None)
            base = math.nan if other is None else other.metrics.get(metric, math.nan)
        return self._judged(key, metric, threshold, value, base)

    def _value(self, metric: str, metrics: Mapping[str, float]) -> float | str:
        """The metric's value, or why there is none."""
        if metric in metrics:
            return metrics[metric]
        own = metric.partition("/")[0]
        if own in self._errors:
            return f"It could not be computed: {self._errors[own]}."
        if own in self._own or is_built_in(metric):
            return f"There is no {metric} here."
        known = ", ".join(self._metrics)
        raise InvalidParameter(
            f"A threshold is about '{metric}', which is no metric; metrics: {known}."
        )

    def _failed(self, key: str, threshold: Threshold, why: str) -> Check:
        return Check(
            name=check_name(key, threshold),
            metric=key,
            passed=False,
            value=math.nan,
            limit=None,
            why=why,
        )

    def _judged(
        self,
        key: str,
        metric: str,
        threshold: Threshold,
        value: float | str,
        base: float | None,
    ) -> Check:
        if isinstance(value, str):
            return self._failed(key, threshold, value)
        limits = self._limits(key, metric, threshold, base)
        compared = base if threshold.needs_baseline else None
        if math.isnan(value):
            why, passed, limit = f"{metric} is NaN.", False, limits[0][1]
        else:
            # Not "fails", for a limit that is NaN holds nothing.
            broken = [one for one in limits if not _holds(value, *one[:2])]
            sign, limit, said = (broken or limits)[0]
            passed = not broken
            word = "is" if passed else "is not"
            why = f"{value:.6g} {word} {'at least' if sign > 0 else 'at most'} {limit:.6g}{said}."
        return Check(
            name=check_name(key, threshold),
            metric=key,
            passed=passed,
            value=value,
            limit=limit,
            why=why,
            baseline=compared,
        )

    def _limits(
        self, key: str, metric: str, threshold: Threshold, base: float | None
    ) -> list[tuple[int, float, str]]:
        """What has to hold: 1 for a lower limit or -1 for an upper one, the limit, where it comes from."""
        found: list[tuple[int, float, str]] = []
        if threshold.min is not None:
            found.append((1, threshold.min, ""))
        if threshold.max is not None:
            found.append((-1, threshold.max, ""))
        if not threshold.needs_baseline or base is None:
            return found
        unit = abs(base) if threshold.relative else 1.0

        def add(sign: int, change: float | None, *, away: int) -> None:
            if change is not None:
                said = f" (baseline {base:.6g}, {'+' if away > 0 else '-'}{change:g}"
                found.append(
                    (sign, base + away * change * unit, f"{said}{' of it' * threshold.relative})")
                )

        add(-1, threshold.max_increase_vs_baseline, away=1)
        add(1, threshold.max_decrease_vs_baseline, away=-1)
        if threshold.max_loss_vs_baseline is not None or threshold.min_gain_vs_baseline is not None:
            better = self._direction(key, metric, threshold)
            add(better, threshold.max_loss_vs_baseline, away=-better)
            add(better, threshold.min_gain_vs_baseline, away=better)
        return found

    def _direction(self, key: str, metric: str, threshold: Threshold) -> int:
        better = threshold.greater_is_better
        if better is None:
            better = self._directions.get(metric.partition("/")[0], greater_is_better(metric))
        if better is None:
            raise InvalidParameter(
                f"Which way is better for '{key}' is not known: say Threshold(greater_is_better=…)."
            )
        return 1 if better else -1


def _holds(value: float, sign: int, limit: float) -> bool:
    # A sum such as 0.9 - 0.02 is not exact; what the eye takes for equal is.
    slack = 1e-12 * max(abs(value), abs(limit)) if math.isfinite(limit) else 0.0
    return value >= limit - slack if sign > 0 else value <= limit + slack
