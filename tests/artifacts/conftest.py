"""A real S3-compatible server, and the stores that the suite runs over."""

from __future__ import annotations

import contextlib
import re
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from headrace.artifacts import ArtifactStore, open_artifacts


@contextlib.contextmanager
def _moto(folder: Path) -> Iterator[str]:
    log = folder / "moto.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", "0"],
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        deadline = time.monotonic() + 60
        while not (found := re.search(r"http://127\.0\.0\.1:\d+", log.read_text())):
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"moto did not start:\n{log.read_text()}")
            time.sleep(0.05)
        yield found.group()
    finally:
        process.terminate()
        process.wait(30)


@pytest.fixture(scope="session")
def s3_endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of an S3 that lives as long as the tests of this process."""
    with _moto(tmp_path_factory.mktemp("s3")) as url:
        yield url


@pytest.fixture
def s3_environment(s3_endpoint: str) -> dict[str, str]:
    """The variables that lead a process to that S3."""
    return {
        "AWS_ACCESS_KEY_ID": "AKIDHEADRACETESTS",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "us-east-1",
        "MLFLOW_S3_ENDPOINT_URL": s3_endpoint,
    }


@pytest.fixture
def bucket(
    s3_endpoint: str, s3_environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> str:
    """URI of a new, empty bucket; this process's environment leads to it."""
    for name, value in s3_environment.items():
        monkeypatch.setenv(name, value)
    name = f"b-{uuid.uuid4().hex}"
    httpx.put(f"{s3_endpoint}/{name}", timeout=60).raise_for_status()
    return f"s3://{name}"


@pytest.fixture(params=["local", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> ArtifactStore:
    """An empty store, in a folder and in a bucket."""
    if request.param == "local":
        return open_artifacts(str(tmp_path / "root"))
    return open_artifacts(request.getfixturevalue("bucket") + "/some/prefix")


@pytest.fixture
def big() -> Callable[[int], bytes]:
    """Bytes of a given length of which no two pages are the same."""

    def make(length: int) -> bytes:
        numbers = b"".join(i.to_bytes(8, "little") for i in range(length // 64 + 1))
        return (numbers * 8)[:length]

    return make
