"""HTTP for the client: addresses, credentials, and repeating what failed on the way.

Environment, each ``HEADRACE_…`` first and ``MLFLOW_…`` as the fallback: ``TRACKING_USERNAME`` and
``TRACKING_PASSWORD`` (Basic) or ``TRACKING_TOKEN`` (Bearer), ``TRACKING_INSECURE_TLS``,
``TRACKING_SERVER_CERT_PATH``, ``TRACKING_CLIENT_CERT_PATH``, ``HTTP_REQUEST_TIMEOUT`` (seconds, default
120), ``HTTP_REQUEST_MAX_RETRIES`` (default 7), ``HTTP_REQUEST_BACKOFF_FACTOR`` (seconds, default 0.2).
"""

from __future__ import annotations

import base64
import configparser
import logging
import random
import re
import ssl
import time
from pathlib import Path
from typing import Any

import httpx

from headrace.client.environment import flag, number, setting
from headrace.errors import InvalidParameter

_log = logging.getLogger("headrace")

#: Statuses that say *not now*.
_TRY_AGAIN = frozenset((408, 429, 502, 503, 504))
_LONGEST_PAUSE = 20.0
_HOST = re.compile(rb"[A-Za-z0-9._~-]+|[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*")
_IDEMPOTENT = frozenset(("GET", "HEAD", "OPTIONS", "PUT", "DELETE"))
#: Failures that happen before anything was sent.
_UNSENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)


class RetryingClient(httpx.Client):
    """An HTTP client that repeats requests which failed on the way, with growing pauses and jitter.

    A request whose repetition could do a thing twice is repeated only when it cannot have been carried
    out: nothing was sent, or the server answered 429. Which ones those are: what the request's extension
    ``headrace_repeatable`` says, else every method but GET, HEAD, OPTIONS, PUT and DELETE. A request
    with a streamed body, which is used up by sending it, is repeated only when nothing was sent.
    """

    def __init__(self, *, retries: int, backoff: float, **options: Any) -> None:
        """Make a client.

        Args:
            retries: How often a request is repeated at most.
            backoff: Seconds before the first repetition; doubles with each, up to 20.
            options: For `httpx.Client`.
        """
        super().__init__(**options)
        self._retries = retries
        self._backoff = backoff

    def send(self, request: httpx.Request, **options: Any) -> httpx.Response:
        """Send, and repeat as far as that is safe and allowed."""
        repeatable = request.extensions.get("headrace_repeatable", request.method in _IDEMPOTENT)
        replayable = isinstance(request.stream, httpx.ByteStream)
        attempt = 0
        while True:
            last = attempt >= self._retries
            wanted = 0.0
            try:
                response = super().send(request, **options)
            except httpx.TransportError as error:
                safe = isinstance(error, _UNSENT) or (repeatable and replayable)
                if last or not safe:
                    raise
                reason: object = error
            else:
                safe = replayable and (repeatable or response.status_code == 429)
                if last or not safe or response.status_code not in _TRY_AGAIN:
                    return response
                reason = response.status_code
                wanted = _retry_after(response)
                response.close()
            pause = random.uniform(0.5, 1.0) * min(self._backoff * 2**attempt, _LONGEST_PAUSE)
            attempt += 1
            if attempt == 3:
                _log.warning(
                    "%s does not answer (%s); trying again, %d of %d.",
                    _origin(request.url),
                    reason,
                    attempt,
                    self._retries,
                )
            time.sleep(max(wanted, pause))


def _retry_after(response: httpx.Response) -> float:
    """Seconds that the server asks to wait; 0 when it does not say or says it as a date."""
    text = response.headers.get("retry-after", "")
    return min(float(text), 60.0) if text.isdigit() else 0.0


def _origin(url: httpx.URL) -> str:
    return str(url.copy_with(username=None, password=None, path="/", query=None)).rstrip("/")


def base_url(uri: str) -> httpx.URL:
    """A tracking URI as the URL that paths are appended to, without credentials.

    Raises:
        InvalidParameter: No host in it.
    """
    try:
        url = httpx.URL(uri)
    except httpx.InvalidURL:
        url = httpx.URL("")
    if not _HOST.fullmatch(url.raw_host) or url.scheme not in ("http", "https"):
        shown = re.sub(r"//.*@", "//***@", uri)
        raise InvalidParameter(f"'{shown}' is not a server: give http://host:port or https://host.")
    return url.copy_with(username=None, password=None, query=None, fragment=None)


def open_http(uri: str, retries: int | None = None) -> httpx.Client:
    """A connection pool to a tracking server, with its address, credentials and retries.

    Args:
        uri: The server's, with or without credentials.
        retries: How often a request is repeated at most; default: the environment's word.

    The client is thread-safe; it does not follow redirects and raises nothing for statuses.
    """
    return RetryingClient(
        retries=int(number("HTTP_REQUEST_MAX_RETRIES", 7)) if retries is None else retries,
        backoff=number("HTTP_REQUEST_BACKOFF_FACTOR", 0.2),
        limits=httpx.Limits(max_connections=64, max_keepalive_connections=32),
        **_options(uri),
    )


def open_async_http(uri: str) -> httpx.AsyncClient:
    """The same for asyncio, without retries."""
    return httpx.AsyncClient(**_options(uri))


def _options(uri: str) -> dict[str, Any]:
    url = base_url(uri)
    timeout = number("HTTP_REQUEST_TIMEOUT", 120.0) or None
    return {
        "base_url": url,
        "headers": {"User-Agent": "headrace", **_authorization(httpx.URL(uri))},
        "timeout": httpx.Timeout(timeout, connect=min(timeout or 10.0, 10.0)),
        # Without TLS, do not pay for loading the certificates.
        "verify": _tls() if url.scheme == "https" else False,
    }


def _tls() -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=setting("TRACKING_SERVER_CERT_PATH"))
    if flag("TRACKING_INSECURE_TLS"):
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    certificate = setting("TRACKING_CLIENT_CERT_PATH")
    if certificate:
        context.load_cert_chain(certificate)
    return context


def _authorization(uri: httpx.URL) -> dict[str, str]:
    """The Authorization header: from the URI, the environment, or ``~/.mlflow/credentials``."""
    if uri.username:
        return _basic(uri.username, uri.password)
    token = setting("TRACKING_TOKEN")
    name, password = setting("TRACKING_USERNAME"), setting("TRACKING_PASSWORD")
    if name and password is not None:
        return _basic(name, password)
    if token:
        return {"Authorization": f"Bearer {token}"}
    file = Path("~/.mlflow/credentials").expanduser()
    if file.is_file():
        parser = configparser.ConfigParser(interpolation=None)
        parser.read(file, encoding="utf-8")
        name = parser.get("mlflow", "mlflow_tracking_username", fallback="")
        if name:
            return _basic(name, parser.get("mlflow", "mlflow_tracking_password", fallback=""))
    return {}


def _basic(name: str, password: str) -> dict[str, str]:
    token = base64.b64encode(f"{name}:{password}".encode()).decode()
    return {"Authorization": f"Basic {token}"}
