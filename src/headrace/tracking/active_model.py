"""The active model: which logged model metrics are about when they are given none.

It belongs to the context, as the active run does. A context in which none was set begins with the one that
``HEADRACE_ACTIVE_MODEL_ID`` (or ``MLFLOW_ACTIVE_MODEL_ID``) names.
"""

from __future__ import annotations

import os
from contextvars import ContextVar

from headrace.client.environment import setting

#: Stands for *nobody has said*: then the environment says.
_UNSAID = ""
#: The id of the active model, None where there is none. Logging reads it before anything else.
current: ContextVar[str | None] = ContextVar("headrace_active_model", default=_UNSAID)


def get_active_model_id() -> str | None:
    """The id of the active model of this context; None when there is none."""
    found = current.get()
    if found == _UNSAID:
        found = setting("ACTIVE_MODEL_ID") or None
        current.set(found)
    return found


def clear_active_model() -> None:
    """Have no active model, whatever the environment says."""
    for name in ("HEADRACE_ACTIVE_MODEL_ID", "MLFLOW_ACTIVE_MODEL_ID", "_MLFLOW_ACTIVE_MODEL_ID"):
        os.environ.pop(name, None)
    current.set(None)
