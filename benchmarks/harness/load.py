"""The load generator: concurrent clients, each with one connection and one request under way.

One thread and one selector serve all connections; bodies are made beforehand and only numbered on
the way out. `Load.busy` says how much of a core the generator used, so that one sees when it,
and not the server, was the limit.
"""

from __future__ import annotations

import selectors
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from benchmarks.harness.connection import Connection, Replies

#: (client, number) -> the bytes of that client's request of that number.
Requests = Callable[[int, int], bytes]


@dataclass
class Load:
    """What a load did.

    Attributes:
        done: Requests answered with 200.
        failed: Requests answered otherwise, or not at all.
        seconds: From the first request to the last answer.
        busy: CPU seconds of the generator per second; near 1 it was itself the limit.
        times: Seconds of each request answered with 200.
        first_failure: What the first failed request was told.
    """

    done: int = 0
    failed: int = 0
    seconds: float = 0.0
    busy: float = 0.0
    times: list[float] = field(default_factory=list)
    first_failure: str = ""

    @property
    def rate(self) -> float:
        """Requests answered with 200, per second."""
        return self.done / self.seconds if self.seconds else 0.0

    def quantile(self, share: float) -> float:
        """The request time that this share of requests did not exceed, in seconds."""
        ordered = sorted(self.times)
        return (
            ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else float("nan")
        )


class _Client:
    def __init__(self, port: int, number: int) -> None:
        self.number = number
        self.port = port
        self.sent = 0
        self.started = 0.0
        self.open()

    def open(self) -> None:
        self.socket = Connection(self.port).socket
        self.socket.setblocking(False)
        self.replies = Replies()
        self.rest = memoryview(b"")


def run(port: int, clients: int, seconds: float, requests: Requests, first: int = 0) -> Load:
    """Keep `clients` connections busy for some seconds; requests under way at the end are waited for.

    Args:
        port: Of the server, on the loopback.
        clients: Concurrent connections.
        seconds: After which no request is begun.
        requests: Makes the requests.
        first: Number of each client's first request.
    """
    load = Load()
    everyone = [_Client(port, number) for number in range(clients)]
    selector = selectors.DefaultSelector()
    for client in everyone:
        client.sent = first
        selector.register(client.socket, selectors.EVENT_READ, client)
    cpu, start = time.process_time(), time.perf_counter()
    deadline = start + seconds
    under_way = 0
    for client in everyone:
        _send(selector, client, requests)
        under_way += 1
    while under_way:
        for key, events in selector.select(timeout=300):
            client = key.data
            try:
                if events & selectors.EVENT_WRITE:
                    _push(selector, client)
                    if not events & selectors.EVENT_READ:
                        continue
                reply = client.replies.feed(client.socket.recv(1 << 18))
            except (ConnectionError, BlockingIOError) as error:
                if isinstance(error, BlockingIOError):
                    continue
                load.failed += 1
                load.first_failure = load.first_failure or str(error)
                selector.unregister(client.socket)
                client.socket.close()
                client.open()
                selector.register(client.socket, selectors.EVENT_READ, client)
            else:
                if reply is None:
                    continue
                now = time.perf_counter()
                if reply.status == 200:
                    load.done += 1
                    load.times.append(now - client.started)
                else:
                    load.failed += 1
                    load.first_failure = (
                        load.first_failure or f"{reply.status} {reply.body[:300]!r}"
                    )
            if time.perf_counter() < deadline:
                _send(selector, client, requests)
            else:
                under_way -= 1
    load.seconds = time.perf_counter() - start
    load.busy = (time.process_time() - cpu) / load.seconds
    for client in everyone:
        client.socket.close()
    selector.close()
    return load


def _send(selector: selectors.BaseSelector, client: _Client, requests: Requests) -> None:
    client.rest = memoryview(requests(client.number, client.sent))
    client.sent += 1
    client.started = time.perf_counter()
    _push(selector, client)


def _push(selector: selectors.BaseSelector, client: _Client) -> None:
    try:
        sent = client.socket.send(client.rest)
    except BlockingIOError:
        sent = 0
    waiting = bool(client.rest[sent:])
    client.rest = client.rest[sent:]
    events = selectors.EVENT_READ | (selectors.EVENT_WRITE if waiting else 0)
    if selector.get_key(client.socket).events != events:
        selector.modify(client.socket, events, client)


def free_port() -> int:
    """A loopback port that nobody listens on right now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
