"""Console output of runs: its storage, writing and reading.

The lines of a run are numbered from 1 in the order in which they arrive, whatever stream and source they
come from, and are kept in chunks. A **chunk** holds lines that follow each other::

    u8   version (1)
    u32  size of what follows, unpacked, little-endian
    then one zstd frame of one MessagePack array:
        labels   array of [source, stream], each once
        spans    of labels: array of [index into labels, how many lines in a row have it]
        times    array of integers: milliseconds since the Unix epoch of the first line, then the
                 difference of each to the one before
        text     one string: the lines, joined by newlines

A new layout gets a new version; every version ever written is read. New lines are merged into the last chunk
while that is small, so that a program that prints a line a second does not leave a row for each.
"""

from __future__ import annotations

import struct
import threading
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate, groupby, pairwise
from typing import TYPE_CHECKING, NamedTuple

import msgspec
import sqlalchemy as sa
import zstandard

from headrace.engine import schema
from headrace.engine.liveness import LOST
from headrace.engine.session import SessionBase
from headrace.entities import RunStatus
from headrace.errors import InvalidParameter, NotFound, SchemaMismatch
from headrace.protocol.console import (
    MAX_CONSOLE_LINES,
    ConsolePage,
    Consoles,
    ConsoleText,
    GetConsole,
)
from headrace.protocol.ingest import WriteConsole

if TYPE_CHECKING:
    from headrace.engine.runs import RunRow

_VERSION = 1
_HEAD = struct.Struct("<BI")
#: Lines are merged into a chunk until it has so many characters, and a chunk ends after so many.
CHUNK = 65_536
#: Characters of a line that are kept.
MAX_LINE = 16_384
#: PostgreSQL indexes no long text.
_MAX_SOURCE = 250
_STREAMS = ("stdout", "stderr")
#: Chunks that one read looks through for what a filter lets pass; to find where the end begins, more.
_LOOK = 128
_LOOK_BACK = 1024
#: Characters of lines that one answer holds, and a line.
_ANSWER = 8_388_608

_run = schema.run
_chunk = schema.console_chunk
_open = schema.console_open


class Line(NamedTuple):
    """One complete line."""

    time: int
    stream: str
    source: str
    text: str


class _Chunk(msgspec.Struct, array_like=True, frozen=True):
    labels: list[tuple[str, str]]
    spans: list[tuple[int, int]]
    times: list[int]
    text: str


class _Codec(threading.local):
    """zstd contexts are not for several threads at once, and new ones cost time."""

    def __init__(self) -> None:
        self.pack = zstandard.ZstdCompressor(level=3)
        self.unpack = zstandard.ZstdDecompressor()


_codec = _Codec()
_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(_Chunk)


def encode(lines: Sequence[Line]) -> bytes:
    """A chunk of one line or more, without newlines in them."""
    labels: dict[tuple[str, str], int] = {}
    spans = []
    for label, group in groupby(lines, lambda line: (line.source, line.stream)):
        spans.append((labels.setdefault(label, len(labels)), sum(1 for _ in group)))
    times = [line.time for line in lines]
    differences = [times[0], *(later - sooner for sooner, later in pairwise(times))]
    text = "\n".join(line.text for line in lines)
    body = _encoder.encode(_Chunk(list(labels), spans, differences, text))
    return _HEAD.pack(_VERSION, len(body)) + _codec.pack.compress(body)


def decode(data: bytes) -> list[Line]:
    """The lines of a chunk.

    Raises:
        SchemaMismatch: A newer headrace wrote it.
    """
    return _lines(_unpacked(data))


def _lines(chunk: _Chunk) -> list[Line]:
    labels = (chunk.labels[index] for index, count in chunk.spans for _ in range(count))
    return [
        Line(time, stream, source, text)
        for (source, stream), time, text in zip(
            labels, accumulate(chunk.times), chunk.text.split("\n"), strict=True
        )
    ]


def _unpacked(data: bytes) -> _Chunk:
    version, size = _HEAD.unpack_from(data)
    if version != _VERSION:
        raise SchemaMismatch(
            f"Console output is stored in version {version}, this headrace reads {_VERSION}: upgrade it."
        )
    return _decoder.decode(_codec.unpack.decompress(data[_HEAD.size :], max_output_size=size))


class ConsoleOperations(SessionBase, Consoles):
    """`Consoles`, and the writing, over tables ``console_chunk`` and ``console_open``."""

    def write_console(self, run: RunRow, step: WriteConsole) -> None:
        """Append what a process printed.

        Args:
            run: An active run.
            step: Line ends within a line part it; lines over 16,384 characters are cut, with a mark.

        Raises:
            InvalidParameter: No such stream, or a source of over 250 characters; nothing is written.
        """
        if step.stream not in _STREAMS:
            raise InvalidParameter(
                f"Invalid stream '{step.stream[:60]}': give one of {', '.join(_STREAMS)}."
            )
        if len(step.source) > _MAX_SOURCE:
            raise InvalidParameter(
                f"The source of console output has {len(step.source)} characters; at most "
                f"{_MAX_SOURCE} are allowed."
            )
        source = _clean(step.source)
        if self.connection.dialect.name != "sqlite":
            # Who appends must see the last chunk of who did before.
            self.connection.execute(
                sa.select(_run.c.id).where(_run.c.id == run.id).with_for_update(key_share=True)
            )
        self.moved(run.uuid, run.experiment_id, "console")
        lines = [
            Line(line.time, step.stream, source, _cut(text))
            for line in step.lines
            for text in _clean(line.text).split("\n")
        ]
        if lines:
            self._append(run.id, lines)
        self._leave_open(run.id, source, step)

    def _append(self, run_id: int, lines: list[Line]) -> None:
        last = self.connection.execute(
            sa.select(_chunk)
            .where(_chunk.c.run_id == run_id)
            .order_by(_chunk.c.first.desc())
            .limit(1)
        ).first()
        first = 1
        if last is not None:
            first = last.first + last.lines
            if _HEAD.unpack_from(last.data)[1] < CHUNK:
                self.connection.execute(
                    sa.delete(_chunk).where(_chunk.c.run_id == run_id, _chunk.c.first == last.first)
                )
                first = last.first
                lines = decode(last.data) + lines
        rows = []
        for part in _parts(lines):
            rows.append(
                {"run_id": run_id, "first": first, "lines": len(part), "data": encode(part)}
            )
            first += len(part)
        self.connection.execute(_chunk.insert(), rows)

    def _leave_open(self, run_id: int, source: str, step: WriteConsole) -> None:
        """Keep the unfinished line in the place of the one before."""
        if not step.unfinished:
            self.connection.execute(
                sa.delete(_open).where(
                    _open.c.run_id == run_id,
                    _open.c.source == source,
                    _open.c.stream == step.stream,
                )
            )
            return
        statement = self.insert(_open)
        self.connection.execute(
            statement.on_conflict_do_update(
                index_elements=[_open.c.run_id, _open.c.source, _open.c.stream],
                set_={"time": statement.excluded.time, "text": statement.excluded.text},
            ),
            {
                "run_id": run_id,
                "source": source,
                "stream": step.stream,
                "time": self.now,
                "text": _cut(_clean(step.unfinished).replace("\n", " ")),
            },
        )

    def get_console(self, request: GetConsole) -> ConsolePage:
        if request.start == 0:
            raise InvalidParameter(
                "Invalid start 0: lines are numbered from 1; a negative start counts from the end."
            )
        if not 0 <= request.limit <= MAX_CONSOLE_LINES:
            raise InvalidParameter(
                f"Invalid limit {request.limit}: give a number from 0 to {MAX_CONSOLE_LINES}."
            )
        run = self.connection.execute(
            sa.select(_run.c.id, _run.c.status).where(_run.c.uuid == request.run_id)
        ).first()
        if run is None:
            raise NotFound(f"Run '{request.run_id[:300]}' not found; check the run id.")
        total = self._total(run.id)
        passes = _Filter(request)
        start = request.start
        if start < 0:
            start = self._counted_back(run.id, total, -start, passes)
        found, following = self._read(run.id, start, total, request.limit, passes)
        return ConsolePage(
            lines=tuple(found),
            unfinished=tuple(self._unfinished(run.id, passes)),
            next=following,
            total=total,
            ended=run.status not in (RunStatus.RUNNING, RunStatus.SCHEDULED, LOST),
            lost=run.status == LOST,
        )

    def _total(self, run_id: int) -> int:
        last = self.connection.execute(
            sa.select(_chunk.c.first, _chunk.c.lines)
            .where(_chunk.c.run_id == run_id)
            .order_by(_chunk.c.first.desc())
            .limit(1)
        ).first()
        return 0 if last is None else int(last.first + last.lines - 1)

    def _counted_back(self, run_id: int, total: int, count: int, passes: _Filter) -> int:
        """Number of the line from which on, to the end, so many lines pass."""
        if passes.everything:
            return max(1, total - count + 1)
        start = total + 1
        chunks = self._chunks(_chunk.c.run_id == run_id, newest_first=True, limit=_LOOK_BACK)
        for first, _count, data in chunks:
            start = first
            for number, _line in reversed(passes.of(first, data)):
                count -= 1
                if count == 0:
                    return number
        return start

    def _read(
        self, run_id: int, start: int, total: int, limit: int, passes: _Filter
    ) -> tuple[list[ConsoleText], int]:
        """Lines that pass, and the number of the line to go on with."""
        found: list[ConsoleText] = []
        if start > total or limit == 0:
            return found, min(start, total + 1)
        holds_start = (
            sa.select(sa.func.max(_chunk.c.first))
            .where(_chunk.c.run_id == run_id, _chunk.c.first <= start)
            .scalar_subquery()
        )
        size = 0
        following = start
        chunks = self._chunks(
            sa.and_(_chunk.c.run_id == run_id, _chunk.c.first >= holds_start), limit=_LOOK
        )
        for first, count, data in chunks:
            for number, line in passes.of(first, data):
                if number < start:
                    continue
                found.append(
                    ConsoleText(
                        number=number,
                        time=line.time,
                        stream=line.stream,
                        source=line.source,
                        text=line.text,
                    )
                )
                size += len(line.text)
                if len(found) >= limit or size >= _ANSWER:
                    return found, number + 1
            following = first + count
        return found, following

    def _chunks(
        self, where: sa.ColumnElement[bool], *, limit: int, newest_first: bool = False
    ) -> Iterator[tuple[int, int, bytes]]:
        """First line numbers, numbers of lines and data of chunks, fetched a few at a time."""
        order = _chunk.c.first.desc() if newest_first else _chunk.c.first
        beyond: sa.ColumnElement[bool] = sa.true()
        few = 2
        while limit > 0:
            rows = self.connection.execute(
                sa.select(_chunk.c.first, _chunk.c.lines, _chunk.c.data)
                .where(where, beyond)
                .order_by(order)
                .limit(min(few, limit))
            ).all()
            for row in rows:
                yield row.first, row.lines, row.data
            if len(rows) < few:
                return
            limit -= few
            last = rows[-1].first
            beyond = _chunk.c.first < last if newest_first else _chunk.c.first > last
            few = 16

    def _unfinished(self, run_id: int, passes: _Filter) -> Iterator[ConsoleText]:
        for row in self.connection.execute(
            sa.select(_open.c.time, _open.c.stream, _open.c.source, _open.c.text)
            .where(_open.c.run_id == run_id)
            .order_by(_open.c.source, _open.c.stream)
        ):
            if passes(Line(*row)):
                yield ConsoleText(
                    time=row.time, stream=row.stream, source=row.source, text=row.text
                )


class _Filter:
    """Which lines were asked for."""

    def __init__(self, request: GetConsole) -> None:
        self._contains = request.contains.casefold()
        self._stream = request.stream
        self._source = request.source
        self.everything = not (self._contains or self._stream or self._source)

    def of(self, first: int, data: bytes) -> list[tuple[int, Line]]:
        """The lines of a chunk that pass, with their numbers."""
        chunk = _unpacked(data)
        if self._contains not in chunk.text.casefold():
            return []  # most chunks of most searches: no line is looked at
        return [(number, line) for number, line in enumerate(_lines(chunk), first) if self(line)]

    def __call__(self, line: Line) -> bool:
        return self.everything or (
            (not self._stream or line.stream == self._stream)
            and (not self._source or line.source == self._source)
            and self._contains in line.text.casefold()
        )


def _parts(lines: Iterable[Line]) -> Iterator[list[Line]]:
    """Lines in chunks."""
    part: list[Line] = []
    size = 0
    for line in lines:
        part.append(line)
        size += len(line.text) + 1
        if size >= CHUNK:
            yield part
            part, size = [], 0
    if part:
        yield part


def _clean(text: str) -> str:
    """Text that every store can hold."""
    if "\x00" in text:
        text = text.replace("\x00", "\N{REPLACEMENT CHARACTER}")
    try:
        text.encode()
    except UnicodeEncodeError:  # halves of surrogate pairs
        text = text.encode(errors="replace").decode()
    return text


def _cut(text: str) -> str:
    if len(text) <= MAX_LINE:
        return text
    return f"{text[:MAX_LINE]}… [{len(text) - MAX_LINE} more characters]"
