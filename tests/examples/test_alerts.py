"""The example in which a chat hears of a failed run, a NaN and a silent run, and that they are over."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

EXAMPLE = Path(__file__).parent.parent.parent / "examples" / "alerts.py"


def test_a_chat_hears_of_trouble_and_of_its_end(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, EXAMPLE],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    told = re.findall(r"^(\S+) (fired|resolved): in the chat", done.stdout, re.M)
    rules = ("failed-run", "nan-loss", "silent-run")
    assert told == [(rule, word) for rule in rules for word in ("fired", "resolved")]
    assert "Traceback" not in done.stderr
