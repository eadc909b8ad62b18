"""A target of webhooks: a small HTTP server on loopback that keeps what it gets and answers as it is told."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Callable
from typing import Any, NamedTuple

#: Longer than anything takes that works.
_PATIENCE_S = 60.0


class Received(NamedTuple):
    """A request as it came.

    Attributes:
        headers: By lower-case name.
        at: When it was there whole, by the monotonic clock.
    """

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    at: float

    @property
    def id(self) -> str:
        """The id of the delivery."""
        return self.headers["webhook-id"]

    @property
    def event(self) -> Any:
        """The body, as JSON."""
        return json.loads(self.body)


class Answer(NamedTuple):
    """What a request is answered.

    Attributes:
        hold: Answer only once this is set.
    """

    status: int = 200
    body: str = "ok"
    headers: dict[str, str] = {}  # noqa: RUF012 - never changed
    hold: threading.Event | None = None


class HookTarget:
    """A server in a thread of its own, closed by `close`.

    Attributes:
        url: Where it listens.
        answer: Says what a request is answered; may be replaced at any time.
        most: Greatest number of requests that were there at the same time.
    """

    def __init__(self, answer: Callable[[Received], Answer] | None = None) -> None:
        self.answer = answer or (lambda received: Answer())
        self.most = 0
        self._now = 0
        self._received: list[Received] = []
        self._changed = threading.Condition()
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        assert self._ready.wait(_PATIENCE_S)

    @property
    def received(self) -> list[Received]:
        """What came so far, in the order in which it came."""
        with self._changed:
            return list(self._received)

    def wait(self, count: int) -> list[Received]:
        """What came, once it is so much."""
        return self.until(lambda received: len(received) >= count)

    def until(self, enough: Callable[[list[Received]], bool]) -> list[Received]:
        """What came, once it is enough."""
        with self._changed:
            done = self._changed.wait_for(lambda: enough(self._received), _PATIENCE_S)
            assert done, f"only {len(self._received)} requests came"
            return list(self._received)

    def close(self) -> None:
        """Stop, and drop every connection."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._end.set)
            self._thread.join()

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        self._end = asyncio.Event()
        server = await asyncio.start_server(self._talk, "127.0.0.1", 0, backlog=1024)
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/in"
        self._ready.set()
        await self._end.wait()
        server.close()
        tasks = [one for one in asyncio.all_tasks() if one is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await self._exchange(reader, writer):
                pass
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass  # the other side went, or `close` was called
        finally:
            writer.close()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        method, path, _version = lines[0].split(" ", 2)
        pairs = [line.split(":", 1) for line in lines[1:] if line]
        headers = {name.strip().lower(): value.strip() for name, value in pairs}
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        received = Received(method, path, headers, body, time.monotonic())
        self._now += 1
        self.most = max(self.most, self._now)
        try:
            with self._changed:
                self._received.append(received)
                self._changed.notify_all()
            answer = self.answer(received)
            while answer.hold is not None and not answer.hold.is_set():
                await asyncio.sleep(0.005)
        finally:
            self._now -= 1
        head = [f"HTTP/1.1 {answer.status} X", f"Content-Length: {len(answer.body.encode())}"]
        head += [f"{name}: {value}" for name, value in answer.headers.items()]
        writer.write(("\r\n".join(head) + "\r\n\r\n" + answer.body).encode())
        await writer.drain()
        return True
