"""The README says what is so."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from headrace.client import Client

ROOT = Path(__file__).parent.parent.parent


def test_the_python_in_the_readme_runs(tmp_path: Path) -> None:
    (block,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    subprocess.run([sys.executable, "-c", block], cwd=tmp_path, check=True)
    (run,) = Client(str(tmp_path / ".headrace")).search_runs(["1"], "metrics.loss < 0.5")
    assert run.data.params == {"lr": "0.01"}


def test_every_link_between_the_documents_leads_somewhere() -> None:
    pages = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
    missing = [
        f"{page.relative_to(ROOT)}: {link}"
        for page in pages
        for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))
        if not (page.parent / link).exists()
    ]
    assert missing == []
