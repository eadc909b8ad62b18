"""What became of deliveries, for those who ask."""

from __future__ import annotations

from typing import Any

import msgspec
import sqlalchemy as sa

from headrace.engine import schema
from headrace.engine.webhooks.mlflow import MlflowWebhookOperations
from headrace.engine.webhooks.paging import page_start, page_token
from headrace.errors import NotFound
from headrace.protocol.catalogue import matching_types
from headrace.protocol.limits import refuse_nul
from headrace.protocol.webhooks import (
    Attempt,
    DeliveriesPage,
    Delivery,
    DeliveryId,
    DeliveryResponse,
    DeliveryState,
    ListDeliveries,
)

_delivery = schema.webhook_delivery
_attempt = schema.webhook_attempt
#: In the order of their numbers.
STATES = tuple(DeliveryState)


class DeliveryOperations(MlflowWebhookOperations):
    """The reading half of `Webhooks` over table ``webhook_delivery``."""

    def list_deliveries(self, request: ListDeliveries) -> DeliveriesPage:
        refuse_nul(msgspec.to_builtins(request))
        statement = _deliveries()
        start = page_start(request.max_results, request.page_token)
        if start is not None:
            statement = statement.where(_delivery.c.id < start)
        if request.webhook_id:
            number = self._webhook(request.webhook_id).id
            statement = statement.where(_delivery.c.webhook_id == number)
        if request.state:
            numbers = sorted({STATES.index(state) for state in request.state})
            # One literal lets the index of pending or parked ones serve.
            one: sa.ColumnElement[int] = sa.literal_column(str(numbers[0]))
            statement = statement.where(
                _delivery.c.state == one if len(numbers) == 1 else _delivery.c.state.in_(numbers)
            )
        if request.type:
            types = frozenset().union(*map(matching_types, request.type))
            statement = statement.where(_delivery.c.type.in_(sorted(types)))
        if request.subject:
            statement = statement.where(_delivery.c.subject.in_(sorted(set(request.subject))))
        if request.since is not None:
            statement = statement.where(_delivery.c.time >= request.since)
        if request.until is not None:
            statement = statement.where(_delivery.c.time < request.until)
        rows = self.connection.execute(
            statement.order_by(_delivery.c.id.desc()).limit(request.max_results + 1)
        ).all()
        return DeliveriesPage(
            deliveries=tuple(shown_delivery(row) for row in rows[: request.max_results]),
            next_page_token=page_token(rows, request.max_results),
        )

    def get_delivery(self, request: DeliveryId) -> DeliveryResponse:
        refuse_nul(request.delivery_id)
        row = self.connection.execute(
            _deliveries(_delivery.c.event).where(_delivery.c.uuid == request.delivery_id)
        ).one_or_none()
        if row is None:
            raise no_delivery(request.delivery_id)
        attempts = self.connection.execute(
            sa.select(_attempt).where(_attempt.c.delivery_id == row.id).order_by(_attempt.c.number)
        ).all()
        return DeliveryResponse(
            delivery=shown_delivery(row),
            attempts=tuple(
                Attempt(
                    number=one.number,
                    time=one.time,
                    status=one.status,
                    latency_ms=one.latency_ms,
                    body=one.body,
                    error=one.error,
                )
                for one in attempts
            ),
            event=msgspec.json.decode(row.event),
        )


def no_delivery(delivery_id: str) -> NotFound:
    """The error for a delivery that is not there."""
    return NotFound(
        f"No delivery with id '{delivery_id[:100]}': it never was, or it was delivered so long ago that it "
        "is not kept any more."
    )


def shown_delivery(row: Any) -> Delivery:
    """A row of `_deliveries` as it travels."""
    state = STATES[row.state]
    return Delivery(
        delivery_id=row.uuid,
        webhook_id=row.webhook_uuid,
        event=row.seq,
        type=row.type,
        subject=row.subject,
        time=row.time,
        state=state,
        attempts=row.attempts,
        queued_time=row.queued_time,
        next_time=row.next_time if state is DeliveryState.PENDING else None,
        done_time=row.done_time,
        status=row.status,
        error=row.error,
    )


def _deliveries(*more: Any) -> sa.Select[Any]:
    columns = [column for column in _delivery.c if column.name != "event"]
    return sa.select(*columns, schema.webhook.c.uuid.label("webhook_uuid"), *more).join(
        schema.webhook, schema.webhook.c.id == _delivery.c.webhook_id
    )
