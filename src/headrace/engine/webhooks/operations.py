"""Webhooks, implemented: making, changing and deleting them."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

import msgspec
import sqlalchemy as sa

from headrace.engine import schema
from headrace.engine.session import SessionBase
from headrace.engine.webhooks.guard import Draft, Guard, with_credentials, without_credentials
from headrace.engine.webhooks.paging import page_start, page_token
from headrace.engine.webhooks.wants import Wants, decode_wants
from headrace.errors import InvalidState, NotFound
from headrace.protocol.limits import refuse_nul
from headrace.protocol.operation import Empty
from headrace.protocol.webhooks import (
    CreateWebhook,
    ListWebhooks,
    UpdateWebhook,
    Webhook,
    WebhookId,
    WebhookResponse,
    Webhooks,
    WebhooksPage,
    WebhookStatus,
)

_webhook = schema.webhook
#: In the place of the names of headers that cannot be decrypted.
_UNREADABLE = "unreadable"
_encode = msgspec.json.Encoder().encode
#: Fields of a webhook that its events show as they are.
_SHOWN = ("name", "description", "status", "format", "template")


class WebhookOperations(SessionBase, Webhooks):
    """`Webhooks` over table ``webhook``; deliveries are in `headrace.engine.webhooks.deliveries`."""

    def create_webhook(self, request: CreateWebhook) -> WebhookResponse:
        fields = {name: getattr(request, name) for name in Wants.__struct_fields__ if name != "mlflow_events"}  # fmt: skip
        return WebhookResponse(webhook=self._show(self._create_webhook(request, Wants(**fields))))

    def get_webhook(self, request: WebhookId) -> WebhookResponse:
        return WebhookResponse(webhook=self._show(self._webhook(request.webhook_id)))

    def list_webhooks(self, request: ListWebhooks) -> WebhooksPage:
        statement = self._list(request.max_results, request.page_token)
        if request.name:
            statement = statement.where(_webhook.c.name == request.name)
        rows = self.connection.execute(statement).all()
        token = page_token(rows, request.max_results)
        shown = tuple(self._show(row) for row in rows[: request.max_results])
        return WebhooksPage(webhooks=shown, next_page_token=token)

    def update_webhook(self, request: UpdateWebhook) -> WebhookResponse:
        row = self._webhook(request.webhook_id, lock=True)
        before = decode_wants(row.wants)
        wanted = {
            name: value
            for name in Wants.__struct_fields__
            if (value := getattr(request, name, None)) is not None
        }
        wants = msgspec.structs.replace(before, **wanted)
        return WebhookResponse(webhook=self._show(self._change(row, request, wants)))

    def delete_webhook(self, request: WebhookId) -> Empty:
        row = self._webhook(request.webhook_id, lock=True)
        # The job cancels what waits: it may be a million deliveries.
        self._set(row.id, deleted_time=self.now, last_update_time=self.now)
        self._emit_webhook("webhook.deleted", row.uuid, {"name": row.name})
        return Empty()

    # What follows is for the other files of this package too.

    @property
    def guard(self) -> Guard:
        """Encrypts, and judges what is asked for."""
        if self.webhook_guard is None:
            raise InvalidState("This store was opened without what keeps webhooks.")
        return self.webhook_guard

    def _webhook(self, webhook_id: str, *, lock: bool = False) -> Any:
        refuse_nul(webhook_id)
        statement = sa.select(_webhook).where(
            _webhook.c.uuid == webhook_id, _webhook.c.deleted_time.is_(None)
        )
        if lock:
            statement = statement.with_for_update(key_share=True)
        row = self.connection.execute(statement).one_or_none()
        if row is None:
            raise NotFound(
                f"Webhook with ID {webhook_id[:100]} not found: list them to see their ids."
            )
        return row

    def _list(self, max_results: int, token: str) -> sa.Select[Any]:
        """A page of webhooks and one row more, the newest first."""
        statement = sa.select(_webhook).where(_webhook.c.deleted_time.is_(None))
        start = page_start(max_results, token)
        if start is not None:
            statement = statement.where(_webhook.c.id < start)
        return statement.order_by(_webhook.c.id.desc()).limit(max_results + 1)

    def _create_webhook(self, given: Any, wants: Wants, format: str | None = None) -> Any:
        """Make a webhook of a request's fields; its row."""
        wants.choice()
        refuse_nul(msgspec.to_builtins(wants))
        webhook_id = str(uuid.uuid4())
        headers: Mapping[str, str] = getattr(given, "headers", {})
        draft = Draft(
            webhook_id=webhook_id,
            name=given.name,
            description=given.description,
            url=given.url.strip(),
            format=format or given.format,
            template=getattr(given, "template", ""),
            secret=given.secret,
            headers=headers,
        )
        self.guard.admit(draft)
        url, credentials = without_credentials(draft.url)
        values = {
            "uuid": webhook_id,
            "name": draft.name,
            "description": draft.description,
            "url": url,
            "status": given.status.value,
            "format": draft.format,
            "template": draft.template,
            "wants": _encode(wants).decode(),
            "secret": self._seal(draft.secret),
            "headers": self._seal_headers(headers),
            "credentials": self._seal(credentials),
            "after_seq": 0,
            "creation_time": self.now,
            "last_update_time": self.now,
        }
        number = self.connection.execute(
            _webhook.insert().returning(_webhook.c.id), values
        ).scalar_one()
        self._emit_webhook(
            "webhook.created",
            webhook_id,
            {"name": draft.name, "url": _shown_url(url), "types": list(wants.all_types())},
        )
        self.write_events()  # its number is needed: the webhook gets what comes after
        own = sa.select(sa.func.max(schema.event.c.seq)).where(
            schema.event.c.subject == f"webhook/{webhook_id}"
        )
        self._set(number, after_seq=own.scalar_subquery())
        return self._webhook(webhook_id)

    def _change(self, row: Any, given: Any, wants: Wants) -> Any:
        """Give a webhook the fields of a request that are there; its row."""
        wants.choice()
        refuse_nul(msgspec.to_builtins(wants))
        values: dict[str, Any] = {
            name: value
            for name in _SHOWN
            if (value := getattr(given, name, None)) is not None and value != getattr(row, name)
        }
        secret, headers = given.secret, getattr(given, "headers", None)
        url = given.url
        if url is None:
            url = with_credentials(row.url, self._opened(row.credentials))
        self.guard.admit(
            Draft(
                webhook_id=row.uuid,
                url=url.strip(),
                secret=self._opened(row.secret) if secret is None else secret,
                headers=self._opened_headers(row) if headers is None else headers,
                **{
                    name: str(values.get(name, getattr(row, name)))
                    for name in _SHOWN
                    if name != "status"
                },
            )
        )
        secrets = []
        if given.url is not None:
            values["url"], credentials = without_credentials(given.url.strip())
            if values["url"] == row.url:
                del values["url"]
            if credentials or row.credentials:
                values["credentials"] = self._seal(credentials)
                secrets.append("credentials")
        if secret is not None and (secret or row.secret):
            values["secret"] = self._seal(secret)
            secrets.append("secret")
        if headers is not None and (headers or row.headers):
            values["headers"] = self._seal_headers(headers)
            secrets.append("headers")
        text = _encode(wants).decode()
        before, after = _differences(row, values)
        if text != row.wants:
            values["wants"] = text
            old = decode_wants(row.wants)
            for name in Wants.__struct_fields__:
                if getattr(old, name) != getattr(wants, name):
                    before[name] = list(getattr(old, name))
                    after[name] = list(getattr(wants, name))
        self._set(row.id, last_update_time=self.now, **values)
        if values:
            data: dict[str, Any] = {"name": row.name, "before": before, "after": after}
            if secrets:
                data["secrets"] = secrets
            self._emit_webhook("webhook.updated", row.uuid, data)
        return self._webhook(row.uuid)

    def _opened(self, token: str | None) -> str:
        """What was sealed; something in its place where it cannot be decrypted."""
        if not token:
            return ""
        try:
            return self.guard.secrets.open(token)
        except InvalidState:
            return "unreadable"

    def _opened_headers(self, row: Any) -> dict[str, str]:
        if not row.headers:
            return {}
        try:
            return msgspec.json.decode(self.guard.secrets.open(row.headers), type=dict[str, str])
        except InvalidState:
            return {_UNREADABLE: ""}

    def _show(self, row: Any) -> Webhook:
        wants = decode_wants(row.wants)
        return Webhook(
            webhook_id=row.uuid,
            name=row.name,
            description=row.description,
            url=row.url,
            status=WebhookStatus(row.status),
            format=row.format,
            template=row.template,
            has_secret=row.secret is not None,
            header_names=tuple(self._opened_headers(row)),
            creation_time=row.creation_time,
            last_update_time=row.last_update_time,
            **{name: getattr(wants, name) for name in Wants.__struct_fields__},
        )

    def _seal(self, text: str) -> str | None:
        return self.guard.secrets.seal(text) if text else None

    def _seal_headers(self, headers: Mapping[str, str]) -> str | None:
        return self._seal(_encode(dict(headers)).decode()) if headers else None

    def _set(self, number: int, **values: Any) -> None:
        self.connection.execute(sa.update(_webhook).where(_webhook.c.id == number).values(**values))

    def _emit_webhook(self, type: str, webhook_id: str, data: dict[str, Any]) -> None:
        self.emit(type, f"webhook/{webhook_id}", data)


def _differences(row: Any, values: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    names: Sequence[str] = [name for name in (*_SHOWN, "url") if name in values]
    before = {name: getattr(row, name) for name in names}
    after = {name: str(values[name]) for name in names}
    for side in (before, after):
        if "url" in side:
            side["url"] = _shown_url(side["url"])
    return before, after


def _shown_url(url: str) -> str:
    """A URL as events show it, to all who read the log: path and query may be a token, as those of Slack are."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"
