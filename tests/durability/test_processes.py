"""Several server processes over one database."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import httpx

from support.load import Load
from support.server import Server

Start = Callable[..., Server]


def test_two_servers_start_at_once_on_an_empty_database(database_url: str, server: Start) -> None:
    barrier = threading.Barrier(3)

    def start(_: int) -> Server:
        barrier.wait()
        return server(database_url)

    with ThreadPoolExecutor(3) as pool:
        running = list(pool.map(start, range(3)))
    made = [
        httpx.post(
            f"{one.url}/api/2.0/mlflow/experiments/create", json={"name": f"e{i}"}, timeout=60
        )
        for i, one in enumerate(running)
    ]
    assert [response.status_code for response in made] == [200] * 3
    assert len({response.json()["experiment_id"] for response in made}) == 3
    for one in running:
        found = httpx.post(
            f"{one.url}/api/2.0/mlflow/experiments/search", json={"max_results": 10}, timeout=60
        ).json()["experiments"]
        assert {each["name"] for each in found} == {"Default", "e0", "e1", "e2"}


def test_two_servers_share_one_database_under_load(database_url: str, server: Start) -> None:
    first, second = server(database_url), server(database_url)
    loads = [Load(first.url, 4), Load(second.url, 4)]
    for load in loads:
        load.wait(60)
    for load in loads:
        load.stop()
        assert [writer.refused for writer in load.writers] == [[]] * 4
    for load, other in zip(loads, (second, first), strict=True):
        load.verify(other.url)
