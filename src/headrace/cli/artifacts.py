"""``headrace artifacts``."""

from __future__ import annotations

import contextlib
import posixpath
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import click

from headrace.artifacts import ArtifactStore, artifact_path
from headrace.cli.lookup import find_run
from headrace.cli.output import json_option, print_json, print_table, size
from headrace.cli.store import opened, store_option
from headrace.client.artifacts import artifacts_at
from headrace.client.stores import is_remote
from headrace.client.transfer import Progress, download, upload, upload_dir
from headrace.entities import FileInfo
from headrace.errors import InvalidParameter

_RUNS = "runs:/"


@click.group()
def artifacts() -> None:
    """List, download and upload the files of runs.

    WHERE is a run's id or the beginning of it, runs:/<id>/path, or the URI of any artifact folder: a
    path with a slash in it, file:///…, s3://…, gs://…, az://…, mlflow-artifacts:/….
    """


@artifacts.command("ls")
@click.argument("where")
@click.argument("path", default="")
@click.option("-r", "--recursive", is_flag=True, help="Folders with all in them.")
@json_option
@store_option
def list_(where: str, path: str, recursive: bool, as_json: bool, store_uri: str | None) -> None:
    """List the files of a run, or of one folder of them."""
    with _opened(where, store_uri) as (store, base):
        root = _join(base, path)
        found = store.list(root)
        if not found and root:
            with contextlib.suppress(InvalidParameter):  # an empty folder, in stores that have them
                stat = store.stat(root)  # not there: NotFound
                found = [_file(root, stat.size)]
        if recursive:
            found = list(_deep(store, found))
        cut = len(base) + 1 if base and root != base else 0
        rows = [(info.path[cut:], info.is_dir, info.file_size) for info in found]
    if as_json:
        print_json([dict(zip(("path", "is_dir", "file_size"), row, strict=True)) for row in rows])
        return
    print_table(
        ("path", "size"),
        ((f"{name}/" if folder else name, None if folder else size(length or 0)) for name, folder, length in rows),
        caption="" if rows else "Nothing there.",
    )  # fmt: skip


@artifacts.command("get")
@click.argument("where")
@click.argument("path", default="")
@click.argument("dst", default=".", type=click.Path(path_type=Path))
@store_option
def get(where: str, path: str, dst: Path, store_uri: str | None) -> None:
    """Download a file, or a folder with all in it; prints where it is now.

    DST is an existing folder (default: this one), or a new name. Everything of a run goes into DST
    itself when PATH is "". A download that was cut goes on where it stopped.
    """
    if "/" in where and path and dst == Path():
        # `get runs:/id/path DST`: the path is in the URI already.
        path, dst = "", Path(path)
    with _opened(where, store_uri) as (store, base), _bars() as progress:
        click.echo(download(store, _join(base, path), dst, progress))


@artifacts.command("put")
@click.argument("where")
@click.argument("local", type=click.Path(exists=True, path_type=Path))
@click.argument("path", default="")
@store_option
def put(where: str, local: Path, path: str, store_uri: str | None) -> None:
    """Upload a file under its own name, or what is in a folder, into the folder PATH of a run."""
    with _opened(where, store_uri) as (store, base), _bars() as progress:
        folder = _join(base, path)
        if local.is_dir():
            count = len(upload_dir(store, local, folder, progress))
            click.echo(f"{count} file{'' if count == 1 else 's'} in {_shown(store, folder)}")
        else:
            target = posixpath.join(folder, local.name)
            upload(store, local, target, progress)
            click.echo(_shown(store, target))


@contextlib.contextmanager
def _opened(where: str, store_uri: str | None) -> Iterator[tuple[ArtifactStore, str]]:
    """The store that WHERE names, and the path in it."""
    run_id, _, path = where.removeprefix(_RUNS).lstrip("/").partition("/")
    if not where.startswith(_RUNS):
        if "/" in where:
            if where.startswith("mlflow-artifacts:"):
                with opened(store_uri) as tracking:
                    yield artifacts_at(where, tracking), ""
            elif is_remote(where):
                raise InvalidParameter(
                    f"'{where}' is a server; name it with --store, and a run here."
                )
            else:
                yield artifacts_at(where), ""
            return
        run_id, path = where, ""
    if not run_id:
        raise InvalidParameter(f"'{where}' names no run: write runs:/<run id>/path.")
    with opened(store_uri) as tracking:
        run = find_run(tracking, run_id)
        yield artifacts_at(run.info.artifact_uri, tracking), artifact_path(path, root=True)


def _join(base: str, path: str) -> str:
    return posixpath.join(base, artifact_path(path, root=True)).rstrip("/")


def _shown(store: ArtifactStore, path: str) -> str:
    return f"{store.uri.rstrip('/')}/{path}".rstrip("/")


def _file(path: str, length: int) -> FileInfo:

    return FileInfo(path=path, is_dir=False, file_size=length)


def _deep(store: ArtifactStore, found: list[FileInfo]) -> Iterator[FileInfo]:
    for info in found:
        if info.is_dir:
            yield from _deep(store, store.list(info.path))
        else:
            yield info


@contextlib.contextmanager
def _bars() -> Iterator[Progress | None]:
    """Progress bars on standard error, when that is a terminal and the transfer takes a while."""
    if not sys.stderr.isatty():
        yield None
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
    tasks: dict[str, bars.TaskID] = {}
    lock = threading.Lock()

    def report(path: str, done: int, total: int) -> None:
        with lock:
            if path not in tasks:
                tasks[path] = display.add_task(escape(path), total=total)
            display.update(tasks[path], completed=done)
            if done >= total:
                # Many small files must not fill the screen.
                display.update(tasks[path], visible=False)

    with display:
        yield report
