"""A large artifact through the server, up and down."""

from __future__ import annotations

import hashlib
import os
import statistics
import time
from collections.abc import Callable, Iterator

from benchmarks.harness.bench import SQLITE, Bench, say
from benchmarks.harness.connection import get, header, put_head
from benchmarks.harness.processes import watching_memory
from benchmarks.harness.report import Row, compare
from benchmarks.harness.servers import Server, Tracking

NAME = "artifacts"
METHOD = (
    "1 GiB of random bytes through `/api/2.0/mlflow-artifacts/artifacts/…`, one PUT and one GET over one connection, median of "
    "three; the disk is synced between, outside the measurement. In a first pass in each direction, not timed, the resident "
    "memory of all the server's processes is sampled every 20 ms, and the bytes are compared by hash."
)
_CHUNK = 1 << 20


def run(bench: Bench) -> Iterator[Row]:
    """MB/s in both directions, and the server's peak memory over idle."""
    size = bench.size(1 << 30, 1 << 26)
    up: dict[str, float] = {}
    down: dict[str, float] = {}
    peak: dict[str, float] = {}
    for kind in bench.kinds():
        with bench.fresh(kind, SQLITE) as server:
            with server.connect() as connection:
                tracking = Tracking(connection)
                run_id = tracking.run(tracking.experiment("artifacts"))
                query = [("run_id", run_id)]
                info = connection.get("/api/2.0/mlflow/runs/get", query)["run"]["info"]
            _, _, place = info["artifact_uri"].partition("mlflow-artifacts:/")
            path = f"/api/2.0/mlflow-artifacts/artifacts/{place.lstrip('/')}/model.bin"
            repeats = bench.size(3, 1)
            data = os.urandom(_CHUNK)
            # Before the timed passes: what a process has once used it seldom gives back.
            idle = server.resident()
            with watching_memory(server) as peaks:
                _upload(server, path, data, size)
                seen = hashlib.sha256()
                _download(server, path, size, seen)
            peak[kind] = (peaks[0] - idle) / 1e6
            expected = hashlib.sha256()
            for _ in range(size // _CHUNK):
                expected.update(data)
            if seen.digest() != expected.digest():
                raise RuntimeError(f"{kind} gave back other bytes than it got")
            up[kind] = size / 1e6 / _median(repeats, _upload, server, path, data, size)
            down[kind] = size / 1e6 / _median(repeats, _download, server, path, size)
        say(
            f"{kind}: up {up[kind]:,.0f} MB/s, down {down[kind]:,.0f} MB/s, {peak[kind]:.0f} MB over idle"
        )
    what = f"{size / 2**30:g} GiB through the artifact proxy"
    yield compare(NAME, f"{what}, up", "MB/s", up, more_is_better=True, times=5)
    yield compare(NAME, f"{what}, down", "MB/s", down, more_is_better=True, times=5)
    yield compare(
        NAME,
        f"{what}, server's peak memory over idle",
        "MB",
        peak,
        more_is_better=False,
        at_most=64,
    )


def _median(times: int, measure: Callable[..., float], *arguments: object) -> float:
    figures = []
    for _ in range(times):
        os.sync()
        figures.append(measure(*arguments))
    return statistics.median(figures)


def _upload(server: Server, path: str, data: bytes, size: int) -> float:
    with server.connect() as connection:
        start = time.perf_counter()
        connection.socket.sendall(put_head(server.port, path, size))
        for _ in range(size // len(data)):
            connection.socket.sendall(data)
        reply = connection.reply()
        seconds = time.perf_counter() - start
    if reply.status != 200:
        raise RuntimeError(f"{server.kind} answered {reply.status}: {reply.body[:500]!r}")
    return seconds


def _download(server: Server, path: str, size: int, seen: hashlib._Hash | None = None) -> float:
    buffer = bytearray(_CHUNK)
    view = memoryview(buffer)
    with server.connect() as connection:
        start = time.perf_counter()
        # As a stock client asks for files: the bytes as they are.
        request = get(server.port, path).replace(b"gzip, deflate", b"identity")
        connection.socket.sendall(request)
        head = b""
        while b"\r\n\r\n" not in head:
            head += connection.socket.recv(4096)
        head, _, rest = head.partition(b"\r\n\r\n")
        length = header(head, b"content-length")
        if head[9:12] != b"200" or length is None or int(length) != size:
            raise RuntimeError(f"{server.kind} answered {head!r} {rest[:300]!r}")
        if seen is not None:
            seen.update(rest)
        missing = size - len(rest)
        while missing:
            got = connection.socket.recv_into(view)
            if not got:
                raise ConnectionError(f"{server.kind} hung up with {missing} bytes missing")
            if seen is not None:
                seen.update(view[:got])
            missing -= got
        return time.perf_counter() - start
