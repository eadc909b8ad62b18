"""``headrace runs logs``."""

from __future__ import annotations

import datetime
import re
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import click
import msgspec
from rich.text import Text

from headrace.cli import lookup
from headrace.cli.outcome import complain, printable
from headrace.cli.output import is_terminal, json_option, moment, print_json
from headrace.cli.store import ask, opened, store_option
from headrace.entities import Run
from headrace.errors import Unavailable
from headrace.protocol.console import MAX_CONSOLE_LINES, ConsolePage, Consoles, ConsoleText
from headrace.protocol.store import Store
from headrace.protocol.wire import encode

#: Seconds between two looks for more.
_POLL_S = 0.5
#: Colours, titles, moves of the cursor.
_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[ -/]*[0-~])")
_CLEAR = "\r\x1b[2K"


@click.command()
@click.argument("run", required=False)
@click.option("-r", "--run-id", help="As RUN.")
@click.option("-f", "--follow", is_flag=True, help="Go on until the run has ended.")
@click.option("-n", "--tail", type=click.IntRange(min=0), help="Only the last so many lines.  [default: all]")  # fmt: skip
@click.option("-g", "--grep", "contains", default="", metavar="TEXT", help="Only lines with this in them, in any case.")  # fmt: skip
@click.option("--stream", type=click.Choice(["stdout", "stderr"]), default=None, help="Only this stream.")  # fmt: skip
@click.option("--source", default="", help="Only what this process wrote, such as rank-3.")
@click.option("-t", "--timestamps", is_flag=True, help="Say when each line was written.")
@json_option
@store_option
def logs(
    run: str | None,
    run_id: str | None,
    follow: bool,
    tail: int | None,
    contains: str,
    stream: str | None,
    source: str,
    timestamps: bool,
    as_json: bool,
    store_uri: str | None,
) -> None:
    """Print what a run printed, oldest first; with --follow also what it prints from now on.

    With filters, --tail counts the lines that pass. --json prints one document, and with --follow one
    object a line.
    """
    if (run is None) == (run_id is None):
        raise click.UsageError("Give one run.")
    asked = {"contains": contains, "stream": stream, "source": source}
    with opened(store_uri) as store:
        found = lookup.find_run(store, run or run_id or "")
        bottom = _Bottom()
        pages = _pages(store, found.info.run_id, tail, follow, asked, bottom.notice)
        if as_json and not follow:
            _print_document(found, list(pages))
        elif as_json:
            _follow_json(pages)
        else:
            _print_lines(pages, bottom, follow, timestamps)


def _pages(
    store: Store,
    run_id: str,
    tail: int | None,
    follow: bool,
    asked: dict[str, Any],
    notice: Callable[[str], None],
) -> Iterator[ConsolePage]:
    """Pages of output until all was read, or, following, until the run has ended.

    Who follows wants to see the end: a store that is away for a while is waited for.
    """

    def page(start: int, limit: int = MAX_CONSOLE_LINES) -> ConsolePage:
        found: ConsolePage = ask(
            store, Consoles.get_console, run_id=run_id, start=start, limit=limit, **asked
        )
        return found

    start = -tail if tail else 1
    if tail == 0:
        start = page(1, limit=0).total + 1
    end: int | None = None
    away = False
    while True:
        try:
            found = page(start)
        except Unavailable as error:
            if not follow:
                raise
            if not away:
                notice(f"{error.message} Waiting for it.")
            away = True
            time.sleep(_POLL_S)
            continue
        away = False
        yield found
        start = found.next
        if not follow:
            # What it prints meanwhile is not waited for, or a fast one would never end.
            end = found.total if end is None else end
            if start > end:
                return
        elif start > found.total:
            if found.ended:
                return
            time.sleep(_POLL_S)


def _print_document(run: Run, pages: Sequence[ConsolePage]) -> None:
    last = pages[-1]
    print_json(
        {
            "run_id": run.info.run_id,
            "total": last.total,
            "ended": last.ended,
            "lost": last.lost,
            "lines": [_plain(line) for page in pages for line in page.lines],
            "unfinished": [_plain(line) for line in last.unfinished],
        }
    )


def _follow_json(pages: Iterator[ConsolePage]) -> None:
    for page in pages:
        for line in page.lines:
            click.echo(encode(_plain(line)).decode())


def _plain(line: ConsoleText) -> dict[str, Any]:
    found: dict[str, Any] = msgspec.structs.asdict(line)
    return found if line.number else {**found, "number": None}


def _print_lines(
    pages: Iterator[ConsolePage], bottom: _Bottom, follow: bool, timestamps: bool
) -> None:
    unfinished: Sequence[ConsoleText] = ()
    lost = False
    try:
        for page in pages:
            unfinished = page.unfinished
            if page.lines:
                bottom.clear()
                click.echo("\n".join(_shown(line, timestamps) for line in page.lines))
            if follow and page.lost and not lost:
                bottom.notice("The run is lost: it gives no sign of life. Waiting for one.")
            lost = page.lost
            if follow and unfinished and is_terminal():
                newest = max(unfinished, key=lambda line: line.time)
                bottom.show(_shown(newest, timestamps))
            elif not unfinished:
                bottom.clear()
    finally:  # also when interrupted
        bottom.clear()
    for line in unfinished:
        click.echo(_shown(line, timestamps))


class _Bottom:
    """The line at the bottom of a terminal that is written again and again: a progress bar."""

    def __init__(self) -> None:
        self._shown = ""

    def show(self, text: str) -> None:
        """Put this in the place of what was there."""
        line = Text(text)
        line.truncate(max(1, shutil.get_terminal_size().columns - 1))  # or it would take two lines
        if line.plain != self._shown:
            click.echo(_CLEAR + line.plain, nl=False)
            self._shown = line.plain

    def notice(self, message: str) -> None:
        """Say something on the standard error, on a line of its own."""
        self.clear()
        complain(message)

    def clear(self) -> None:
        """Make room for whole lines."""
        if self._shown:
            click.echo(_CLEAR, nl=False)
            self._shown = ""


def _shown(line: ConsoleText, timestamps: bool) -> str:
    """A line for people: what a run printed must not reach the terminal as a command to it."""
    text = printable(_ESCAPES.sub("", line.text).expandtabs())
    if line.source:
        text = f"[{printable(line.source)}] {text}"
    return f"{_time(line.time)} {text}" if timestamps else text


def _time(millis: int) -> str | None:
    try:
        return datetime.datetime.fromtimestamp(millis / 1000).isoformat(" ", "milliseconds")
    except (OverflowError, OSError, ValueError):
        return moment(millis)
