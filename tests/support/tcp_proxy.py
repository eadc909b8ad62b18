"""A network that misbehaves: a TCP proxy that knows nothing of HTTP."""

from __future__ import annotations

import contextlib
import random
import socket
import threading
import time
from collections import Counter
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

FAULTS = ("drop", "cut", "delay", "refuse")


class TcpProxy:
    """Passes connections on; to each of them it does something at random.

    ``drop`` passes the request on and loses the answer, ``cut`` ends the connection in the middle of
    either, ``delay`` waits, ``refuse`` closes at once.

    Attributes:
        url: Its address.
        kind: Whether to be a good network from now on.
        counts: How often each fault was done.
    """

    def __init__(self, upstream: str, chance: random.Random) -> None:
        self._upstream = (urlsplit(upstream).hostname, urlsplit(upstream).port)
        self._chance = chance
        self.kind = False
        self.counts = Counter(dict.fromkeys(FAULTS, 0))
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()
        self._open: set[socket.socket] = set()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for one in list(self._open):
            _end(one)
        for thread in self._threads:
            thread.join(30)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            thread = threading.Thread(target=self._serve, args=(client,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, client: socket.socket) -> None:
        """One connection, with a fault at some byte of it."""
        fault = None if self.kind else self._chance.choice(FAULTS)
        if fault == "refuse":
            self.counts[fault] += 1
            client.close()
            return
        with client, socket.create_connection(self._upstream) as server:
            self._open |= {client, server}
            # Bytes until it happens: within the first request or some way into the connection.
            budget = [self._chance.choice([50, 400, 3_000, 40_000])]
            back = threading.Thread(
                target=self._pump, args=(server, client, fault, budget), daemon=True
            )
            back.start()
            self._pump(client, server, None if fault == "drop" else fault, budget)
            back.join()
            self._open -= {client, server}

    def _pump(
        self, source: socket.socket, target: socket.socket, fault: str | None, budget: list[int]
    ) -> None:
        try:
            while data := source.recv(65536):
                if fault is not None and not self.kind:
                    budget[0] -= len(data)
                    if budget[0] <= 0:
                        self.counts[fault] += 1
                        if fault == "delay":
                            time.sleep(self._chance.random() * 0.1)
                            fault, budget[0] = "cut", self._chance.randrange(20_000)
                        else:
                            if fault == "cut":
                                target.sendall(data[: len(data) // 2])
                            break
                target.sendall(data)
        except OSError:
            pass  # the other direction ended it
        _end(source)
        _end(target)


def _end(one: socket.socket) -> None:
    with contextlib.suppress(OSError):  # it ended by itself
        one.shutdown(socket.SHUT_RDWR)
