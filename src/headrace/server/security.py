"""Who may talk to this server from a browser: Host and Origin checks, and CORS.

A server on a laptop has no password, so a web page that the user visits must not be able to reach
it. Two doors are closed: DNS rebinding (a foreign name that resolves to 127.0.0.1 shows in the Host
header) and cross-origin writes (a foreign page shows in the Origin header).
"""

from __future__ import annotations

import fnmatch
import ipaddress
from urllib.parse import urlsplit

from headrace.errors import PermissionDenied

_PRIVATE = tuple(
    ipaddress.ip_network(network)
    for network in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7")
)
_WRITES = frozenset({"POST", "PUT", "PATCH", "DELETE"})
#: Names seen and found good are remembered, up to so many.
_REMEMBERED = 1024


class Policy:
    """Decides by the Host and Origin headers.

    Always accepted: localhost, loopback, 0.0.0.0 and private addresses as Host, with any port;
    as Origin localhost, loopback, and the server's own origin.
    """

    def __init__(self, allowed_hosts: tuple[str, ...], allowed_origins: tuple[str, ...]) -> None:
        """Take a policy's lists; ``*`` in an entry matches any text, a lone ``*`` everything."""
        self._hosts = tuple(host.lower() for host in allowed_hosts)
        self._origins = tuple(origin.lower().rstrip("/") for origin in allowed_origins)
        self._any_host = "*" in self._hosts
        self._any_origin = "*" in self._origins
        self._good_hosts: set[bytes] = set()

    def check_host(self, host: bytes | None) -> None:
        """Refuse a foreign Host header.

        Raises:
            PermissionDenied: The server does not answer to that name.
        """
        if host in self._good_hosts or self._any_host:
            return
        text = (host or b"").decode("latin-1").lower()
        if not text or not (_is_local(_without_port(text), private=True) or self._listed(text)):
            raise PermissionDenied(
                f"Invalid Host header '{text[:200]}': possible DNS rebinding. If this server is meant to "
                "be reached by that name, start it with --allowed-hosts."
            )
        if host is not None and len(self._good_hosts) < _REMEMBERED:
            self._good_hosts.add(host)

    def check_origin(self, origin: bytes, method: str, host: bytes | None) -> None:
        """Refuse a write that a page of another origin sends.

        Raises:
            PermissionDenied: The origin is not localhost, not this server's own and not allowed.
        """
        if method not in _WRITES:
            return
        text = origin.decode("latin-1").lower()
        if self.allows(text) or (host and _netloc(text) == host.decode("latin-1").lower()):
            return
        raise PermissionDenied(
            f"Cross-origin request blocked: pages of '{text[:200]}' may not write here. If they should, "
            "start the server with --cors-allowed-origins."
        )

    def allows(self, origin: str) -> bool:
        """Whether pages of an origin may use this server."""
        if self._any_origin:
            return True
        if any(fnmatch.fnmatchcase(origin, allowed) for allowed in self._origins):
            return True
        netloc = _netloc(origin)
        return bool(netloc) and _is_local(_without_port(netloc), private=False)

    def cors_headers(self, origin: bytes) -> list[tuple[bytes, bytes]]:
        """Response headers that let a page of an allowed origin read the answer; else none."""
        if not self.allows(origin.decode("latin-1").lower()):
            return [(b"vary", b"Origin")]
        if self._any_origin:  # whoever it is, so never together with its credentials
            return [(b"access-control-allow-origin", b"*")]
        return [
            (b"access-control-allow-origin", origin),
            (b"access-control-allow-credentials", b"true"),
            (b"vary", b"Origin"),
        ]

    def _listed(self, host: str) -> bool:
        name = _without_port(host)
        return any(
            text == allowed or fnmatch.fnmatchcase(text, allowed)
            for allowed in self._hosts
            for text in (host, name)
        )


def _netloc(origin: str) -> str:
    """``host:port`` of an origin; empty when it has none (``null``)."""
    try:
        return urlsplit(origin).netloc
    except ValueError:
        return ""


def _without_port(host: str) -> str:
    if host.startswith("["):
        return host[1:].partition("]")[0]
    name, _, port = host.rpartition(":")
    return name if name and port.isdigit() else host


def _is_local(name: str, *, private: bool) -> bool:
    if name == "localhost":
        return True
    try:
        # Parsed, not matched as text: 10.evil.example is a name, not an address of 10.0.0.0/8.
        address = ipaddress.ip_address(name)
    except ValueError:
        return False
    if address.is_loopback or (private and address.is_unspecified):
        return True
    return private and any(address in network for network in _PRIVATE)
