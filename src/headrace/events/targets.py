"""Who may be sent to, and how the very address that was checked is the one that is connected to.

docs/internals/targets.md says against what this guards.
"""

from __future__ import annotations

import asyncio
import functools
import re
import socket
import ssl
import time
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING
from urllib.parse import SplitResult, unquote, urlsplit

import msgspec

from headrace.errors import InvalidParameter
from headrace.events import addresses
from headrace.events.addresses import Address, Network
from headrace.events.dialing import PORTS, Checked, Dialer, NotAllowed, Target, default_tls, explain
from headrace.events.outgoing import Outcome, Outgoing

if TYPE_CHECKING:
    from headrace.events.http_sender import HttpSender
    from headrace.events.mail_sender import MailSender

#: Addresses of a host: ``await resolve(host, port)``; raises OSError when it has none.
Resolve = Callable[[str, int], Awaitable[Sequence[str]]]

_MAIL = ("smtp", "smtps")
_MAX_URL = 2048
_NAME = re.compile(r"(?=.{1,253}\Z)(?:[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?)(?:\.[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?)*\Z")  # fmt: skip
_UNSAFE = re.compile(r"[^\x21-\x7e\u00a1-\U0010ffff]|\\")
#: Lookups at once; a slow name server holds up no more than its own.
_LOOKUPS = 32


class Targets:
    """Public addresses, and what an allow-list opens."""

    def __init__(self, allowed: Sequence[str] = (), *, resolve: Resolve | None = None) -> None:
        """Take an allow-list.

        Args:
            allowed: Hosts (``ci.example.org``, ``*.example.org`` for all below it), addresses and networks
                (``10.1.0.0/16``). Letters' case does not matter.
            resolve: Finds the addresses of a host, in place of the system's resolver.

        Raises:
            InvalidParameter: An entry that is none of these.
        """
        self._resolve = resolve or SystemResolver()
        self._names: set[str] = set()
        self._suffixes: list[str] = []
        self._networks: list[Network] = []
        for entry in allowed:
            self._add(entry.strip().lower())

    def check_url(self, url: str) -> None:
        """Refuse what can never be allowed, without asking anybody.

        Raises:
            InvalidParameter: No URL, a scheme, host or port that does not do, credentials where they do not
                belong, an address that is not allowed, or no encryption to a host that is not in the
                allow-list.
        """
        target = parse_url(url)
        address = _literal(target.host)
        if address is not None:
            self._check_address(target, address)
        elif not target.encrypted and not target.mail:
            # With networks in the list, only its addresses say whether it is in there.
            self._check_encryption(target, self._named(target.host) or bool(self._networks))

    async def check(self, target: Target) -> Checked:
        """Resolve a target's host, and check every address that it has.

        Raises:
            NotAllowed: One of them is not allowed, or the connection would have to be encrypted.
            OSError: The host has no address, or nobody says which.
        """
        literal = _literal(target.host)
        if literal is not None:
            found = [literal]
        else:
            found = [
                addresses.parse(text) for text in await self._resolve(target.host, target.port)
            ]
        if not found:
            raise OSError(f"'{target.host}' has no address.")
        verdicts = {address: self._check_address(target, address) for address in found}
        return Checked(tuple(map(str, verdicts)), listed=all(verdicts.values()))

    def _check_address(self, target: Target, address: Address) -> bool:
        """Whether it is in the allow-list.

        Raises:
            NotAllowed: See `check`.
        """
        inner = addresses.innermost(address)
        by_network = any(one in network for network in self._networks for one in (address, inner))
        by_name = self._named(target.host)
        kind = addresses.special(address)
        if kind and not by_network and not (by_name and addresses.opened_by_name(kind)):
            shown = f"'{target.host}'"
            if target.host != str(address):
                shown += f" is at {address}, which"
            needed = "address" if by_name else "host or its network"
            raise NotAllowed(
                f"{shown} is not a public address ({kind}). If it may be sent to, put the {needed} "
                "into the server's list of allowed targets."
            )
        listed = by_network or by_name
        if not target.encrypted and not target.mail:  # mail may turn encryption on later
            self._check_encryption(target, listed)
        return listed

    def _check_encryption(self, target: Target, listed: bool) -> None:
        if not listed:
            raise NotAllowed(
                f"{target.scheme}://{target.host} is not encrypted: give an https:// URL, or put the host "
                "into the server's list of allowed targets."
            )

    def _named(self, host: str) -> bool:
        return host in self._names or host.endswith(tuple(self._suffixes))

    def _add(self, entry: str) -> None:
        try:
            self._networks.append(addresses.parse_network(entry.strip("[]")))
            return
        except ValueError:
            pass
        name = _ascii(entry.removeprefix("*."))
        if name is None or not _NAME.match(name):
            raise InvalidParameter(
                f"'{entry[:100]}' is no allowed target: give a host (ci.example.org), all hosts of a domain "
                "(*.example.org), an address or a network (10.1.0.0/16), without scheme, port and path."
            )
        if entry.startswith("*."):
            self._suffixes.append(f".{name}")
        else:
            self._names.add(name)


class SystemResolver:
    """getaddrinfo, in threads of its own."""

    def __init__(self) -> None:
        """Start nothing yet."""
        self._threads = ThreadPoolExecutor(_LOOKUPS, thread_name_prefix="headrace-resolve")

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        """Addresses of a host.

        Raises:
            OSError: It has none.
        """
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, _getaddrinfo, host, port)


def _getaddrinfo(host: str, port: int) -> list[str]:
    return [str(one[4][0]) for one in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]


@functools.lru_cache(maxsize=1024)
def parse_url(url: str) -> Target:
    """A URL, taken apart.

    Raises:
        InvalidParameter: It is none that messages can be sent to.
    """
    if len(url) > _MAX_URL:
        raise InvalidParameter(
            f"The URL has {len(url)} characters; at most {_MAX_URL} are allowed."
        )
    if _UNSAFE.search(url):
        raise InvalidParameter(
            "The URL has a space, a control character or a backslash in it: percent-encode it."
        )
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError as error:
        raise InvalidParameter(f"The URL cannot be read: {error}.") from None
    if parts.scheme not in PORTS:
        raise InvalidParameter(
            f"The URL's scheme is '{parts.scheme[:30]}': it must be https, smtps or smtp, or http to an allowed "
            "host."
        )
    if port == 0:
        raise InvalidParameter("The URL's port is 0: give one from 1 to 65535.")
    name = _ascii(host)
    if name is None or not (_is_address(name) or _NAME.match(name)):
        raise InvalidParameter(f"The URL's host is '{host[:100]}', which is no host name.")
    user, password = _credentials(parts)
    return Target(
        scheme=parts.scheme,
        host=name,
        port=port or PORTS[parts.scheme],
        path=(parts.path or "/") + (f"?{parts.query}" if parts.query else ""),
        query=parts.query,
        user=user,
        password=password,
    )


def _credentials(parts: SplitResult) -> tuple[str, str]:
    if "@" not in parts.netloc:
        return "", ""
    if parts.scheme not in _MAIL:
        raise InvalidParameter(
            "The URL has a user or password in it: give them as an 'Authorization' header."
        )
    return unquote(parts.username or ""), unquote(parts.password or "")


def _ascii(host: str) -> str | None:
    """A host's name as it is asked for, None if it cannot be one."""
    host = host.rstrip(".") if host.count(".") else host
    if host.isascii():
        return host.lower()
    try:
        return host.encode("idna").decode().lower()
    except UnicodeError:
        return None


def _is_address(host: str) -> bool:
    return _literal(host) is not None


def _literal(host: str) -> Address | None:
    """The address that a host is written as, in any way that a resolver reads (``127.1``, ``0x7f000001``)."""
    # With a zone, '10.0.0.1%x.example.org' would be an address that is named by '*.example.org'.
    if "%" in host:
        return None
    try:
        return addresses.parse(host)
    except ValueError:
        pass
    if not re.fullmatch(r"(?:0x[0-9a-f]*|\d+)(?:\.(?:0x[0-9a-f]*|\d+)){0,3}", host):
        return None
    try:
        return addresses.parse(socket.inet_ntoa(socket.inet_aton(host)))
    except OSError:
        return None


class Sender:
    """Sends messages to allowed targets. One per event loop: it keeps connections alive."""

    def __init__(
        self,
        targets: Targets,
        *,
        timeout: float = 30.0,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """Connect to nobody yet.

        Args:
            targets: Who may be sent to.
            timeout: Seconds that one message may take, everything included.
            tls: Whose certificates are good; default: the system's and Mozilla's.
        """
        self._timeout = timeout
        self._dialer = Dialer(targets.check)
        self._given_tls = tls
        self._http: HttpSender | None = None

    # What is below is imported, and certificates are read, when there is something to send: most servers
    # of a laptop never do, and would start slower for it.

    @functools.cached_property
    def _tls(self) -> ssl.SSLContext:
        return self._given_tls or default_tls()

    def _sender(self, target: Target) -> HttpSender | MailSender:
        if target.mail:
            from headrace.events.mail_sender import MailSender

            return MailSender(self._dialer, self._tls)
        if self._http is None:
            from headrace.events.http_sender import HttpSender

            self._http = HttpSender(self._dialer, self._tls)
        return self._http

    async def send(self, outgoing: Outgoing) -> Outcome:
        """Send a message once.

        Never raises for anything that the network or the target does: the outcome says it. Redirects are
        not followed.
        """
        began = time.perf_counter()
        try:
            async with asyncio.timeout(self._timeout):
                target = parse_url(outgoing.url)
                outcome = await self._sender(target).send(target, outgoing)
        except TimeoutError:
            outcome = Outcome(error=f"It took longer than {self._timeout:g} s.")
        except InvalidParameter as error:
            outcome = Outcome(error=error.message, final=True)
        except Exception as error:  # noqa: BLE001 - whatever a target provokes is that delivery's failure, no more
            outcome = Outcome(error=explain(error))
        latency = (time.perf_counter() - began) * 1000
        return msgspec.structs.replace(outcome, latency_ms=latency)

    async def close(self) -> None:
        """Close the connections that are kept alive."""
        if self._http is not None:
            await self._http.close()
