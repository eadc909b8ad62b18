"""MLflow's operations on webhooks, implemented."""

from __future__ import annotations

from typing import Any

import msgspec

from headrace.engine import schema
from headrace.engine.webhooks.operations import WebhookOperations
from headrace.engine.webhooks.paging import page_token
from headrace.engine.webhooks.wants import Wants, decode_wants
from headrace.errors import InvalidParameter, NotFound
from headrace.protocol.mlflow_webhook_api import (
    CreateMlflowWebhook,
    ListMlflowWebhooks,
    MlflowWebhook,
    MlflowWebhookId,
    MlflowWebhookResponse,
    MlflowWebhooks,
    MlflowWebhooksPage,
    UpdateMlflowWebhook,
    WebhookAction,
    WebhookEntity,
    WebhookEvent,
)
from headrace.protocol.operation import Empty
from headrace.protocol.webhooks import PAGE, WebhookId, WebhookStatus

#: What a webhook's JSON has when it asks for events of MLflow's.
_MARK = '%"mlflow_events":%'


class MlflowWebhookOperations(WebhookOperations, MlflowWebhooks):
    """`MlflowWebhooks` over the same table."""

    def create_mlflow_webhook(self, request: CreateMlflowWebhook) -> MlflowWebhookResponse:
        if not request.events:
            raise InvalidParameter(
                "Missing value for required parameter 'events': give at least one {entity, action}."
            )
        wants = Wants(mlflow_events=_words(request.events))
        return _response(self._create_webhook(request, wants, format="mlflow"))

    def list_mlflow_webhooks(self, request: ListMlflowWebhooks) -> MlflowWebhooksPage:
        size = request.max_results or PAGE
        statement = self._list(size, request.page_token)
        rows = self.connection.execute(statement.where(schema.webhook.c.wants.like(_MARK))).all()
        shown = tuple(_shown(row) for row in rows[:size])
        return MlflowWebhooksPage(webhooks=shown, next_page_token=page_token(rows, size))

    def get_mlflow_webhook(self, request: MlflowWebhookId) -> MlflowWebhookResponse:
        return _response(self._theirs(request.webhook_id))

    def update_mlflow_webhook(self, request: UpdateMlflowWebhook) -> MlflowWebhookResponse:
        row = self._theirs(request.webhook_id, lock=True)
        wants = decode_wants(row.wants)
        if request.events:
            wants = msgspec.structs.replace(wants, mlflow_events=_words(request.events))
        given = _Given(
            name=request.name or None,
            url=request.url or None,
            description=request.description,
            secret=request.secret,
            status=request.status,
        )
        return _response(self._change(row, given, wants))

    def delete_mlflow_webhook(self, request: MlflowWebhookId) -> Empty:
        self._theirs(request.webhook_id)
        return self.delete_webhook(WebhookId(webhook_id=request.webhook_id))

    def _theirs(self, webhook_id: str, *, lock: bool = False) -> Any:
        row = self._webhook(webhook_id, lock=lock)
        if not decode_wants(row.wants).mlflow_events:
            raise NotFound(
                f"Webhook with ID {webhook_id[:100]} not found: it asks for none of MLflow's events, so only "
                "headrace's own operations show it."
            )
        return row


class _Given(msgspec.Struct, frozen=True, kw_only=True):
    """What `WebhookOperations._change` reads; None: not given."""

    name: str | None
    url: str | None
    description: str | None
    secret: str | None
    status: WebhookStatus | None


def _words(events: tuple[WebhookEvent, ...]) -> tuple[str, ...]:
    """Events as they are kept; each once."""
    return tuple(dict.fromkeys(f"{event.entity}.{event.action}" for event in events))


def _response(row: Any) -> MlflowWebhookResponse:
    return MlflowWebhookResponse(webhook=_shown(row))


def _shown(row: Any) -> MlflowWebhook:
    return MlflowWebhook(
        webhook_id=row.uuid,
        name=row.name,
        description=row.description,
        url=row.url,
        events=tuple(
            WebhookEvent(entity=WebhookEntity(noun), action=WebhookAction(verb))
            for noun, _, verb in (
                word.partition(".") for word in decode_wants(row.wants).mlflow_events
            )
        ),
        status=WebhookStatus(row.status),
        creation_timestamp=row.creation_time,
        last_updated_timestamp=row.last_update_time,
    )
