"""The example that trains while its server is killed, moved and restarted."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parent.parent.parent / "examples" / "resilient_training.py"
#: PyTorch is no dependency, not even of the tests: with what it brings for GPUs it has gigabytes.
LIBRARIES = ["sklearn", *(["torch"] if importlib.util.find_spec("torch") else [])]


@pytest.mark.parametrize("library", LIBRARIES)
def test_a_training_ends_complete_whatever_happens_to_its_server(
    library: str, tmp_path: Path
) -> None:
    done = subprocess.run(
        [sys.executable, EXAMPLE, "--library", library, "--epochs", "40"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Nothing is missing." in done.stdout
    assert "The run is FINISHED" in done.stdout
    assert "Traceback" not in done.stderr
