"""Opening and sharing stores."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from headrace.client.client import Client
from headrace.client.stores import close_stores, open_store, resolve
from headrace.errors import InvalidParameter, Unavailable


@pytest.fixture(autouse=True)
def _closed() -> Iterator[None]:
    yield
    close_stores()


def engine_threads() -> int:
    return sum(thread.name == "headrace-writer" for thread in threading.enumerate())


def test_one_engine_serves_all_who_open_the_same_store(tmp_path: Path) -> None:
    before = engine_threads()
    first = Client(tmp_path)
    second = Client(f"sqlite:///{tmp_path}/headrace.db")
    assert engine_threads() == before + 1
    experiment_id = first.create_experiment("e")
    first.close()
    first.close()  # twice is once
    with pytest.raises(Unavailable, match="closed"):
        first.get_experiment(experiment_id)
    assert second.get_experiment(experiment_id).name == "e"
    second.close()
    assert engine_threads() == before
    with Client(tmp_path) as third:
        assert third.get_experiment(experiment_id).name == "e"


def test_addresses_have_one_form(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert resolve("http://host:1/") == "http://host:1"
    assert resolve(tmp_path / "x") == resolve("x") == f"sqlite:///{tmp_path}/x/headrace.db"
    assert resolve(None) == f"sqlite:///{tmp_path}/.headrace/headrace.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://mlflow:5000")
    assert resolve(None) == "http://mlflow:5000"
    monkeypatch.setenv("HEADRACE_TRACKING_URI", "http://ours:5000")
    assert resolve(None) == "http://ours:5000"
    with pytest.raises(InvalidParameter):
        open_store("mysql://host/db")


def test_a_store_is_closed_at_exit_with_everything_written(tmp_path: Path) -> None:
    code = (
        "from headrace import Client\n"
        f"c = Client({str(tmp_path)!r})\n"
        "r = c.create_run('0')\n"
        "c.log_metric(r.info.run_id, 'm', 1)\n"
        "print(r.info.run_id)"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stderr == ""
    with Client(tmp_path) as client:
        assert client.get_run(done.stdout.strip()).data.metrics == {"m": 1.0}


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_opens_the_store_anew(tmp_path: Path) -> None:
    client = Client(tmp_path)
    run_id = client.create_run("0").info.run_id
    client.log_metric(run_id, "m", 1, step=0)
    children = []
    for number in range(1, 4):
        child = os.fork()
        if child == 0:
            code = 1
            try:
                for step in range(5):
                    client.log_metric(run_id, "m", number, step=10 * number + step)
                close_stores()
                code = 0
            finally:
                os._exit(code)
        children.append(child)
    for child in children:
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    client.log_metric(run_id, "m", 9, step=99)
    steps = {point.step for point in client.get_metric_history(run_id, "m")}
    assert steps == {0, 99, *range(10, 15), *range(20, 25), *range(30, 35)}
