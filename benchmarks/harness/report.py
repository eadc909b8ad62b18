"""Results: rows, the table on the terminal, JSON, and docs/benchmarks.md."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
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
        peers: Figures of other tools, in rows that are not about servers alone.
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
    peers: dict[str, float] = field(default_factory=dict)

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


def against(
    benchmark: str,
    what: str,
    unit: str,
    figures: Mapping[str, float],
    *,
    more_is_better: bool,
    limit: float | None = None,
    ahead: bool = False,
    note: str = "",
) -> Row:
    """A row of headrace against the best of the tools that log.

    Args:
        figures: By name of the tool; those that are missing were not measured.
        more_is_better: A rate rather than a cost.
        limit: What headrace's figure should not exceed, or reach if more is better.
        ahead: Whether headrace should be better than each of the others.
    """
    ours = figures.get(HEADRACE)
    peers = {name: value for name, value in figures.items() if name != HEADRACE}
    best = (max if more_is_better else min)(peers.values(), default=None)
    ratio = None
    if ours and best:
        ratio = ours / best if more_is_better else best / ours
    checks = []
    if limit is not None:
        enough = None if ours is None else ours >= limit if more_is_better else ours <= limit
        checks.append(enough)
    if ahead and peers:
        checks.append(None if ratio is None else ratio > 1)
    wanted = [f"{'≥' if more_is_better else '≤'} {limit:,.10g} {unit}"] if limit is not None else []
    wanted += ["ahead of all"] if ahead else []
    return Row(
        benchmark,
        what,
        unit,
        ours,
        None,
        None,
        ratio,
        " and ".join(wanted),
        None if not checks or None in checks else all(checks),
        note,
        peers,
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


def cells(row: Row, peers: Sequence[str] | None = None) -> list[str]:
    """A row as the table shows it, with a column for each of the peers; None: for MLflow's two."""
    return [
        f"{row.what} [{row.unit}]" if row.unit else row.what,
        figure(row.ours),
        *(
            [figure(row.default), figure(row.best)]
            if peers is None
            else [figure(row.peers.get(name)) for name in peers]
        ),
        f"{figure(row.ratio)} ×" if row.ratio is not None else "–",
        row.target,
        {True: "yes", False: "**no**", None: "–"}[row.met],
    ]


HEADINGS = ("what", "headrace", "MLflow default", "MLflow best case", "ratio", "target", "met")


def peers_of(rows: Sequence[Row]) -> list[str]:
    """Names of the tools in the rows, in the order in which they come."""
    return list(dict.fromkeys(name for row in rows for name in row.peers))


def headings(peers: Sequence[str]) -> list[str]:
    """Of a table with a column for each of the peers."""
    return [*HEADINGS[:2], *peers, *HEADINGS[4:]]


def show(servers: Sequence[Row], loggers: Sequence[Row] = ()) -> None:
    """Print the tables: headrace and MLflow as servers, and all tools as loggers."""
    if servers:
        _show("headrace and MLflow, side by side", HEADINGS, servers, None)
    if loggers:
        peers = peers_of(loggers)
        _show("logging, tool by tool", headings(peers), loggers, peers)


def _show(
    title: str, names: Sequence[str], rows: Sequence[Row], peers: Sequence[str] | None
) -> None:
    table = Table(title=title)
    for heading in names:
        table.add_column(heading, justify="left" if heading in ("what", "target") else "right")
    for row in rows:
        table.add_row(*(cell.replace("[", r"\[").replace("**", "") for cell in cells(row, peers)))
    console = Console(width=None if Console().is_terminal else 190 if peers else 150)
    console.print(table)
    for row in rows:
        if row.note:
            console.print(f"{row.what}: {row.note}", markup=False, highlight=False)
