"""Fixtures for all tests: a real PostgreSQL, fresh databases, real servers."""

from __future__ import annotations

import itertools
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from support.postgres import Postgres, running_postgres
from support.server import Server

# The same examples every time, so that a run that fails says something about the change it tests. To look
# for new ones: HEADRACE_TEST_RANDOM=1 make test
settings.register_profile("fixed", derandomize=True)
if not os.environ.get("HEADRACE_TEST_RANDOM"):
    settings.load_profile("fixed")


#: Folders whose tests take minutes; with them at the end one worker would be left alone with them.
_LONG = ("faults", "durability")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long tests come first."""
    items.sort(key=lambda item: item.path.parent.name not in _LONG)


@pytest.fixture(autouse=True)
def _own_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """No test sees the settings, the journals, or the record of models, of the person who runs it.

    Runs capture nothing by themselves, except where a test asks for it: it would be most of the work.
    """
    for name in list(os.environ):
        if name.startswith(("HEADRACE_", "MLFLOW_")) and name != "HEADRACE_TEST_POSTGRES":
            monkeypatch.delenv(name)
    monkeypatch.setenv("HEADRACE_JOURNAL_DIR", str(tmp_path / "journals"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "user"))  # what was saved here
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "user"))  # and what may be opened
    monkeypatch.setenv("HEADRACE_CAPTURE", "off")
    yield
    journals = sys.modules.get("headrace.client.journal.journals")
    if journals is not None:
        # The next test's flush must not wait for a store that went with this one.
        ours, journals._journals.by_uri = journals._journals.by_uri, {}
        for journal in ours.values():
            journal.close()


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A running PostgreSQL. Not having one is a failure, not a reason to skip.

    One per worker process under xdist: a cluster starts in about a second, and shares nothing.
    """
    with running_postgres() as server:
        yield server


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """URL of a fresh, empty database, on SQLite and on PostgreSQL."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'headrace.db'}"
        return
    with request.getfixturevalue("postgres").database() as url:
        yield url


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Callable[..., Server]]:
    """Starts servers: ``server(store=None, *arguments, environment=None)``, a store URI or directory.

    What is still running at the end is stopped by SIGTERM, and must end with 0 and without a traceback.
    """
    running: list[Server] = []
    number = itertools.count(1)

    def start(
        store: str | Path | None = None,
        *arguments: str,
        environment: dict[str, str] | None = None,
    ) -> Server:
        log = tmp_path / f"server-{next(number)}.log"
        one = Server(store or tmp_path / "store", log, *arguments, environment=environment)
        running.append(one)
        return one

    yield start
    failures = []
    for one in running:
        if one.process.returncode is None:
            try:
                one.stop()
            except AssertionError as error:
                failures.append(str(error))
    assert not failures, "\n".join(failures)
