"""What the fault tests share: a journal directory, a small disk, a seed that is shown on failure."""

from __future__ import annotations

import os
import random
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from support.server import Server
from support.training import Training


@pytest.fixture
def journals(tmp_path: Path) -> Path:
    """Where the training processes of a test keep their journals."""
    folder = tmp_path / "journals"
    folder.mkdir()
    return folder


@pytest.fixture
def chance() -> random.Random:
    """Random numbers; pytest shows the seed when the test fails."""
    seed = random.randrange(2**32)
    print("seed", seed)
    return random.Random(seed)


@pytest.fixture
def restart(server: Callable[..., Server]) -> Callable[..., Server]:
    """Starts a server where another one was: ``restart(old, store)``."""

    def again(old: Server, store: str | Path) -> Server:
        return server(store, "--port", old.url.rpartition(":")[2])

    return again


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 2 MiB; needs the right to mount, so it is skipped where nobody may."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)]
    if os.geteuid() or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("mounting a small file system is not possible here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.fixture
def training() -> Iterator[Callable[..., Training]]:
    """Starts training processes; what is still running at the end is killed."""
    started: list[Training] = []

    def start(*arguments: Any, **settings: str) -> Training:
        started.append(Training(*arguments, **settings))
        return started[-1]

    yield start
    for one in started:
        one.close()
