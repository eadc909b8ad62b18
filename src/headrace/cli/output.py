"""What commands print: tables for people, JSON for programs.

Tables are cut to the width of the terminal; written to a pipe or file they are never cut, and have no
colour. ``NO_COLOR`` is respected (by rich).
"""

from __future__ import annotations

import datetime
import io
import math
import sys
from collections.abc import Iterable, Sequence
from typing import Any

import click
import msgspec
from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from headrace.cli.outcome import printable
from headrace.entities import Experiment, Run
from headrace.protocol.wire import encode

#: Width of a table that is not for a terminal: nothing is cut.
_UNCUT = 100_000
_STATUS_STYLES = {
    "FINISHED": "green",
    "RUNNING": "cyan",
    "SCHEDULED": "cyan",
    "LOST": "yellow",
    "FAILED": "red",
    "KILLED": "red",
    "deleted": "yellow",
}

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")


def print_all(*things: RenderableType) -> None:
    """Print tables and lines on the standard output, cut to its width when that is a terminal."""
    if is_terminal():
        Console(highlight=False).print(*things, sep="\n")
        return
    # Rich pads every line to the width of its table: of no use in a file.
    console = Console(file=io.StringIO(), width=_UNCUT, highlight=False)
    with console.capture() as captured:
        console.print(*things, sep="\n")
    click.echo("\n".join(line.rstrip() for line in captured.get().splitlines()))


def is_terminal() -> bool:
    """Whether a person is reading."""
    return sys.stdout.isatty()


def print_json(value: Any) -> None:
    """Print a value as indented JSON; NaN and the infinities as strings."""
    click.echo(msgspec.json.format(encode(value), indent=2).decode())


def print_table(
    headers: Sequence[str], rows: Iterable[Sequence[Any]], *, caption: str = "", title: str = ""
) -> None:
    """Print rows under headers. Numbers stand to the right, as `cell` writes them."""
    listed = [list(row) for row in rows]
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for index, header in enumerate(headers):
        column = [row[index] for row in listed]
        numeric = any(_is_number(value) for value in column) and all(
            value is None or _is_number(value) for value in column
        )
        table.add_column(
            Text(header, style="bold"), justify="right" if numeric else "left", overflow="ellipsis",
            no_wrap=True,
        )  # fmt: skip
    for row in listed:
        table.add_row(*(cell(value) for value in row))
    print_all(
        *([Text(title, style="bold")] if title else []),
        table,
        *([Text(caption, style="dim")] if caption else []),
    )


def print_fields(fields: Iterable[tuple[str, Any]], *, title: str = "") -> None:
    """Print names and values, one pair a line; long values wrap on a terminal."""
    table = Table(box=None, pad_edge=False, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in fields:
        table.add_row(Text(name), cell(value))
    print_all(*([Text(title, style="bold underline")] if title else []), table)


def cell(value: Any) -> Text:
    """A value as it stands in a table. Never markup: names may hold brackets."""
    if value is None:
        return Text("")
    text = number(value) if isinstance(value, float) else str(value)
    text = printable(text)
    return Text(text, style=_STATUS_STYLES.get(text, ""))


def number(value: float) -> str:
    """A float in at most six significant digits."""
    if math.isnan(value):
        return "NaN"
    return f"{value:.6g}"


def moment(millis: int | None) -> str | None:
    """Milliseconds since 1970 as local time."""
    if millis is None:
        return None
    try:
        return datetime.datetime.fromtimestamp(millis / 1000).strftime("%Y-%m-%d %H:%M:%S")
    except (OverflowError, OSError, ValueError):
        return str(millis)


def duration(start: int | None, end: int | None) -> str | None:
    """The time from start to end, in the two largest units; None while it is not over."""
    if start is None or end is None or end < start:
        return None
    seconds = (end - start) / 1000
    if seconds < 60:
        return f"{seconds:.1f}s"
    minutes, seconds = divmod(int(seconds), 60)
    if minutes < 60:
        return f"{minutes}m {seconds:02}s"
    hours, minutes = divmod(minutes, 60)
    if hours < 24:
        return f"{hours}h {minutes:02}m"
    return f"{hours // 24}d {hours % 24:02}h"


def size(count: float) -> str:
    """A number of bytes for people."""
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if count < 1024 or unit == "TiB":
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    raise AssertionError("unreachable")


def plain_experiment(experiment: Experiment) -> dict[str, Any]:
    """An experiment as ``--json`` prints it: flat, tags as an object."""
    return {
        "experiment_id": experiment.experiment_id,
        "name": experiment.name,
        "artifact_location": experiment.artifact_location,
        "lifecycle_stage": experiment.lifecycle_stage,
        "creation_time": experiment.creation_time,
        "last_update_time": experiment.last_update_time,
        "tags": experiment.tags,
    }


def status_of(run: Run) -> str:
    """A run's status in one word: LOST where it claims to run but has been silent for too long."""
    return "LOST" if run.info.lost else run.info.status


def plain_run(run: Run) -> dict[str, Any]:
    """A run as ``--json`` prints it: flat, params, tags and last metric values as objects."""
    info = run.info
    return {
        "run_id": info.run_id,
        "run_name": info.run_name,
        "experiment_id": info.experiment_id,
        "user_id": info.user_id,
        "status": info.status,
        "lost": info.lost,
        "start_time": info.start_time,
        "end_time": info.end_time,
        "artifact_uri": info.artifact_uri,
        "lifecycle_stage": info.lifecycle_stage,
        "metrics": run.data.metrics,
        "params": run.data.params,
        "tags": run.data.tags,
    }


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
