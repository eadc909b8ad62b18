"""Connections to the addresses that were checked, and to no others."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable

import certifi
import msgspec

from headrace.errors import InvalidParameter

#: Seconds that one address of several may take to connect.
_CONNECT_S = 10.0
PORTS = {"https": 443, "http": 80, "smtps": 465, "smtp": 587}
_ENCRYPTED = frozenset({"https", "smtps"})
_MAIL = frozenset({"smtp", "smtps"})


class NotAllowed(InvalidParameter):
    """This may not be sent to."""


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """A URL, taken apart once: what is checked and what is connected to cannot differ.

    Attributes:
        scheme: ``https``, ``http``, ``smtps`` or ``smtp``.
        host: In small letters, without brackets and final dot; international names in their ASCII form.
        port: From 1 to 65535.
        path: Path and query, at least ``/``.
        query: The query alone.
        user: Of mail servers; else empty.
        password: Of mail servers; else empty.
    """

    scheme: str
    host: str
    port: int
    path: str
    query: str = ""
    user: str = ""
    password: str = ""

    @property
    def encrypted(self) -> bool:
        """Whether everything that is said to it is encrypted from the first byte on."""
        return self.scheme in _ENCRYPTED

    @property
    def mail(self) -> bool:
        """Whether it is a mail server."""
        return self.scheme in _MAIL

    @property
    def default_port(self) -> bool:
        """Whether the port is the scheme's own."""
        return self.port == PORTS[self.scheme]


class Checked(msgspec.Struct, frozen=True):
    """What may be connected to.

    Attributes:
        addresses: In the order to try them.
        listed: The host, or all its addresses, are in the allow-list.
    """

    addresses: tuple[str, ...]
    listed: bool


class Dialer:
    """Resolves, checks and connects, anew for every connection: a host's addresses may change (DNS rebinding)."""

    def __init__(self, check: Callable[[Target], Awaitable[Checked]]) -> None:
        """Take what checks a target."""
        self._check = check

    async def dial(self, target: Target) -> tuple[socket.socket, bool]:
        """A connected, non-blocking socket; and whether the target is in the allow-list.

        Raises:
            NotAllowed: The target may not be sent to.
            OSError: None of its addresses can be connected to.
        """
        checked = await self._check(target)
        last: OSError | None = None
        for address in checked.addresses:
            try:
                async with asyncio.timeout(_CONNECT_S):
                    return await _connect(address, target.port), checked.listed
            except TimeoutError:
                last = OSError(f"{address} does not answer.")
            except OSError as error:
                last = error
        raise last or OSError(f"'{target.host}' has no address.")


async def _connect(address: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        await asyncio.get_running_loop().sock_connect(sock, (address, port))
    except BaseException:  # cleans up, raises again
        sock.close()
        raise
    return sock


def default_tls() -> ssl.SSLContext:
    """Trusts what the system trusts (``SSL_CERT_FILE`` included), and Mozilla's list."""
    context = ssl.create_default_context()
    context.load_verify_locations(certifi.where())
    return context


def explain(error: Exception) -> str:
    """A failure of the network, for people."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"Its certificate is not good: {error.verify_message}."
    if isinstance(error, ssl.SSLError):
        return f"No encrypted connection: {error.reason or error}."
    if isinstance(error, socket.gaierror):
        return f"Its host cannot be resolved: {error.strerror}."
    if isinstance(error, ConnectionRefusedError):
        return "It refuses the connection."
    if isinstance(error, OSError):
        return f"It cannot be reached: {error.strerror or error}"[:500]
    return f"{type(error).__name__}: {error}"[:500]
