"""The ASGI application: one short way from a request to its handler and back.

Operations are found in one dictionary by path and method; only what is not there (artifact paths)
goes through Starlette's routes. Around both stands the same small frame: Host and Origin checks,
errors as JSON, security headers, counting, one log line. A request that no handler understands
never becomes a 500, and an exception that nobody expected never shows its insides.
"""

from __future__ import annotations

import itertools
import logging
import re
import secrets
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.routing import BaseRoute, Match

from headrace.errors import (
    BadRequest,
    EndpointNotFound,
    HeadraceError,
    InternalError,
    MethodNotAllowed,
    Unauthenticated,
    from_wire,
)
from headrace.protocol.wire import encode
from headrace.server.body import Disconnected
from headrace.server.exchange import (
    Exchange,
    Handler,
    Header,
    Receive,
    Reply,
    Scope,
    Send,
    Stream,
)
from headrace.server.logs import LogWriter
from headrace.server.metrics import Metrics
from headrace.server.operations import Authorise
from headrace.server.security import Policy

_log = logging.getLogger("headrace.server")

#: Load balancers ask for these by whatever name or address they have.
_ANY_HOST = frozenset({"/health", "/version"})
_BROKEN_OFF = "The request broke off before its body was complete; send it again."
#: Longer paths are cut in the log.
_LOGGED_PATH = 1000
#: nginx's number for a client that went away; only ever in the log.
_CLIENT_GONE = 499


class App:
    """The application that Granian serves.

    Runs on one event loop. `close` is called once, after the last request was answered.
    """

    def __init__(
        self,
        routes: Mapping[str, Mapping[str, Handler]],
        streams: Iterable[BaseRoute],
        *,
        policy: Policy | None,
        authorise: Authorise,
        metrics: Metrics,
        log: LogWriter | None,
        static_prefix: str,
        frame_options: str,
        end_streams: Callable[[], None],
        close: Callable[[], None],
    ) -> None:
        """Put an application together.

        Args:
            routes: Handlers by path and method; ``{name}`` in a path stands for any text without a slash.
            streams: Starlette routes for what has parameters in its path or streams its body.
            policy: Host and Origin checks; None: none.
            authorise: Asked before every Starlette route, with its path parameters; operations ask
                for themselves.
            metrics: Counts requests.
            log: Gets a line per request; None: none.
            static_prefix: Accepted, and taken away, before every path.
            frame_options: X-Frame-Options; ``NONE`` for none.
            end_streams: Ends the answers that would not end by themselves.
            close: Releases what the handlers use.
        """
        self._routes = routes
        self._open_routes = [
            (_pattern(path), methods) for path, methods in routes.items() if "{" in path
        ]
        self._streams = tuple(streams)
        self._policy = policy
        self._authorise = authorise
        self._metrics = metrics
        self._log = log
        self._prefix = static_prefix.rstrip("/")
        self.end_streams = end_streams
        self.close = close
        self._headers: tuple[Header, ...] = ((b"x-content-type-options", b"nosniff"),)
        if frame_options.upper() != "NONE":
            self._headers += ((b"x-frame-options", frame_options.encode("latin-1")),)
        self._ids = itertools.count(1)
        self._id_prefix = secrets.token_hex(4)
        #: Called on the event loop before the first request.
        self.started: Callable[[], None] = lambda: None
        #: Requests being answered.
        self.in_flight = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or follow the server's life."""
        if scope["type"] == "http":
            await self._http(scope, receive, send)
        elif scope["type"] == "lifespan":
            await self._lifespan(receive, send)

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        await receive()
        self.started()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        self.close()
        await send({"type": "lifespan.shutdown.complete"})

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = time.perf_counter()
        path: str = scope["path"]
        if self._prefix and path.startswith(self._prefix + "/"):
            path = path[len(self._prefix) :]
        request_id = f"{self._id_prefix}{next(self._ids):08x}"
        exchange = Exchange(scope, receive, path, request_id)
        answer = _Answer(exchange, send, self._headers)
        self.in_flight += 1
        try:
            await self._answer(exchange, answer, scope)
        except (Disconnected, ClientDisconnect):
            if not answer.begun:
                # It may still listen: a body whose chunks make no sense looks the same from here.
                await answer.reply(self._error_reply(BadRequest(_BROKEN_OFF), exchange))
            answer.status = _CLIENT_GONE
        except Exception as error:
            reply = self._error_reply(error, exchange)
            if answer.begun:
                answer.status = _CLIENT_GONE if isinstance(error, OSError) else 500
                raise  # the rest of the body is missing: only a broken connection can say so
            await answer.reply(reply)
        finally:
            self.in_flight -= 1
            seconds = time.perf_counter() - started
            self._metrics.observe(exchange.operation, answer.status, seconds)
            if self._log is not None:
                self._log.write(
                    "info",
                    "request",
                    {
                        "method": exchange.method,
                        "path": scope["path"][:_LOGGED_PATH],
                        "status": answer.status,
                        "ms": round(seconds * 1000, 3),
                        "bytes": answer.sent,
                        "actor": exchange.actor,
                        "request_id": request_id,
                    },
                )

    async def _answer(self, exchange: Exchange, answer: _Answer, scope: Scope) -> None:
        policy = self._policy
        if policy is not None and exchange.path not in _ANY_HOST:
            host = exchange.headers.get(b"host")
            policy.check_host(host)
            origin = exchange.headers.get(b"origin")
            if origin is not None:
                answer.extra = policy.cors_headers(origin)
                policy.check_origin(origin, exchange.method, host)
        methods = self._routes.get(exchange.path)
        if methods is None:
            methods = self._open_route(exchange)
        if methods is None:
            await self._stream(exchange, answer, scope)
            return
        handler = methods.get(exchange.method)
        if handler is None:
            handler = self._implied(exchange, methods)
        reply = await handler(exchange)
        if isinstance(reply, Stream):
            await answer.run(reply)
        else:
            await answer.reply(reply)

    def _open_route(self, exchange: Exchange) -> Mapping[str, Handler] | None:
        """The handlers of a route with open places that the path fits."""
        for pattern, methods in self._open_routes:
            found = pattern.fullmatch(exchange.path)
            if found is not None:
                exchange.path_fields = found.groupdict()
                return methods
        return None

    def _implied(self, exchange: Exchange, methods: Mapping[str, Any]) -> Handler:
        """The handler for a method that a path has without saying so: HEAD and OPTIONS."""
        get: Handler | None = methods.get("GET")
        if exchange.method == "HEAD" and get is not None:
            return get
        allowed = {*methods, "OPTIONS"} | ({"HEAD"} if "GET" in methods else set())
        if exchange.method == "OPTIONS":
            return _options(allowed)
        raise _NotAllowed(exchange, allowed)

    async def _stream(self, exchange: Exchange, answer: _Answer, scope: Scope) -> None:
        """Hand over to a Starlette route; 404 or 405 when none fits."""
        if exchange.path != scope["path"]:
            scope = {**scope, "path": exchange.path, "root_path": ""}
        allowed: set[str] = set()
        for route in self._streams:
            match, child = route.matches(scope)
            if match is Match.FULL:
                exchange.operation = getattr(route, "name", "")
                scope.update(child)
                reads = exchange.method in ("GET", "HEAD")
                permission = "artifact:read" if reads else "artifact:edit"
                self._authorise(exchange, permission, child.get("path_params"))
                try:
                    await route.handle(scope, exchange.receive, answer.stream)
                except HTTPException as error:
                    raise from_wire(None, error.detail, error.status_code) from error
                return
            if match is Match.PARTIAL:
                allowed |= getattr(route, "methods", None) or set()
        if not allowed:
            raise EndpointNotFound(
                f"No operation at '{exchange.path[:200]}'; /openapi.json lists what this server offers."
            )
        handler = self._implied(exchange, dict.fromkeys(allowed))
        reply = await handler(exchange)
        assert isinstance(reply, Reply)
        await answer.reply(reply)

    def _error_reply(self, error: Exception, exchange: Exchange) -> Reply:
        if not isinstance(error, HeadraceError):
            _log.error(
                "%s %s failed", exchange.method, exchange.path[:_LOGGED_PATH], exc_info=error,
                extra={"request_id": exchange.request_id},
            )  # fmt: skip
            error = InternalError(
                f"The server failed on this request; its log tells more under {exchange.request_id}."
            )
        headers: tuple[Header, ...] = ()
        if isinstance(error, _NotAllowed):
            headers = ((b"allow", error.allow),)
        elif isinstance(error, Unauthenticated):
            headers = ((b"www-authenticate", b'Basic realm="headrace"'),)
        elif error.status == 503:
            headers = ((b"retry-after", b"1"),)
        # A message may quote what is no text, such as half of a surrogate pair.
        message = error.message.encode(errors="backslashreplace").decode()
        body = encode({**error.wire(), "message": message})
        return Reply(body, status=error.status, headers=headers)


def _pattern(path: str) -> re.Pattern[str]:
    """What the paths of a route with open places look like."""
    parts = re.split(r"\{([a-z_:]+)\}", path)
    parts[::2] = map(re.escape, parts[::2])
    for place in range(1, len(parts), 2):
        name, _, slashes = parts[place].partition(":")
        parts[place] = f"(?P<{name}>{'.+' if slashes else '[^/]+'})"
    return re.compile("".join(parts), re.DOTALL)


class _Answer:
    """Sends one answer, and remembers what was sent."""

    __slots__ = ("_exchange", "_headers", "_send", "begun", "extra", "sent", "status")

    def __init__(self, exchange: Exchange, send: Send, headers: tuple[Header, ...]) -> None:
        self._exchange = exchange
        self._send = send
        self._headers = headers
        self.begun = False
        self.extra: list[Header] = []
        self.sent = 0
        self.status = 500

    def _all(self, *own: Header) -> list[Header]:
        request_id = (b"x-request-id", self._exchange.request_id.encode())
        return [*own, *self._headers, request_id, *self.extra]

    async def reply(self, reply: Reply) -> None:
        """Send a whole answer; to HEAD all but its body."""
        self.begun = True
        self.status = reply.status
        body = reply.body
        headers = self._all((b"content-type", reply.content_type), *reply.headers)
        if self._exchange.method == "HEAD":
            headers.append((b"content-length", str(len(body)).encode()))
            body = b""
        self.sent = len(body)
        await self._send(
            {"type": "http.response.start", "status": reply.status, "headers": headers}
        )
        await self._send({"type": "http.response.body", "body": body})

    async def run(self, stream: Stream) -> None:
        """Send an answer that goes on until it is over, or nobody listens; to HEAD only its head."""
        self.begun = True
        self.status = 200
        headers = self._all((b"content-type", stream.content_type), *stream.headers)
        await self._send({"type": "http.response.start", "status": 200, "headers": headers})
        if self._exchange.method == "HEAD":
            await self._send({"type": "http.response.body", "body": b""})
        else:
            await stream.run(self._send)

    async def stream(self, message: Any) -> None:
        """Pass on what a Starlette route sends, with our headers added."""
        if message["type"] == "http.response.start":
            self.begun = True
            self.status = message["status"]
            message = {**message, "headers": self._all(*message["headers"])}
        else:
            self.sent += len(message.get("body", b""))
        await self._send(message)


class _NotAllowed(MethodNotAllowed):
    def __init__(self, exchange: Exchange, allowed: set[str]) -> None:
        names = ", ".join(sorted(allowed))
        super().__init__(
            f"'{exchange.path[:200]}' does not take {exchange.method[:20]}: use {names}."
        )
        self.allow = names.encode()


def _options(allowed: set[str]) -> Handler:
    """Answers OPTIONS, the question before a cross-origin request included."""
    names = ", ".join(sorted(allowed)).encode()

    async def options(exchange: Exchange) -> Reply:
        headers: list[Header] = [(b"allow", names)]
        if b"access-control-request-method" in exchange.headers:
            headers.append((b"access-control-allow-methods", names))
            asked = exchange.headers.get(b"access-control-request-headers")
            if asked is not None:
                headers.append((b"access-control-allow-headers", asked))
            headers.append((b"access-control-max-age", b"600"))
        return Reply(b"", headers=tuple(headers), content_type=b"text/plain")

    return options
