"""Reading bodies: bounded in size, time and unpacked size."""

from __future__ import annotations

import asyncio
import gzip
import zlib
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from headrace.errors import BadRequest, RequestTimeout, RequestTooLarge
from headrace.server.body import Disconnected, read_body

LIMIT = 1000


def pieces(*bodies: bytes, disconnect: bool = False) -> Callable[[], Awaitable[Any]]:
    """An ASGI ``receive`` that gives these pieces, as Granian does: "more" until the empty last one."""
    messages: list[dict[str, Any]] = [
        {"type": "http.request", "body": body, "more_body": True} for body in bodies
    ]
    if disconnect:
        messages.append({"type": "http.disconnect"})
    else:
        messages.append({"type": "http.request", "body": b"", "more_body": False})
    waiting = iter(messages)

    async def receive() -> Any:
        return next(waiting)

    return receive


def read(receive: Callable[[], Awaitable[Any]], **headers: str) -> bytes:
    named = {name.replace("_", "-").encode(): value.encode() for name, value in headers.items()}
    return asyncio.run(read_body(receive, named, LIMIT))


def test_a_body_may_come_in_pieces_with_and_without_a_length() -> None:
    assert read(pieces(b"abc")) == b"abc"
    assert read(pieces(b"abc", b"de"), content_length="5") == b"abcde"
    assert read(pieces(b"abc"), content_length="3") == b"abc"
    assert read(pieces()) == b""


def test_the_limit_counts_what_is_declared_and_what_comes() -> None:
    assert read(pieces(b"x" * LIMIT)) == b"x" * LIMIT
    with pytest.raises(RequestTooLarge, match="over 1000 bytes"):
        read(pieces(), content_length=str(LIMIT + 1))
    with pytest.raises(RequestTooLarge):
        read(pieces(b"x" * LIMIT, b"x"))
    with pytest.raises(RequestTooLarge):
        read(pieces(b"x" * (LIMIT + 1)))


def test_a_cut_body_is_nobodys_request() -> None:
    with pytest.raises(Disconnected):
        read(pieces(b"abc", disconnect=True), content_length="10")
    with pytest.raises(Disconnected):
        read(pieces(b"abc"), content_length="10")
    with pytest.raises(Disconnected):
        read(pieces(disconnect=True))


def test_a_body_that_does_not_come_times_out() -> None:
    async def never() -> Any:
        await asyncio.Event().wait()

    with pytest.raises(RequestTimeout, match="send it again"):
        asyncio.run(read_body(never, {}, LIMIT, seconds=0.01))


def test_compressed_bodies_are_unpacked() -> None:
    plain = b'{"key": "value"}'
    assert read(pieces(gzip.compress(plain)), content_encoding="gzip") == plain
    assert read(pieces(zlib.compress(plain)), content_encoding="deflate") == plain
    raw = zlib.compressobj(wbits=-15)
    assert read(pieces(raw.compress(plain) + raw.flush()), content_encoding="Deflate") == plain
    assert read(pieces(plain), content_encoding="identity") == plain


def test_a_bomb_is_not_unpacked() -> None:
    with pytest.raises(RequestTooLarge):
        read(pieces(gzip.compress(b"\0" * 900_000)), content_encoding="gzip")


@pytest.mark.parametrize(
    ("encoding", "body"),
    [
        ("gzip", b"junk"),
        ("gzip", b""),
        ("gzip", gzip.compress(b"x")[:-3]),
        ("gzip", gzip.compress(b"x") + b"y"),
        ("deflate", b"\xff\xff"),
        ("br", b"x"),
        ("gzip, gzip", b"x"),
    ],
    ids=range(7),  # gzip writes the time, and workers must agree on names
)
def test_what_cannot_be_unpacked_is_a_bad_request(encoding: str, body: bytes) -> None:
    with pytest.raises(BadRequest):
        read(pieces(body), content_encoding=encoding)
