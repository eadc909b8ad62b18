"""Messages over HTTP/1.1, on connections that are kept alive."""

from __future__ import annotations

import ssl
import time
from email.utils import parsedate_to_datetime
from http import HTTPStatus

import httpcore

from headrace.events.dialing import Dialer, Target
from headrace.events.http_connections import CheckedBackend
from headrace.events.outgoing import ANSWER_BYTES, Outcome, Outgoing

#: Connections that are kept alive, all targets together.
_MAX_IDLE = 256
#: Seconds after which an idle connection is not used any more: many servers close them after 60.
_IDLE_S = 30.0
_MAX_RETRY_AFTER_S = 86_400.0

_Key = tuple[str, str, int]


class HttpSender:
    """Sends, and keeps connections.

    httpcore's own pool polls every idle connection for every request, and counts all of them for each; this one
    looks at one of the target's.
    """

    def __init__(self, dialer: Dialer, tls: ssl.SSLContext) -> None:
        """Connect to nobody yet."""
        self._dialer = dialer
        self._tls = tls
        self._idle: dict[_Key, list[httpcore.AsyncHTTPConnection]] = {}
        self._count = 0
        self._swept = time.monotonic()

    async def send(self, target: Target, outgoing: Outgoing) -> Outcome:
        """Send a message, and read the beginning of the answer.

        A connection that was kept alive may be closed by the other side at that very moment; the message is
        sent again on a new one then.

        Raises:
            NotAllowed: The target may not be sent to.
            OSError: It cannot be reached.
            httpcore.ProtocolError: It does not speak HTTP, or the message is none.
        """
        request = _request(target, outgoing)
        key = (target.scheme, target.host, target.port)
        kept = await self._take(key)
        if kept is not None:
            try:
                return await self._exchange(key, kept, request)
            except (OSError, httpcore.RemoteProtocolError):
                pass
        fresh = httpcore.AsyncHTTPConnection(
            request.url.origin,
            ssl_context=self._tls,
            keepalive_expiry=_IDLE_S,
            network_backend=CheckedBackend(self._dialer, target),
        )
        return await self._exchange(key, fresh, request)

    async def close(self) -> None:
        """Close the connections that are idle."""
        idle, self._idle, self._count = self._idle, {}, 0
        for connections in idle.values():
            for connection in connections:
                await connection.aclose()

    async def _exchange(
        self, key: _Key, connection: httpcore.AsyncHTTPConnection, request: httpcore.Request
    ) -> Outcome:
        body = bytearray()
        try:
            response = await connection.handle_async_request(request)
            async for chunk in response.aiter_stream():
                body += chunk
                if len(body) > ANSWER_BYTES:
                    break
            await response.aclose()  # and the connection, if the answer goes on
        except BaseException:  # cleans up, raises again
            await connection.aclose()
            raise
        await self._keep(key, connection)
        return _outcome(response, bytes(body[:ANSWER_BYTES]))

    async def _take(self, key: _Key) -> httpcore.AsyncHTTPConnection | None:
        connections = self._idle.get(key)
        while connections:
            connection = connections.pop()
            self._count -= 1
            if not connection.has_expired():
                return connection
            await connection.aclose()
        return None

    async def _keep(self, key: _Key, connection: httpcore.AsyncHTTPConnection) -> None:
        if time.monotonic() - self._swept > _IDLE_S:
            await self._sweep()
        if not connection.is_idle():
            return
        if self._count >= _MAX_IDLE:
            await connection.aclose()
            return
        self._idle.setdefault(key, []).append(connection)
        self._count += 1

    async def _sweep(self) -> None:
        """Close what has been idle for too long, and what the other side closed."""
        self._swept = time.monotonic()
        before, self._idle, self._count = self._idle, {}, 0
        expired = []
        for key, connections in before.items():
            good = [one for one in connections if not one.has_expired()]
            expired += [one for one in connections if one not in good]
            if good:
                self._idle[key] = good
                self._count += len(good)
        for connection in expired:
            await connection.aclose()


def _request(target: Target, outgoing: Outgoing) -> httpcore.Request:
    host = f"[{target.host}]" if ":" in target.host else target.host
    headers = [
        ("Host", host if target.default_port else f"{host}:{target.port}"),
        *outgoing.headers.items(),
        ("Content-Length", str(len(outgoing.body))),
    ]
    return httpcore.Request(
        outgoing.method,
        httpcore.URL(scheme=target.scheme, host=target.host, port=target.port, target=target.path),
        headers=headers,
        content=outgoing.body,
    )


def _outcome(response: httpcore.Response, body: bytes) -> Outcome:
    headers = {name.lower(): value for name, value in response.headers}
    return Outcome(
        status=response.status,
        body=body.decode(errors="replace"),
        error=_error(response.status, headers.get(b"location", b"")),
        retry_after=_retry_after(headers.get(b"retry-after", b"").decode("latin-1")),
    )


def _error(status: int, location: bytes) -> str:
    if 200 <= status < 300:
        return ""
    if 300 <= status < 400:
        where = location[:200].decode("latin-1")
        return (
            f"It answered {status}, a redirect{' to ' + where if where else ''}. Redirects are not followed: "
            "give the webhook the URL that the target moved to."
        )
    try:
        phrase = f" ({HTTPStatus(status).phrase})"
    except ValueError:
        phrase = ""
    return f"It answered {status}{phrase}."


def _retry_after(text: str) -> float | None:
    """Seconds from now, of both forms that the header has; a day at most."""
    text = text.strip()
    if not text:
        return None
    if text.isascii() and text.isdigit():
        return min(float(text[:10]), _MAX_RETRY_AFTER_S)
    try:
        seconds = parsedate_to_datetime(text).timestamp() - time.time()
    except (ValueError, OverflowError):
        return None
    return min(max(seconds, 0.0), _MAX_RETRY_AFTER_S)
