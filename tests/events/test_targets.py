"""Who may be sent to. Nothing here leaves loopback: names are resolved by the tests."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from headrace.errors import InvalidParameter
from headrace.events.dialing import NotAllowed
from headrace.events.outgoing import Outcome, Outgoing
from headrace.events.targets import Sender, Targets, parse_url
from support.targets import read_request, serving

REFUSED = [
    "127.0.0.1", "127.8.8.8", "10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1", "169.254.169.254", "100.64.0.1",
    "100.100.100.200", "0.0.0.0", "0.1.2.3", "192.0.0.192", "192.0.2.1", "198.18.0.1", "198.51.100.1", "203.0.113.9",
    "224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255", "192.88.99.1", "168.63.129.16",
    "::", "::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254", "::127.0.0.1", "fc00::1",
    "fd00:ec2::254", "fe80::1", "fe80::1%eth0", "fec0::1", "ff02::1", "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe",
    "64:ff9b:1::1", "2002:7f00:1::", "2002:a9fe:a9fe::1", "2002:a00:1::", "2001::1", "2001:db8::1", "100::1", "3fff::1",
    "4000::1",
]  # fmt: skip
PUBLIC = [
    "8.8.8.8", "1.1.1.1", "172.15.0.1", "172.32.0.1", "100.128.0.1", "2606:4700::1111", "2a00:1450:4001::1",
    "::ffff:8.8.8.8", "64:ff9b::808:808", "2002:808:808::1",
]  # fmt: skip


def targets(allowed: Sequence[str], *found: str) -> Targets:
    async def resolve(host: str, port: int) -> Sequence[str]:
        return found

    return Targets(allowed, resolve=resolve)


def check(one: Targets, url: str) -> tuple[str, ...]:
    return asyncio.run(one.check(parse_url(url))).addresses


@pytest.mark.parametrize("address", REFUSED)
def test_a_name_at_an_address_that_is_not_public_is_refused(address: str) -> None:
    with pytest.raises(NotAllowed) as caught:
        check(targets([], address), "https://evil.example/")
    assert "allowed targets" in caught.value.message


@pytest.mark.parametrize("address", REFUSED)
def test_an_address_that_is_not_public_is_refused_in_a_url(address: str) -> None:
    host = f"[{address.partition('%')[0]}]" if ":" in address else address
    with pytest.raises(InvalidParameter):
        Targets().check_url(f"https://{host}/")


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses_are_allowed(address: str) -> None:
    assert len(check(targets([], address), "https://good.example/")) == 1
    Targets().check_url(f"https://{f'[{address}]' if ':' in address else address}/")


def test_one_bad_address_of_several_is_enough_to_refuse() -> None:
    for found in (["8.8.8.8", "10.0.0.1"], ["10.0.0.1", "8.8.8.8"], ["2606:4700::1", "::1"]):
        with pytest.raises(NotAllowed):
            check(targets([], *found), "https://mixed.example/")


@pytest.mark.parametrize(
    "url",
    [
        "https://2130706433/", "https://0x7f000001/", "https://0x7f.1/", "https://127.1/", "https://0177.0.0.1/",
        "https://017700000001/", "https://①②⑦.⓪.⓪.①/", "https://0/", "https://[::ffff:7f00:1]/", "https://127.0.0.1./",
    ],
)  # fmt: skip
def test_loopback_in_other_spellings_is_refused(url: str) -> None:
    with pytest.raises(InvalidParameter):
        Targets().check_url(url)


@pytest.mark.parametrize(
    "url",
    [
        "", "good.example", "//good.example", "ftp://good.example/", "file:///etc/passwd", "gopher://good.example/",
        "https://", "https:///path", "https://good.example:0/", "https://good.example:65536/", "https://good.example:x/",
        "https://user@good.example/", "https://user:secret@good.example/", "https://good.example\\@evil.example/",
        "https://good.example/a b", "https://good.example/\r\nHost: x", "https://good\t.example/", "https://[::1/",
        "https://[::1%25eth0]/", "https://-bad-.example/", "https://a..b/", "https://" + "a" * 70 + ".example/",
        "http://good.example/", "https://good.example/" + "x" * 3000, "https://%31%32%37.0.0.1/",
    ],
)  # fmt: skip
def test_what_is_no_target_is_refused_without_showing_a_password(url: str) -> None:
    with pytest.raises(InvalidParameter) as caught:
        Targets().check_url(url)
    assert "secret" not in caught.value.message


@pytest.mark.parametrize(
    "entry", ["", "https://x.example", "x.example/path", "*", "a b", "10.0.0.0/99", "x:80"]
)
def test_an_entry_that_is_neither_host_nor_network_is_refused(entry: str) -> None:
    with pytest.raises(InvalidParameter):
        Targets([entry])


def test_the_allow_list_opens_hosts_and_networks() -> None:
    assert check(targets(["CI.example"], "10.0.0.1"), "http://ci.example:8080/") == ("10.0.0.1",)
    assert check(targets(["*.corp.example"], "10.0.0.1"), "https://a.b.corp.example/")
    assert check(targets(["10.0.0.0/8"], "10.0.0.1"), "http://any.example/")
    assert check(targets(["10.0.0.0/8"], "::ffff:10.0.0.1"), "https://any.example/")
    assert check(targets(["fd00::/8"], "fd00::5"), "https://any.example/")
    Targets(["127.0.0.1"]).check_url("http://127.0.0.1:99/")
    Targets(["::1"]).check_url("http://[::1]:99/")


@pytest.mark.parametrize("host", ["10.0.0.1%25x", "127.0.0.1%", "[::1%25x"])
def test_a_zone_does_not_give_an_address_a_name_of_the_allow_list(host: str) -> None:
    end = "]" if host[0] == "[" else ""
    with pytest.raises(InvalidParameter):
        check(Targets(["*.example.org"]), f"http://{host}.example.org{end}/")


def test_the_allow_list_opens_nothing_else() -> None:
    for allowed, url, found in (
        (["ci.example"], "https://ci.example.evil/", "10.0.0.1"),
        (["ci.example"], "https://evilci.example/", "10.0.0.1"),
        (["*.corp.example"], "https://corp.example/", "10.0.0.1"),
        (["*.corp.example"], "https://evilcorp.example/", "10.0.0.1"),
        (["10.0.0.0/8"], "https://any.example/", "192.168.0.1"),
        (["10.0.0.0/8"], "http://any.example/", "8.8.8.8"),
        # A name does not open what only an address may: it could be pointed at the cloud's metadata.
        (["ci.example"], "https://ci.example/", "169.254.169.254"),
        (["ci.example"], "https://ci.example/", "::ffff:169.254.169.254"),
        (["ci.example"], "https://ci.example/", "0.0.0.0"),
    ):
        with pytest.raises(NotAllowed):
            check(targets(allowed, found), url)


async def ok(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while True:
        await read_request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")


def test_a_name_that_moves_to_a_private_address_is_not_followed() -> None:
    """DNS rebinding: good when it is saved and first sent to, bad later."""
    asked: list[str] = []

    async def resolve(host: str, port: int) -> Sequence[str]:
        asked.append(host)
        return ["127.0.0.1"] if len(asked) == 1 else ["169.254.169.254"]

    async def closing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n")

    async def go() -> list[Outcome]:
        async with serving(closing) as port:
            sender = Sender(Targets(["127.0.0.0/8"], resolve=resolve))
            one = Outgoing(url=f"http://moving.example:{port}/", headers={}, body=b"{}")
            outcomes = [await sender.send(one), await sender.send(one)]
            await sender.close()
            return outcomes

    first, second = asyncio.run(go())
    assert first.delivered
    assert second.final
    assert "169.254.169.254" in second.error
    assert len(asked) == 2


def test_the_address_that_was_checked_is_the_one_connected_to() -> None:
    """One lookup per connection: a second one could say something else."""
    asked: list[str] = []

    async def resolve(host: str, port: int) -> Sequence[str]:
        asked.append(host)
        return ["127.0.0.1"]

    async def go() -> None:
        async with serving(ok) as port:
            sender = Sender(Targets(["127.0.0.0/8"], resolve=resolve))
            # No name server knows .invalid: only our resolver says where it is.
            one = Outgoing(url=f"http://there.invalid:{port}/", headers={}, body=b"{}")
            assert [(await sender.send(one)).delivered for _ in range(3)] == [True] * 3
            await sender.close()

    asyncio.run(go())
    assert asked == ["there.invalid"]


def test_a_host_without_addresses_is_tried_again_later() -> None:
    async def resolve(host: str, port: int) -> Sequence[str]:
        raise OSError("no such host")

    async def go() -> Outcome:
        sender = Sender(Targets(resolve=resolve))
        return await sender.send(Outgoing(url="https://gone.example/", headers={}, body=b""))

    outcome = asyncio.run(go())
    assert not outcome.delivered
    assert not outcome.final
    assert "no such host" in outcome.error
