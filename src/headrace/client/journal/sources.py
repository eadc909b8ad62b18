"""Journals as the drain reads them: the one of this process, and those that lie in folders."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import msgspec

from headrace.client.journal import format
from headrace.client.journal.directory import LOCK
from headrace.client.journal.format import SLOT, Kind
from headrace.client.journal.reader import Damage, Payload, records, segments
from headrace.client.journal.records import Origin
from headrace.client.journal.segment import Segment
from headrace.client.journal.writer import Writer
from headrace.errors import Unsupported

#: Folders in a journal: files to upload; segments that could not be read to their end; what no store took.
STAGED, DAMAGED, REJECTED = "staged", "damaged", "rejected"


class Stretch(Protocol):
    """A segment as it is read."""

    @property
    def number(self) -> int:
        """From 1."""

    @property
    def sealed(self) -> bool:
        """Nothing is added to it any more. Ask before ``position``."""

    @property
    def position(self) -> int:
        """Bytes that are there."""

    def read(self, start: int, stop: int) -> bytes:
        """Bytes of it; fewer at its end."""


class Source(Protocol):
    """A journal to be shipped."""

    writer: str
    folder: Path | None
    #: Read to the end of the file: see `headrace.client.journal.reader.records`.
    whole: bool
    #: Another process writes to it.
    live: bool
    #: Nothing is to be removed or moved.
    keep: bool

    def segments(self) -> Sequence[Stretch]:
        """What is not finished, in order."""

    def finish(self, number: int) -> None:
        """A sealed segment has arrived: remove it."""

    def complete(self, number: int, end: int) -> bool:
        """Whether a sealed segment whose records end there may be left for the next one."""

    def set_aside(self, number: int) -> Path | None:
        """Keep a damaged segment where nobody reads it again; where that is."""


class Live:
    """The journal that this process writes."""

    whole = False
    live = False
    keep = False

    def __init__(self, writer: Writer) -> None:
        self._writer = writer
        self.writer = writer.id
        self.folder = writer.folder

    def segments(self) -> list[Segment]:
        # A signal handler that interrupts a turn may append before the one that it interrupted.
        return sorted(self._writer.segments, key=lambda one: one.number)

    def finish(self, number: int) -> None:
        for segment in self.segments():
            if segment.number == number:
                self._writer.discard(segment)

    def complete(self, number: int, end: int) -> bool:
        return True

    def set_aside(self, number: int) -> Path | None:
        kept = None
        for segment in self.segments():
            if segment.number == number:
                if not segment.sealed:
                    self._writer.turn(segment)
                if segment.path is not None:
                    kept = _keep(segment.path)
                self._writer.discard(segment)
        return kept


class StoredSegment:
    """A segment file that nobody holds in memory."""

    sealed = True

    def __init__(self, number: int, path: Path) -> None:
        self.number = number
        self.path = path
        self._file: int | None = None

    @property
    def position(self) -> int:
        return self.path.stat().st_size

    def read(self, start: int, stop: int) -> bytes:
        if self._file is None:
            self._file = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        return os.pread(self._file, stop - start, start)

    def close(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None


class Stored:
    """A journal in a folder, whose process has ended, or runs elsewhere."""

    whole = True

    def __init__(
        self, folder: Path, origin: Origin, *, keep: bool = False, live: bool = False
    ) -> None:
        """Read a journal.

        Args:
            folder: The journal.
            origin: As `origin_of` answers it.
            keep: Remove and move nothing.
            live: Its process writes to it.
        """
        self.writer = origin.writer
        self.folder: Path | None = folder
        self.keep = keep
        self.live = live
        self._folder = folder
        # More may come, in a later copy: do not go past a segment that was never sealed.
        self._growing = live or is_copy(folder, origin)
        self._open: dict[int, StoredSegment] = {}
        self._finished: set[int] = set()

    def segments(self) -> list[StoredSegment]:
        found = []
        for number, path in segments(self._folder):
            if number not in self._finished:
                if number not in self._open:
                    self._open[number] = StoredSegment(number, path)
                found.append(self._open[number])
        return found

    def finish(self, number: int) -> None:
        self._finished.add(number)
        segment = self._open.pop(number, None)
        if segment is not None:
            segment.close()
            if not self.keep:
                segment.path.unlink(missing_ok=True)

    def finish_all(self) -> None:
        """Everything that is there has arrived."""
        for segment in self.segments():
            self.finish(segment.number)

    def complete(self, number: int, end: int) -> bool:
        if not self._growing:
            return True
        # A sealed segment is cut to its records; a process that died left zeros behind the last ones.
        return self._open[number].position == max(end, SLOT)

    def set_aside(self, number: int) -> Path | None:
        segment = self._open[number]
        kept = segment.path if self.keep else _keep(segment.path)
        self.finish(number)
        return kept

    def close(self) -> None:
        """Close the files."""
        for segment in self._open.values():
            segment.close()
        self._open.clear()


def _keep(path: Path) -> Path:
    folder = path.parent / DAMAGED
    folder.mkdir(exist_ok=True)
    return path.rename(folder / path.name)


def origin_of(folder: Path) -> Origin | None:
    """Where a journal comes from and goes to; None if no segment of it says so.

    Raises:
        Unsupported: It was written by a newer version of headrace.
        OSError: It cannot be read.
    """
    for number, path in segments(folder):
        segment = StoredSegment(number, path)
        try:
            version, _ = format.read_header(segment.read(0, SLOT))
            if version > format.VERSION:
                raise Unsupported(
                    f"{folder} was written by a newer version of headrace (journal format {version}, "
                    f"this one reads up to {format.VERSION}): use that one."
                )
            first = next(records(segment.read, SLOT, segment.position, whole=True), None)
            if isinstance(first, Payload) and first.kind == Kind.ORIGIN:
                return msgspec.msgpack.decode(first.data, type=Origin)
        except (ValueError, FileNotFoundError):  # damaged, or it has arrived meanwhile
            continue
        finally:
            segment.close()
    return None


def is_copy(folder: Path, origin: Origin) -> bool:
    """Whether a journal is a copy of the one that was written."""
    try:
        return (folder / LOCK).stat().st_ino != origin.inode
    except OSError:
        return True


def begin(segment: Stretch, *, whole: bool) -> Damage | None:
    """What is wrong with a segment's first slot, if anything is."""
    if not whole:
        return None
    slot = segment.read(0, SLOT)
    if not slot.strip(b"\0"):
        return None  # made, but never begun
    try:
        version, _ = format.read_header(slot)
    except ValueError as error:
        return Damage(0, segment.position, str(error))
    if version > format.VERSION:
        raise Unsupported(f"segment {segment.number} was written by a newer version of headrace")
    return None


def remove(folder: Path) -> bool:
    """Remove a journal of which everything has arrived; False if something is kept in it.

    What is damaged, or was refused, stays.
    """
    if any(segments(folder)):
        return False
    for name in (STAGED, "console"):
        shutil.rmtree(folder / name, ignore_errors=True)
    for leftover in folder.glob("mlflow.json*"):
        leftover.unlink(missing_ok=True)
    if (folder / DAMAGED).exists() or (folder / REJECTED).exists():
        return False
    (folder / LOCK).unlink(missing_ok=True)
    with contextlib.suppress(OSError):  # a file that is not ours
        folder.rmdir()
    return not folder.exists()
