"""Trying a webhook: an example is sent at once, and the one who asks is told how it went."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import sqlalchemy as sa

from headrace.engine import Engine, schema
from headrace.engine.operations import Session
from headrace.engine.webhooks.queue import (
    DELIVERED,
    PARKED,
    Fresh,
    Pending,
    Result,
    add_tested,
)
from headrace.engine.webhooks.wants import Wants, decode_wants
from headrace.errors import InvalidParameter, NotFound
from headrace.events.outgoing import Outcome
from headrace.events.targets import Sender, Targets
from headrace.events.webhooks.delivering import attempt, kept
from headrace.events.webhooks.examples import example
from headrace.events.webhooks.hooks import listed
from headrace.protocol.catalogue import matching_types
from headrace.protocol.cloudevents import encode_event
from headrace.protocol.mlflow_webhook_api import (
    MlflowTrialResponse,
    MlflowTrialResult,
    TryMlflowWebhook,
)
from headrace.protocol.operation import Operation
from headrace.protocol.webhooks import Attempt, DeliveryId, TrialResult, TryWebhook

#: Trials at once: a target that hangs holds up other trials only.
_THREADS = 8
#: Seconds that a target has to answer; clients wait for it.
_TIMEOUT_S = 20.0
#: Operations that `Trials.submit` carries out.
OPERATIONS = frozenset(("test_webhook", "test_mlflow_webhook"))


class Trials:
    """The operations that try webhooks, for a server."""

    def __init__(self, engine: Engine, targets: Targets) -> None:
        """Over a store.

        Args:
            engine: The store.
            targets: Who may be sent to.
        """
        self._engine = engine
        self._targets = targets
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="headrace-trials")

    def submit(self, operation: Operation, request: Any, actor: str) -> Future[Any]:
        """Carry out one of `OPERATIONS`."""
        return self._threads.submit(getattr(self, operation.name), request)

    def close(self) -> None:
        """Wait for what is under way."""
        self._threads.shutdown()

    def test_webhook(self, request: TryWebhook) -> TrialResult:
        """Try a webhook with an event of a type, or of the first that it asks for."""
        type = request.type
        if type and ("*" in type or type not in matching_types(type)):
            raise InvalidParameter(f"'{type[:100]}' is no one type: give one such as run.failed.")
        result, delivery_id = self._try(request.webhook_id, type)
        shown = self._engine.within(
            lambda session: session.get_delivery(DeliveryId(delivery_id=delivery_id))
        )
        return TrialResult(
            delivery=shown.delivery,
            attempt=Attempt(
                number=1,
                time=result.time,
                status=result.status,
                latency_ms=result.latency_ms,
                body=result.body,
                error=result.error,
            ),
        )

    def test_mlflow_webhook(self, request: TryMlflowWebhook) -> MlflowTrialResponse:
        """Try a webhook with one of MLflow's events, or the first of its own."""
        type = ""
        if request.event is not None:
            word = f"{request.event.entity}.{request.event.action}"
            type = Wants(mlflow_events=(word,)).first_type()
        result, _delivery_id = self._try(request.webhook_id, type, mlflow=True)
        return MlflowTrialResponse(
            result=MlflowTrialResult(
                success=result.state == DELIVERED,
                response_status=result.status,
                response_body=result.body,
                error_message=result.error,
            )
        )

    def _try(self, webhook_id: str, type: str, *, mlflow: bool = False) -> tuple[Result, str]:
        row = self._row(webhook_id, mlflow)
        webhook = listed(row, self._engine.webhook_guard.secrets)
        event = example(type or decode_wants(row.wants).first_type(), row.uuid)
        source = self._engine.log.source
        fresh = Fresh(
            row.id, str(uuid.uuid4()), 0, event.time, event.type, event.subject,
            encode_event(event, source).decode(),
        )  # fmt: skip
        delivery = Pending(0, fresh.uuid, 0, event.type, 0, 0, event.time, fresh.event)
        began = time.time()

        async def send() -> Outcome:
            sender = Sender(self._targets, timeout=_TIMEOUT_S)
            try:
                return await attempt(sender, webhook.hook, delivery, began)
            finally:
                await sender.close()

        outcome = Outcome(error=webhook.problem) if webhook.hook is None else asyncio.run(send())
        result = Result(
            delivery=delivery,
            state=DELIVERED if outcome.delivered else PARKED,
            next_time=None,
            done_time=time.time_ns() // 1_000_000,
            time=int(began * 1000),
            status=outcome.status,
            latency_ms=round(outcome.latency_ms, 3),
            body=kept(outcome.body),
            error=kept(outcome.error),
        )
        self._engine.within(_noting(fresh, result))
        return result, fresh.uuid

    def _row(self, webhook_id: str, mlflow: bool) -> Any:
        table = schema.webhook
        with self._engine.read() as connection:
            row = connection.execute(
                sa.select(table).where(table.c.uuid == webhook_id, table.c.deleted_time.is_(None))
            ).one_or_none()
        if row is None or (mlflow and not decode_wants(row.wants).mlflow_events):
            raise NotFound(f"Webhook with ID {webhook_id[:100]} not found.")
        return row


def _noting(fresh: Fresh, result: Result) -> Callable[[Session], None]:
    def work(session: Session) -> None:
        add_tested(session.connection, fresh, result)

    return work
