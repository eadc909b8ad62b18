"""Routes from the protocol: one handler per operation.

A handler decodes, authorises, hands the request to whoever implements the operation, waits without
holding the event loop, and encodes. It knows nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import Future
from typing import Any
from urllib.parse import parse_qsl

from headrace.errors import BadRequest, InvalidParameter
from headrace.protocol.operation import NATIVE_PREFIXES, Empty, Operation
from headrace.protocol.wire import (
    decode_binary,
    decode_body,
    decode_query,
    encode,
    encode_binary,
)
from headrace.server.body import read_body
from headrace.server.bridge import Bridge
from headrace.server.exchange import JSON, Exchange, Handler, Reply

#: Hands a request to its implementation, in somebody's name; returns at once.
Submit = Callable[[Operation, Any, str], Future[Any]]
#: Raises Unauthenticated or PermissionDenied; gets the exchange, the permission, and the request
#: (for artifact routes the parameters of the path).
Authorise = Callable[[Exchange, str, Any], None]

MSGPACK = b"application/msgpack"
_MOST_QUERY_FIELDS = 1000
_EMPTY = Reply(b"{}")


def allow_all(exchange: Exchange, permission: str, request: Any) -> None:
    """The authorisation of a server without users: everybody may do everything."""


def operation_routes(
    operations: Iterable[Operation],
    submit: Submit,
    *,
    bridge: Bridge,
    authorise: Authorise,
    max_body: int,
) -> dict[str, dict[str, Handler]]:
    """Handlers by path and HTTP method for every route of some operations."""
    routes: dict[str, dict[str, Handler]] = {}
    for operation in operations:
        handler = _OperationHandler(operation, submit, bridge, authorise, max_body)
        for method, path in operation.routes():
            routes.setdefault(path, {})[method] = handler
    return routes


class _OperationHandler:
    def __init__(
        self,
        operation: Operation,
        submit: Submit,
        bridge: Bridge,
        authorise: Authorise,
        max_body: int,
    ) -> None:
        self._operation = operation
        self._submit = submit
        self._bridge = bridge
        self._authorise = authorise
        self._max_body = max_body
        self._native = operation.prefixes == NATIVE_PREFIXES

    async def __call__(self, exchange: Exchange) -> Reply:
        operation = self._operation
        exchange.operation = operation.name
        if exchange.method in ("GET", "HEAD"):
            request = decode_query(operation, query_pairs(exchange.query), exchange.path_fields)
        else:
            decode = decode_body
            if self._native and is_msgpack(exchange):
                decode = decode_binary
            else:
                check_content_type(exchange, binary=self._native)
            body = await read_body(exchange.receive, exchange.headers, self._max_body)
            request = decode(operation, body, exchange.path_fields)
        actor = exchange.actor
        self._authorise(exchange, operation.permission, request)
        response = await self._bridge.wait(self._submit(operation, request, actor))
        if exchange.headers.get(b"accept") == MSGPACK:
            return Reply(encode_binary(response), content_type=MSGPACK)
        if type(response) is Empty:
            return _EMPTY
        return Reply(encode(response))


def is_msgpack(exchange: Exchange) -> bool:
    """Whether the body is said to be MessagePack."""
    given = exchange.headers.get(b"content-type", b"")
    return given == MSGPACK or given.partition(b";")[0].strip().lower() == MSGPACK


def check_content_type(exchange: Exchange, *, binary: bool = False) -> None:
    """Refuse a POST or PUT that does not say it is JSON, as MLflow does; others are not checked.

    Args:
        exchange: The request.
        binary: Say in the message that MessagePack would do too.

    Raises:
        InvalidParameter: Another content type, or none.
    """
    if exchange.method not in ("POST", "PUT"):
        return
    given = exchange.headers.get(b"content-type")
    if given == JSON:
        return
    if given is None:
        raise InvalidParameter(
            "Bad Request. Content-Type header is missing: send application/json."
        )
    if given.partition(b";")[0].strip().lower() != JSON:
        allowed = ["application/json", "application/msgpack"] if binary else ["application/json"]
        raise InvalidParameter(
            f"Bad Request. Content-Type must be one of {allowed}, "
            f"got '{given[:100].decode('latin-1')}'."
        )


def query_pairs(query: bytes) -> list[tuple[str, str]]:
    """A query string as decoded pairs.

    Raises:
        BadRequest: Not UTF-8 once decoded, or over 1000 fields.
    """
    try:
        return parse_qsl(
            query.decode("ascii"),
            keep_blank_values=True,
            errors="strict",
            max_num_fields=_MOST_QUERY_FIELDS,
        )
    except UnicodeDecodeError:
        raise BadRequest("The query string is not UTF-8; percent-encode it from UTF-8.") from None
    except ValueError:
        raise BadRequest(
            f"The query string has over {_MOST_QUERY_FIELDS} fields; ask for less at a time."
        ) from None
