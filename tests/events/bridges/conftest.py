"""NATS servers, bridges as processes, and a store with many events."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from support.bridge import BridgeProcess, fill
from support.nats import NatsServer, nats_binary

MANY = 20_000


@pytest.fixture(scope="session")
def nats_server_binary() -> str:
    """Not having a NATS server is a failure, unless HEADRACE_TEST_NATS=skip."""
    binary = nats_binary()
    if binary is None:
        pytest.skip("HEADRACE_TEST_NATS=skip")
    return binary


@pytest.fixture
def start_nats(nats_server_binary: str, tmp_path: Path) -> Iterator[Callable[..., NatsServer]]:
    """Starts NATS servers: ``start_nats(config="")``."""
    running: list[NatsServer] = []

    def start(config: str = "") -> NatsServer:
        folder = tmp_path / f"nats-{len(running)}"
        folder.mkdir()
        running.append(NatsServer(nats_server_binary, folder, config))
        return running[-1]

    yield start
    for one in running:
        one.stop()


@pytest.fixture
def broker(start_nats: Callable[..., NatsServer]) -> NatsServer:
    """A NATS server with JetStream and nothing in it."""
    return start_nats()


@pytest.fixture
def bridge(tmp_path: Path) -> Iterator[Callable[..., BridgeProcess]]:
    """Starts bridges: ``bridge(store, nats_url, *arguments)``. Those still running at the end are killed."""
    running: list[BridgeProcess] = []
    number = itertools.count(1)

    def start(store: str | Path, *arguments: str) -> BridgeProcess:
        log = tmp_path / f"bridge-{next(number)}.log"
        running.append(BridgeProcess(store, log, *arguments))
        return running[-1]

    yield start
    for one in running:
        one.kill()


@pytest.fixture(scope="session")
def _long_log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("long-log") / "store"
    assert fill(folder, MANY) == MANY
    return folder


@pytest.fixture
def long_log(_long_log: Path, tmp_path: Path) -> Path:
    """A store with 20,000 events, for one test alone."""
    return Path(shutil.copytree(_long_log, tmp_path / "long-log"))


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A store with 300 events."""
    folder = tmp_path / "store"
    assert fill(folder, 300) == 300
    return folder
