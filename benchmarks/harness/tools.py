"""Environments of the tools that headrace is compared with, and jobs run in them."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.harness.bench import SQLITE, Bench, say
from benchmarks.harness.peer import byte_compile, version
from benchmarks.harness.processes import environment
from benchmarks.harness.servers import HEADRACE, MLFLOW_BEST, Server
from benchmarks.peers import OURS, PEERS, SERVER, Tool

_PLACE = Path(__file__).resolve().parent.parent.parent / "build" / "peers"
_CHILD = Path(__file__).resolve().parent / "child.py"
#: A requirement for pip that gives a torch without CUDA, such as ``torch==2.13.0+cpu``.
TORCH = "HEADRACE_BENCH_TORCH"


def tools(bench: Bench, place: str) -> list[Tool]:
    """headrace and the chosen peers that log to a place."""
    ours = [tool for tool in OURS if tool.place == place] if bench.ours else []
    peers = [tool for tool in PEERS if tool.place == place and _chosen(bench, tool)]
    return ours + peers


def _chosen(bench: Bench, tool: Tool) -> bool:
    return bench.peer is not None and (not bench.tools or tool.packages[0] in bench.tools)


def python_of(bench: Bench, tool: Tool) -> Path:
    """The Python that has a tool; its environment is made on first use in ``build/peers``.

    ``HEADRACE_BENCH_<PACKAGE>`` names one to use instead.
    """
    if not tool.packages:
        return bench.python
    package = tool.packages[0]
    if package == "mlflow":
        assert bench.peer is not None
        return bench.peer
    variable = f"HEADRACE_BENCH_{package.upper()}"
    given = os.environ.get(variable)
    if given:
        return Path(given)
    python = _PLACE / package / "bin" / "python"
    ready = _PLACE / package / ".ready"
    if not ready.exists():
        say(f"installing {package} into {python.parent.parent} (once; {variable} reuses one)")
        shutil.rmtree(_PLACE / package, ignore_errors=True)
        subprocess.run([sys.executable, "-m", "venv", _PLACE / package], check=True)
        # numpy is for the work between calls, and for values of its types.
        command = [python, "-m", "pip", "install", "-qq", *tool.packages, "numpy"]
        subprocess.run(command, check=True, env=environment())
        byte_compile(python)
        ready.touch()
    return python


def versions(bench: Bench) -> str:
    """Which peers were measured, for the page."""
    found = {
        tool.packages[0]: version(python_of(bench, tool), tool.packages[0])
        for tool in PEERS
        if _chosen(bench, tool)
    }
    return ", ".join(f"{name} {number}" for name, number in found.items())


def torch_folder() -> Path | None:
    """A folder with torch in it, made on first use if `TORCH` says how; None without."""
    folder = _PLACE / "torch"
    wanted = os.environ.get(TORCH)
    if not folder.exists() and wanted:
        say(f"installing {wanted} into {folder} (once)")
        command = [sys.executable, "-m", "pip", "install", "-qq", "--target", str(folder), wanted]
        subprocess.run(command, check=True, env=environment())
    return folder if folder.exists() else None


@dataclass
class Scene:
    """A tool with an empty store of its own, and the server over it where there is one."""

    bench: Bench
    tool: Tool
    python: Path
    folder: Path
    uri: str
    server: Server | None

    def variables(self) -> dict[str, str]:
        """The environment of a process that logs here."""
        # One thread of BLAS: the work between calls is the caller's.
        threads = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        return environment(**threads, **self.tool.variables(str(self.folder), self.uri))

    def run(self, timeout: float = 3600, **job: Any) -> dict[str, Any]:
        """Have a child do a job; see ``child.py``."""
        place = self.folder / "job"
        place.with_suffix(".json").write_text(
            json.dumps({"start": self.tool.start, "finish": self.tool.finish, **job})
        )
        result = place.with_suffix(".result")
        # -P: the modules beside the script must not stand before the tools.
        command = [str(self.python), "-P", str(_CHILD), f"{place}.json", str(result)]
        self.call(command, timeout)
        answer: dict[str, Any] = json.loads(result.read_text())
        result.unlink()
        return answer

    def call(self, command: list[str], timeout: float = 3600) -> str:
        """Run a command in the scene's folder and environment; what it printed."""
        done = subprocess.run(
            command,
            cwd=self.folder,
            env=self.variables(),
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout,
        )
        if done.returncode:
            raise RuntimeError(
                f"{self.tool.name} ended with {done.returncode}:\n{done.stdout[-1000:]}\n{done.stderr[-3000:]}"
            )
        return done.stdout

    def count(self) -> int | None:
        """How many points there are where the tool has put them; None where nobody can tell."""
        if not self.tool.count:
            return None
        return int(self.call([str(self.python), "-c", self.tool.count]).split()[-1])


@contextlib.contextmanager
def scene(bench: Bench, tool: Tool) -> Iterator[Scene]:
    """An empty store for a tool, with its server started and at rest; all gone afterwards."""
    folder = bench.folder(f"{tool.name.replace(' ', '-').lower()}-{tool.place.split()[-1]}")
    url = bench.database(SQLITE, folder)
    python = python_of(bench, tool)
    try:
        if tool.place == SERVER:
            kind = MLFLOW_BEST if tool.packages else HEADRACE
            with bench.serve(kind, url, folder) as server:
                yield Scene(bench, tool, python, folder, f"http://127.0.0.1:{server.port}", server)
        else:
            yield Scene(bench, tool, python, folder, url, None)
    finally:
        bench.discard(SQLITE, folder)
