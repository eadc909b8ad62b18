"""``headrace sync``: ship what was logged offline, or was left behind."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import msgspec

from headrace.cli.outcome import FAILED, complain
from headrace.cli.output import json_option, print_json
from headrace.client.journal.directory import journal_directory
from headrace.client.journal.syncing import Sync, Synced
from headrace.client.stores import resolve

#: Seconds between two looks with ``--follow``.
_PAUSE = 1.0


@click.command()
@click.argument(
    "places", metavar="[DIR]...", nargs=-1, type=click.Path(exists=True, path_type=Path)
)
@click.option("--follow", is_flag=True, help="Go on until Ctrl-C: ship what appears.")
@click.option(
    "--store",
    "--tracking-uri",
    "store_uri",
    metavar="URI",
    help="Ship everything to this store [default: to where each journal belongs]",
)
@click.option("--keep", is_flag=True, help="Leave the journals where they are.")
@json_option
def sync(
    places: tuple[Path, ...], follow: bool, store_uri: str | None, keep: bool, as_json: bool
) -> None:
    """Ship what was logged offline, or what a process left behind, to its store.

    DIR is a folder of journals, one journal, or a copy of such from another machine; default: this
    user's journals on this machine. Any of them may be shipped any number of times, in any order: the
    store takes each record once. Journals of processes that still run are skipped. What has arrived is
    removed here.

    Exit code 1 when something did not arrive.
    """
    looked = places or (journal_directory(),)
    uri = None if store_uri is None else resolve(store_uri)
    total = Synced()
    said: set[str] = set()
    with _bars() as (begin, progress):
        work = Sync(uri, keep=keep, tell=complain, begin=begin, progress=progress)
        try:
            while True:
                found = work.run(looked)
                _add(total, found)
                for folder, reason in found.left.items():
                    if f"{folder}: {reason}" not in said:
                        said.add(f"{folder}: {reason}")
                        complain(f"{folder} was not shipped: {reason}")
                if not follow:
                    break
                time.sleep(_PAUSE)
        except KeyboardInterrupt:
            if not follow:
                raise
        finally:
            work.close()
    if as_json:
        print_json(_plain(total))
    else:
        _print(total)
    if not total.complete:
        click.get_current_context().exit(FAILED)


def _add(total: Synced, found: Synced) -> None:
    total.journals += found.journals
    total.runs |= found.runs
    total.points += found.points
    total.records += found.records
    total.artifacts += found.artifacts
    total.rejected += found.rejected
    total.damaged += found.damaged
    total.live, total.left = found.live, found.left


def _plain(total: Synced) -> dict[str, Any]:
    fields: dict[str, Any] = msgspec.to_builtins(total)
    return {**fields, "runs": sorted(total.runs)}


def _print(total: Synced) -> None:
    for folder in total.live:
        click.echo(f"skipped, its process runs: {folder}")
    if not total.journals and not total.left and not total.damaged:
        click.echo("Nothing to ship.")
        return
    parts = [
        _count(total.journals, "journal"),
        _count(len(total.runs), "run"),
        _count(total.points, "metric point"),
        _count(total.records, "other record"),
        _count(total.artifacts, "artifact"),
    ]
    for number, what in (
        (total.rejected, "rejected"),
        (total.damaged, "damaged"),
        (len(total.left), "not shipped"),
    ):
        if number:
            parts.append(f"{number:,} {what}")
    click.echo(", ".join(parts))


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


@contextlib.contextmanager
def _bars() -> Iterator[tuple[Callable[[Path, int], Callable[[int], None]] | None, Any]]:
    """A progress bar for each journal, on standard error when that is a terminal."""
    if not sys.stderr.isatty():
        yield None, None
        return
    from rich import progress as bars
    from rich.console import Console
    from rich.markup import escape

    display = bars.Progress(
        bars.TextColumn("{task.description}"),
        bars.BarColumn(),
        bars.DownloadColumn(binary_units=True),
        bars.TransferSpeedColumn(),
        bars.TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    )
    uploads: dict[str, bars.TaskID] = {}

    def begin(folder: Path, size: int) -> Callable[[int], None]:
        task = display.add_task(escape(folder.name), total=size)

        def report(done: int) -> None:
            display.update(task, completed=done, visible=done < size)

        return report

    def uploaded(path: str, done: int, total: int) -> None:
        if path not in uploads:
            uploads[path] = display.add_task(escape(path), total=total)
        display.update(uploads[path], completed=done, visible=done < total)

    with display:
        yield begin, uploaded
