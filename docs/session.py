"""Draws docs/session.svg, the README's picture, from real commands on the demo's store.

make demo | cat && .venv/bin/python docs/session.py
"""

from __future__ import annotations

import io
import json
import os
import pty
import re
import shlex
import subprocess
import sys
from pathlib import Path

from rich.console import Console
from rich.text import Text

ROOT = Path(__file__).parent.parent
STORE = ROOT / ".headrace-demo"
WIDTH = 104


def main() -> None:
    best = ["runs", "list", "-x", "digits", "-f", "params.model IS NOT NULL", "-o", "metrics.accuracy DESC"]  # fmt: skip
    found = subprocess.run(
        [sys.executable, "-m", "headrace", *best, "-l", "2", "--json", "--store", STORE],
        capture_output=True,
        check=True,
    )
    first, second = (run["run_id"][:8] for run in json.loads(found.stdout))
    console = Console(record=True, width=WIDTH, file=io.StringIO(), force_terminal=True)
    for arguments in ([*best, "-l", "6"], ["runs", "compare", first, second]):
        console.print(Text.assemble(("$ ", "dim"), (f"headrace {shlex.join(arguments)}", "bold")))
        console.print(Text.from_ansi(terminal_output(arguments)))
        console.print()
    svg = console.export_svg(title="headrace", unique_id="session")
    # The reader's own font: a picture must not fetch anything.
    svg = re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL)
    svg = svg.replace(
        "font-family: Fira Code, monospace", "font-family: ui-monospace, Menlo, Consolas, monospace"
    )
    (ROOT / "docs" / "session.svg").write_text(svg, encoding="utf-8")


def terminal_output(arguments: list[str]) -> str:
    """What a command writes to a terminal."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "headrace", *arguments],
        stdout=theirs,
        env={**os.environ, "HEADRACE_TRACKING_URI": str(STORE), "COLUMNS": str(WIDTH), "TERM": "xterm-256color"},
    )  # fmt: skip
    os.close(theirs)
    written = b""
    while True:
        try:
            some = os.read(ours, 65536)
        except OSError:  # how Linux says that nobody holds the other end any more
            break
        if not some:
            break
        written += some
    os.close(ours)
    if process.wait() != 0:
        raise SystemExit(f"headrace {shlex.join(arguments)} failed")
    return written.decode().replace("\r\n", "\n").rstrip()


if __name__ == "__main__":
    main()
