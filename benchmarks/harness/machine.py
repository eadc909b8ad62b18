"""What a reader must know of the machine and the versions."""

from __future__ import annotations

import platform
import sqlite3
import subprocess
import time
from pathlib import Path
from typing import Any

import psutil

from benchmarks.harness.peer import version
from benchmarks.harness.postgres import find_binaries


def facts(ours: Path, peer: Path | None, command: str) -> dict[str, Any]:
    """Machine, date, versions and command."""
    try:
        postgres = subprocess.run(
            [find_binaries() / "postgres", "--version"], capture_output=True, text=True, check=True
        ).stdout.strip()
    except RuntimeError:
        postgres = "no PostgreSQL"
    return {
        "command": command,
        "date": time.strftime("%Y-%m-%d"),
        "machine": f"{psutil.cpu_count()} cores, {_model()}, {psutil.virtual_memory().total / 2**30:.0f} GiB "
        f"memory, {platform.system()}",
        "headrace": version(ours, "headrace"),
        "mlflow": version(peer, "mlflow") if peer else "not measured",
        "python": f"Python {platform.python_version()}",
        "sqlite": sqlite3.sqlite_version,
        "postgres": postgres.removeprefix("postgres (").replace(") ", " ", 1),
    }


def _model() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
