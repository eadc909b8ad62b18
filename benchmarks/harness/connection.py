"""HTTP/1.1 over raw sockets, so that both servers meet the same client at almost no cost.

A stock client spends half a millisecond on a request; against a fast server one would measure the
client. The headers are those that MLflow's own client sends.
"""

from __future__ import annotations

import gzip
import json
import socket
import time
from typing import Any, NamedTuple
from urllib.parse import urlencode

_HEADERS = (
    "Host: 127.0.0.1:{port}\r\n"
    "User-Agent: mlflow-python-client/3.17.2\r\n"
    "X-MLflow-Client-Version: 3.17.2\r\n"
    "Accept-Encoding: gzip, deflate\r\n"
    "Accept: */*\r\n"
    "Connection: keep-alive\r\n"
)


class Reply(NamedTuple):
    """An HTTP response; `body` is as it came."""

    status: int
    head: bytes
    body: bytes

    def plain(self) -> bytes:
        """The body, decompressed when it was compressed."""
        if header(self.head, b"content-encoding") == b"gzip":
            return gzip.decompress(self.body)
        return self.body

    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.plain())


def post(port: int, path: str, body: bytes) -> bytes:
    """The bytes of a POST of JSON."""
    head = f"POST {path} HTTP/1.1\r\n{_HEADERS.format(port=port)}"
    head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def post_binary(port: int, path: str, body: bytes) -> bytes:
    """The bytes of a POST of MessagePack."""
    head = f"POST {path} HTTP/1.1\r\n{_HEADERS.format(port=port)}"
    head += f"Content-Type: application/msgpack\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def get(port: int, path: str, query: list[tuple[str, str]] | None = None) -> bytes:
    """The bytes of a GET."""
    target = f"{path}?{urlencode(query)}" if query else path
    return f"GET {target} HTTP/1.1\r\n{_HEADERS.format(port=port)}\r\n".encode()


def put_head(port: int, path: str, size: int) -> bytes:
    """The head of a PUT whose body of `size` bytes follows."""
    head = f"PUT {path} HTTP/1.1\r\n{_HEADERS.format(port=port)}"
    return (
        f"{head}Content-Type: application/octet-stream\r\nContent-Length: {size}\r\n\r\n".encode()
    )


def header(head: bytes, name: bytes) -> bytes | None:
    """The value of a header, lower-cased."""
    at = head.lower().find(b"\r\n" + name + b":")
    if at < 0:
        return None
    start = at + len(name) + 3
    end = head.find(b"\r\n", start)
    return head[start : end if end >= 0 else len(head)].strip().lower()


class Replies:
    """Cuts a byte stream into responses: feed it what arrived, it answers with a reply when one is whole."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._head = b""
        self._length: int | None = None

    def feed(self, data: bytes) -> Reply | None:
        """Take bytes in; at most one response is under way, since nothing is pipelined."""
        if not data:
            raise ConnectionError("the server closed the connection in the middle of a response")
        buffer = self._buffer
        buffer += data
        if not self._head:
            end = buffer.find(b"\r\n\r\n")
            if end < 0:
                return None
            self._head = bytes(buffer[:end])
            del buffer[: end + 4]
            length = header(self._head, b"content-length")
            self._length = int(length) if length is not None else None
        if self._length is None:  # chunked
            if not buffer.endswith(b"0\r\n\r\n"):
                return None
            body = _unchunk(buffer)
        elif len(buffer) < self._length:
            return None
        else:
            body = bytes(buffer)
        reply = Reply(int(self._head[9:12]), self._head, body)
        self._head = b""
        buffer.clear()
        return reply


def _unchunk(buffer: bytearray) -> bytes:
    parts: list[bytes] = []
    at = 0
    while True:
        end = buffer.index(b"\r\n", at)
        size = int(buffer[at:end], 16)
        if not size:
            return b"".join(parts)
        parts.append(bytes(buffer[end + 2 : end + 2 + size]))
        at = end + 2 + size + 2


class Connection:
    """One keep-alive connection, one request at a time."""

    def __init__(self, port: int, timeout: float = 600) -> None:
        self.port = port
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=timeout)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def exchange(self, request: bytes) -> Reply:
        """Send a request and wait for its response."""
        self.socket.sendall(request)
        return self.reply()

    def timed(self, request: bytes) -> tuple[float, Reply]:
        """Seconds until the whole response was there, and the response; it must be a 200."""
        start = time.perf_counter()
        reply = self.exchange(request)
        seconds = time.perf_counter() - start
        if reply.status != 200:
            raise RuntimeError(f"{request[:80]!r} answered {reply.status}: {reply.body[:500]!r}")
        return seconds, reply

    def reply(self) -> Reply:
        """Wait for a response."""
        replies = Replies()
        while True:
            reply = replies.feed(self.socket.recv(1 << 20))
            if reply is not None:
                return reply

    def post(self, path: str, body: Any) -> Any:
        """Post JSON, read JSON; anything but a 200 is an error."""
        return self._read(self.exchange(post(self.port, path, json.dumps(body).encode())), path)

    def get(self, path: str, query: list[tuple[str, str]] | None = None) -> Any:
        """Get JSON; anything but a 200 is an error."""
        return self._read(self.exchange(get(self.port, path, query)), path)

    @staticmethod
    def _read(reply: Reply, path: str) -> Any:
        if reply.status != 200:
            raise RuntimeError(f"{path} answered {reply.status}: {reply.body[:500]!r}")
        return reply.json()

    def close(self) -> None:
        """Hang up."""
        self.socket.close()

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
