"""What messages look like."""

from __future__ import annotations

import base64
import hashlib
import hmac

import msgspec

from headrace.errors import InvalidParameter
from headrace.events.outgoing import Hook, Outgoing
from headrace.protocol.mlflow_webhooks import MLFLOW_EVENTS
from headrace.protocol.webhooks import FORMATS as FORMATS

_encode = msgspec.json.Encoder().encode


def check(hook: Hook) -> None:
    """Refuse a hook whose messages cannot be built."""
    if hook.format not in FORMATS:
        raise InvalidParameter(f"No format '{hook.format}'.")


def build(hook: Hook, event: bytes, delivery_id: str, sent: float) -> Outgoing:
    """A message."""
    body, kind = event, "application/cloudevents+json"
    headers: dict[str, str] = {}
    if hook.format == "mlflow":
        parsed = msgspec.json.decode(event)
        known = MLFLOW_EVENTS.get(parsed["type"])
        if known is None:
            raise InvalidParameter(f"MLflow has no event {parsed['type']}.")
        data = {name: parsed["data"].get(name) for name in known.fields}
        body = _encode(
            {
                "entity": known.entity.lower(),
                "action": known.action.lower(),
                "timestamp": parsed["time"],
                "data": data,
            }
        )
        kind = "application/json"
    moment = str(int(sent))
    headers |= {"content-type": kind, "webhook-id": delivery_id, "webhook-timestamp": moment}
    headers |= {"x-mlflow-delivery-id": delivery_id, "x-mlflow-timestamp": moment}
    if hook.secret:
        text = f"{delivery_id}.{moment}.".encode() + body
        raw = hook.secret.encode()
        if hook.secret.startswith("whsec_"):
            raw = base64.b64decode(hook.secret.removeprefix("whsec_"))
        signature = base64.b64encode(hmac.digest(raw, text, hashlib.sha256)).decode()
        headers["webhook-signature"] = f"v1,{signature}"
        plain = base64.b64encode(hmac.digest(hook.secret.encode(), text, hashlib.sha256)).decode()
        headers["x-mlflow-signature"] = f"v1,{plain}"
    return Outgoing(url=hook.url, headers={**headers, **hook.headers}, body=body)
