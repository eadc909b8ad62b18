"""Cutting a segment into batches: points as columns, without touching them one by one."""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from typing import NamedTuple, cast

import msgspec

from headrace.client.journal.format import SLOT, Kind
from headrace.client.journal.reader import Damage, Found, Payload, Points, Read, records
from headrace.client.journal.records import StagedArtifact
from headrace.errors import Unsupported
from headrace.protocol.ingest import AnyStep, Batch, Series

#: What one batch holds at most: points, bytes of other records, and files to upload.
POINTS = 65_536
BYTES = 8 << 20
ARTIFACTS = 16
#: A table of up to so many series goes with a batch as it is, with those that it does not use.
_SMALL_TABLE = 64
#: In the place of a number that means no series: the store knows no such run, and says so.
_UNDEFINED = Series("?", "?")
_OFFSET = (1 << 32) - 1

_decode_step = msgspec.msgpack.Decoder(AnyStep).decode
_decode_artifact = msgspec.msgpack.Decoder(StagedArtifact).decode
_decode_series = msgspec.msgpack.Decoder(tuple[int, str, str]).decode
_KINDS = frozenset(kind.__struct_config__.tag for kind in AnyStep.__args__)


def position(number: int, offset: int) -> int:
    """A place in a journal: the segment's number, then the offset in it."""
    return number << 32 | offset


def place(position: int) -> tuple[int, int]:
    """The segment's number and the offset in it."""
    return position >> 32, position & _OFFSET


class Unreadable(NamedTuple):
    """A record that is whole but says what no store accepts."""

    start: int
    end: int
    data: bytes
    reason: str


class _Step(NamedTuple):
    start: int
    step: AnyStep


class Cut:
    """A stretch of one segment, as it goes to the store.

    Attributes:
        start: Position of the first record.
        end: Position after the last one.
        points: Number of metric points in it.
        steps: Number of other records in it.
        artifacts: Files to upload; then there is nothing else in it.
        unreadable: A record that cannot be sent; then there is nothing else in it.
    """

    __slots__ = ("_pieces", "_series", "artifacts", "end", "points", "start", "steps", "unreadable")

    def __init__(
        self,
        start: int,
        end: int,
        series: list[Series],
        pieces: list[Points | _Step],
        *,
        artifacts: tuple[StagedArtifact, ...] = (),
        unreadable: Unreadable | None = None,
    ) -> None:
        self.start = start
        self.end = end
        self._series = series
        self._pieces = pieces
        self.artifacts = artifacts
        self.unreadable = unreadable
        self.points = sum(len(one.data) for one in pieces if isinstance(one, Points)) // SLOT
        self.steps = sum(isinstance(one, _Step) for one in pieces)

    @property
    def empty(self) -> bool:
        """Whether there is nothing in it for the store."""
        return not (self._pieces or self.artifacts or self.unreadable)

    def batch(self, writer: str, alive: tuple[str, ...] = (), silence: int = 90_000) -> Batch:
        """What is sent."""
        series: tuple[Series, ...] = ()
        numbers = steps = times = values = b""
        if self.points:
            data = b"".join([one.data for one in self._pieces if isinstance(one, Points)])
            words = array("q", data)
            steps, times, values = (words[field::4].tobytes() for field in range(3))
            series, numbers = self._numbered(array("I", data)[6::8])
        return Batch(
            writer=writer,
            start=self.start,
            end=self.end,
            series=series,
            numbers=numbers,
            steps=steps,
            timestamps=times,
            values=values,
            operations=tuple([one.step for one in self._pieces if isinstance(one, _Step)]),
            alive=alive,
            silence=silence,
        )

    def _numbered(self, numbers: array[int]) -> tuple[tuple[Series, ...], bytes]:
        table = self._series
        if len(table) <= max(_SMALL_TABLE, self.points // 4):
            return tuple(table), numbers.tobytes()
        used = sorted(set(numbers))
        index = {number: place for place, number in enumerate(used)}
        named = tuple([table[one] if one < len(table) else _UNDEFINED for one in used])
        return named, array("I", map(index.__getitem__, numbers)).tobytes()

    def split(self) -> tuple[Cut, Cut]:
        """Two halves, by number of records; there must be two at least."""
        wanted = (self.points + self.steps) // 2
        first: list[Points | _Step] = []
        second: list[Points | _Step] = []
        middle = None
        for piece in self._pieces:
            count = len(piece.data) // SLOT if isinstance(piece, Points) else 1
            if count <= wanted:
                first.append(piece)
            elif wanted and isinstance(piece, Points):
                size = wanted * SLOT
                first.append(Points(piece.start, piece.data[:size]))
                second.append(Points(piece.start + size, piece.data[size:]))
                middle = piece.start + size
            else:
                second.append(piece)
                middle = piece.start if middle is None else middle
            wanted = max(wanted - count, 0)
        assert middle is not None
        cut = position(place(self.start)[0], middle)
        return (
            Cut(self.start, cut, self._series, first),
            Cut(cut, self.end, self._series, second),
        )


class Cutter:
    """Reads one segment from the front.

    Attributes:
        number: The segment's.
        at: Offset of the first record that was not cut yet.
        damage: Found at ``at``: there is nothing to be read behind it.
    """

    def __init__(self, number: int, read: Read) -> None:
        self.number = number
        self.at = SLOT
        self.damage: Damage | None = None
        self._read = read
        self._series: list[Series] = []

    def cut(self, stop: int, *, whole: bool) -> Cut:
        """The next stretch; an empty one when there is nothing more.

        Args:
            stop: See `records`.
            whole: See `records`.

        Raises:
            Unsupported: A record is of a kind that a newer headrace writes.
        """
        start = self.at
        pieces: list[Points | _Step] = []
        room, space = POINTS, BYTES
        for one in records(self._read, start, stop, whole=whole):
            if isinstance(one, Damage):
                self.damage = one
                break
            if isinstance(one, Points):
                data = one.data[: room * SLOT]
                pieces.append(Points(one.start, data))
                self.at = one.start + len(data)
                room -= len(data) // SLOT
                if not room:
                    break
            elif one.kind == Kind.SERIES:
                self._define(one)
                self.at = one.end
            elif one.kind == Kind.ORIGIN:
                self.at = one.end
            elif one.kind == Kind.STEP:
                space -= len(one.data)
                if space < 0 and pieces:
                    break
                step = _step(one)
                if isinstance(step, Unreadable):
                    return self._apart(start, pieces, step)
                pieces.append(_Step(one.start, step))
                self.at = one.end
            elif one.kind == Kind.ARTIFACT:
                if not pieces:
                    return self._uploads(start, stop, whole=whole)
                break  # its run has to be at the store first
            else:
                raise Unsupported(
                    f"a record of kind {one.kind} was written by a newer version of headrace"
                )
        return Cut(
            position(self.number, start), position(self.number, self.at), self._series, pieces
        )

    def skip_to(self, offset: int, stop: int, *, whole: bool) -> None:
        """Go to the record at an offset, forwards or back."""
        if offset <= self.at:
            self.at, self.damage = max(offset, SLOT), None
            return
        for one in records(self._read, self.at, min(stop, offset), whole=whole):
            if isinstance(one, Damage):
                self.damage = one
                break
            if isinstance(one, Payload) and one.kind == Kind.SERIES:
                self._define(one)
            self.at = one.end

    def _define(self, record: Payload) -> None:
        try:
            number, run_id, key = _decode_series(record.data)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return  # its points have no run then, which the store says
        while len(self._series) <= number:
            self._series.append(_UNDEFINED)
        self._series[number] = Series(run_id, key)

    def _apart(self, start: int, pieces: list[Points | _Step], found: Unreadable) -> Cut:
        """What is before a record that cannot be sent; else that record alone."""
        if not pieces:
            self.at = found.end
        return Cut(
            position(self.number, start),
            position(self.number, self.at),
            self._series,
            pieces,
            unreadable=None if pieces else found,
        )

    def _uploads(self, start: int, stop: int, *, whole: bool) -> Cut:
        artifacts: list[StagedArtifact] = []
        found: Iterator[Found] = records(self._read, self.at, stop, whole=whole)
        for one in found:
            if not isinstance(one, Payload) or one.kind != Kind.ARTIFACT:
                break
            try:
                artifact = _decode_artifact(one.data)
            except (msgspec.DecodeError, UnicodeDecodeError) as error:
                if artifacts:
                    break
                return self._apart(start, [], Unreadable(one.start, one.end, one.data, str(error)))
            artifacts.append(artifact)
            self.at = one.end
            if len(artifacts) == ARTIFACTS:
                break
        return Cut(
            position(self.number, start),
            position(self.number, self.at),
            self._series,
            [],
            artifacts=tuple(artifacts),
        )


def _step(record: Payload) -> AnyStep | Unreadable:
    try:
        return cast(AnyStep, _decode_step(record.data))
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        reason = str(error)
    try:
        fields = msgspec.msgpack.decode(record.data)
    except (msgspec.DecodeError, UnicodeDecodeError):
        fields = None
    kind = fields.get("kind") if isinstance(fields, dict) else None
    if isinstance(kind, str) and kind not in _KINDS:
        raise Unsupported(f"a record '{kind[:60]}' was written by a newer version of headrace")
    return Unreadable(record.start, record.end, record.data, reason)
