"""MLflow's current release in an environment of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from benchmarks.harness.processes import environment

#: Points to a Python that has MLflow and psycopg2, to be used instead of making an environment.
VARIABLE = "HEADRACE_BENCH_MLFLOW"
_PLACE = Path(".venv-mlflow")


def peer_python() -> Path:
    """The Python of MLflow's environment, made on first use in ``.venv-mlflow``."""
    given = os.environ.get(VARIABLE)
    if given:
        python = Path(given)
    else:
        python = _PLACE.absolute() / "bin" / "python"
        if not python.exists():
            print(
                f"Installing MLflow into {_PLACE} (once; set {VARIABLE} to reuse one) ...",
                flush=True,
            )
            subprocess.run([sys.executable, "-m", "venv", _PLACE], check=True)
            subprocess.run(
                [python, "-m", "pip", "install", "-qq", "mlflow", "psycopg2-binary"],
                check=True,
                env=environment(),
            )
    byte_compile(python)
    return python


def peer_url(url: str) -> str:
    """A database URL with the driver that MLflow's environment has."""
    return url.replace("postgresql://", "postgresql+psycopg2://", 1)


def byte_compile(python: Path) -> None:
    """Compile an environment, so that nobody pays for it within a measurement."""
    packages = subprocess.run(
        [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout.strip()
    subprocess.run([python, "-m", "compileall", "-q", packages], env=environment(), check=False)


def version(python: Path, distribution: str) -> str:
    """The version of a distribution that an environment has."""
    code = f"import importlib.metadata as m; print(m.version({distribution!r}))"
    return subprocess.run(
        [python, "-c", code], check=True, capture_output=True, text=True
    ).stdout.strip()
