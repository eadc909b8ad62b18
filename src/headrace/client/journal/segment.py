"""One segment of a journal: a preallocated, memory-mapped file, or memory where no file can be had."""

from __future__ import annotations

import contextlib
import errno
import itertools
import mmap
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from headrace.client.journal import format

SUFFIX = ".journal"
_ZEROS = bytes(1 << 20)


class Lane:
    """What a caller needs to log points of one run: one segment's way in.

    Attributes:
        write: Takes whole records; atomic. Raises ValueError when the segment is full or closed: then
            ask the writer for a new lane.
        series: Numbers of the run's metric keys in this segment.
        run_id: The run.
        segment: The segment.
    """

    __slots__ = ("run_id", "segment", "series", "write")

    def __init__(self, segment: Segment, run_id: str) -> None:
        self.write: Callable[[bytes], object] = segment.write
        self.series: dict[str, int] = {}
        self.run_id = run_id
        self.segment = segment


class Segment:
    """Memory that records are appended to.

    Attributes:
        number: From 1, within the journal.
        write: See `Lane`. It is ``mmap.write`` itself: one call that appends and moves on, and that
            neither another thread nor a signal handler can interrupt.
        lanes: By run.
        series: Gives the numbers of series.
        path: The file; None for memory alone.
    """

    path: Path | None = None

    def __init__(self, number: int, memory: mmap.mmap, synchronous: bool = False) -> None:
        self.number = number
        self.size = len(memory)
        self._memory = memory
        self._end: int | None = None
        self._sealing: int | None = None
        self.write: Callable[[bytes], object] = self._write_through if synchronous else memory.write
        self.lanes: dict[str, Lane] = {}
        self.series: Iterator[int] = itertools.count()
        self.write(format.header(number, time.time_ns() // 1_000_000))

    def _write_through(self, record: bytes) -> None:
        self._memory.write(record)
        self._memory.flush()

    def lane(self, run_id: str) -> Lane:
        """The lane of a run."""
        lane = self.lanes.get(run_id)
        # Of two threads that ask at once, both get the same: setdefault is atomic.
        return lane if lane is not None else self.lanes.setdefault(run_id, Lane(self, run_id))

    @property
    def position(self) -> int:
        """Bytes written so far."""
        # Another thread may be sealing it: in this order every state in between is seen as one.
        try:
            at = self._memory.tell()
        except ValueError:  # closed, so it has an end
            at = 0
        if self._end is not None:
            return self._end
        return at if self._sealing is None else min(at, self._sealing)

    @property
    def sealed(self) -> bool:
        """Whether nothing can be added any more."""
        return self._end is not None

    def seal(self) -> None:
        """Let nothing be added any more: every further write fails."""
        if self._end is None:
            # An exception that a signal handler raises may end this anywhere; it is asked for again then.
            if self._sealing is None:
                self._sealing = self._memory.tell()
            at = self._sealing
            self._memory.seek(0, os.SEEK_END)
            # What was written between these two calls is there, and is not zeros.
            while (slot := self._memory[at : at + format.SLOT]).strip(b"\0"):
                at += format.SLOT if slot[27] == 0 else format.size_of(format.read_head(slot)[1])
            self._end = at
            self._release()

    def _release(self) -> None:
        """Nothing is written any more."""

    def read(self, start: int, stop: int) -> bytes:
        """Bytes of it; fewer at the end of a file that was cut."""
        raise NotImplementedError

    def discard(self) -> None:
        """Remove it: everything in it has arrived."""
        raise NotImplementedError

    def abandon(self) -> None:
        """In a forked child: what is here is the parent's. Every lane of it fails from now on."""
        self._end = 0
        self._memory.close()


class FileSegment(Segment):
    """A segment in a file."""

    def __init__(self, folder: Path, number: int, size: int, synchronous: bool = False) -> None:
        """Make the file, with all of its blocks.

        Args:
            folder: The journal.
            number: Of the segment.
            size: Bytes, a multiple of 32.
            synchronous: Flush every record to the disk before its write returns.

        Raises:
            OSError: The disk is full, or the folder cannot be written.
        """
        self.path = folder / f"{number:06}{SUFFIX}"
        self._file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            _allocate(self._file, size)
            if synchronous:
                os.fsync(self._file)
                _sync(folder)
            super().__init__(number, mmap.mmap(self._file, size), synchronous)
        except BaseException:  # cleans up, raises again
            os.close(self._file)
            self.path.unlink(missing_ok=True)
            raise

    def _release(self) -> None:
        self._memory.close()
        with contextlib.suppress(OSError):  # only gives back what was not used
            os.ftruncate(self._file, self.position)

    def read(self, start: int, stop: int) -> bytes:
        return os.pread(self._file, stop - start, start)

    def discard(self) -> None:
        assert self.path is not None
        self._memory.close()
        os.close(self._file)
        self.path.unlink(missing_ok=True)

    def abandon(self) -> None:
        super().abandon()
        os.close(self._file)


class MemorySegment(Segment):
    """A segment that dies with its process, for when there is no disk to write to."""

    def __init__(self, number: int, size: int) -> None:
        super().__init__(number, mmap.mmap(-1, size))

    def read(self, start: int, stop: int) -> bytes:
        return self._memory[start:stop]

    def discard(self) -> None:
        self._memory.close()


def _allocate(file: int, size: int) -> None:
    """Give a file blocks for all its bytes: a store into a mapped hole of a full disk is SIGBUS."""
    if hasattr(os, "posix_fallocate"):
        try:
            os.posix_fallocate(file, 0, size)
            return
        except OSError as error:
            if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL):
                raise
    for start in range(0, size, len(_ZEROS)):
        os.pwrite(file, _ZEROS[: size - start], start)


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
