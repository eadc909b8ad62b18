"""Conditions on metrics.

Thresholds and comparisons with other runs go by what became of a series since the last look (`Looked`).
What has a window is in `headrace.engine.rules.window_leaves`.
"""

from __future__ import annotations

import math
from typing import Any

from headrace.engine.rules.leaves import Hit, Leaf, States, pattern_of
from headrace.engine.rules.observations import Looked, Observation
from headrace.protocol.rule_spec import MetricCondition, WorseThan
from headrace.protocol.rule_text import Comparison, comparison, fraction


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


def _stat(worse: WorseThan) -> str:
    return "last" if worse.compare == "last" else worse.goal
