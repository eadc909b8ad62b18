"""The small texts in a rule: how long, compared with what, over which window."""

from __future__ import annotations

import math
import re
from typing import Literal, NamedTuple

from headrace.errors import InvalidParameter

_UNITS = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 604_800_000}
_DURATION = re.compile(r"(?:(\d+(?:\.\d+)?)(ms|s|m|h|d|w))+")
_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d|w)")
_STEPS = re.compile(r"(\d{1,15})\s*steps?")
_COMPARISON = re.compile(r"(>=|<=|==|!=|>|<)\s*(\S+?)\s*(%?)")
_LONGEST = 366 * 86_400_000

Operator = Literal[">", ">=", "<", "<=", "==", "!="]


def millis(text: str, field: str) -> int:
    """A length of time in milliseconds: ``90s``, ``10m``, ``1h30m``, ``3d``.

    Raises:
        InvalidParameter: Another text, nothing at all, or more than a year.
    """
    if not _DURATION.fullmatch(text):
        raise InvalidParameter(
            f"{field}: '{text[:60]}' is no length of time: give a number and a unit, such as 30s, 10m, "
            "1h30m or 3d."
        )
    found = round(sum(float(number) * _UNITS[unit] for number, unit in _PART.findall(text)))
    if not 0 < found <= _LONGEST:
        raise InvalidParameter(
            f"{field}: '{text[:60]}' must be more than nothing and at most 366d."
        )
    return found


class Window(NamedTuple):
    """A stretch of a series: so many steps, or so many milliseconds."""

    size: int
    steps: bool


def window(text: str, field: str) -> Window:
    """A window: ``100 steps``, or a length of time.

    Raises:
        InvalidParameter: Neither.
    """
    found = _STEPS.fullmatch(text.strip())
    if found is None:
        if not _DURATION.fullmatch(text):
            raise InvalidParameter(
                f"{field}: '{text[:60]}' is no window: give steps, such as '100 steps', or a length of "
                "time, such as 10m."
            )
        return Window(millis(text, field), steps=False)
    if int(found.group(1)) < 1:
        raise InvalidParameter(f"{field}: a window of 0 steps holds nothing; give 1 or more.")
    return Window(int(found.group(1)), steps=True)


class Comparison(NamedTuple):
    """A comparison with a number: ``> 10``; `relative` for one in per cent."""

    operator: Operator
    number: float
    relative: bool = False

    def holds(self, value: float) -> bool:
        """Whether a value passes. NaN passes none but ``!=``."""
        match self.operator:
            case ">":
                return value > self.number
            case ">=":
                return value >= self.number
            case "<":
                return value < self.number
            case "<=":
                return value <= self.number
            case "==":
                return value == self.number
        return value != self.number

    def __str__(self) -> str:
        shown = f"{self.number * 100:.6g}%" if self.relative else f"{self.number:.6g}"
        return f"{self.operator} {shown}"


def comparison(text: str, field: str, *, per_cent: bool = False) -> Comparison:
    """A comparison: ``> 10``, ``<= -0.5``, ``!= 0``; where `per_cent`, also ``> 50%``.

    Raises:
        InvalidParameter: Another text.
    """
    found = _COMPARISON.fullmatch(text.strip())
    more = ", or '> 50%'" if per_cent else ""
    if found is None or (found.group(3) and not per_cent):
        raise InvalidParameter(
            f"{field}: '{text[:60]}' is no comparison: give >, >=, <, <=, == or != and a number, such as "
            f"'> 10'{more}."
        )
    try:
        number = float(found.group(2))
    except ValueError:
        number = math.nan
    if math.isnan(number):
        raise InvalidParameter(
            f"{field}: '{found.group(2)[:40]}' is no number to compare with; NaN is the value 'nan'."
        )
    operator: Operator = found.group(1)  # type: ignore[assignment]
    return Comparison(operator, number / 100 if found.group(3) else number, bool(found.group(3)))


def fraction(text: str, field: str) -> float:
    """A part of something: ``5%`` is 0.05.

    Raises:
        InvalidParameter: No percentage, or a negative one.
    """
    try:
        if text.endswith("%") and 0 <= (found := float(text[:-1]) / 100) < math.inf:
            return found
    except ValueError:
        pass
    raise InvalidParameter(f"{field}: '{text[:60]}' is no percentage: give one such as 5%.")
