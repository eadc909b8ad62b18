"""Conditions that go through the points of a series: changes, z-scores, plateaus."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from headrace.engine.metrics.columns import Floats, Points
from headrace.engine.rules.leaves import Hit, States
from headrace.engine.rules.metric_leaves import MetricLeaf, ThresholdLeaf, WorseLeaf
from headrace.engine.rules.observations import Arrived, Observation
from headrace.engine.rules.windows import Walk, added, first_value, spread, walked
from headrace.protocol.rule_spec import MetricCondition, Plateau
from headrace.protocol.rule_text import comparison, window

#: Points before a z-score means anything.
_FEWEST = 8
#: An improvement that takes time is missed only so long after the evaluator began to hear, milliseconds.
_GRACE = 300_000
#: From so many points on numpy is faster.
_MANY = 64
#: Comparisons that hold of no value when they hold neither of the least nor of the greatest.
_ORDERED = frozenset((">", ">=", "<", "<="))
_NUMPY: dict[str, Callable[[Any, Any], Any]] = {
    ">": np.greater, ">=": np.greater_equal, "<": np.less, "<=": np.less_equal, "==": np.equal,
    "!=": np.not_equal,
}  # fmt: skip


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


class WindowLeaf(MetricLeaf):
    """A condition that goes through the points in their order.

    The state of a series is [time, step, what it saw or None, …] of the last point that was taken in. Few
    points are taken in one by one, many at once by numpy, to the same end.
    """

    windowed = True

    def observe(self, states: States, seen: Observation) -> Hit | None:
        if type(seen) is not Arrived or not self.watches(seen.key):
            return None
        name = f"{seen.run.run_id}\n{seen.key}"
        state = states.get(name)
        points = seen.points
        if state is not None and points.size:
            time, step = state[0], state[1]
            if (int(points.times[0]), int(points.steps[0])) <= (time, step):
                later = points.times > time
                points = points.take(later | ((points.times == time) & (points.steps > step)))
        if self.from_step is not None:
            points = points.take(points.steps >= self.from_step)
        if not points.size:
            return None
        if points.size < _MANY:
            hit = None
            for point in zip(*(column.tolist() for column in points), strict=True):
                state = self.taken(state, *point)
                hit = state[2] or hit
        else:
            state, hit = self.taken_many(state, points, seen.memo)
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

    def taken(self, state: Any, step: int, time: int, value: float) -> list[Any]:
        """The state after one more point."""
        raise NotImplementedError

    def taken_many(
        self, state: Any, points: Points, memo: dict[Any, Any]
    ) -> tuple[list[Any], dict[str, Any] | None]:
        """The state after many more points, and what was seen last that makes the condition true.

        Args:
            state: Before them.
            points: In order.
            memo: What was worked out of the same points for others.
        """
        raise NotImplementedError

    def truth(self, state: Any, now: int, heard: int) -> dict[str, Any] | None:
        found: dict[str, Any] | None = state[2]
        return found


class BucketLeaf(WindowLeaf):
    """A condition on a value and the window before it. The rest of the state are the window's buckets."""

    def __init__(self, place: str, condition: MetricCondition, words: str) -> None:
        super().__init__(place, condition, f"{words} in {condition.over}")
        self.window = window(condition.over or "", place)

    def taken(self, state: Any, step: int, time: int, value: float) -> list[Any]:
        buckets = state[3] if state else []
        if not math.isfinite(value):
            return [time, step, None, buckets]
        place = step if self.window.steps else time
        if buckets:  # the places of a window do not decrease, whatever clocks do
            place = max(place, int(buckets[-1][0]))
        count, mean, deviation = spread(buckets)
        after = added(buckets, self.window, place, value)
        first = first_value(after)
        assert first is not None
        return [time, step, self.judged(step, value, first, count, mean, deviation), after]

    def taken_many(
        self, state: Any, points: Points, memo: dict[Any, Any]
    ) -> tuple[list[Any], dict[str, Any] | None]:
        last = points.take(slice(-1, None))
        time, step = int(last.times[0]), int(last.steps[0])
        buckets = state[3] if state else []
        name = (self.window, points.size, tuple(map(tuple, buckets)))
        if name not in memo:
            finite = points.take(np.isfinite(points.values))
            places = np.maximum.accumulate(finite.steps if self.window.steps else finite.times)
            walk = walked(buckets, self.window, places, finite.values) if finite.size else None
            memo[name] = (finite, walk)
        finite, walk = memo[name]
        if walk is None:
            return [time, step, None, buckets], None
        at = self.last_true(finite.values, walk, memo, name)
        if at is None:
            return [time, step, None, walk.buckets], None
        hit = self.judged(
            int(finite.steps[at]), float(finite.values[at]), float(walk.first[at]),
            int(walk.counts[at]), float(walk.mean[at]), float(walk.deviation[at]),
        )  # fmt: skip
        still = at == finite.size - 1 and bool(np.isfinite(last.values[0]))
        return [time, step, hit if still else None, walk.buckets], hit

    def judged(
        self, step: int, value: float, first: float, count: int, mean: float, deviation: float
    ) -> dict[str, Any] | None:
        """What a point shows when the condition is true of it; None when it is not."""
        raise NotImplementedError

    def last_true(self, values: Floats, walk: Walk, memo: dict[Any, Any], name: Any) -> int | None:
        """The last point of which the condition is true; None when it is of none.

        Args:
            values: Of the points.
            walk: What the window was like at each.
            memo: What others worked out.
            name: Of this walk in it.
        """
        raise NotImplementedError


class ChangeLeaf(BucketLeaf):
    """The value changed against the first in the window."""

    def __init__(self, place: str, condition: MetricCondition) -> None:
        self._compare = comparison(condition.change or "", place, per_cent=True)
        super().__init__(place, condition, f"changed {self._compare}")

    def judged(
        self, step: int, value: float, first: float, count: int, mean: float, deviation: float
    ) -> dict[str, Any] | None:
        change = value - first
        if self._compare.relative:
            change = (
                change / abs(first) if first else math.copysign(math.inf, change) if change else 0.0
            )
        if not self._compare.holds(change):
            return None
        return {"value": value, "step": step, "change": change, "from": first}

    def last_true(self, values: Floats, walk: Walk, memo: dict[Any, Any], name: Any) -> int | None:
        mine = (name, "change", self._compare.relative)
        if mine not in memo:
            change = values - walk.first
            if self._compare.relative:
                with np.errstate(divide="ignore", invalid="ignore"):
                    change = np.where(change == 0, 0.0, change / np.abs(walk.first))
            memo[mine] = (change, float(change.min()), float(change.max()))
        change, least, greatest = memo[mine]
        operator = self._compare.operator
        if operator in _ORDERED and not (
            self._compare.holds(least) or self._compare.holds(greatest)
        ):
            return None
        return _last(_NUMPY[operator](change, self._compare.number))


class ZScoreLeaf(BucketLeaf):
    """The value is far from the mean of those before it."""

    def __init__(self, place: str, condition: MetricCondition) -> None:
        self._most = condition.zscore or 0.0
        super().__init__(place, condition, f"is over {self._most:g} deviations off")

    def judged(
        self, step: int, value: float, first: float, count: int, mean: float, deviation: float
    ) -> dict[str, Any] | None:
        if count < _FEWEST or not deviation > 0:
            return None
        score = (value - mean) / deviation
        if not abs(score) > self._most:
            return None
        return {"value": value, "step": step, "zscore": score, "mean": mean}

    def last_true(self, values: Floats, walk: Walk, memo: dict[Any, Any], name: Any) -> int | None:
        mine = (name, "score")
        if mine not in memo:
            with np.errstate(divide="ignore", invalid="ignore"):
                score = np.abs(values - walk.mean) / walk.deviation
                score[~((walk.counts >= _FEWEST) & (walk.deviation > 0))] = 0.0
            memo[mine] = (score, float(score.max()))
        score, greatest = memo[mine]
        return _last(score > self._most) if greatest > self._most else None


class PlateauLeaf(WindowLeaf):
    """The best value is old.

    The state of a series is [time, step, what it saw, best value, its time, its step].
    """

    def __init__(self, place: str, condition: MetricCondition, plateau: Plateau) -> None:
        super().__init__(place, condition, f"does not improve for {plateau.over}")
        self._goal, self._delta = plateau.goal, plateau.delta
        self.window = window(plateau.over, place)
        self.clocked = not self.window.steps
        self.span = 0 if self.window.steps else self.window.size

    def taken(self, state: Any, step: int, time: int, value: float) -> list[Any]:
        best = state[3] if state else None
        if not math.isnan(value) and (
            best is None
            or (value < best - self._delta if self._goal == "min" else value > best + self._delta)
        ):
            return [time, step, None, value, time, step]
        if best is None:
            return [time, step, None, None, time, step]
        found = None
        age = step - state[5] if self.window.steps else time - state[4]
        if age >= self.window.size:
            found = {"value": value, "step": step, "best": best, "since": age}
        return [time, step, found, *state[3:6]]

    def taken_many(
        self, state: Any, points: Points, memo: dict[Any, Any]
    ) -> tuple[list[Any], dict[str, Any] | None]:
        name = (
            self._goal,
            self._delta,
            self.window,
            points.size,
            None if state is None else (*state[:2], *state[3:]),
        )
        if name not in memo:
            memo[name] = self._walked(state, points)
        found: tuple[list[Any], dict[str, Any] | None] = memo[name]
        return found

    def _walked(self, state: Any, points: Points) -> tuple[list[Any], dict[str, Any] | None]:
        signed = points.values if self._goal == "min" else -points.values
        hit = None
        at = 0
        while at < points.size:
            best = state[3] if state else None
            if best is None:
                better = np.flatnonzero(~np.isnan(signed[at:]))
            elif not self._delta:
                return self._without_delta(state, points.take(slice(at, None)), signed[at:], hit)
            else:
                limit = (best if self._goal == "min" else -best) - self._delta
                better = np.flatnonzero(signed[at:] < limit)
            following = at + int(better[0]) if len(better) else points.size
            # Between two improvements the last point is the one whose best is the oldest.
            for one in (following - 1, following):
                if at <= one < points.size:
                    state = self.taken(
                        state,
                        int(points.steps[one]),
                        int(points.times[one]),
                        float(points.values[one]),
                    )
                    hit = state[2] or hit
            at = following + 1
        assert state is not None
        return state, hit

    def _without_delta(
        self, state: Any, points: Points, signed: Floats, hit: dict[str, Any] | None
    ) -> tuple[list[Any], dict[str, Any] | None]:
        """`_walked` where every lesser value is an improvement: then all of them are found at once."""
        known = state[3] if self._goal == "min" else -state[3]
        best = np.fmin.accumulate(np.concatenate(([known], signed)))
        better = best[1:] < best[:-1]
        since = np.maximum.accumulate(np.where(better, np.arange(points.size), -1))
        here = points.steps if self.window.steps else points.times
        then = np.where(since >= 0, here[since], state[5] if self.window.steps else state[4])
        age = here - then
        old = np.flatnonzero((age >= self.window.size) & ~better)
        found = None
        if len(old):
            at = int(old[-1])
            its_best = float(best[at + 1]) if self._goal == "min" else -float(best[at + 1])
            hit = {
                "value": float(points.values[at]), "step": int(points.steps[at]), "best": its_best,
                "since": int(age[at]),
            }  # fmt: skip
            found = hit if at == points.size - 1 else None
        time, step = int(points.times[-1]), int(points.steps[-1])
        if since[-1] < 0:
            return [time, step, found, *state[3:6]], hit
        last = int(since[-1])
        value = float(points.values[last])
        return [time, step, found, value, int(points.times[last]), int(points.steps[last])], hit

    def rested(self, state: Any) -> list[Any]:
        return [*state[:2], None, None, *state[4:]]

    def truth(self, state: Any, now: int, heard: int) -> dict[str, Any] | None:
        if state[2] is not None or state[3] is None or self.window.steps:
            found: dict[str, Any] | None = state[2]
            return found
        if now - state[4] < self.window.size or now - heard < min(self.window.size, _GRACE):
            return None
        return {"best": state[3], "step": state[5], "since": now - state[4]}


def _last(true: npt.NDArray[np.bool_]) -> int | None:
    found = np.flatnonzero(true)
    return int(found[-1]) if len(found) else None
