"""The server dies, moves and drops its answers while a run goes on; each call is there once."""

from __future__ import annotations

import random
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import httpx

from headrace.client import Client
from support.logged import until
from support.server import Server
from support.tcp_proxy import TcpProxy
from support.training import check, left, sync

#: On each of two databases.
RESTARTS = 25
Start = Callable[..., Server]

#: Trains until its standard input ends. Asks for a flush now and then: else a drain that failed often
#: waits for seconds, and most deaths of the server would find no request under way.
_TRAIN = """
over = threading.Event()
threading.Thread(target=lambda: (sys.stdin.read(), over.set()), daemon=True).start()
n = 0
with headrace.start_run() as run:
    while not over.wait(0.0005) or n < 1000:
        call(n)
        n += 1
        if not n % 50:
            headrace.flush(0.001)
print(json.dumps([run.info.run_id, n]))
"""


def _finished(client: Client, run_id: str, calls: int) -> None:
    check(client, run_id, calls, unsure=0)
    assert client.get_run(run_id).info.status == "FINISHED"


def test_a_server_killed_fifty_times_holds_every_call_once(
    database_url: str,
    server: Start,
    restart: Start,
    journals: Path,
    chance: random.Random,
    training: Start,
) -> None:
    running = server(database_url)
    process = training(_TRAIN, journals, TRACKING_URI=running.url)
    seen = -1
    for number in range(RESTARTS):
        if not number % 10:  # else it might die so early each time that nothing is ever under way
            seen = _later_step(running.url, seen)
        time.sleep(chance.random() * 0.1)
        running.kill()
        running = restart(running, database_url)
    assert process.process.poll() is None
    run_id, calls = process.wait()
    _finished(Client(running.url), run_id, calls)
    assert left([journals]) == []


def _later_step(url: str, seen: int) -> int:
    """The last step that a server holds, once it is later than that."""
    until(lambda: _last_step(url) > seen)
    return _last_step(url)


def _last_step(url: str) -> int:
    """Of the metric that the training logs, -1 before the first."""
    body = {"experiment_ids": ["0"]}
    answer = httpx.post(f"{url}/api/2.0/mlflow/runs/search", json=body, timeout=30).json()
    metrics = [one for run in answer.get("runs", ()) for one in run["data"].get("metrics", ())]
    return max((int(one["step"]) for one in metrics if one["key"] == "loss"), default=-1)


def test_a_network_that_drops_cuts_delays_and_refuses_costs_nothing(
    database_url: str, server: Start, journals: Path, chance: random.Random, training: Start
) -> None:
    running = server(database_url)
    with TcpProxy(running.url, chance) as proxy:
        process = training(_TRAIN, journals, TRACKING_URI=proxy.url)
        deadline = time.monotonic() + 180
        while min(proxy.counts.values()) < 3 and time.monotonic() < deadline:
            time.sleep(0.05)
        counts = dict(proxy.counts)
        assert min(counts.values()) >= 3, (counts, process.errors())
        proxy.kind = True
        run_id, calls = process.wait()
    _finished(Client(running.url), run_id, calls)
    assert left([journals]) == []


def test_a_store_that_moved_gets_the_rest_by_sync(
    server: Start, journals: Path, tmp_path: Path, training: Start
) -> None:
    first = server(tmp_path / "store")
    process = training(_TRAIN, journals, TRACKING_URI=first.url, FLUSH_TIMEOUT="0.5")
    deadline = time.monotonic() + 180
    while not Client(first.url).search_runs(["0"]) and time.monotonic() < deadline:
        time.sleep(0.05)
    first.stop()
    shutil.copytree(tmp_path / "store", tmp_path / "elsewhere")
    run_id, calls = process.wait()
    assert left([journals])
    second = server(tmp_path / "elsewhere")
    answer = sync(journals, "--store", second.url)
    assert answer["runs"] == [run_id]
    _finished(Client(second.url), run_id, calls)
    assert left([journals]) == []
    assert sync(journals, "--store", second.url)["journals"] == 0


def test_a_server_that_was_never_there_gets_all_by_sync(
    server: Start, journals: Path, tmp_path: Path, training: Start
) -> None:
    process = training(_TRAIN, journals, OFFLINE="1", TRACKING_URI="http://127.0.0.1:1")
    run_id, calls = process.wait()
    running = server(tmp_path / "store")
    for copy in ("a", "b"):  # shipped from any number of copies, to the same result
        shutil.copytree(journals, tmp_path / copy)
    for place in (tmp_path / "a", journals, tmp_path / "b"):
        sync(place, "--store", running.url)
        _finished(Client(running.url), run_id, calls)
