"""A journal directory of each test's own, and what is logged and found again."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from headrace.client import Client
from headrace.client.journal.journals import Journal
from support.proxy import Proxy

#: ``died(uri, code)`` runs Python that logs offline and is killed; the journal that it leaves.
Died = Callable[..., Path]

_PRELUDE = """
import os, signal, sys
from headrace.client.journal.journals import journal_for
from headrace.entities import KeyValue, RunStatus
from headrace.protocol.ingest import LogParams, SetTags, StartRun, UpdateRun
from support.logged import log_points
journal = journal_for(sys.argv[1])
"""
_KILLED = "\nprint(journal.writer.folder, flush=True)\nos.kill(os.getpid(), signal.SIGKILL)\n"


@pytest.fixture(autouse=True)
def journals_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "journals"
    monkeypatch.setenv("HEADRACE_JOURNAL_DIR", str(folder))
    return folder


@pytest.fixture
def store(tmp_path: Path) -> str:
    return str(tmp_path / "store")


@pytest.fixture
def client(store: str) -> Iterator[Client]:
    with Client(store) as one:
        yield one


@pytest.fixture
def journal() -> Iterator[Callable[[str], Journal]]:
    """Begins journals, and closes them at the end."""
    made: list[Journal] = []

    def begin(uri: str) -> Journal:
        made.append(Journal(uri))
        return made[-1]

    yield begin
    for one in made:
        one.close(30)


@pytest.fixture
def proxy() -> Iterator[Callable[..., Proxy]]:
    """Puts something between client and server."""
    made: list[Proxy] = []

    def begin(upstream: str, rule: object = None) -> Proxy:
        made.append(Proxy(upstream, rule))  # type: ignore[arg-type]
        return made[-1]

    yield begin
    for one in made:
        one.close()


@pytest.fixture
def died(journals_dir: Path) -> Died:
    def run(uri: str, code: str, directory: Path | None = None) -> Path:
        environment = {
            **os.environ,
            "HEADRACE_OFFLINE": "1",
            "HEADRACE_JOURNAL_DIR": str(directory or journals_dir),
            "PYTHONPATH": str(Path(__file__).parents[2]),
        }
        done = subprocess.run(
            [sys.executable, "-c", _PRELUDE + code + _KILLED, uri],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert done.returncode == -9, done.stderr
        return Path(done.stdout.strip())

    return run
