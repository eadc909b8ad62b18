"""Runs that speak to a server, and runs that do not."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from headrace.client.remote import RemoteStore
from support.api import Api
from support.journal import Journal
from support.server import Server

_PATIENCE_S = 60


@contextmanager
def connected(server: Server) -> Iterator[tuple[Api, Journal]]:
    with closing(RemoteStore(server.url)) as store:
        yield Api(store), Journal(store)


def test_a_server_tells_the_silent_run_from_the_one_that_speaks(
    server: Callable[..., Server], tmp_path: Path
) -> None:
    first = server(tmp_path / "store")
    with connected(first) as (api, journal):
        silent, speaking = api.new_run(), api.new_run()
        journal.say_alive(silent, speaking, silence=3000)
    first.kill()
    with connected(server(tmp_path / "store")) as (api, journal):
        assert not api.run(silent).info.lost  # it may have tried to speak while nobody heard
        deadline = time.monotonic() + _PATIENCE_S
        while not api.run(silent).info.lost and time.monotonic() < deadline:
            journal.say_alive(speaking, silence=3000)
            time.sleep(0.1)
        assert api.run(silent).info.lost
        assert not api.run(speaking).info.lost
        journal.say_alive(silent, silence=3000)
        assert not api.run(silent).info.lost
