"""What a format makes of an event, and what all formats need for it."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import msgspec

from headrace.events.notice import Notice, notice_of
from headrace.events.outgoing import Hook
from headrace.events.templates import Finalize, render


class Message:
    """An event for one webhook.

    Attributes:
        hook: The webhook.
        raw: The event, a CloudEvent in JSON.
        event: The same, decoded.
        delivery_id: The same in every try.
        sent: Seconds since the Unix epoch.
    """

    def __init__(self, hook: Hook, raw: bytes, delivery_id: str, sent: float) -> None:
        """Decode the event."""
        self.hook = hook
        self.raw = raw
        self.delivery_id = delivery_id
        self.sent = sent

    @functools.cached_property
    def event(self) -> dict[str, Any]:
        """The event, decoded."""
        return msgspec.json.decode(self.raw, type=dict[str, Any])

    @functools.cached_property
    def notice(self) -> Notice:
        """The event in words."""
        return notice_of(self.event)

    @property
    def context(self) -> dict[str, Any]:
        """What a template sees."""
        notice = self.notice
        return {
            "event": self.event,
            "title": notice.title,
            "text": notice.body,
            "link": notice.link,
        }

    def render(self, finalize: Finalize) -> str:
        """What the webhook's template says.

        Raises:
            InvalidParameter: It fails on this event.
        """
        return render(self.hook.template, self.context, finalize).strip()


class Content(msgspec.Struct, frozen=True, kw_only=True):
    """What is sent.

    Attributes:
        type: Its content type.
        body: As it is sent.
        headers: More headers.
    """

    type: str = "application/json"
    body: bytes
    headers: dict[str, str] = {}


def json_content(value: Any, **headers: str) -> Content:
    """A value in JSON."""
    named = {name.replace("_", "-"): text for name, text in headers.items()}
    return Content(body=msgspec.json.encode(value), headers=named)


def units(text: str) -> int:
    """Length as services count it: in UTF-16 units."""
    return len(text) + sum(char > "\uffff" for char in text)


def fit(text: str, most: int, escape: Callable[[str], str] = str) -> str:
    """Text, escaped, of at most so many UTF-16 units; one that was longer ends in ``…``.

    Args:
        text: Plain text.
        most: Units, escapes included.
        escape: Escapes each character by itself.
    """
    whole = escape(text)
    if units(whole) <= most:
        return whole
    room = most - 1
    for index, char in enumerate(text):
        room -= units(escape(char))
        if room < 0:
            return escape(text[:index]) + "…"
    return whole
