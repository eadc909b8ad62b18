"""Runs as files: CSV, Parquet, JSON, JSON Lines.

Which columns there are is known only when the last run was read, so runs are spooled first; memory does
not grow with their number.
"""

from __future__ import annotations

import contextlib
import csv
import datetime
import io
import os
import struct
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import IO, Any

import msgspec

from headrace.cli.output import plain_run
from headrace.entities import Run
from headrace.errors import HeadraceError, InvalidParameter, Unsupported
from headrace.protocol.wire import encode

_FORMATS = {
    ".csv": "csv",
    ".parquet": "parquet",
    ".pq": "parquet",
    ".json": "json",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
}
_ATTRIBUTES = (
    "run_id",
    "experiment_id",
    "run_name",
    "user_id",
    "status",
    "lifecycle_stage",
    "artifact_uri",
    "start_time",
    "end_time",
)
_TIMES = ("start_time", "end_time")
_MAPPINGS = ("metrics", "params", "tags")
#: Runs in a row group of Parquet.
_ROW_GROUP = 10_000
#: Beyond this many bytes spooled runs go to disk.
_IN_MEMORY = 32 << 20
_LENGTH = struct.Struct("<I")


def format_of(path: Path | None) -> str:
    """The format that a file's ending stands for; CSV for the standard output.

    Raises:
        InvalidParameter: The ending stands for none.
    """
    if path is None:
        return "csv"
    found = _FORMATS.get(path.suffix.lower())
    if found is None:
        raise InvalidParameter(
            f"'{path}' does not say its format: end it in {', '.join(_FORMATS)}, or give --format."
        )
    return found


def export_runs(runs: Iterable[Run], kind: str, path: Path | None) -> int:
    """Write runs, and say how many.

    A file is whole or not there: it is written beside its place and then moved.

    Args:
        runs: In the order to write them; read once.
        kind: ``csv``, ``parquet``, ``json`` or ``jsonl``.
        path: The file, None for the standard output.

    Raises:
        InvalidParameter: Parquet to the standard output.
        Unsupported: Parquet without pyarrow.
        HeadraceError: The file cannot be written.
    """
    if kind == "parquet":
        _require_pyarrow()
        if path is None:
            raise InvalidParameter("Parquet needs a file: give --output.")
    with tempfile.SpooledTemporaryFile(_IN_MEMORY) as spool:
        table = _Spooled(spool)
        for run in runs:
            table.add(run)
        with _target(path) as out:
            _WRITERS[kind](table, out)
    return table.count


class _Spooled:
    """Runs on their way to a file, and the columns that they have."""

    def __init__(self, spool: IO[bytes]) -> None:
        self.count = 0
        self._spool = spool
        self._keys: dict[str, set[str]] = {name: set() for name in _MAPPINGS}

    def add(self, run: Run) -> None:
        plain = plain_run(run)
        for name in _MAPPINGS:
            self._keys[name].update(plain[name])
        body = msgspec.msgpack.encode(plain)
        self._spool.write(_LENGTH.pack(len(body)) + body)
        self.count += 1

    def columns(self) -> list[tuple[str, str]]:
        """Every (mapping, key) that a run has, sorted."""
        return [(name, key) for name in _MAPPINGS for key in sorted(self._keys[name])]

    def __iter__(self) -> Iterator[dict[str, Any]]:
        self._spool.seek(0)
        while head := self._spool.read(_LENGTH.size):
            yield msgspec.msgpack.decode(self._spool.read(_LENGTH.unpack(head)[0]))


def _write_csv(table: _Spooled, out: IO[bytes]) -> None:
    text = io.TextIOWrapper(out, encoding="utf-8", newline="", write_through=True)
    columns = table.columns()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow((*_ATTRIBUTES, *(f"{name}.{key}" for name, key in columns)))
    for run in table:
        row = [_iso(run[name]) if name in _TIMES else _cell(run, name) for name in _ATTRIBUTES]
        writer.writerow((*row, *(run[name].get(key) for name, key in columns)))
    text.detach()


def _write_json(table: _Spooled, out: IO[bytes]) -> None:
    separator = b"[\n"
    for run in table:
        out.write(separator + encode(run))
        separator = b",\n"
    out.write(b"\n]\n" if table.count else b"[]\n")


def _write_jsonl(table: _Spooled, out: IO[bytes]) -> None:
    for run in table:
        out.write(encode(run) + b"\n")


def _write_parquet(table: _Spooled, out: IO[bytes]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = table.columns()
    moment = pa.timestamp("ms", tz="UTC")
    schema = pa.schema(
        [(name, moment if name in _TIMES else pa.string()) for name in _ATTRIBUTES]
        + [
            (f"{name}.{key}", pa.float64() if name == "metrics" else pa.string())
            for name, key in columns
        ]
    )
    with pq.ParquetWriter(out, schema, compression="zstd") as writer:
        for group in _groups(table, _ROW_GROUP):
            arrays = [[_cell(run, name) for run in group] for name in _ATTRIBUTES]
            arrays += [[run[name].get(key) for run in group] for name, key in columns]
            writer.write_table(
                pa.table(
                    [
                        pa.array(array, field.type)
                        for array, field in zip(arrays, schema, strict=True)
                    ],
                    schema=schema,
                )
            )


_WRITERS: dict[str, Callable[[_Spooled, IO[bytes]], None]] = {
    "csv": _write_csv,
    "json": _write_json,
    "jsonl": _write_jsonl,
    "parquet": _write_parquet,
}


def _cell(run: dict[str, Any], name: str) -> Any:
    """An attribute in a table, which has no column of its own for what only few runs are."""
    return "LOST" if name == "status" and run["lost"] else run[name]


def _groups(table: _Spooled, count: int) -> Iterator[list[dict[str, Any]]]:
    group: list[dict[str, Any]] = []
    for run in table:
        group.append(run)
        if len(group) == count:
            yield group
            group = []
    if group:
        yield group


def _require_pyarrow() -> None:
    try:
        import pyarrow.parquet  # noqa: F401 - only whether it is there
    except ImportError:
        raise Unsupported(
            "Parquet needs pyarrow, which is not installed: pip install pyarrow, or export to CSV or JSON."
        ) from None


@contextlib.contextmanager
def _target(path: Path | None) -> Iterator[IO[bytes]]:
    if path is None:
        sys.stdout.flush()
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    try:
        descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        try:
            with os.fdopen(descriptor, "wb") as out:
                yield out
            Path(name).chmod(0o666 & ~_umask())
            Path(name).replace(path)
        except BaseException:  # whatever ended it, interruption included: leave no half file
            Path(name).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise HeadraceError(f"Cannot write {path}: {error.strerror or error}.") from error


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _iso(millis: int | None) -> str | None:
    if millis is None:
        return None
    try:
        moment = datetime.datetime.fromtimestamp(millis / 1000, datetime.UTC)
    except (OverflowError, OSError, ValueError):
        return str(millis)
    return moment.isoformat(sep=" ", timespec="milliseconds")
