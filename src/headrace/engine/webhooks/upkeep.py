"""Keeping the queue in order: what waits for deleted webhooks, what waited too long, what is long delivered.

Each function does a limited part and says how much, so that no transaction is long.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from headrace.engine import schema
from headrace.engine.schema import CANCELLED, DELIVERED, PARKED, PENDING
from headrace.engine.webhooks.queue import Pending, Result, hold

_webhook = schema.webhook
_delivery = schema.webhook_delivery
_queue = schema.webhook_queue
_attempt = schema.webhook_attempt
_PENDING = _delivery.c.state == sa.literal_column(str(PENDING))  # as the index has it
PART = 500


def cancel_deleted(connection: sa.Connection, now: int) -> int:
    """Cancel deliveries that wait for deleted webhooks."""
    waiting = sa.exists().where(_delivery.c.webhook_id == _webhook.c.id, _PENDING)
    number = connection.execute(
        sa.select(_webhook.c.id).where(_webhook.c.deleted_time.is_not(None), waiting).limit(1)
    ).scalar()
    if number is None:
        return 0
    hold(connection, {number})
    ids = list(
        connection.execute(
            sa.select(_delivery.c.id).where(_delivery.c.webhook_id == number, _PENDING).limit(PART)
        ).scalars()
    )
    connection.execute(
        sa.update(_delivery)
        .where(_delivery.c.id.in_(ids))
        .values(state=CANCELLED, done_time=now, error="The webhook was deleted.")
    )
    if len(ids) < PART:
        connection.execute(sa.delete(_queue).where(_queue.c.webhook_id == number))
    return len(ids)


def park_overdue(
    connection: sa.Connection, webhook: int, before: int, now: int, error: str
) -> list[Result]:
    """Park what waits for a target that has not worked for too long.

    Args:
        connection: In a write transaction.
        webhook: Its number.
        before: What was queued before then, milliseconds since the Unix epoch.
        now: Milliseconds since the Unix epoch.
        error: Why.
    """
    hold(connection, {webhook})
    columns = [_delivery.c[name] for name in Pending._fields]
    rows = connection.execute(
        sa.select(*columns, _delivery.c.subject)
        .where(_delivery.c.webhook_id == webhook, _PENDING, _delivery.c.queued_time < before)
        .limit(PART)
    ).all()
    if not rows:
        return []
    connection.execute(
        sa.update(_delivery)
        .where(_delivery.c.id.in_([row.id for row in rows]))
        .values(state=PARKED, done_time=now, next_time=None, error=error)
    )
    _drop_empty(connection, webhook, {row.subject for row in rows})
    return [
        Result(
            delivery=Pending._make(tuple(row)[: len(Pending._fields)])._replace(
                attempts=row.attempts - 1  # none was made now
            ),
            state=PARKED,
            next_time=None,
            done_time=now,
            time=now,
            status=None,
            latency_ms=0.0,
            body="",
            error=error,
        )
        for row in rows
    ]


def forget_done(connection: sa.Connection, before: int, place: int) -> int | None:
    """Remove deliveries that were done long ago, of those after a place; where to go on, None at the end.

    Parked ones stay, those of webhooks that are there: somebody may want to deliver them yet.

    Args:
        connection: In a write transaction.
        before: Done before then, milliseconds since the Unix epoch.
        place: Number of the last delivery that was looked at.
    """
    gone = sa.exists().where(
        _webhook.c.id == _delivery.c.webhook_id, _webhook.c.deleted_time.is_not(None)
    )
    rows = connection.execute(
        sa.select(
            _delivery.c.id,
            _delivery.c.time,
            _delivery.c.state,
            _delivery.c.done_time,
            gone.label("gone"),
        )
        .where(_delivery.c.id > place)
        .order_by(_delivery.c.id)
        .limit(PART)
    ).all()
    old = [row.id for row in rows if _forgettable(row, before)]
    if old:
        connection.execute(sa.delete(_attempt).where(_attempt.c.delivery_id.in_(old)))
        connection.execute(sa.delete(_delivery).where(_delivery.c.id.in_(old)))
    # Numbers follow the times of events, nearly: what comes after a young one is not old.
    if len(rows) < PART or rows[-1].time >= before:
        return None
    return int(rows[-1].id)


def forget_webhooks(connection: sa.Connection, before: int) -> int:
    """Remove webhooks that were deleted long ago and have no deliveries left."""
    left = sa.exists().where(_delivery.c.webhook_id == _webhook.c.id)
    done: Any = connection.execute(
        sa.delete(_webhook).where(_webhook.c.deleted_time < before, ~left)
    )
    return int(done.rowcount)


def _forgettable(row: Any, before: int) -> bool:
    states = (DELIVERED, CANCELLED, PARKED) if row.gone else (DELIVERED, CANCELLED)
    return row.state in states and row.done_time is not None and row.done_time < before


def _drop_empty(connection: sa.Connection, webhook: int, subjects: set[str]) -> None:
    waiting = sa.exists().where(
        _delivery.c.webhook_id == _queue.c.webhook_id,
        _delivery.c.subject == _queue.c.subject,
        _PENDING,
    )
    connection.execute(
        sa.delete(_queue).where(
            _queue.c.webhook_id == webhook, _queue.c.subject.in_(sorted(subjects)), ~waiting
        )
    )
