"""Which addresses belong to the open internet, and why the others do not.

From IANA's special-purpose registries
(https://www.iana.org/assignments/iana-ipv4-special-registry, …/iana-ipv6-special-registry), written out: what
Python's ``ipaddress`` calls global differs between versions.
"""

from __future__ import annotations

from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

#: What a name in an allow-list does not open, only an address or a network does: whoever controls the name's
#: DNS could otherwise point it at a cloud's metadata service.
_NEVER_BY_NAME = frozenset(
    {"link-local", "multicast", "unspecified", "broadcast", "cloud metadata"}
)

_KINDS: tuple[tuple[str, str], ...] = (
    ("0.0.0.0/8", "unspecified"),
    ("10.0.0.0/8", "private"),
    ("100.64.0.0/10", "carrier-grade NAT"),
    ("127.0.0.0/8", "loopback"),
    ("168.63.129.16/32", "cloud metadata"),  # Azure's; it looks public
    ("169.254.0.0/16", "link-local"),
    ("172.16.0.0/12", "private"),
    ("192.0.0.0/24", "reserved"),
    ("192.0.2.0/24", "documentation"),
    ("192.88.99.0/24", "6to4 relay"),
    ("192.168.0.0/16", "private"),
    ("198.18.0.0/15", "benchmarking"),
    ("198.51.100.0/24", "documentation"),
    ("203.0.113.0/24", "documentation"),
    ("224.0.0.0/4", "multicast"),
    ("255.255.255.255/32", "broadcast"),
    ("240.0.0.0/4", "reserved"),
    ("::/128", "unspecified"),
    ("::1/128", "loopback"),
    ("fc00::/7", "private"),
    ("fe80::/10", "link-local"),
    ("fec0::/10", "private"),
    ("ff00::/8", "multicast"),
    ("2001::/23", "reserved"),  # Teredo and other protocols' own
    ("2001:db8::/32", "documentation"),
    ("3fff::/20", "documentation"),
    ("2620:4f:8000::/48", "reserved"),
)
_V4 = tuple((IPv4Network(text), kind) for text, kind in _KINDS if ":" not in text)
_V6 = tuple((IPv6Network(text), kind) for text, kind in _KINDS if ":" in text)

#: All that is given out for the open internet so far.
_GLOBAL_UNICAST = IPv6Network("2000::/3")
_NAT64 = IPv6Network("64:ff9b::/96")


def innermost(address: Address) -> Address:
    """The IPv4 address that an IPv6 address stands for (mapped, 6to4, NAT64), else the address itself."""
    if isinstance(address, IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour
        if inner is None and address in _NAT64:
            inner = IPv4Address(int(address) & 0xFFFFFFFF)
        if inner is not None:
            return inner
    return address


def special(address: Address) -> str:
    """What keeps an address out of the open internet, in a word; empty for a public address."""
    address = innermost(address)
    if isinstance(address, IPv4Address):
        return next((kind for network, kind in _V4 if address in network), "")
    for network, kind in _V6:
        if address in network:
            return kind
    return "" if address in _GLOBAL_UNICAST else "reserved"


def opened_by_name(kind: str) -> bool:
    """Whether a host's name in an allow-list opens addresses of this kind (see `special`)."""
    return kind not in _NEVER_BY_NAME


def parse(text: str) -> Address:
    """An address from text; a scope (``fe80::1%eth0``) is left out.

    Raises:
        ValueError: It is none.
    """
    return ip_address(text.partition("%")[0])


def parse_network(text: str) -> Network:
    """A network, or an address as a network of one.

    Raises:
        ValueError: It is none.
    """
    return ip_network(text, strict=False)
