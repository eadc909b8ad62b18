"""A Server-Sent Events client that hides nothing: what came, in order."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, NamedTuple

import httpx

EVENTS = "/api/headrace/v1/events"


class Message(NamedTuple):
    """One block of a stream: its fields as they came, data decoded; None where a field was not there."""

    event: str | None
    id: int | None
    data: Any


def messages(response: httpx.Response) -> Iterator[Message]:
    """The blocks of a stream, comments left out, until it ends."""
    fields: dict[str, str] = {}
    for line in response.iter_lines():
        if not line:
            if fields:
                yield Message(
                    fields.get("event"),
                    int(fields["id"]) if "id" in fields else None,
                    json.loads(fields["data"]) if "data" in fields else None,
                )
            fields = {}
        elif not line.startswith(":"):
            name, _, value = line.partition(": ")
            fields[name] = value


def events(response: httpx.Response) -> Iterator[dict[str, Any]]:
    """The events of a stream, as CloudEvents."""
    for message in messages(response):
        if message.event is None and message.data is not None:
            assert str(message.id) == message.data["id"]
            yield message.data
