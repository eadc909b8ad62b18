"""What it costs to install and to import."""

from __future__ import annotations

import json
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.harness.bench import Bench, say
from benchmarks.harness.peer import byte_compile
from benchmarks.harness.processes import environment
from benchmarks.harness.report import Row, compare
from benchmarks.harness.servers import HEADRACE, MLFLOW_DEFAULT

NAME = "footprint"
METHOD = (
    "A runtime install into a fresh environment (`pip install headrace`, no extras; MLflow likewise), byte-compiled. "
    "*Import* is the median wall time of `python -c 'import …'` over that of `python -c pass` in the same environment, "
    "alternating. *Size* is of site-packages without bytecode, pip and setuptools (and, at MLflow, without the PostgreSQL "
    "driver that other benchmarks need); *distributions* are counted alike."
)
_IGNORED = ("pip", "setuptools", "psycopg2")
_REPOSITORY = Path(__file__).resolve().parent.parent

_WEIGH = """
import importlib.metadata, json, pathlib, sysconfig
ignored = tuple(json.loads(%r))
names = {d.name for d in importlib.metadata.distributions() if not d.name.lower().startswith(ignored)}
root = pathlib.Path(sysconfig.get_path("purelib"))
skip = (*ignored, "_distutils_hack", "distutils-precedence", "pkg_resources")
size = bytecode = 0
for file in root.rglob("*"):
    if file.is_file() and not file.relative_to(root).parts[0].startswith(skip):
        if file.suffix == ".pyc":
            bytecode += file.stat().st_size
        else:
            size += file.stat().st_size
print(json.dumps([size, bytecode, len(names)]))
"""


def run(bench: Bench) -> Iterator[Row]:
    """Import time, installed size, distributions."""
    ratio: dict[str, float] = {}
    size: dict[str, float] = {}
    count: dict[str, float] = {}
    notes: list[str] = []
    compiled: list[str] = []
    for kind, package in ((HEADRACE, "headrace"), (MLFLOW_DEFAULT, "mlflow")):
        if kind not in bench.kinds():
            continue
        if kind == HEADRACE:
            python = _install(bench)
            byte_compile(python)
        else:
            python = bench.python_of(kind)
        bare, imported = _import_seconds(bench, python, package)
        ratio[kind] = imported / bare
        weighed = subprocess.run(
            [python, "-c", _WEIGH % json.dumps(_IGNORED)], check=True, stdout=subprocess.PIPE
        )
        bytes_, bytecode, count[kind] = json.loads(weighed.stdout)
        size[kind] = bytes_ / 1e6
        compiled.append(f"{package} {bytecode / 1e6:.0f} MB")
        notes.append(
            f"import {package} {imported * 1e3:.0f} ms, bare interpreter {bare * 1e3:.0f} ms"
        )
        say(f"{notes[-1]}; {size[kind]:.0f} MB, {count[kind]} distributions")
    what = "import, times a bare interpreter"
    yield compare(NAME, what, "×", ratio, more_is_better=False, at_most=4, note="; ".join(notes))
    note = f"bytecode comes on top: {', '.join(compiled)}"
    yield compare(NAME, "installed size", "MB", size, more_is_better=False, at_most=160, note=note)
    yield compare(NAME, "distributions installed", "", count, more_is_better=False, at_most=30)


def _install(bench: Bench) -> Path:
    folder = bench.folder("runtime-install")
    # Of a copy: a build in the working tree leaves files there that the next build would take in.
    source = folder / "source"
    source.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(_REPOSITORY / name, source)
    ignored = shutil.ignore_patterns("__pycache__", "*.egg-info")
    shutil.copytree(_REPOSITORY / "src", source / "src", ignore=ignored)
    subprocess.run([sys.executable, "-m", "venv", folder / "venv"], check=True)
    python = folder / "venv" / "bin" / "python"
    command = [str(python), "-m", "pip", "install", "-qq", str(source)]
    constraints = _REPOSITORY / "constraints.txt"
    if constraints.exists():
        command += ["-c", str(constraints)]
    subprocess.run(command, check=True, env=environment(), cwd=folder)
    return python


def _import_seconds(bench: Bench, python: Path, package: str) -> tuple[float, float]:
    bare, imported = [], []
    for _ in range(bench.size(21, 3)):
        bare.append(_seconds(python, "pass"))
        imported.append(_seconds(python, f"import {package}"))
    return statistics.median(bare), statistics.median(imported)


def _seconds(python: Path, code: str) -> float:
    start = time.perf_counter()
    subprocess.run([python, "-c", code], check=True, env=environment(), stderr=subprocess.DEVNULL)
    return time.perf_counter() - start
