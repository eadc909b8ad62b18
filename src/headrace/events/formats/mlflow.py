"""Bodies that MLflow's own server would deliver."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from headrace.events.formats.message import Content, Message, json_content
from headrace.protocol.mlflow_webhooks import MLFLOW_EVENTS, MlflowEvent


def compose(message: Message) -> Content:
    """``entity``, ``action``, ``timestamp`` and ``data``.

    Events that MLflow does not have are named likewise: ``run.tag.deleted`` is ``run_tag``, ``deleted``.
    """
    event = message.event
    type = event["type"]
    known = MLFLOW_EVENTS.get(type)
    if known is None:
        noun, _, action = type.rpartition(".")
        entity, data = noun.replace(".", "_"), event["data"]
    else:
        entity, action, data = known.entity.lower(), known.action.lower(), _data(known, event)
    stamp = event["time"].removesuffix("Z") + "+00:00"
    return json_content({"entity": entity, "action": action, "timestamp": stamp, "data": data})


def _data(known: MlflowEvent, event: Mapping[str, Any]) -> dict[str, Any]:
    """See `headrace.protocol.mlflow_webhooks`."""
    data = event["data"]
    _, name, version = _subject(event["subject"])
    found: dict[str, Any] = {}
    for field in known.fields:
        value = data.get(field)
        if field == "name":
            value = value or name
        elif field == "version":
            value = str(value or version)
        elif field == "value" and value is None:
            value = data.get("after")
        elif field == "tags" and value is None:
            value = {}
        found[field] = value
    return found


def _subject(subject: str) -> tuple[str, str, str]:
    """Noun, name and version; a name may have slashes in it."""
    noun, _, rest = subject.partition("/")
    if noun not in ("model_version", "prompt_version"):
        return noun, rest, ""
    name, _, version = rest.rpartition("/")
    return noun, name, version
