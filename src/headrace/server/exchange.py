"""One request and its reply, as the handlers see them."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any

import msgspec

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Header = tuple[bytes, bytes]

JSON = b"application/json"
UNMATCHED = "unmatched"


class Exchange:
    """A request on its way through the server.

    Attributes:
        method: HTTP method.
        path: Decoded path, without the static prefix.
        query: Raw query string.
        headers: By lower-case name; of a repeated header the last.
        receive: Gives the body.
        request_id: Names this request in answer and log.
        path_fields: What stands in the places of a path that a route leaves open.
        operation: Name for metrics and log; ``unmatched`` while no handler is known.
    """

    __slots__ = (
        "_actor",
        "headers",
        "method",
        "operation",
        "path",
        "path_fields",
        "query",
        "receive",
        "request_id",
    )

    def __init__(self, scope: Scope, receive: Receive, path: str, request_id: str) -> None:
        self.method: str = scope["method"]
        self.path = path
        self.query: bytes = scope["query_string"]
        self.headers: Mapping[bytes, bytes] = dict(scope["headers"])
        self.receive = receive
        self.request_id = request_id
        self.operation = UNMATCHED
        self.path_fields: Mapping[str, str] | None = None
        self._actor: str | None = None

    @property
    def actor(self) -> str:
        """Who asks: the user name of Basic credentials, empty without."""
        if self._actor is None:
            given = self.headers.get(b"authorization")
            self._actor = "" if given is None else _basic_user(given)
        return self._actor


class Reply(msgspec.Struct, frozen=True, gc=False):
    """A whole answer."""

    body: bytes
    status: int = 200
    content_type: bytes = JSON
    headers: tuple[Header, ...] = ()


class Stream(msgspec.Struct, frozen=True, gc=False):
    """An answer without an end in sight: 200, and what `run` sends as its body."""

    run: Callable[[Send], Awaitable[None]]
    content_type: bytes
    headers: tuple[Header, ...] = ()


Handler = Callable[[Exchange], Awaitable[Reply | Stream]]


def _basic_user(authorization: bytes) -> str:
    scheme, _, token = authorization.partition(b" ")
    if scheme.lower() != b"basic":
        return ""
    try:
        user = base64.b64decode(token.strip(), validate=True).decode().partition(":")[0]
    except (binascii.Error, UnicodeDecodeError):
        return ""
    return user[:256].replace("\x00", "")
