"""Results: rows, the table on the terminal, JSON, and docs/benchmarks.md."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.harness.servers import HEADRACE, MLFLOW_BEST, MLFLOW_DEFAULT


@dataclass
class Row:
    """One line of the table.

    Attributes:
        benchmark: Name of the benchmark that made it.
        what: What was measured.
        unit: Of `ours`, `default` and `best`.
        ours: headrace's figure; `default` and `best`: MLflow's in its two settings.
        ratio: How many times better than the better MLflow (or as `target` says).
        target: In words.
        met: Whether; None where there is no target or nothing to compare with.
        note: What a reader must know.
    """

    benchmark: str
    what: str
    unit: str
    ours: float | None
    default: float | None
    best: float | None
    ratio: float | None
    target: str
    met: bool | None
    note: str = ""

    def to_json(self) -> dict[str, Any]:
        """As plain data."""
        return asdict(self)


def compare(
    benchmark: str,
    what: str,
    unit: str,
    figures: Mapping[str, float],
    *,
    more_is_better: bool,
    times: float | None = None,
    at_most: float | None = None,
    note: str = "",
) -> Row:
    """A row of headrace against the better of the two MLflows.

    Args:
        figures: By kind of server; those that are missing were not measured.
        more_is_better: A rate rather than a cost.
        times: How many times better headrace should be.
        at_most: What headrace's figure itself should not exceed.
    """
    ours = figures.get(HEADRACE)
    peers = [figures[kind] for kind in (MLFLOW_DEFAULT, MLFLOW_BEST) if kind in figures]
    peers = [figure for figure in peers if math.isfinite(figure) and figure > 0]
    peer = (max(peers) if more_is_better else min(peers)) if peers else None
    ratio = None
    if ours and peer:
        ratio = ours / peer if more_is_better else peer / ours
    checks = []
    if times is not None:
        checks.append(None if ratio is None else ratio >= times)
    if at_most is not None:
        checks.append(None if ours is None else ours <= at_most)
    met = None if not checks or None in checks else all(checks)
    wanted = [f"≥ {times:g} ×"] if times is not None else []
    wanted += [f"≤ {at_most:g} {unit}".strip()] if at_most is not None else []
    return Row(
        benchmark,
        what,
        unit,
        ours,
        figures.get(MLFLOW_DEFAULT),
        figures.get(MLFLOW_BEST),
        ratio,
        " and ".join(wanted),
        met,
        note,
    )


def figure(value: float | None) -> str:
    """A number with three significant digits, large ones with separators."""
    if value is None or not math.isfinite(value):
        return "–"
    if abs(value) >= 1000:
        return f"{float(f'{value:.3g}'):,.0f}"
    if value == int(value):
        return f"{value:.0f}"
    return f"{value:.3g}"


def cells(row: Row) -> list[str]:
    """A row as the table shows it."""
    return [
        f"{row.what} [{row.unit}]" if row.unit else row.what,
        figure(row.ours),
        figure(row.default),
        figure(row.best),
        f"{figure(row.ratio)} ×" if row.ratio is not None else "–",
        row.target,
        {True: "yes", False: "**no**", None: "–"}[row.met],
    ]


HEADINGS = ("what", "headrace", "MLflow default", "MLflow best case", "ratio", "target", "met")


def show(rows: list[Row]) -> None:
    """Print the table."""
    table = Table(title="headrace and MLflow, side by side")
    for heading in HEADINGS:
        table.add_column(heading, justify="left" if heading in ("what", "target") else "right")
    for row in rows:
        table.add_row(*(cell.replace("[", r"\[").replace("**", "") for cell in cells(row)))
    console = Console(width=None if Console().is_terminal else 150)
    console.print(table)
    for row in rows:
        if row.note:
            console.print(f"{row.what}: {row.note}", markup=False, highlight=False)
