"""What the server's tests share beyond `support.server`."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from support.front import Front
from support.server import Server


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    """One server with default options for a whole module."""
    folder = tmp_path_factory.mktemp("server")
    server = Server(folder / "store", folder / "server.log")
    front = Front(server)
    yield front
    front.http.close()
    server.stop()


@pytest.fixture
def started(server: Callable[..., Server]) -> Iterator[Callable[..., Front]]:
    """Starts servers of one test: ``started("--option", …)``."""
    with contextlib.ExitStack() as stack:

        def start(*options: str, store: str | None = None, **more: Any) -> Front:
            front = Front(server(store, *options, **more))
            stack.callback(front.http.close)
            return front

        yield start


@pytest.fixture
def refused(tmp_path: Path) -> Callable[..., tuple[int, str]]:
    """Runs ``headrace server`` where it must not start: its exit code and standard error."""

    def run(*options: str) -> tuple[int, str]:
        done = subprocess.run(
            [sys.executable, "-m", "headrace", "server", *options],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            timeout=60,
            check=False,
        )
        return done.returncode, done.stderr

    return run
