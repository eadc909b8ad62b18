"""Events that are sent to try a webhook."""

from __future__ import annotations

import time
from typing import Any

import msgspec

from headrace.protocol.catalogue import EVENT_TYPES
from headrace.protocol.cloudevents import Row
from headrace.protocol.mlflow_webhooks import MLFLOW_EVENTS

_RUN = "00000000000000000000000000000000"
_VALUES: dict[str, Any] = {
    "name": "example",
    "version": "1",
    "source": "models:/m-00000000000000000000000000000000",
    "run_id": _RUN,
    "tags": {"team": "example"},
    "description": "An example, sent to try a webhook.",
    "template": "Summarise {{ text }}.",
    "key": "team",
    "value": "example",
    "alias": "champion",
}
_STATUS = {"run.finished": "FINISHED", "run.failed": "FAILED", "run.killed": "KILLED"}
_PLACES = {
    "run_id": _RUN,
    "experiment_id": "0",
    "name": "example",
    "version": "1",
    "model_id": "m-00000000000000000000000000000000",
}


def example(type: str, webhook_id: str) -> Row:
    """An event of a type, as it could be. Its number is 0: it is in no log.

    Args:
        type: One of the catalogue.
        webhook_id: The webhook that is tried; events about webhooks are about it.
    """
    known = EVENT_TYPES[type]
    subject = known.subject
    for place, value in {**_PLACES, "webhook_id": webhook_id}.items():
        subject = subject.replace(f"<{place}>", value)
    if type in MLFLOW_EVENTS:
        data = {field: _VALUES[field] for field in MLFLOW_EVENTS[type].fields}
    elif type in _STATUS:
        data = {"before": {"status": "RUNNING"}, "after": {"status": _STATUS[type]}}
    else:
        data = {name: _VALUES.get(name, "example") for name in known.data}
        data |= {name: {} for name in ("before", "after") if name in data}
    data["test"] = True
    return Row(
        seq=0,
        time=time.time_ns() // 1_000_000,
        type=type,
        subject=subject,
        actor="",
        experiment_id=0 if type.startswith(("run.", "experiment.", "metric.")) else None,
        data=msgspec.json.encode(data).decode(),
    )
