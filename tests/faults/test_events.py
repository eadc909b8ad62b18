"""Every event of very many changes reaches every kind of reader once, whoever is killed meanwhile."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
import sqlalchemy as sa

from headrace import Client
from headrace.engine import Engine, schema
from headrace.engine.database import parse_url
from support.changes import RUNS, runs_of
from support.server import Server
from support.sse import EVENTS, events

WRITERS = 8
BATCHES = 250
CHANGES = WRITERS * BATCHES * RUNS  # 100,000

#: What a reader got: (number, type, subject).
Seen = list[tuple[int, str, str]]


class Readers:
    """Three kinds of readers, each with a cursor of its own, that go on until they are told the end."""

    def __init__(self, url: str, server_url: str) -> None:
        self.seen: dict[str, Seen] = {"pages": [], "stream": [], "embedded": []}
        self.failures: list[BaseException] = []
        self._end: int | None = None
        self._url = url
        self._server_url = server_url
        self._threads = [
            threading.Thread(target=self._read, args=(reader,), daemon=True)
            for reader in (self._pages, self._stream, self._embedded)
        ]
        for thread in self._threads:
            thread.start()

    def finish(self, end: int) -> None:
        """Read up to a number, and stop at the first event after it, which this makes."""
        self._end = end
        Client(self._url).create_experiment("the end")
        for thread in self._threads:
            thread.join(180)
            assert not thread.is_alive(), {name: len(seen) for name, seen in self.seen.items()}
        assert not self.failures

    def _read(self, reader: Callable[[], None]) -> None:
        try:
            reader()
        except BaseException as error:  # noqa: BLE001 - the test shows it
            self.failures.append(error)

    def _over(self, position: int) -> bool:
        return self._end is not None and position > self._end

    def _pages(self) -> None:
        """The Python client: long polls, with its own way of coming back."""
        seen = self.seen["pages"]
        client = Client(self._server_url)
        for event in client.events(after=0):
            seen.append((event.seq, event.type, event.subject))
            if self._over(event.seq):
                return

    def _stream(self) -> None:
        """Server-Sent Events, as a browser follows them."""
        seen = self.seen["stream"]
        last = 0
        with httpx.Client(base_url=self._server_url, timeout=60, trust_env=False) as http:
            while not self._over(last):
                headers = {"Accept": "text/event-stream", "Last-Event-ID": str(last)}
                try:
                    with http.stream("GET", EVENTS, headers=headers) as response:
                        for event in events(response):
                            last = int(event["id"])
                            seen.append((last, event["type"], event["subject"]))
                            if self._over(last):
                                return
                except httpx.TransportError:
                    time.sleep(0.05)

    def _embedded(self) -> None:
        """The store opened in place."""
        seen = self.seen["embedded"]
        engine = Engine(self._url, artifact_root="file:///nowhere", compact=False)
        grown = threading.Event()
        leave = engine.feed.listen(lambda moves: grown.set())
        after = 0
        while not self._over(after):
            grown.wait(1)
            grown.clear()
            while True:
                found = engine.log.read(after, 777)
                seen += [(row.seq, row.type, row.subject) for row in found.rows]
                after = found.next
                if after >= found.last:
                    break
        leave()
        engine.close()


def test_a_hundred_thousand_changes_by_eight_processes_are_seen_once(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    server: Callable[..., Server],
    restart: Callable[..., Server],
    chance: random.Random,
) -> None:
    with request.getfixturevalue("postgres").database() as url:
        serving = server(url, "--no-access-log")
        readers = Readers(url, serving.url)
        writers: dict[int, subprocess.Popen[bytes]] = {}
        kills = 6

        def begin(number: int) -> None:
            command = [sys.executable, "-m", "support.changes", url, str(number)]
            writers[number] = subprocess.Popen(
                [*command, str(tmp_path / f"done-{number}"), str(BATCHES)], env=_environment()
            )

        for number in range(WRITERS):
            begin(number)
        while any(process.poll() is None for process in writers.values()):
            time.sleep(chance.uniform(0.5, 2.0))
            if kills:
                kills -= 1
                victim = chance.randrange(WRITERS)
                if writers[victim].poll() is None:
                    writers[victim].kill()
                    writers[victim].wait()
                    begin(victim)
                if kills % 2:
                    serving.kill()
                    serving = restart(serving, url)
        assert [process.returncode for process in writers.values()] == [0] * WRITERS
        kept = _kept(url)
        readers.finish(kept[-1][0])
        made = [subject for _, type, subject in kept if type == "metric.created"]
        assert len(made) == CHANGES
        assert sorted(set(made)) == sorted(
            f"run/{run}" for n in range(WRITERS) for run in runs_of(n)
        )
        for seen in readers.seen.values():
            assert seen[:-1] == kept
        serving.stop()


def _environment() -> dict[str, str]:
    tests = str(Path(__file__).parents[1])
    return {**os.environ, "PYTHONPATH": os.pathsep.join([tests, os.environ.get("PYTHONPATH", "")])}


def _kept(url: str) -> list[Any]:
    """The log as it lies in the database."""
    engine = sa.create_engine(parse_url(url), poolclass=sa.NullPool)
    columns = (schema.event.c.seq, schema.event.c.type, schema.event.c.subject)
    with engine.connect() as connection:
        rows = connection.execute(sa.select(*columns).order_by(schema.event.c.seq)).all()
    return [tuple(row) for row in rows]
