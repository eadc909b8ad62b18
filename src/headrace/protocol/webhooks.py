"""Webhooks and what became of each delivery: declarations.

MLflow's operations on webhooks are in `headrace.protocol.mlflow_webhook_api`. Both work on the same webhooks; MLflow's
see those that ask for at least one of MLflow's events.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import msgspec

from headrace.entities import Entity
from headrace.protocol.limits import Int64, Millis, Required
from headrace.protocol.operation import (
    NATIVE_PREFIXES,
    Empty,
    Interface,
    Request,
    Response,
    operation,
)

MAX_NAME = 63
MAX_DESCRIPTION = 5000
MAX_URL = 2048
MAX_SECRET = 1000
MAX_TEMPLATE = 65_536
MAX_HEADERS = 50
#: Webhooks or deliveries of one page at most, and unless the request says otherwise.
MAX_PAGE, PAGE = 1000, 100
#: What a message may look like.
FORMATS = (
    "cloudevents",
    "cloudevents-binary",
    "mlflow",
    "slack",
    "teams",
    "discord",
    "mail",
    "github",
    "gitlab",
    "json",
)


class WebhookStatus(StrEnum):
    """Whether a webhook gets events."""

    ACTIVE = "ACTIVE"
    DISABLED = "DISABLED"


class DeliveryState(StrEnum):
    """What became of a delivery, in the order of the numbers that the database has for it."""

    PENDING = "pending"
    DELIVERED = "delivered"
    PARKED = "parked"
    CANCELLED = "cancelled"


class Webhook(Entity, frozen=True, kw_only=True):
    """Where events are sent, which, and how. Secrets are never shown.

    Attributes:
        webhook_id: A UUID.
        name: For people, and for the ``notify`` of rules; several may have the same.
        url: The target, without credentials.
        status: ``ACTIVE`` or ``DISABLED``.
        types: The types of events that it asks for, with ``*`` for any text.
        mlflow_events: MLflow's events that it asks for, such as ``MODEL_VERSION.CREATED``.
        subjects: Only events of these; one that ends with ``*`` is a prefix.
        experiment_ids: Only events of these experiments.
        actors: Only what these did.
        format: What a message looks like, one of `FORMATS`.
        template: A Jinja template, where the format takes one.
        has_secret: Whether messages are signed.
        header_names: Names of the further headers that are sent.
        creation_time: Milliseconds since the Unix epoch.
        last_update_time: Milliseconds since the Unix epoch.
    """

    webhook_id: str
    name: str
    description: str = ""
    url: str
    status: WebhookStatus
    types: tuple[str, ...] = ()
    mlflow_events: tuple[str, ...] = ()
    subjects: tuple[str, ...] = ()
    experiment_ids: tuple[str, ...] = ()
    actors: tuple[str, ...] = ()
    format: str
    template: str = ""
    has_secret: bool = False
    header_names: tuple[str, ...] = ()
    creation_time: int
    last_update_time: int


class CreateWebhook(Request, frozen=True, kw_only=True):
    """A new webhook.

    Attributes:
        name: 1 to 63 letters, digits, dots, dashes and underscores, a letter or digit first and last.
        url: Where to send; ``https://`` unless the server allows the host by its ``--webhook-allowed-targets``.
        types: Which types of events, with ``*`` for any text. None: it gets only what rules send to it
            by its name.
        secret: Messages are signed with it.
        headers: Further headers, such as ``Authorization``.
        format: One of `FORMATS`.
    """

    name: Required
    url: Required
    types: tuple[str, ...] = ()
    subjects: tuple[str, ...] = ()
    experiment_ids: tuple[str, ...] = ()
    actors: tuple[str, ...] = ()
    description: str = ""
    status: WebhookStatus = WebhookStatus.ACTIVE
    secret: str = ""
    headers: dict[str, str] = msgspec.field(default_factory=dict)
    format: str = "cloudevents"
    template: str = ""


class UpdateWebhook(Request, frozen=True, kw_only=True):
    """What to change; what is not given stays. An empty secret takes the secret away."""

    webhook_id: Required
    name: Required | None = None
    url: Required | None = None
    types: tuple[str, ...] | None = None
    subjects: tuple[str, ...] | None = None
    experiment_ids: tuple[str, ...] | None = None
    actors: tuple[str, ...] | None = None
    description: str | None = None
    status: WebhookStatus | None = None
    secret: str | None = None
    headers: dict[str, str] | None = None
    format: str | None = None
    template: str | None = None


class WebhookId(Request, frozen=True, kw_only=True):
    webhook_id: Required


class WebhookResponse(Response, frozen=True, kw_only=True):
    webhook: Webhook


class ListWebhooks(Request, frozen=True, kw_only=True):
    """Attributes:
    name: Only webhooks of this name.
    max_results: From 1 to 1000.
    """

    name: str = ""
    max_results: Int64 = PAGE
    page_token: str = ""


class WebhooksPage(Response, frozen=True, kw_only=True):
    """Newest first."""

    webhooks: tuple[Webhook, ...] = ()
    next_page_token: str = ""


class TryWebhook(Request, frozen=True, kw_only=True):
    """Attributes:
    type: Type of the event that is sent; default: the first that the webhook asks for.
    """

    webhook_id: Required
    type: str = ""


class Attempt(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One attempt to deliver.

    Attributes:
        number: From 1.
        time: When it began, milliseconds since the Unix epoch.
        status: What the target answered; not there when it did not.
        latency_ms: How long it took, milliseconds.
        body: Beginning of the answer.
        error: Why it failed; not there when it did not.
    """

    number: int
    time: int
    status: int | None = None
    latency_ms: float = 0.0
    body: str = ""
    error: str = ""


class Delivery(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One event on its way to one webhook.

    Attributes:
        delivery_id: A UUID, the ``webhook-id`` of the message, the same however often it is sent.
        event: Number of the event; not there for a test.
        type: The event's.
        subject: The event's.
        time: The event's, milliseconds since the Unix epoch.
        attempts: How often it was tried.
        queued_time: When it was queued last.
        next_time: When it is tried next, where an attempt failed.
        done_time: When it was delivered, parked or cancelled.
        status: What the last attempt was answered.
        error: Why the last attempt failed.
    """

    delivery_id: str
    webhook_id: str
    event: int = 0
    type: str
    subject: str
    time: int
    state: DeliveryState
    attempts: int
    queued_time: int
    next_time: int | None = None
    done_time: int | None = None
    status: int | None = None
    error: str = ""


class TrialResult(Response, frozen=True, kw_only=True):
    """How a test went."""

    delivery: Delivery
    attempt: Attempt


class ListDeliveries(Request, frozen=True, kw_only=True):
    """Which deliveries; what is not given does not restrict.

    Attributes:
        state: States, of which one will do.
        type: Types of events, with ``*`` for any text.
        subject: Subjects, exactly.
        since: Only of events not before this time, milliseconds since the Unix epoch.
        until: Only of events before this time.
        max_results: From 1 to 1000.
    """

    webhook_id: str = ""
    state: tuple[DeliveryState, ...] = ()
    type: tuple[str, ...] = ()
    subject: tuple[str, ...] = ()
    since: Millis | None = None
    until: Millis | None = None
    max_results: Int64 = PAGE
    page_token: str = ""


class DeliveriesPage(Response, frozen=True, kw_only=True):
    """What was made last comes first."""

    deliveries: tuple[Delivery, ...] = ()
    next_page_token: str = ""


class DeliveryId(Request, frozen=True, kw_only=True):
    delivery_id: Required


class DeliveryResponse(Response, frozen=True, kw_only=True):
    """Attributes:
    attempts: The latest, at most 50, in their order.
    event: The event, as a CloudEvent.
    """

    delivery: Delivery
    attempts: tuple[Attempt, ...] = ()
    event: dict[str, Any] = msgspec.field(default_factory=dict)


class Redeliver(Request, frozen=True, kw_only=True):
    """What to deliver again: one delivery, or a webhook's within bounds (at least one bound).

    Attributes:
        delivery_id: This one.
        webhook_id: Those of this webhook, within the bounds.
        first: Events with at least this number.
        last: Events with at most this number.
        since: Events not before this time, milliseconds since the Unix epoch.
        until: Events before this time.
        state: Only deliveries in one of these states. Without it also events that the webhook now asks
            for and never got: from before it was made, say.
        dry_run: Change nothing, only count.
    """

    delivery_id: str = ""
    webhook_id: str = ""
    first: Int64 | None = None
    last: Int64 | None = None
    since: Millis | None = None
    until: Millis | None = None
    state: tuple[DeliveryState, ...] = ()
    dry_run: bool = False


class Redelivered(Response, frozen=True, kw_only=True):
    """How many deliveries are, or with ``dry_run`` would be, queued."""

    count: int


class Webhooks(Interface):
    """Targets that are told of events.

    Delivery is at least once and in order for each subject. A message has an id that stays the same
    however often it is sent. What fails is tried again for a day, then parked. Every method that takes
    an id raises `NotFound` where there is none such.
    """

    @operation("POST", "/webhooks", permission="webhook:edit", prefixes=NATIVE_PREFIXES)
    def create_webhook(self, request: CreateWebhook) -> WebhookResponse:
        """Create a webhook; it gets the events that are younger than it.

        Raises:
            InvalidParameter: A name, URL, type, filter, format, template or header that cannot be.
            InvalidState: A secret is given, and the store has no key to encrypt it with.
        """
        raise NotImplementedError

    @operation("GET", "/webhooks", permission="webhook:read", reads=True, prefixes=NATIVE_PREFIXES)
    def list_webhooks(self, request: ListWebhooks) -> WebhooksPage:
        """List webhooks, newest first."""
        raise NotImplementedError

    @operation(
        "GET",
        "/webhooks/{webhook_id}",
        permission="webhook:read",
        reads=True,
        prefixes=NATIVE_PREFIXES,
    )
    def get_webhook(self, request: WebhookId) -> WebhookResponse:
        """Get a webhook."""
        raise NotImplementedError

    @operation(
        "PATCH", "/webhooks/{webhook_id}", permission="webhook:edit", prefixes=NATIVE_PREFIXES
    )
    def update_webhook(self, request: UpdateWebhook) -> WebhookResponse:
        """Change a webhook. What waits to be delivered goes to where it now points.

        A webhook that is disabled gets no events; what waits for it waits on.

        Raises:
            InvalidParameter: As for creating.
            InvalidState: As for creating.
        """
        raise NotImplementedError

    @operation(
        "DELETE", "/webhooks/{webhook_id}", permission="webhook:edit", prefixes=NATIVE_PREFIXES
    )
    def delete_webhook(self, request: WebhookId) -> Empty:
        """Delete a webhook; what waits to be delivered is cancelled."""
        raise NotImplementedError

    @operation(
        "POST", "/webhooks/{webhook_id}/test", permission="webhook:edit", prefixes=NATIVE_PREFIXES
    )
    def test_webhook(self, request: TryWebhook) -> TrialResult:
        """Send an example now, once, and tell how it went. It is no event and not in the log.

        Raises:
            InvalidParameter: A type that there is not, or an example that cannot be sent in the
                webhook's format.
            Unsupported: The store is not behind a server: nobody sends.
        """
        raise NotImplementedError

    @operation(
        "GET",
        "/webhooks/deliveries",
        permission="webhook:read",
        reads=True,
        prefixes=NATIVE_PREFIXES,
    )
    def list_deliveries(self, request: ListDeliveries) -> DeliveriesPage:
        """List deliveries, the latest first."""
        raise NotImplementedError

    @operation(
        "GET",
        "/webhooks/deliveries/{delivery_id}",
        permission="webhook:read",
        reads=True,
        prefixes=NATIVE_PREFIXES,
    )
    def get_delivery(self, request: DeliveryId) -> DeliveryResponse:
        """Get a delivery with its attempts and its event."""
        raise NotImplementedError

    @operation("POST", "/webhooks/redeliver", permission="webhook:edit", prefixes=NATIVE_PREFIXES)
    def redeliver(self, request: Redeliver) -> Redelivered:
        """Queue deliveries again, whatever became of them; their ids stay.

        Raises:
            InvalidParameter: Neither a delivery nor a webhook with bounds is given, or both.
        """
        raise NotImplementedError
