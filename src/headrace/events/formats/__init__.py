"""The formats that messages have; one file per family.

A format turns an event into content; what all have in common is here: which webhooks are acceptable, the headers,
the signature.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from importlib.metadata import version

import msgspec

from headrace.errors import InvalidParameter
from headrace.events.formats import (
    cloudevents,
    discord,
    dispatch,
    free,
    mail,
    mlflow,
    slack,
    teams,
)
from headrace.events.formats.message import Content, Message
from headrace.events.outgoing import Hook, Outgoing
from headrace.events.signing import key_of, mlflow_headers, standard_headers
from headrace.events.targets import parse_url
from headrace.events.templates import check_template


class _Format(msgspec.Struct, frozen=True, kw_only=True):
    """A format.

    Attributes:
        compose: Makes the content.
        template: Whether a webhook may have one: ``never``, ``may``, ``must``.
        json: Templates say JSON.
        token: The secret is a token for the target; nothing is signed with it.
        check: Refuses webhooks that do not fit.
    """

    compose: Callable[[Message], Content]
    template: str = "may"
    json: bool = False
    token: bool = False
    check: Callable[[Hook], None] | None = None


_FORMATS = {
    "cloudevents": _Format(compose=cloudevents.structured, template="never"),
    "cloudevents-binary": _Format(compose=cloudevents.binary, template="never"),
    "mlflow": _Format(compose=mlflow.compose, template="never"),
    "slack": _Format(compose=slack.compose),
    "teams": _Format(compose=teams.compose),
    "discord": _Format(compose=discord.compose),
    "mail": _Format(compose=mail.compose, token=True, check=mail.check),
    "github": _Format(compose=dispatch.github, json=True, token=True, check=dispatch.check_github),
    "gitlab": _Format(compose=dispatch.gitlab, json=True, token=True, check=dispatch.check_gitlab),
    "json": _Format(compose=free.compose, template="must", json=True),
}

#: Names of the formats.
FORMATS: tuple[str, ...] = tuple(_FORMATS)

_MAX_HEADERS = 32
_MAX_HEADER_BYTES = 8192
_HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}")
_HEADER_VALUE = re.compile(r"[\x20-\x7e]*")
#: What belongs to the connection, the content and the signature.
_OURS = frozenset(
    {"host", "connection", "keep-alive", "content-length", "content-type", "content-encoding", "transfer-encoding",
     "te", "trailer", "upgrade", "expect", "http2-settings"}
)  # fmt: skip
_OUR_PREFIXES = ("webhook-", "x-mlflow-", "ce-", "proxy-")


def check(hook: Hook) -> None:
    """Refuse a webhook whose messages could not be built.

    Raises:
        InvalidParameter: A format that there is not, a template that is not allowed or cannot be read, a URL
            that does not fit the format, a header that may not be set, or a secret that is none.
    """
    format = _FORMATS.get(hook.format)
    if format is None:
        raise InvalidParameter(
            f"There is no format '{hook.format[:50]}'; there are: {', '.join(FORMATS)}."
        )
    target = parse_url(hook.url)
    if target.mail != (hook.format == "mail"):
        needed = "smtps:// or smtp://" if hook.format == "mail" else "https://"
        raise InvalidParameter(f"The format '{hook.format}' needs a URL with {needed}.")
    _check_template(hook, format)
    _check_headers(hook.headers)
    if format.token:
        if not _HEADER_VALUE.fullmatch(hook.secret):
            raise InvalidParameter("The secret, a token, has characters that no token has.")
    else:
        key_of(hook.secret)
    if format.check is not None:
        format.check(hook)


def build(hook: Hook, event: bytes, delivery_id: str, sent: float) -> Outgoing:
    """The message that tells a webhook's target of an event.

    Args:
        hook: A webhook that `check` accepts.
        event: A CloudEvent in JSON, see `headrace.protocol.cloudevents.encode_event`.
        delivery_id: The same in every try to deliver this; receivers know repetitions by it.
        sent: When it is sent, seconds since the Unix epoch.

    Raises:
        InvalidParameter: The webhook's template fails on this event.
    """
    format = _FORMATS[hook.format]
    content = format.compose(Message(hook, event, delivery_id, sent))
    if hook.format == "mail":
        return Outgoing(url=hook.url, headers={}, body=content.body)
    headers = {"User-Agent": _agent(), "Content-Type": content.type}
    headers |= content.headers
    given = {name.lower() for name in hook.headers}
    headers = {name: value for name, value in headers.items() if name.lower() not in given}
    headers |= hook.headers
    secret = "" if format.token else hook.secret
    if hook.format == "mlflow":
        headers |= mlflow_headers(secret, delivery_id, int(sent), content.body)
    headers |= standard_headers(secret, delivery_id, int(sent), content.body)
    return Outgoing(url=hook.url, headers=headers, body=content.body)


@functools.cache
def _agent() -> str:
    return f"headrace/{version('headrace')}"


def _check_template(hook: Hook, format: _Format) -> None:
    if not hook.template:
        if format.template == "must":
            raise InvalidParameter(f"The format '{hook.format}' needs a template.")
        return
    if format.template == "never":
        raise InvalidParameter(
            f"The format '{hook.format}' has no template: what it sends is fixed. Use 'json' for your own."
        )
    check_template(hook.template)
    if format.json:
        free.check(hook.template)


def _check_headers(headers: dict[str, str]) -> None:
    size = sum(len(name) + len(value) for name, value in headers.items())
    if len(headers) > _MAX_HEADERS or size > _MAX_HEADER_BYTES:
        raise InvalidParameter(
            f"There are {len(headers)} headers with {size} characters; at most {_MAX_HEADERS} with "
            f"{_MAX_HEADER_BYTES} are allowed."
        )
    for name, value in headers.items():
        if not _HEADER.fullmatch(name):
            raise InvalidParameter(f"'{name[:100]}' is no name of a header.")
        if name.lower() in _OURS or name.lower().startswith(_OUR_PREFIXES):
            raise InvalidParameter(f"The header '{name}' is set by headrace itself.")
        if not _HEADER_VALUE.fullmatch(value) or value != value.strip():
            raise InvalidParameter(
                f"The value of the header '{name}' must be printable ASCII without spaces at its ends."
            )
