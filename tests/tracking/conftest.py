"""The fluent API in a directory of its own, on an embedded store and through a server."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from headrace.client.stores import close_stores
from headrace.tracking.active import active_run, end_run
from headrace.tracking.choice import choice
from support.server import Server


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Run in an empty directory; afterwards forget what was chosen, and close the stores."""
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    while active_run() is not None:  # of a test that failed
        end_run()
    choice.reset()
    close_stores()  # those of clients that tests left open


@pytest.fixture(params=["local", "server"])
def tracking_uri(
    request: pytest.FixtureRequest, tmp_path: Path, server: Callable[..., Server]
) -> str:
    """URI of a fresh store: a directory, and a server over one."""
    return str(tmp_path / "store") if request.param == "local" else server().url
