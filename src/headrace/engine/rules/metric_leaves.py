"""Conditions on metrics.

Thresholds and comparisons with other runs go by what became of a series since the last look (`Looked`);
what has a window goes by the points themselves (`Arrived`), of which it remembers how far it came.
"""

from __future__ import annotations

import math
from typing import Any

from headrace.engine.rules.leaves import Hit, Leaf, States, pattern_of
from headrace.engine.rules.observations import Arrived, Looked, Observation, Point
from headrace.engine.rules.windows import added, first_value, spread
from headrace.protocol.rule_spec import MetricCondition, Plateau, WorseThan
from headrace.protocol.rule_text import Comparison, comparison, fraction, window

#: Points before a z-score means anything.
_FEWEST = 8
#: An improvement that takes time is missed only so long after the evaluator began to hear, milliseconds.
_GRACE = 300_000


def metric_leaf(place: str, condition: MetricCondition) -> MetricLeaf:
    """The leaf of a condition."""
    if condition.worse_than is not None:
        return WorseLeaf(place, condition, condition.worse_than)
    if condition.plateau is not None:
        return PlateauLeaf(place, condition, condition.plateau)
    if condition.change is not None:
        return ChangeLeaf(place, condition)
    if condition.zscore is not None:
        return ZScoreLeaf(place, condition)
    return ThresholdLeaf(place, condition)


class MetricLeaf(Leaf):
    """A condition on the series of a key.

    Attributes:
        key: The key, or a glob.
        exact: It is no glob.
        windowed: It needs points.
        compared: What it compares with: (baseline, which value).
    """

    compared: tuple[str, str] | None = None

    windowed = False

    def __init__(self, place: str, condition: MetricCondition, words: str) -> None:
        super().__init__(place, f"{condition.key} {words}")
        self.key = condition.key
        self.exact = "*" not in condition.key and "?" not in condition.key
        self.watches = pattern_of(condition.key)
        self.from_step = condition.from_step

    def holds(self, states: States, now: int, heard: int, within: int) -> Hit | None:
        for name, state in states.items():
            values = self.truth(state, now, heard)
            if values is not None:
                return Hit(now, {"metric": name.partition("\n")[2], **values})
        return None

    def ended(self, states: States, run_id: str) -> None:
        for name in [one for one in states if one.startswith(f"{run_id}\n")]:
            del states[name]

    def truth(self, state: Any, now: int, heard: int) -> dict[str, Any] | None:
        """What a series shows for it when the condition is true for it now; None when it is not."""
        raise NotImplementedError


class ThresholdLeaf(MetricLeaf):
    """The value passes a comparison, or is not finite."""

    def __init__(self, place: str, condition: MetricCondition) -> None:
        text = condition.value or ""
        special = text in ("nan", "infinite", "nonfinite")
        self.compare: Comparison | None = None if special else comparison(text, place)
        self.nan = text in ("nan", "nonfinite")
        self.infinite = text in ("infinite", "nonfinite")
        super().__init__(place, condition, f"is {text}" if special else str(self.compare))

    def observe(self, states: States, seen: Observation) -> Hit | None:
        if type(seen) is not Looked or not self.watches(seen.key):
            return None
        if self.from_step is not None and seen.last_step < self.from_step:
            return None
        name = f"{seen.run.run_id}\n{seen.key}"
        if self._passes(seen.last):
            states[name] = [seen.last, seen.last_step]
            found: float | None = seen.last
        else:
            states.pop(name, None)
            found = self._peak(seen)
        if found is None:
            return None
        values = {"metric": seen.key, "value": found, "step": seen.last_step}
        return Hit(seen.time, values, seen.run)

    def truth(self, state: Any, now: int, heard: int) -> dict[str, Any] | None:
        return {"value": state[0], "step": state[1]}

    def _passes(self, value: float) -> bool:
        if self.compare is not None:
            return self.compare.holds(value) and not math.isnan(value)
        return (self.nan and math.isnan(value)) or (self.infinite and math.isinf(value))

    def _peak(self, seen: Looked) -> float | None:
        """A value since the last look that passes, though the last one does not."""
        if self.from_step is not None and (seen.after is None or seen.after < self.from_step - 1):
            return None  # what came before that step is among them
        if self.nan and seen.nan:
            return math.nan
        for value in (seen.high, seen.low):
            # An empty range is +inf to -inf, and no value.
            if seen.low <= seen.high and self._passes(value):
                return value
        return None


class WorseLeaf(MetricLeaf):
    """The value is worse than that of another run."""

    def __init__(self, place: str, condition: MetricCondition, worse: WorseThan) -> None:
        super().__init__(
            place, condition, f"is worse than {worse.baseline} by more than {worse.by}"
        )
        self.compared = (worse.baseline, _stat(worse))
        self._worse = worse
        self._by = fraction(worse.by, place)

    def observe(self, states: States, seen: Observation) -> Hit | None:
        if type(seen) is not Looked or not self.watches(seen.key):
            return None
        if self.from_step is not None and seen.last_step < self.from_step:
            return None
        name = f"{seen.run.run_id}\n{seen.key}"
        states.pop(name, None)
        base = seen.baselines.get(self.compared or ("", ""))
        value = seen.last
        if self._worse.compare == "best":
            value = (
                math.nan if seen.best is None else seen.best[0 if self._worse.goal == "min" else 1]
            )
        if base is None or math.isnan(base) or math.isnan(value):
            return None
        margin = abs(base) * self._by
        if not (value > base + margin if self._worse.goal == "min" else value < base - margin):
            return None
        states[name] = [value, seen.last_step, base]
        values = {"metric": seen.key, "value": value, "step": seen.last_step, "baseline": base}
        return Hit(seen.time, values, seen.run)

    def truth(self, state: Any, now: int, heard: int) -> dict[str, Any] | None:
        return {"value": state[0], "step": state[1], "baseline": state[2]}


class WindowLeaf(MetricLeaf):
    """A condition that goes through the points in their order.

    The state of a series is [time, step, whether and what it saw, …] of the last point that was taken in.
    """

    windowed = True

    def observe(self, states: States, seen: Observation) -> Hit | None:
        if type(seen) is not Arrived or not self.watches(seen.key):
            return None
        name = f"{seen.run.run_id}\n{seen.key}"
        state = states.get(name)
        hit: dict[str, Any] | None = None
        for point in seen.points:
            if state is not None and (point[0], point[1]) <= (state[0], state[1]):
                continue
            if self.from_step is not None and point[1] < self.from_step:
                continue
            state = self.taken(state, point)
            if state[2] is not None:
                hit = state[2]
        if state is not None:
            states[name] = state
        return None if hit is None else Hit(seen.time, {"metric": seen.key, **hit}, seen.run)

    def ended(self, states: States, run_id: str) -> None:
        # How far it came is kept: points that come after the end are not taken for new ones twice.
        for name in [one for one in states if one.startswith(f"{run_id}\n")]:
            states[name] = self.rested(states[name])

    def rested(self, state: Any) -> list[Any]:
        """The state of a series of which nothing is true now."""
        return [*state[:2], None, *state[3:]]

    def place_in(self, states: States, run_id: str, key: str) -> tuple[int, int] | None:
        """Time and step of the last point that was taken in; None when none was."""
        state = states.get(f"{run_id}\n{key}")
        return None if state is None else (state[0], state[1])

    def taken(self, state: Any, point: Point) -> list[Any]:
        """The state after one more point."""
        raise NotImplementedError

    def truth(self, state: Any, now: int, heard: int) -> dict[str, Any] | None:
        found: dict[str, Any] | None = state[2]
        return found


class ChangeLeaf(WindowLeaf):
    """The value changed against the first in the window."""

    def __init__(self, place: str, condition: MetricCondition) -> None:
        self._compare = comparison(condition.change or "", place, per_cent=True)
        super().__init__(place, condition, f"changed {self._compare} in {condition.over}")
        self._window = window(condition.over or "", place)

    def taken(self, state: Any, point: Point) -> list[Any]:
        time, step, value = point
        buckets = state[3] if state else []
        if not math.isfinite(value):
            return [time, step, None, buckets]
        buckets = added(buckets, self._window, step if self._window.steps else time, value)
        first = first_value(buckets)
        assert first is not None
        change = value - first
        if self._compare.relative:
            change = (
                change / abs(first) if first else math.copysign(math.inf, change) if change else 0.0
            )
        found = None
        if self._compare.holds(change):
            found = {"value": value, "step": step, "change": change, "from": first}
        return [time, step, found, buckets]


class ZScoreLeaf(WindowLeaf):
    """The value is far from the mean of those before it."""

    def __init__(self, place: str, condition: MetricCondition) -> None:
        self._most = condition.zscore or 0.0
        super().__init__(
            place, condition, f"is over {self._most:g} deviations off in {condition.over}"
        )
        self._window = window(condition.over or "", place)

    def taken(self, state: Any, point: Point) -> list[Any]:
        time, step, value = point
        buckets = state[3] if state else []
        if not math.isfinite(value):
            return [time, step, None, buckets]
        count, mean, deviation = spread(buckets)
        found = None
        if count >= _FEWEST and deviation > 0:
            score = (value - mean) / deviation
            if abs(score) > self._most:
                found = {"value": value, "step": step, "zscore": score, "mean": mean}
        place = step if self._window.steps else time
        return [time, step, found, added(buckets, self._window, place, value)]


class PlateauLeaf(WindowLeaf):
    """The best value is old.

    The state of a series is [time, step, what it saw, best value, its time, its step].
    """

    def __init__(self, place: str, condition: MetricCondition, plateau: Plateau) -> None:
        super().__init__(place, condition, f"does not improve for {plateau.over}")
        self._goal, self._delta = plateau.goal, plateau.delta
        self._window = window(plateau.over, place)
        self.clocked = not self._window.steps
        self.span = 0 if self._window.steps else self._window.size

    def taken(self, state: Any, point: Point) -> list[Any]:
        time, step, value = point
        best = state[3] if state else None
        if not math.isnan(value) and (
            best is None
            or (value < best - self._delta if self._goal == "min" else value > best + self._delta)
        ):
            return [time, step, None, value, time, step]
        if best is None:
            return [time, step, None, None, time, step]
        found = None
        age = step - state[5] if self._window.steps else time - state[4]
        if age >= self._window.size:
            found = {"value": value, "step": step, "best": best, "since": age}
        return [time, step, found, *state[3:6]]

    def rested(self, state: Any) -> list[Any]:
        return [*state[:2], None, None, *state[4:]]

    def truth(self, state: Any, now: int, heard: int) -> dict[str, Any] | None:
        if state[2] is not None or state[3] is None or self._window.steps:
            found: dict[str, Any] | None = state[2]
            return found
        if now - state[4] < self._window.size or now - heard < min(self._window.size, _GRACE):
            return None
        return {"best": state[3], "step": state[5], "since": now - state[4]}


def _stat(worse: WorseThan) -> str:
    return "last" if worse.compare == "last" else worse.goal
