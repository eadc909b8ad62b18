"""A target of webhooks that counts: ``python hook_counter.py COUNT``. Standard library only.

Prints its port; then, when COUNT requests have come, the seconds from the first to the last of them, how many
different ids they had, and the most that waited for an answer at a time.
"""

from __future__ import annotations

import asyncio
import sys
import time

_ANSWER = b"HTTP/1.1 204 No Content\r\n\r\n"


class _Count:
    def __init__(self, count: int) -> None:
        self.count = count
        self.seen = 0
        self.now = self.most = 0
        self.first = 0.0
        self.ids: set[bytes] = set()
        self.done = asyncio.Event()

    def add(self, head: bytes) -> None:
        if not self.seen:
            self.first = time.perf_counter()
        self.seen += 1
        self.ids.add(_value(head, b"webhook-id"))
        if self.seen == self.count:
            self.done.set()


class _Talk(asyncio.Protocol):
    """One connection; answers are sent at the next turn of the loop, so that those under way can be counted."""

    def __init__(self, count: _Count) -> None:
        self._count = count
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            return
        head = self._buffer[:end]
        whole = end + 4 + int(_value(head, b"content-length"))
        if len(self._buffer) < whole:
            return
        self._buffer = self._buffer[whole:]
        self._count.now += 1
        self._count.most = max(self._count.most, self._count.now)
        asyncio.get_running_loop().call_soon(self._answer)
        self._count.add(head)

    def _answer(self) -> None:
        self._count.now -= 1
        self._transport.write(_ANSWER)


def _value(head: bytes, name: bytes) -> bytes:
    lower = head.lower()
    start = lower.index(b"\r\n" + name + b":") + len(name) + 3
    end = lower.find(b"\r\n", start)
    return head[start : len(head) if end < 0 else end].strip()


async def _main(count: int) -> None:
    counting = _Count(count)
    server = await asyncio.get_running_loop().create_server(
        lambda: _Talk(counting), "127.0.0.1", 0, backlog=1024
    )
    print(server.sockets[0].getsockname()[1], flush=True)
    await counting.done.wait()
    print(time.perf_counter() - counting.first, len(counting.ids), counting.most, flush=True)
    await asyncio.Event().wait()  # until it is killed: what is sent again must be answered, too


asyncio.run(_main(int(sys.argv[1])))
