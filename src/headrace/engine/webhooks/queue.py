"""The queue of deliveries: putting in, taking out, and noting what became of them.

``webhook_queue`` has a row for every (webhook, subject) with pending deliveries: when the next one of them is due.
So what is due is found by an index, however many deliveries wait and however many subjects are blocked by one
that failed; and all deliveries of a subject wait behind the first.

Everything here runs in write transactions of whoever holds the lease, and of those who redeliver. They
take the webhooks' rows first (`hold`): without that, on PostgreSQL, a queue row could be removed as empty by one
transaction while another, not committed yet, puts a delivery in.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any, NamedTuple

import sqlalchemy as sa

from headrace.engine import schema
from headrace.engine.database import execute_driver
from headrace.engine.schema import CANCELLED, DELIVERED, PARKED, PENDING

#: Attempts that are kept of a delivery.
KEPT_ATTEMPTS = 50


class _Many(NamedTuple):
    """A statement for many rows: on SQLite once a row, on PostgreSQL once with an array for each column."""

    row: str
    arrays: str


_NEW = _Many(
    "INSERT INTO webhook_delivery (uuid, webhook_id, seq, time, type, subject, event, state, attempts, tries, "
    "queued_time, error) VALUES (?, ?, ?, ?, ?, ?, ?, 0, 0, 0, ?, '') ON CONFLICT (uuid) DO NOTHING",
    "INSERT INTO webhook_delivery (uuid, webhook_id, seq, time, type, subject, event, state, attempts, tries, "
    "queued_time, error) SELECT a, b, c, d, e, f, g, 0, 0, 0, h, '' FROM unnest(%s::text[], %s::bigint[], "
    "%s::bigint[], %s::bigint[], %s::text[], %s::text[], %s::text[], %s::bigint[]) WITH ORDINALITY "
    "AS one (a, b, c, d, e, f, g, h, place) ORDER BY place ON CONFLICT (uuid) DO NOTHING",
)
_QUEUE_ROW = (
    "INSERT INTO webhook_queue (webhook_id, subject, next_time) VALUES (?, ?, ?) "
    "ON CONFLICT (webhook_id, subject) "
)
_QUEUE_ARRAYS = (
    "INSERT INTO webhook_queue (webhook_id, subject, next_time) SELECT * FROM unnest(%s::bigint[], %s::text[], "
    "%s::bigint[]) ON CONFLICT (webhook_id, subject) "
)
_SOONER = "DO UPDATE SET next_time = excluded.next_time"
_QUEUE = _Many(_QUEUE_ROW + "DO NOTHING", _QUEUE_ARRAYS + "DO NOTHING")
_QUEUE_NOW = _Many(_QUEUE_ROW + _SOONER, _QUEUE_ARRAYS + _SOONER)
_DUE = (
    "SELECT subject FROM webhook_queue WHERE webhook_id = ? AND next_time <= ? "
    "ORDER BY next_time LIMIT ?"
)
_COLUMNS = "id, uuid, seq, type, attempts, tries, queued_time, event"
_HEADS = (
    f"SELECT {_COLUMNS} FROM webhook_delivery WHERE webhook_id = ? AND subject = ? AND state = 0 "
    "ORDER BY seq LIMIT ?"
)
# PostgreSQL answers for all subjects at once.
_ALL_HEADS = (
    f"SELECT one.subject, {', '.join(f'd.{name}' for name in _COLUMNS.split(', '))} "
    "FROM unnest(%s::text[]) WITH ORDINALITY AS one (subject, place) CROSS JOIN LATERAL ("
    f"SELECT {_COLUMNS} FROM webhook_delivery WHERE webhook_id = %s AND subject = one.subject AND state = 0 "
    "ORDER BY seq LIMIT %s) AS d ORDER BY one.place, d.seq"
)
_ATTEMPT = _Many(
    "INSERT INTO webhook_attempt (delivery_id, number, time, status, latency_ms, body, error) "
    "VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (delivery_id, number) DO NOTHING",
    "INSERT INTO webhook_attempt (delivery_id, number, time, status, latency_ms, body, error) "
    "SELECT * FROM unnest(%s::bigint[], %s::int[], %s::bigint[], %s::int[], %s::float8[], %s::text[], %s::text[]) "
    "ON CONFLICT (delivery_id, number) DO NOTHING",
)
_TRIM = _Many(
    "DELETE FROM webhook_attempt WHERE delivery_id = ? AND number <= ?",
    "DELETE FROM webhook_attempt AS old USING unnest(%s::bigint[], %s::int[]) AS one (id, number) "
    "WHERE old.delivery_id = one.id AND old.number <= one.number",
)
_RESULT = _Many(
    "UPDATE webhook_delivery SET state = ?, attempts = ?, tries = ?, next_time = ?, done_time = ?, status = ?, "
    "error = ? WHERE id = ? AND queued_time = ?",
    "UPDATE webhook_delivery AS d SET state = one.state, attempts = one.attempts, tries = one.tries, "
    "next_time = one.next_time, done_time = one.done_time, status = one.status, error = one.error "
    "FROM unnest(%s::int[], %s::int[], %s::int[], %s::bigint[], %s::bigint[], %s::int[], %s::text[], %s::bigint[], "
    "%s::bigint[]) AS one (state, attempts, tries, next_time, done_time, status, error, id, queued_time) "
    "WHERE d.id = one.id AND d.queued_time = one.queued_time",
)
_NONE_LEFT = (
    "NOT EXISTS (SELECT 1 FROM webhook_delivery AS d WHERE d.webhook_id = webhook_queue.webhook_id "
    "AND d.subject = webhook_queue.subject AND d.state = 0)"
)
_EMPTIED = _Many(
    f"DELETE FROM webhook_queue WHERE webhook_id = ? AND subject = ? AND {_NONE_LEFT}",
    "DELETE FROM webhook_queue USING unnest(%s::bigint[], %s::text[]) AS one (webhook, subject) "
    "WHERE webhook_queue.webhook_id = one.webhook AND webhook_queue.subject = one.subject "
    f"AND {_NONE_LEFT}",
)
# The time of the first that waits; one without was queued again meanwhile, and is due already.
_FIRST_TIME = (
    "COALESCE((SELECT d.next_time FROM webhook_delivery AS d WHERE d.webhook_id = webhook_queue.webhook_id "
    "AND d.subject = webhook_queue.subject AND d.state = 0 ORDER BY d.seq LIMIT 1), webhook_queue.next_time)"
)
_POSTPONE = _Many(
    f"UPDATE webhook_queue SET next_time = {_FIRST_TIME} WHERE webhook_id = ? AND subject = ?",
    f"UPDATE webhook_queue SET next_time = {_FIRST_TIME} FROM unnest(%s::bigint[], %s::text[]) "
    "AS one (webhook, subject) "
    "WHERE webhook_queue.webhook_id = one.webhook AND webhook_queue.subject = one.subject",
)


class Fresh(NamedTuple):
    """An event for a webhook, to be queued. Fields as in the table."""

    webhook: int
    uuid: str
    seq: int
    time: int
    type: str
    subject: str
    event: str


class Pending(NamedTuple):
    """A delivery to be tried. Fields as in the table."""

    id: int
    uuid: str
    seq: int
    type: str
    attempts: int
    tries: int
    queued_time: int
    event: str


class Result(NamedTuple):
    """What became of an attempt, and of its delivery. Fields as in the tables; `time` is the attempt's."""

    delivery: Pending
    state: int
    next_time: int | None
    done_time: int | None
    time: int
    status: int | None
    latency_ms: float
    body: str
    error: str


class Settled(NamedTuple):
    """A subject whose deliveries in memory were tried: when it is due again; None: at once, if more wait."""

    webhook: int
    subject: str
    next_time: int | None


def delivery_id(webhook_id: str, seq: int) -> str:
    """The id of an event's delivery to a webhook: always the same."""
    return str(uuid.uuid5(uuid.UUID(webhook_id), str(seq)))


def hold(connection: sa.Connection, webhooks: set[int]) -> None:
    """Let no other transaction change the queues of these webhooks until this one ends."""
    if webhooks and connection.dialect.name != "sqlite":
        execute_driver(
            connection,
            "SELECT id FROM webhook WHERE id = ANY(%s) ORDER BY id FOR NO KEY UPDATE",
            (sorted(webhooks),),
        )


def put(connection: sa.Connection, fresh: Sequence[Fresh], now: int) -> None:
    """Queue deliveries, in the order of their events. One that is there already stays as it is."""
    if not fresh:
        return
    hold(connection, {one.webhook for one in fresh})
    _many(
        connection,
        _NEW,
        [(one.uuid, one.webhook, one.seq, one.time, one.type, one.subject, one.event, now) for one in fresh],
    )  # fmt: skip
    pairs = sorted({(one.webhook, one.subject) for one in fresh})
    _many(connection, _QUEUE, [(*pair, now) for pair in pairs])


def due(connection: sa.Connection, now: int) -> list[int]:
    """Numbers of the active webhooks that have something to send now."""
    queue, webhook = schema.webhook_queue, schema.webhook
    waiting = sa.exists().where(queue.c.webhook_id == webhook.c.id, queue.c.next_time <= now)
    return list(
        connection.execute(
            sa.select(webhook.c.id).where(
                webhook.c.status == "ACTIVE", webhook.c.deleted_time.is_(None), waiting
            )
        ).scalars()
    )


def take(
    connection: sa.Connection, webhook: int, held: set[str], *, subjects: int, each: int, now: int
) -> list[tuple[str, list[Pending]]]:
    """Deliveries that are due, by subject; those that wait longest come first.

    Args:
        connection: In a read transaction.
        webhook: Its number.
        held: Subjects that are being delivered already.
        subjects: So many at most.
        each: Of a subject so many deliveries at most.
        now: Milliseconds since the Unix epoch.
    """
    found = _run(connection, _DUE, (webhook, now, subjects + len(held)))
    chosen = [row[0] for row in found if row[0] not in held][:subjects]
    if not chosen:
        return []
    if connection.dialect.name == "sqlite":
        taken = {
            subject: list(
                map(Pending._make, execute_driver(connection, _HEADS, (webhook, subject, each)))
            )
            for subject in chosen
        }
    else:
        taken = {subject: [] for subject in chosen}
        for row in execute_driver(connection, _ALL_HEADS, (chosen, webhook, each)):
            taken[row[0]].append(Pending._make(row[1:]))
    return list(taken.items())


def settle(
    connection: sa.Connection,
    webhooks: set[int],
    results: Sequence[Result],
    settled: Sequence[Settled],
) -> None:
    """Note attempts at deliveries of some webhooks, and what follows from them.

    A delivery that was queued again meanwhile keeps that.
    """
    hold(connection, webhooks)
    _many(connection, _ATTEMPT, [_attempt_row(one) for one in results])
    _many(
        connection,
        _TRIM,
        [
            (one.delivery.id, one.delivery.attempts + 1 - KEPT_ATTEMPTS)
            for one in results
            if one.delivery.attempts >= KEPT_ATTEMPTS
        ],
    )
    _many(
        connection,
        _RESULT,
        sorted((_result_row(one) for one in results), key=lambda row: int(row[-2])),
    )
    _many(connection, _POSTPONE, [one[:2] for one in settled if one.next_time])
    _many(connection, _EMPTIED, [one[:2] for one in settled if not one.next_time])


def add_tested(connection: sa.Connection, fresh: Fresh, result: Result) -> None:
    """Note a test: a delivery that was tried once, outside of every queue."""
    table = schema.webhook_delivery
    number = connection.execute(
        table.insert().returning(table.c.id),
        {
            "uuid": fresh.uuid, "webhook_id": fresh.webhook, "seq": 0, "time": fresh.time, "type": fresh.type,
            "subject": fresh.subject, "event": fresh.event, "state": result.state, "attempts": 1, "tries": 1,
            "queued_time": fresh.time, "done_time": result.done_time, "status": result.status,
            "error": result.error,
        },
    ).scalar_one()  # fmt: skip
    done = result._replace(delivery=result.delivery._replace(id=number))
    _many(connection, _ATTEMPT, [_attempt_row(done)])


def renew(
    connection: sa.Connection, webhook: int, deliveries: Sequence[tuple[int, str]], now: int
) -> None:
    """Queue deliveries again, whatever became of them.

    Args:
        connection: Where `hold` has the webhook.
        webhook: Its number.
        deliveries: Number and subject of each.
        now: Milliseconds since the Unix epoch.
    """
    table = schema.webhook_delivery
    connection.execute(
        sa.update(table)
        .where(table.c.id.in_([one[0] for one in deliveries]))
        .values(state=PENDING, tries=0, queued_time=now, next_time=None, done_time=None)
    )
    queue = sorted({subject for _id, subject in deliveries})
    _many(
        connection,
        _QUEUE_NOW,
        [(webhook, subject, now) for subject in queue],
    )


def _attempt_row(one: Result) -> tuple[Any, ...]:
    number = one.delivery.attempts + 1
    return one.delivery.id, number, one.time, one.status, one.latency_ms, one.body, one.error


def _result_row(one: Result) -> tuple[Any, ...]:
    before = one.delivery
    return (
        one.state, before.attempts + 1, before.tries + 1, one.next_time, one.done_time, one.status,
        one.error, before.id, before.queued_time,
    )  # fmt: skip


def _run(connection: sa.Connection, statement: str, values: tuple[Any, ...]) -> list[Any]:
    if connection.dialect.name != "sqlite":
        statement = statement.replace("?", "%s")
    return execute_driver(connection, statement, values)


def _many(connection: sa.Connection, statement: _Many, rows: Sequence[tuple[Any, ...]]) -> None:
    if not rows:
        return
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql(statement.row, list(rows))
    else:
        execute_driver(connection, statement.arrays, tuple(map(list, zip(*rows, strict=True))))


__all__ = [
    "CANCELLED",
    "DELIVERED",
    "PARKED",
    "PENDING",
    "Fresh",
    "Pending",
    "Result",
    "Settled",
    "add_tested",
    "delivery_id",
    "due",
    "hold",
    "put",
    "renew",
    "settle",
    "take",
]
