"""MLflow's operations on webhooks: declarations.

They see the webhooks that ask for at least one of MLflow's events. What they do not say (format, filter,
headers) stays as the native operations set it; a webhook that is made here has the format ``mlflow``.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

from headrace.entities import Entity
from headrace.protocol.limits import Required
from headrace.protocol.operation import Empty, Interface, Request, Response, operation
from headrace.protocol.webhooks import PAGE, WebhookStatus


class WebhookEntity(StrEnum):
    """MLflow's words for things, in the order of their numbers in its protocol."""

    REGISTERED_MODEL = "REGISTERED_MODEL"
    MODEL_VERSION = "MODEL_VERSION"
    MODEL_VERSION_TAG = "MODEL_VERSION_TAG"
    MODEL_VERSION_ALIAS = "MODEL_VERSION_ALIAS"
    PROMPT = "PROMPT"
    PROMPT_VERSION = "PROMPT_VERSION"
    PROMPT_TAG = "PROMPT_TAG"
    PROMPT_VERSION_TAG = "PROMPT_VERSION_TAG"
    PROMPT_ALIAS = "PROMPT_ALIAS"
    BUDGET_POLICY = "BUDGET_POLICY"


class WebhookAction(StrEnum):
    """MLflow's words for what happened, in the order of their numbers in its protocol."""

    CREATED = "CREATED"
    UPDATED = "UPDATED"
    DELETED = "DELETED"
    SET = "SET"
    EXCEEDED = "EXCEEDED"


class WebhookEvent(msgspec.Struct, frozen=True, kw_only=True):
    entity: WebhookEntity
    action: WebhookAction


class MlflowWebhook(Entity, frozen=True, kw_only=True):
    """A webhook as MLflow shows it."""

    webhook_id: str
    name: str
    description: str = ""
    url: str
    events: tuple[WebhookEvent, ...]
    status: WebhookStatus
    creation_timestamp: int
    last_updated_timestamp: int


class CreateMlflowWebhook(Request, frozen=True, kw_only=True):
    name: Required
    url: Required
    events: tuple[WebhookEvent, ...] = ()
    description: str = ""
    secret: str = ""
    status: WebhookStatus = WebhookStatus.ACTIVE


class MlflowWebhookResponse(Response, frozen=True, kw_only=True):
    webhook: MlflowWebhook


class ListMlflowWebhooks(Request, frozen=True, kw_only=True):
    """``max_results`` from 1 to 1000; 0 means 100."""

    max_results: int = PAGE
    page_token: str = ""


class MlflowWebhooksPage(Response, frozen=True, kw_only=True):
    webhooks: tuple[MlflowWebhook, ...] = ()
    next_page_token: str = ""


class UpdateMlflowWebhook(Request, frozen=True, kw_only=True):
    """An empty name, URL or list of events means *not given*; an empty secret takes the secret away."""

    webhook_id: Required
    name: str = ""
    description: str | None = None
    url: str = ""
    events: tuple[WebhookEvent, ...] = ()
    secret: str | None = None
    status: WebhookStatus | None = None


class MlflowWebhookId(Request, frozen=True, kw_only=True):
    webhook_id: Required


class TryMlflowWebhook(Request, frozen=True, kw_only=True):
    """``event`` is the first of the webhook's when it is not given."""

    webhook_id: Required
    event: WebhookEvent | None = None


class MlflowTrialResult(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    success: bool = False
    response_status: int | None = None
    response_body: str = ""
    error_message: str = ""


class MlflowTrialResponse(Response, frozen=True, kw_only=True):
    result: MlflowTrialResult


class MlflowWebhooks(Interface):
    """MLflow's webhooks. A method that takes an id raises `NotFound` where there is none such."""

    @operation("POST", "/mlflow/webhooks", permission="webhook:edit")
    def create_mlflow_webhook(self, request: CreateMlflowWebhook) -> MlflowWebhookResponse:
        """Create a webhook for MLflow's events.

        Raises:
            InvalidParameter: No events, an entity that has no such action, or a name or URL that cannot be.
            InvalidState: A secret is given, and the store has no key to encrypt it with.
        """
        raise NotImplementedError

    @operation("GET", "/mlflow/webhooks", permission="webhook:read", reads=True)
    def list_mlflow_webhooks(self, request: ListMlflowWebhooks) -> MlflowWebhooksPage:
        """List webhooks, newest first."""
        raise NotImplementedError

    @operation("GET", "/mlflow/webhooks/{webhook_id}", permission="webhook:read", reads=True)
    def get_mlflow_webhook(self, request: MlflowWebhookId) -> MlflowWebhookResponse:
        """Get a webhook."""
        raise NotImplementedError

    @operation("PATCH", "/mlflow/webhooks/{webhook_id}", permission="webhook:edit")
    def update_mlflow_webhook(self, request: UpdateMlflowWebhook) -> MlflowWebhookResponse:
        """Change a webhook.

        Raises:
            InvalidParameter: As for creating.
            InvalidState: As for creating.
        """
        raise NotImplementedError

    @operation("DELETE", "/mlflow/webhooks/{webhook_id}", permission="webhook:edit")
    def delete_mlflow_webhook(self, request: MlflowWebhookId) -> Empty:
        """Delete a webhook."""
        raise NotImplementedError

    @operation("POST", "/mlflow/webhooks/{webhook_id}/test", permission="webhook:edit")
    def test_mlflow_webhook(self, request: TryMlflowWebhook) -> MlflowTrialResponse:
        """Send an example now, and tell how it went.

        Raises:
            InvalidParameter: An entity that has no such action.
            Unsupported: The store is not behind a server: nobody sends.
        """
        raise NotImplementedError
