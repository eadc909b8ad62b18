"""Bodies as MLflow's server delivers them."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from mlflow.entities.webhook import WebhookAction, WebhookEntity
from mlflow.webhooks.types import EVENT_TO_PAYLOAD_CLASS

from headrace.events.formats import build
from headrace.events.outgoing import Hook
from headrace.protocol.cloudevents import Row, encode_event
from headrace.protocol.mlflow_webhooks import MLFLOW_EVENTS


def body(type: str, subject: str, data: dict[str, Any]) -> Any:
    hook = Hook(name="h", webhook_id="w", url="https://t.example/", format="mlflow")
    row = Row(9, 1_790_000_000_123, type, subject, "", None, json.dumps(data))
    return json.loads(build(hook, encode_event(row, "urn:headrace:1"), "d", 1.0).body)


@pytest.mark.parametrize("type", MLFLOW_EVENTS)
def test_the_data_is_what_mlflow_documents(type: str) -> None:
    known = MLFLOW_EVENTS[type]
    key = WebhookEntity[known.entity], WebhookAction[known.action]
    example: Any = EVENT_TO_PAYLOAD_CLASS[key].example()  # type: ignore[attr-defined]
    sent = body(type, "model_version/other/7", dict(example))
    assert sent["data"] == example
    assert (sent["entity"], sent["action"]) == (key[0].value, key[1].value)
    assert datetime.fromisoformat(sent["timestamp"]).tzinfo == UTC


def test_what_the_data_lacks_comes_from_the_subject() -> None:
    sent = body(
        "model_version.tag.set", "model_version/a/b/3", {"key": "k", "before": None, "after": "v"}
    )
    assert sent["data"] == {"name": "a/b", "version": "3", "key": "k", "value": "v"}
    assert body("registered_model.created", "registered_model/m", {})["data"] == {
        "name": "m",
        "tags": {},
        "description": None,
    }


def test_a_type_that_mlflow_does_not_have_is_named_likewise() -> None:
    sent = body("run.tag.deleted", "run/1", {"key": "k"})
    assert (sent["entity"], sent["action"], sent["data"]) == ("run_tag", "deleted", {"key": "k"})
