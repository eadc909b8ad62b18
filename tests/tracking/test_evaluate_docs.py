"""The examples of docs/evaluate.md run, one after the other."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

PAGE = Path(__file__).parents[2] / "docs" / "evaluate.md"


def test_the_examples_run() -> None:
    examples = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    assert len(examples) == 4
    names: dict[str, Any] = {"__name__": "__main__"}
    for example in examples:
        exec(compile(example, str(PAGE), "exec"), names)
    assert not names["result"].passed
