"""Delivering again: one delivery, or what a webhook got, or would have got, within bounds.

Bounds may hold a million events, so it is done a thousand at a time, each in a transaction of its own.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import msgspec
import sqlalchemy as sa

from headrace.engine import schema
from headrace.engine.database import Database
from headrace.engine.events.log import EventLog
from headrace.engine.webhooks.deliveries import STATES, no_delivery
from headrace.engine.webhooks.queue import Fresh, delivery_id, hold, put, renew
from headrace.engine.webhooks.wants import decode_wants
from headrace.errors import InvalidParameter, NotFound
from headrace.protocol.cloudevents import Row, encode_event
from headrace.protocol.event_filter import EventFilter
from headrace.protocol.limits import refuse_nul
from headrace.protocol.webhooks import Redeliver, Redelivered

_delivery = schema.webhook_delivery
_webhook = schema.webhook
_STEP = 1000


class Redelivery:
    """The operation `redeliver`."""

    def __init__(
        self,
        database: Database,
        log: EventLog,
        transact: Callable[..., Any],
        wake: Callable[[], None],
    ) -> None:
        """Over a database; `wake` is called when something was queued."""
        self._database = database
        self._log = log
        self._transact = transact
        self._wake = wake

    def redeliver(self, request: Redeliver, actor: str) -> Redelivered:
        """Queue again; see `headrace.protocol.webhooks.Webhooks.redeliver`."""
        refuse_nul(msgspec.to_builtins(request))
        bounds = (request.first, request.last, request.since, request.until)
        bounded = any(one is not None for one in bounds)
        if bool(request.delivery_id) == bool(request.webhook_id):
            raise InvalidParameter("Give either delivery_id, or webhook_id with bounds.")
        if request.webhook_id and not (bounded or request.state):
            raise InvalidParameter(
                "Give at least one of first, last, since, until and state with webhook_id: which events?"
            )
        count = self._one(request) if request.delivery_id else self._range(request)
        if count and not request.dry_run:
            self._wake()
        return Redelivered(count=count)

    def _one(self, request: Redeliver) -> int:
        with self._database.read() as connection:
            row = connection.execute(
                sa.select(_delivery.c.id, _delivery.c.webhook_id, _delivery.c.subject)
                .join(_webhook)
                .where(_delivery.c.uuid == request.delivery_id, _webhook.c.deleted_time.is_(None))
            ).one_or_none()
        if row is None:
            raise no_delivery(request.delivery_id)
        if not request.dry_run:
            self._renew(row.webhook_id, [(row.id, row.subject)])
        return 1

    def _range(self, request: Redeliver) -> int:
        with self._database.read() as connection:
            webhook = connection.execute(
                sa.select(_webhook).where(
                    _webhook.c.uuid == request.webhook_id, _webhook.c.deleted_time.is_(None)
                )
            ).one_or_none()
        if webhook is None:
            raise NotFound(f"Webhook with ID {request.webhook_id[:100]} not found.")
        count = 0
        for rows in self._known(webhook.id, request):
            count += len(rows)
            if not request.dry_run:
                self._renew(webhook.id, rows)
        if not request.state:
            for fresh in self._missed(webhook, request):
                count += len(fresh)
                if not request.dry_run:
                    self._put(fresh)
        return count

    def _known(self, webhook: int, request: Redeliver) -> Iterator[list[tuple[int, str]]]:
        """Deliveries that there are within the bounds, as (number, subject)."""
        statement = sa.select(_delivery.c.id, _delivery.c.subject, _delivery.c.seq).where(
            _delivery.c.webhook_id == webhook, _delivery.c.seq > 0, *_within(request)
        )
        if request.state:
            numbers = [STATES.index(state) for state in request.state]
            statement = statement.where(_delivery.c.state.in_(numbers))
        place = 0
        while True:
            with self._database.read() as connection:
                rows = connection.execute(
                    statement.where(_delivery.c.seq > place).order_by(_delivery.c.seq).limit(_STEP)
                ).all()
            if not rows:
                return
            yield [(row.id, row.subject) for row in rows]
            place = rows[-1].seq

    def _missed(self, webhook: Any, request: Redeliver) -> Iterator[list[Fresh]]:
        """Events within the bounds that the webhook asks for and has no delivery of."""
        chosen = decode_wants(webhook.wants).choice()
        if chosen is None:
            return
        chosen = msgspec.structs.replace(chosen, since=request.since, until=request.until)
        place = self._start(request)
        end = self._log.end() if request.last is None else min(request.last, self._log.end())
        while place < end:
            rows, place = self._stretch(place, chosen)
            rows = [row for row in rows if row.seq <= end and not own_event(row, webhook.uuid)]
            if rows:
                yield self._unknown(webhook, rows)

    def _start(self, request: Redeliver) -> int:
        oldest = self._log.read(None, 0).oldest
        return max((request.first or 1) - 1, oldest - 1)

    def _stretch(self, after: int, chosen: EventFilter) -> tuple[Sequence[Row], int]:
        found = self._log.read(after, _STEP, None if chosen.everything else chosen)
        return found.rows, found.next

    def _unknown(self, webhook: Any, rows: Sequence[Row]) -> list[Fresh]:
        with self._database.read() as connection:
            known = set(
                connection.execute(
                    sa.select(_delivery.c.seq).where(
                        _delivery.c.webhook_id == webhook.id,
                        _delivery.c.seq.in_([row.seq for row in rows]),
                    )
                ).scalars()
            )
        source = self._log.source
        return [fresh(webhook, row, source) for row in rows if row.seq not in known]

    def _renew(self, webhook: int, rows: list[tuple[int, str]]) -> None:
        def work(connection: sa.Connection) -> tuple[None, Callable[[], None]]:
            hold(connection, {webhook})
            renew(connection, webhook, rows, _now())
            return None, _nothing

        self._transact(work)

    def _put(self, rows: list[Fresh]) -> None:
        def work(connection: sa.Connection) -> tuple[None, Callable[[], None]]:
            put(connection, rows, _now())
            return None, _nothing

        self._transact(work)


def fresh(webhook: Any, row: Row, source: str) -> Fresh:
    """An event, to be queued for a webhook (anything that has its ``id`` and ``uuid``)."""
    return Fresh(
        webhook.id,
        delivery_id(webhook.uuid, row.seq),
        row.seq,
        row.time,
        row.type,
        row.subject,
        encode_event(row, source).decode(),
    )


def own_event(row: Row, webhook_id: str) -> bool:
    """Whether an event tells of the webhook itself, which does not get it: it would never end."""
    return row.subject == f"webhook/{webhook_id}"


def _within(request: Redeliver) -> list[Any]:
    conditions: list[Any] = []
    if request.first is not None:
        conditions.append(_delivery.c.seq >= request.first)
    if request.last is not None:
        conditions.append(_delivery.c.seq <= request.last)
    if request.since is not None:
        conditions.append(_delivery.c.time >= request.since)
    if request.until is not None:
        conditions.append(_delivery.c.time < request.until)
    return conditions


def _now() -> int:
    return time.time_ns() // 1_000_000


def _nothing() -> None:
    """What is left to do after a transaction that is its own witness."""
