"""Settings from the environment: ``HEADRACE_X`` first, MLflow's ``MLFLOW_X`` as the fallback."""

from __future__ import annotations

import os

from headrace.errors import InvalidParameter


def setting(name: str) -> str | None:
    """The value of ``HEADRACE_<name>``, else of ``MLFLOW_<name>``; empty counts as unset."""
    return os.environ.get(f"HEADRACE_{name}") or os.environ.get(f"MLFLOW_{name}") or None


def number(name: str, default: float) -> float:
    """A setting that is a number, not negative.

    Raises:
        InvalidParameter: The variable holds something else.
    """
    text = setting(name)
    if text is None:
        return default
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < float("inf"):
        raise InvalidParameter(
            f"The environment variable HEADRACE_{name} (or MLFLOW_{name}) is '{text}': "
            "give a number that is not negative."
        )
    return value


def flag(name: str) -> bool:
    """A setting that is on for ``true`` and ``1``, in any case."""
    return (setting(name) or "").lower() in ("true", "1")
