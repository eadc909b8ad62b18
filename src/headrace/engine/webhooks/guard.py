"""What keeping webhooks needs beside tables: who encrypts, and who judges what is asked for."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from urllib.parse import urlsplit

import msgspec

from headrace.engine.webhooks.secrets import Secrets
from headrace.errors import InvalidParameter
from headrace.protocol.limits import refuse_nul
from headrace.protocol.webhooks import (
    FORMATS,
    MAX_DESCRIPTION,
    MAX_HEADERS,
    MAX_NAME,
    MAX_SECRET,
    MAX_TEMPLATE,
    MAX_URL,
)

_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?")
_HEADER_BYTES = 8192


class Draft(msgspec.Struct, frozen=True, kw_only=True):
    """A webhook as somebody wants it, before it is kept.

    Attributes:
        url: With credentials, if it has some.
        secret: As it is given, or was before.
        headers: As they are given, or were before.
    """

    webhook_id: str
    name: str
    description: str
    url: str
    format: str
    template: str
    secret: str = ""
    headers: Mapping[str, str] = {}


class Guard:
    """What the operations on webhooks ask.

    Attributes:
        secrets: Encrypts and decrypts.
        check: Refuses (`InvalidParameter`) a draft whose target may not be sent to, or whose message cannot
            be built. A store that nobody serves has none, and only `check_shape` is asked.
    """

    def __init__(self, secrets: Secrets) -> None:
        """With no check beyond the shape."""
        self.secrets = secrets
        self.check: Callable[[Draft], None] = _nothing

    def admit(self, draft: Draft) -> None:
        """Refuse what cannot be kept or sent.

        Raises:
            InvalidParameter: The message says what is wrong.
        """
        check_shape(draft)
        self.check(draft)


def check_shape(draft: Draft) -> None:
    """Refuse what no webhook can be, wherever it sends.

    Raises:
        InvalidParameter: A name, URL, format, or length that cannot be.
    """
    refuse_nul(msgspec.to_builtins(draft))
    if not _NAME.fullmatch(draft.name) or len(draft.name) > MAX_NAME:
        raise InvalidParameter(
            f"Invalid webhook name '{draft.name[:100]}': it must have 1 to {MAX_NAME} letters, digits, dots, "
            "underscores and dashes, and begin and end with a letter or digit."
        )
    for field, value, most in (
        ("description", draft.description, MAX_DESCRIPTION),
        ("url", draft.url, MAX_URL),
        ("secret", draft.secret, MAX_SECRET),
        ("template", draft.template, MAX_TEMPLATE),
    ):
        if len(value) > most:
            raise InvalidParameter(
                f"The {field} of a webhook has {len(value)} characters; at most {most} are allowed."
            )
    if draft.format not in FORMATS:
        raise InvalidParameter(
            f"No format '{draft.format[:100]}': choose one of {', '.join(FORMATS)}."
        )
    _check_url(draft.url)
    if len(draft.headers) > MAX_HEADERS:
        raise InvalidParameter(f"At most {MAX_HEADERS} headers are allowed.")
    for name, value in draft.headers.items():
        if not name or len(name) + len(value) > _HEADER_BYTES:
            raise InvalidParameter(
                f"The header '{name[:100]}' has no name, or over {_HEADER_BYTES} characters."
            )


def without_credentials(url: str) -> tuple[str, str]:
    """A URL without ``user:password@``, and what stood there."""
    parts = urlsplit(url)
    credentials, at, host = parts.netloc.rpartition("@")
    return (parts._replace(netloc=host).geturl(), credentials) if at else (url, "")


def with_credentials(url: str, credentials: str) -> str:
    """The inverse of `without_credentials`."""
    if not credentials:
        return url
    parts = urlsplit(url)
    return parts._replace(netloc=f"{credentials}@{parts.netloc}").geturl()


def _check_url(url: str) -> None:
    try:
        parts = urlsplit(url.strip())
        host, _port = parts.hostname, parts.port
    except ValueError:
        host = None
    # The message has no URL in it: there may be a password where the host should be.
    if not host or any(one.isspace() for one in url):
        raise InvalidParameter(
            "Invalid webhook URL: it must be an absolute one with a host, such as https://example.org/hook, "
            "without spaces."
        )
    if parts.scheme.lower() not in ("http", "https", "smtp", "smtps"):
        raise InvalidParameter(
            f"Invalid webhook URL scheme '{parts.scheme[:20]}': use https, or smtp for mail."
        )


def _nothing(draft: Draft) -> None:
    """No further check."""
