"""A disk that is full: an answer that says so, nothing lost, and work goes on when there is room again."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from support.load import Load, batch
from support.server import Server


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 24 MiB; needs the right to mount, so it is skipped where nobody may."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = os.geteuid() == 0 and (
        subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(folder)],
            capture_output=True,
            check=False,
        ).returncode
        == 0
    )
    if not mounted:
        pytest.skip("mounting a small file system is not possible here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_disk_is_survived(small_disk: Path, server: Callable[..., Server]) -> None:
    url = f"sqlite:///{small_disk / 'headrace.db'}"
    running = server(url)
    load = Load(running.url, 4)
    load.wait(40)
    load.stop()
    ballast = small_disk / "ballast"
    with contextlib.suppress(OSError), ballast.open("wb") as file:
        while True:  # until nothing is left
            file.write(bytes(4096))
            file.flush()
    run_id, steps = next(pair for one in load.writers for pair in one.acknowledged.items())
    post = f"{running.url}/api/2.0/mlflow/runs/log-batch"
    # What the database holds in reserve is used up first.
    answers = []
    for step in range(100, 2000):
        response = httpx.post(post, json=batch(run_id, step), timeout=60)
        answers.append(response.status_code)
        if response.status_code != 200:
            break
    assert answers[-1] == 503, answers[-1]
    assert response.json()["error_code"] == "TEMPORARILY_UNAVAILABLE"
    accepted = answers.count(200)
    assert httpx.get(f"{running.url}/health", timeout=60).status_code == 200
    get = f"{running.url}/api/2.0/mlflow/runs/get"
    read = httpx.get(get, params={"run_id": run_id}, timeout=60)
    assert read.status_code == 200  # reading goes on
    ballast.unlink()
    again = httpx.post(post, json=batch(run_id, 9999), timeout=60)
    assert again.status_code == 200, again.text
    steps += [*range(100, 100 + accepted), 9999]
    load.verify(running.url)
    running.stop()
    load.verify(server(url).url)
