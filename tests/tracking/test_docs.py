"""The examples of docs/tracking.md run."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from headrace.tracking.active import end_run

PAGE = Path(__file__).parents[2] / "docs" / "tracking.md"
EXAMPLES = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("example", EXAMPLES, ids=range(len(EXAMPLES)))
def test_each_example_runs(example: str) -> None:
    try:
        exec(compile(example, str(PAGE), "exec"), {"__name__": "__main__"})
    finally:
        end_run()
