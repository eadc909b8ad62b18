"""Reading a request body: bounded in size, in time, and in what it may unpack to."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any

from headrace.errors import BadRequest, RequestTimeout, RequestTooLarge

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]

#: A JSON body must be here after so many seconds.
BODY_SECONDS = 60.0
#: zlib's window bits: 31 reads gzip, 15 deflate as HTTP means it, -15 deflate as some send it.
_GZIP, _ZLIB, _RAW = 31, 15, -15


class Disconnected(Exception):
    """The client went away before its request was complete; nobody is left to answer."""


async def read_body(
    receive: Receive,
    headers: Mapping[bytes, bytes],
    limit: int,
    *,
    seconds: float = BODY_SECONDS,
) -> bytes:
    """The whole body, decompressed.

    Args:
        receive: Of the ASGI application.
        headers: By lower-case name.
        limit: Most bytes, counted as they come and again as they are decompressed.
        seconds: How long it may take to arrive.

    Raises:
        RequestTooLarge: Over the limit.
        RequestTimeout: It did not arrive in time.
        BadRequest: A Content-Encoding that is unknown or not what the bytes are.
        Disconnected: The client went away.
    """
    declared = headers.get(b"content-length", b"")
    length = int(declared) if declared.isdigit() else -1
    if length > limit:
        raise _too_large(limit)
    try:
        async with asyncio.timeout(seconds):
            body = await _gather(receive, length, limit)
    except TimeoutError:
        raise RequestTimeout(
            f"The request body did not arrive within {seconds:g} seconds; send it again."
        ) from None
    encoding = headers.get(b"content-encoding")
    if encoding is None:
        return body
    return _decompressed(body, encoding.decode("latin-1").strip().lower(), limit)


async def _gather(receive: Receive, length: int, limit: int) -> bytes:
    message = await receive()
    if message["type"] == "http.disconnect":
        raise Disconnected
    body: bytes = message.get("body", b"")
    # Granian says "more" after the first piece even when it was all; the length knows better.
    if not message.get("more_body") or len(body) == length:
        if len(body) > limit:
            raise _too_large(limit)
        return body
    pieces, size = [body], len(body)
    while message.get("more_body"):
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Disconnected
        piece = message.get("body", b"")
        pieces.append(piece)
        size += len(piece)
        if size > limit:
            raise _too_large(limit)
    if size < length:
        raise Disconnected
    return b"".join(pieces)


def _decompressed(body: bytes, encoding: str, limit: int) -> bytes:
    if encoding in ("", "identity"):
        return body
    if encoding in ("gzip", "x-gzip"):
        window = _GZIP
    elif encoding == "deflate":
        # The low four bits of zlib's first byte are 8, and the first two are a multiple of 31.
        wrapped = len(body) > 1 and body[0] & 15 == 8 and not int.from_bytes(body[:2], "big") % 31
        window = _ZLIB if wrapped else _RAW
    else:
        raise BadRequest(
            f"Content-Encoding '{encoding[:60]}' is not understood: use gzip, deflate or none."
        )
    unpacker = zlib.decompressobj(window)
    try:
        plain = unpacker.decompress(body, limit + 1)
    except zlib.error as error:
        raise BadRequest(f"The request body is not {encoding}: {error}.") from None
    if len(plain) > limit:
        raise _too_large(limit)
    if not unpacker.eof or unpacker.unused_data:
        raise BadRequest(f"The request body is not one whole {encoding} stream.")
    return plain


def _too_large(limit: int) -> RequestTooLarge:
    return RequestTooLarge(
        f"The request body is over {limit} bytes, the limit of this server; send it in parts."
    )
