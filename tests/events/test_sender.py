"""Sending: what targets do, and what comes of it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from email.utils import formatdate
from pathlib import Path

import pytest

from headrace.events.outgoing import Outcome, Outgoing
from headrace.events.targets import Sender, Targets
from support.targets import Answer, Authority, read_request, serving


def answering(text: bytes) -> Answer:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(text)

    return answer


def loopback() -> Targets:
    async def resolve(host: str, port: int) -> Sequence[str]:
        return ["127.0.0.1"]

    return Targets(["127.0.0.0/8"], resolve=resolve)


def sent(answer: Answer, *, timeout: float = 30.0, times: int = 1) -> Outcome:
    async def go() -> Outcome:
        async with serving(answer) as port:
            sender = Sender(loopback(), timeout=timeout)
            one = Outgoing(url=f"http://t.example:{port}/in?a=b", headers={"X": "y"}, body=b"hello")
            for _ in range(times):
                outcome = await sender.send(one)
            await sender.close()
            return outcome

    return asyncio.run(go())


def test_the_message_arrives_as_it_is() -> None:
    seen: list[tuple[str, dict[str, str], bytes]] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(await read_request(reader))
        writer.write(b"HTTP/1.1 202 Accepted\r\ncontent-length: 6\r\n\r\nthanks")

    outcome = sent(answer)
    assert outcome.delivered
    assert (outcome.status, outcome.body, outcome.error) == (202, "thanks", "")
    assert outcome.latency_ms > 0
    ((line, headers, body),) = seen
    assert line == "POST /in?a=b HTTP/1.1"
    assert headers["host"].startswith("t.example:")
    assert headers["x"] == "y"
    assert body == b"hello"


@pytest.mark.parametrize(
    ("answer", "status", "says"),
    [
        (b"HTTP/1.1 500 X\r\ncontent-length: 4\r\n\r\nboom", 500, "500 (Internal Server Error)"),
        (b"HTTP/1.1 404 X\r\ncontent-length: 0\r\n\r\n", 404, "404 (Not Found)"),
        (b"HTTP/1.1 599 X\r\ncontent-length: 0\r\n\r\n", 599, "answered 599."),
        (
            b"HTTP/1.1 302 X\r\nlocation: http://169.254.169.254/\r\ncontent-length: 0\r\n\r\n",
            302,
            "Redirects are not followed",
        ),
        (b"not http at all\r\n\r\n", None, "RemoteProtocolError"),
        (b"", None, "without sending a response"),
        (b"HTTP/1.1 200 OK\r\nx: " + b"y" * 200_000 + b"\r\n\r\n", None, "RemoteProtocolError"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nshort", None, "RemoteProtocolError"),
    ],
)  # fmt: skip
def test_an_answer_that_is_no_yes_is_a_failure(
    answer: bytes, status: int | None, says: str
) -> None:
    outcome = sent(answering(answer))
    assert not outcome.delivered
    assert not outcome.final
    assert outcome.status == status
    assert says in outcome.error


@pytest.mark.parametrize(
    ("header", "least", "most"),
    [
        ("120", 120, 120),
        ("99999999999999", 86_400, 86_400),
        ("soon", None, None),
        ("-1", None, None),
        (formatdate(time.time() + 3600, usegmt=True), 1, 3600),  # made when tests are collected
        (formatdate(0, usegmt=True), 0, 0),
    ],
    ids=["seconds", "too long", "words", "negative", "date", "past"],
)
def test_a_target_may_ask_to_be_left_alone(
    header: str, least: float | None, most: float | None
) -> None:
    text = f"HTTP/1.1 429 X\r\nretry-after: {header}\r\ncontent-length: 0\r\n\r\n"
    asked = sent(answering(text.encode())).retry_after
    if least is None or most is None:
        assert asked is None
    else:
        assert asked is not None
        assert least <= asked <= most


def test_an_endless_answer_is_cut_off() -> None:
    written = 0

    async def endless(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal written
        await read_request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000000\r\n\r\n")
        while True:
            writer.write(b"x" * 65_536)
            written += 65_536
            await writer.drain()

    outcome = sent(endless)
    assert outcome.delivered
    assert outcome.body == "x" * 2048
    assert written < 50_000_000  # what the sockets' buffers took


def test_a_target_that_drips_is_left_after_the_whole_time() -> None:
    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        for char in b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 1000:
            writer.write(bytes([char]))
            await asyncio.sleep(0.02)

    outcome = sent(drip, timeout=0.3)
    assert outcome.error == "It took longer than 0.3 s."


def test_a_connection_is_used_again_and_a_new_one_taken_when_it_was_closed() -> None:
    connections = 0

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        for _ in range(3):  # then it hangs up, without a word
            await read_request(reader)
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")

    assert sent(answer, times=7).delivered
    assert connections == 3


def test_nobody_listening_is_a_failure() -> None:
    async def go() -> Outcome:
        async with serving(answering(b"")) as port:
            pass
        one = Outgoing(url=f"http://t.example:{port}/", headers={}, body=b"")
        return await Sender(loopback()).send(one)

    outcome = asyncio.run(go())
    assert outcome.error == "It refuses the connection."
    assert not outcome.final


def test_proxies_of_the_environment_are_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    assert sent(answering(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")).delivered


@pytest.mark.parametrize(
    ("certified", "days", "says"),
    [("t.example", 1, ""), ("other.example", 1, "mismatch"), ("t.example", -1, "expired")],
)
def test_the_certificate_must_be_good_for_the_name(
    tmp_path: Path, certified: str, days: int, says: str
) -> None:
    authority = Authority(tmp_path)
    outcome = encrypted(Sender(loopback(), tls=authority.client()), authority, certified, days)
    if says:
        assert says in outcome.error
        assert "certificate" in outcome.error
        assert not outcome.delivered
    else:
        assert outcome.delivered, outcome


def test_a_certificate_of_nobody_known_is_refused(tmp_path: Path) -> None:
    outcome = encrypted(Sender(loopback()), Authority(tmp_path), "t.example", 1)
    assert "certificate" in outcome.error


def encrypted(sender: Sender, authority: Authority, certified: str, days: int) -> Outcome:
    async def go() -> Outcome:
        answer = answering(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
        async with serving(answer, authority.server(certified, days)) as port:
            outcome = await sender.send(
                Outgoing(url=f"https://t.example:{port}/", headers={}, body=b"{}")
            )
            await sender.close()
            return outcome

    return asyncio.run(go())
