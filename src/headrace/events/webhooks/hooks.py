"""The webhooks of a store, ready to choose events and to build messages."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import msgspec
import sqlalchemy as sa

from headrace.engine import Engine, schema
from headrace.engine.webhooks.guard import Draft, with_credentials
from headrace.engine.webhooks.secrets import Secrets
from headrace.engine.webhooks.wants import Wants, decode_wants
from headrace.errors import HeadraceError
from headrace.events.outgoing import Hook
from headrace.events.targets import Targets
from headrace.protocol.cloudevents import Row
from headrace.protocol.event_filter import EventFilter

#: Events that name webhooks which get them, whatever those ask for.
_NOTIFYING = frozenset(("rule.fired", "rule.resolved"))
_OWN = "webhook."


class Listed(msgspec.Struct, frozen=True, kw_only=True):
    """An active webhook.

    Attributes:
        id: Its number in the database.
        uuid: Its public id.
        name: As `Webhook.name`.
        after_seq: It gets later events only.
        choice: Which events it asks for; None: none.
        hook: For its messages; None when its secrets cannot be read.
        problem: Why they cannot; else empty.
    """

    id: int
    uuid: str
    name: str
    after_seq: int
    choice: EventFilter | None
    hook: Hook | None
    problem: str = ""

    def gets(self, row: Row, notified: frozenset[str]) -> bool:
        """Whether an event is for it.

        Args:
            row: The event.
            notified: Names of webhooks that the event itself is for.
        """
        if row.seq <= self.after_seq:
            return False
        if row.type.startswith(_OWN) and row.subject == f"webhook/{self.uuid}":
            return False  # of itself it hears nothing: it would never end
        return self.name in notified or (self.choice is not None and self.choice.matches(row))


def load(engine: Engine) -> list[Listed]:
    """All active webhooks. One whose secrets cannot be read is there all the same, with its problem."""
    table = schema.webhook
    with engine.read() as connection:
        rows = connection.execute(
            sa.select(table).where(table.c.status == "ACTIVE", table.c.deleted_time.is_(None))
        ).all()
    return [listed(row, engine.webhook_guard.secrets) for row in rows]


def listed(row: Any, secrets: Secrets) -> Listed:
    """A row of table ``webhook``, ready for use."""
    hook, problem = None, ""
    try:
        hook = Hook(
            name=row.name,
            webhook_id=row.uuid,
            url=with_credentials(row.url, secrets.open(row.credentials) if row.credentials else ""),
            format=row.format,
            template=row.template,
            secret=secrets.open(row.secret) if row.secret else "",
            headers=_headers(secrets.open(row.headers)) if row.headers else {},
        )
    except HeadraceError as error:
        problem = error.message
    return Listed(
        id=row.id,
        uuid=row.uuid,
        name=row.name,
        after_seq=row.after_seq,
        choice=_choice(decode_wants(row.wants)),
        hook=hook,
        problem=problem,
    )


def notified(row: Row) -> frozenset[str]:
    """Names of the webhooks that an event is for by its own word."""
    if row.type not in _NOTIFYING:
        return frozenset()
    names = msgspec.json.decode(row.data).get("notify")
    return frozenset(_texts(names)) if isinstance(names, list) else frozenset()


def checker(targets: Targets) -> Any:
    """What refuses webhooks that could not be sent to, or whose messages could not be built."""

    def check(draft: Draft) -> None:
        targets.check_url(draft.url)
        from headrace.events import formats  # takes a while: when a webhook is made

        formats.check(
            Hook(
                name=draft.name,
                webhook_id=draft.webhook_id,
                url=draft.url,
                format=draft.format,
                template=draft.template,
                secret=draft.secret,
                headers=dict(draft.headers),
            )
        )

    return check


def _choice(wants: Wants) -> EventFilter | None:
    try:
        return wants.choice()
    except HeadraceError:  # a type that this version does not know any more
        return None


def _headers(text: str) -> dict[str, str]:
    return msgspec.json.decode(text, type=dict[str, str])


def _texts(values: Iterable[Any]) -> Iterator[str]:
    return (value for value in values if isinstance(value, str))
