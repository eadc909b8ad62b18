"""SQLite in a forked child."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from headrace.client import Client
from headrace.engine.forks import Forks
from headrace.errors import Unavailable

_CHILD_OUTLIVES_PARENT = """
import os, sys
from headrace.client import Client

parent = Client(sys.argv[1])
run_id = parent.create_run("0").info.run_id
gone, leave = os.pipe()
opened, ready = os.pipe()
if os.fork():
    os.read(opened, 1)
    print(run_id, flush=True)
    os._exit(0) if sys.argv[2] == "crash" else sys.exit()
os.close(leave)
child = Client(sys.argv[1])
child.get_run(run_id)
os.write(ready, b"x")
os.read(gone, 1)  # the parent has ended
child.log_param(run_id, "of", "the child")
os._exit(0)
"""


@pytest.mark.parametrize("end", ["orderly", "crash"])
def test_what_a_child_commits_after_its_parents_end_stays(tmp_path: Path, end: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _CHILD_OUTLIVES_PARENT, str(tmp_path / "store"), end],
        capture_output=True,  # until the child ends too
        text=True,
        timeout=60,
        check=True,
    )
    with Client(tmp_path / "store") as client:
        assert client.get_run(done.stdout.strip()).data.params == {"of": "the child"}


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_child_forked_within_a_transaction_opens_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    import sqlite3

    monkeypatch.setattr("headrace.engine.forks._PATIENCE", 0.01)
    forks = Forks()
    forks.add(sqlite3.connect(":memory:"))
    with forks.transaction():
        child = os.fork()
        if not child:
            try:
                with forks.transaction():
                    os._exit(1)
            except Unavailable:
                os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    with forks.transaction():
        pass
