"""Signatures, by which a target knows that a message is ours and new.

Standard Webhooks (https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md),
and MLflow's scheme, which differs in the headers' names and in how it reads a secret.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac

from headrace.errors import InvalidParameter

_PREFIX = "whsec_"


def key_of(secret: str) -> bytes:
    """The key that a secret stands for: ``whsec_`` and base64, or any other text as it is.

    Raises:
        InvalidParameter: What follows ``whsec_`` is not base64.
    """
    if not secret.startswith(_PREFIX):
        return secret.encode()
    try:
        key = base64.b64decode(secret.removeprefix(_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if not key:
        raise InvalidParameter(
            "The secret begins with 'whsec_' but does not go on in base64: 'whsec_' + base64(24 random bytes or "
            "more) is right, or any text that does not begin so."
        )
    return key


def standard_headers(secret: str, delivery_id: str, sent: int, body: bytes) -> dict[str, str]:
    """``webhook-id``, ``webhook-timestamp`` and, with a secret, ``webhook-signature``.

    Args:
        secret: See `key_of`; empty: nothing is signed.
        delivery_id: The same in every try to deliver the message.
        sent: Seconds since the Unix epoch.
        body: What is sent.

    Raises:
        InvalidParameter: See `key_of`.
    """
    headers = {"webhook-id": delivery_id, "webhook-timestamp": str(sent)}
    if secret:
        headers["webhook-signature"] = _signature(key_of(secret), delivery_id, sent, body)
    return headers


def mlflow_headers(secret: str, delivery_id: str, sent: int, body: bytes) -> dict[str, str]:
    """The same in MLflow's way: other names, and every secret is taken as text."""
    headers = {"X-MLflow-Delivery-Id": delivery_id, "X-MLflow-Timestamp": str(sent)}
    if secret:
        headers["X-MLflow-Signature"] = _signature(secret.encode(), delivery_id, sent, body)
    return headers


def _signature(key: bytes, delivery_id: str, sent: int, body: bytes) -> str:
    signed = f"{delivery_id}.{sent}.".encode() + body
    return "v1," + base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()
