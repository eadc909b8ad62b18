"""A large model to a server and back, on one machine, beside what copying its file costs."""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil

from benchmarks.harness.bench import SQLITE, Bench, say
from benchmarks.harness.processes import watching_memory
from benchmarks.harness.report import Row, compare
from benchmarks.harness.servers import HEADRACE, Server
from headrace.client import Client
from headrace.models.download import download_model, upload_model

NAME = "models_io"
METHOD = (
    "A folder with one file of 2 GiB of random bytes goes to a headrace server on the same machine as a logged model "
    "(`upload_model`, which returns when the server has it on disk) and comes back (`download_model` into a new folder). Beside each, alternating "
    "with it, `cp` of the same file: with an fsync for the way there, without for the way back. Medians of three ratios; the disk is synced "
    "between, outside the measurement. Memory is that of the client, and of all the server's processes, over idle, sampled every 20 ms."
)
_CHUNK = 1 << 20
_MARGIN = 1.3


def run(bench: Bench) -> Iterator[Row]:
    """Ratios to `cp`, and megabytes over idle."""
    if not bench.ours:
        return
    size = bench.size(2 << 30, 1 << 26)
    up: list[tuple[float, float]] = []
    down: list[tuple[float, float]] = []
    with bench.fresh(HEADRACE, SQLITE) as server:
        scratch = bench.folder("models-io")
        source = _model(scratch / "model", size)
        with Client(f"http://127.0.0.1:{server.port}") as client:
            upload_model(client, source, client.create_logged_model("0").artifact_location)
            both = _Both(server)
            idle = both.resident()
            with watching_memory(both) as peaks:
                for _ in range(bench.size(3, 1)):
                    up.append(_there(client, source, scratch))
                    down.append(_back(client, scratch))
            peak = (peaks[0] - idle) / 1e6
        shutil.rmtree(scratch)
    for word, pairs, beside in (("to", up, "cp and fsync"), ("from", down, "cp")):
        ratio = statistics.median(ours / copy for ours, copy in pairs)
        times = ", ".join(f"{ours:.2f} s beside {copy:.2f} s" for ours, copy in pairs)
        say(f"{word} the server: {times}")
        yield compare(
            NAME,
            f"{size / 2**30:g} GiB model {word} a server on the same machine, beside {beside}",
            "×",
            {HEADRACE: ratio},
            more_is_better=False,
            at_most=_MARGIN,
            note=times,
        )
    yield compare(
        NAME,
        "the same, peak memory of client and server over idle",
        "MB",
        {HEADRACE: peak},
        more_is_better=False,
        at_most=64,
    )


class _Both:
    """A server's processes and this one."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._own = psutil.Process()

    def resident(self) -> int:
        """Resident memory in bytes."""
        return self._server.resident() + int(self._own.memory_info().rss)


def _model(folder: Path, size: int) -> Path:
    folder.mkdir()
    (folder / "MLmodel").write_text("flavors: {}\n")
    block = os.urandom(_CHUNK)
    with (folder / "weights.bin").open("wb") as stream:
        for _ in range(size // _CHUNK):
            stream.write(block)
    return folder


def _there(client: Client, source: Path, scratch: Path) -> tuple[float, float]:
    """Seconds of an upload, and of a copy that is on disk."""
    copy = scratch / "copy"

    def copied() -> None:
        _copy(source / "weights.bin", copy)
        with copy.open("rb") as stream:
            os.fsync(stream.fileno())

    beside = _seconds(copied)
    copy.unlink()
    model = client.create_logged_model("0", "large")
    ours = _seconds(lambda: upload_model(client, source, model.artifact_location))
    return ours, beside


def _back(client: Client, scratch: Path) -> tuple[float, float]:
    """Seconds of a download, and of a copy; the model is removed."""
    (model,) = client.search_logged_models(["0"], "name = 'large'")
    copy, folder = scratch / "copy", scratch / "fetched"
    beside = _seconds(lambda: _copy(scratch / "model" / "weights.bin", copy))
    copy.unlink()
    ours = _seconds(lambda: download_model(model.model_uri, client=client, dst_path=folder))
    if (folder / "weights.bin").stat().st_size != (
        scratch / "model" / "weights.bin"
    ).stat().st_size:
        raise RuntimeError("another file came back")
    shutil.rmtree(folder)
    client.artifacts_of_model(model.model_id).delete("")
    client.delete_logged_model(model.model_id)
    return ours, beside


def _copy(source: Path, target: Path) -> None:
    subprocess.run(["cp", str(source), str(target)], check=True)


def _seconds(call: Callable[[], object]) -> float:
    os.sync()
    start = time.perf_counter()
    call()
    return time.perf_counter() - start
