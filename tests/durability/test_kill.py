"""SIGKILL of the server at random points under load loses nothing that it acknowledged."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable

from headrace.engine import Engine
from support.load import Load
from support.server import Server

ROUNDS = 3
Start = Callable[..., Server]


def test_a_killed_server_loses_nothing_acknowledged(database_url: str, server: Start) -> None:
    seed = random.randrange(2**32)
    print("seed", seed)  # pytest shows it when the test fails
    chance = random.Random(seed)
    loads: list[Load] = []
    for _ in range(ROUNDS):
        running = server(database_url)
        for load in loads:  # what every earlier round left is still there
            load.verify(running.url)
        load = Load(running.url)
        load.wait(chance.randrange(1, 60))
        threading.Event().wait(chance.random() * 0.5)
        running.kill()
        load.join()
        loads.append(load)
    last = server(database_url)
    total = sum(load.verify(last.url) for load in loads)
    assert total > ROUNDS
    last.stop()
    # Compaction of what the crashes left changes nothing either.
    engine = Engine(database_url, artifact_root="mlflow-artifacts:")
    engine.compact()
    engine.close()
    again = server(database_url)
    assert sum(load.verify(again.url) for load in loads) == total


def test_a_graceful_stop_finishes_what_was_accepted(database_url: str, server: Start) -> None:
    running = server(database_url)
    load = Load(running.url)
    load.wait(50)
    running.stop()  # ends with 0, without a traceback
    load.join()
    again = server(database_url)
    assert load.verify(again.url) >= 50
