"""Host and Origin checks."""

from __future__ import annotations

import pytest

from headrace.errors import PermissionDenied
from headrace.server.security import Policy


@pytest.mark.parametrize(
    "host",
    [
        "localhost", "localhost:5000", "LOCALHOST:1", "127.0.0.1", "127.0.0.1:5000", "127.8.8.8", "[::1]",
        "[::1]:5000", "0.0.0.0:5000", "10.1.2.3", "192.168.0.7:80", "172.16.0.1", "172.31.255.255:5000",
        "[fd00::1]:5000", "[fc00::1]",
    ],
)  # fmt: skip
def test_local_and_private_hosts_are_always_accepted(host: str) -> None:
    Policy((), ()).check_host(host.encode())


@pytest.mark.parametrize(
    "host",
    [
        None, b"", b"evil.example", b"evil.example:5000", b"10.evil.example", b"localhost.evil.example",
        b"127.0.0.1.evil.example", b"172.32.0.1", b"8.8.8.8", b"[2001:db8::1]", b"[", b"]:", b":5000",
        b"\xff\xfe", b"localhost@evil.example", b"evil.example#localhost",
    ],
)  # fmt: skip
def test_foreign_hosts_are_refused(host: bytes | None) -> None:
    with pytest.raises(PermissionDenied, match="--allowed-hosts"):
        Policy((), ()).check_host(host)


def test_allowed_hosts_may_use_patterns_and_ports() -> None:
    policy = Policy(("Track.example", "*.lab.example", "other.example:8080", "[2001:db8::1]"), ())
    for good in (b"track.example", b"track.example:99", b"a.lab.example:1", b"other.example:8080"):
        policy.check_host(good)
    policy.check_host(b"[2001:db8::1]")
    for bad in (b"lab.example", b"other.example:80", b"track.example.evil"):
        with pytest.raises(PermissionDenied):
            policy.check_host(bad)


def test_a_lone_star_accepts_every_host_and_origin() -> None:
    policy = Policy(("*",), ("*",))
    policy.check_host(b"evil.example")
    policy.check_origin(b"https://evil.example", "POST", b"x")
    assert policy.cors_headers(b"https://evil.example") == [(b"access-control-allow-origin", b"*")]


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
@pytest.mark.parametrize(
    "origin",
    [b"http://evil.example", b"null", b"", b"http://localhost.evil.example", b"http://[", b"http://10.1.2.3",
     b"file://", b"http://localhost@evil.example"],
)  # fmt: skip
def test_writes_of_foreign_pages_are_refused(origin: bytes, method: str) -> None:
    with pytest.raises(PermissionDenied, match="--cors-allowed-origins"):
        Policy((), ()).check_origin(origin, method, b"localhost:5000")


def test_reads_are_left_to_the_browser() -> None:
    policy = Policy((), ())
    policy.check_origin(b"http://evil.example", "GET", b"localhost:5000")
    assert policy.cors_headers(b"http://evil.example") == [(b"vary", b"Origin")]


def test_writes_of_local_allowed_and_own_pages_are_accepted() -> None:
    policy = Policy(("track.example",), ("https://ui.example/", "https://*.lab.example"))
    for good in (
        b"http://localhost:3000",
        b"https://127.0.0.1",
        b"http://[::1]:5",
        b"https://ui.example",
    ):
        policy.check_origin(good, "POST", b"localhost:5000")
    policy.check_origin(b"https://a.lab.example", "POST", b"localhost:5000")
    policy.check_origin(b"https://track.example", "POST", b"track.example")
    assert (b"access-control-allow-origin", b"https://ui.example") in policy.cors_headers(
        b"https://ui.example"
    )
