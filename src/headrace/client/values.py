"""Python values as the protocol's: what users log is rarely a plain float or string."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from headrace.errors import InvalidParameter


def now_ms() -> int:
    """Milliseconds since the Unix epoch."""
    return time.time_ns() // 1_000_000


def metric_value(key: str, value: Any) -> float:
    """A metric value as a float64.

    Args:
        key: For the message.
        value: A number, a bool, text that is a number, or an array or tensor of one element
            (numpy, torch, TensorFlow, JAX).

    Raises:
        InvalidParameter: It is none of these.
    """
    if type(value) is float:
        return value
    try:
        item = getattr(value, "item", None)
        return float(item() if callable(item) else value)
    except (TypeError, ValueError, RuntimeError, OverflowError):
        # RuntimeError: torch's word for a tensor of several elements
        raise InvalidParameter(
            f"Invalid value for metric '{key}': {str(value)[:100]!r} ({type(value).__name__}) is not a "
            "number. Give a number, or an array of one element."
        ) from None


def whole_number(name: str, value: Any, default: int) -> int:
    """A step or timestamp as an int; None means the default.

    Raises:
        InvalidParameter: Not a whole number.
    """
    if type(value) is int:
        return value
    if value is None:
        return default
    try:
        number = int(value)
        if number == value:
            return number
    except (TypeError, ValueError, RuntimeError, OverflowError):
        pass
    raise InvalidParameter(
        f"Invalid value for '{name}': {str(value)[:100]!r} is not a whole number."
    )


def pairs(values: Mapping[str, Any] | None) -> list[dict[str, str]]:
    """A dictionary as the protocol's list of key and value, both as text."""
    return [{"key": str(key), "value": str(value)} for key, value in (values or {}).items()]
