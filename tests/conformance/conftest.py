"""The stores that must all behave alike.

A store lives as long as a test file; tests keep apart by names and ids of their own.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from headrace.client.remote import RemoteStore
from headrace.engine import Engine
from headrace.protocol.store import Store
from support.api import Api
from support.backend import Backend
from support.server import Server

ACTOR = "tester"


@pytest.fixture(
    scope="module",
    params=["local-sqlite", "local-postgresql", "remote-sqlite", "remote-postgresql"],
)
def backend(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Backend]:
    """Each of the four kinds of store, empty at first."""
    place, kind = request.param.split("-")
    folder = tmp_path_factory.mktemp("store")
    with ExitStack() as stack:
        if kind == "sqlite":
            url = f"sqlite:///{folder / 'headrace.db'}"
        else:
            url = stack.enter_context(request.getfixturevalue("postgres").database())
        if place == "local":
            store: Store = Engine(url, artifact_root=(folder / "a").as_uri(), actor=ACTOR)
            actor = ACTOR
        else:
            server = Server(url, folder / "server.log", "--artifacts", str(folder / "a"))
            stack.callback(server.stop)
            store = RemoteStore(server.url)
            actor = ""
        stack.callback(store.close)
        under_test = Backend(store, url, actor)
        yield under_test
        under_test.check_log()


@pytest.fixture
def api(backend: Backend) -> Api:
    """The store's operations."""
    return Api(backend.store)
