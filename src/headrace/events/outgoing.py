"""A message on its way out: whom it is for, what it is, and what became of it."""

from __future__ import annotations

import msgspec

#: Of an answer, so many bytes are kept.
ANSWER_BYTES = 2048


class Hook(msgspec.Struct, frozen=True, kw_only=True):
    """What is needed to build the messages of one webhook, and to send them.

    Attributes:
        name: For people.
        webhook_id: Its id.
        url: Where to: ``https://…``, or ``smtp://…`` for mail (docs/webhook-formats.md).
        format: One of `headrace.events.formats.FORMATS`.
        template: A Jinja template in place of the format's own words; empty: its own words.
        secret: What messages are signed with; a token, for formats whose targets want one. May be empty.
        headers: More headers of every request.
    """

    name: str
    webhook_id: str
    url: str
    format: str
    template: str = ""
    secret: str = ""
    headers: dict[str, str] = {}


class Outgoing(msgspec.Struct, frozen=True, kw_only=True):
    """A message, ready to be sent. It may hold secrets in all its parts: show none of them.

    Attributes:
        url: Where to. ``smtp://`` and ``smtps://``: `body` is a mail message.
        method: HTTP's; without a meaning for mail.
        headers: HTTP's; without a meaning for mail.
        body: As it is sent.
    """

    url: str
    method: str = "POST"
    headers: dict[str, str]
    body: bytes


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a message.

    Attributes:
        status: Of the HTTP answer, or SMTP's reply code; None when there was no answer.
        latency_ms: From the first try to connect until the end.
        body: Beginning of the answer, at most 2 KiB, as text.
        error: Why it failed, for people; empty when it was delivered.
        retry_after: Seconds that the target asked to be left alone for; None when it did not.
        final: Trying again is useless: the target is not allowed, or the message is not acceptable.
    """

    status: int | None = None
    latency_ms: float = 0.0
    body: str = ""
    error: str = ""
    retry_after: float | None = None
    final: bool = False

    @property
    def delivered(self) -> bool:
        """Whether the target took it: it answered with a 2xx."""
        return not self.error and self.status is not None and 200 <= self.status < 300
