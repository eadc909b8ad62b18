"""What is sent to try a webhook."""

from __future__ import annotations

import json
import time

import pytest

from headrace.events import formats
from headrace.events.outgoing import Hook
from headrace.events.webhooks.examples import example
from headrace.protocol.catalogue import EVENT_TYPES
from headrace.protocol.cloudevents import encode_event
from headrace.protocol.webhooks import FORMATS

ID = "2e8b512b-9abb-4fc2-ae85-77ef9eb2a366"
_URLS = {
    "mail": "smtps://mail.example.org?to=a@example.org&from=b@example.org",
    "github": "https://api.github.com/repos/a/b/dispatches",
    "gitlab": "https://gitlab.com/api/v4/projects/1/trigger/pipeline?ref=main",
}


def test_the_protocol_names_every_format() -> None:
    assert FORMATS == formats.FORMATS


@pytest.mark.parametrize("format", FORMATS)
def test_an_example_of_every_type_can_be_sent_in_every_format(format: str) -> None:
    hook = Hook(
        name="hook",
        webhook_id=ID,
        url=_URLS.get(format, "https://example.org"),
        format=format,
        template='{"type": {{ event.type | tojson }} }' if format == "json" else "",
        secret="secret",
    )
    formats.check(hook)
    for type in EVENT_TYPES:
        event = encode_event(example(type, ID), "urn:headrace:x")
        assert formats.build(hook, event, ID, time.time()).body


def test_an_example_names_no_place_that_was_left_open() -> None:
    for type in EVENT_TYPES:
        event = json.loads(encode_event(example(type, ID), "urn:headrace:x"))
        assert "<" not in event["subject"], type
        assert event["data"]["test"] is True
