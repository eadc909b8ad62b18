"""Writing a journal: what a logging call touches."""

from __future__ import annotations

import contextlib
import getpass
import itertools
import logging
import mmap
import os
import platform
import threading
import time
from pathlib import Path

import msgspec

from headrace.client.environment import flag, number
from headrace.client.journal import format
from headrace.client.journal.directory import journal_directory, make_journal
from headrace.client.journal.format import SLOT, Kind
from headrace.client.journal.records import Origin, StagedArtifact
from headrace.client.journal.segment import FileSegment, Lane, MemorySegment, Segment
from headrace.errors import InvalidParameter
from headrace.protocol.ingest import Step
from headrace.protocol.limits import check_key

_log = logging.getLogger("headrace")
_encode = msgspec.msgpack.Encoder().encode

#: Bytes of a journal's first segment; each next one is four times as large, up to the last.
_FIRST, _LARGEST = 256 << 10, 64 << 20
#: A segment in memory, and how much of it there may be (``HEADRACE_JOURNAL_MEMORY``), in bytes.
_MEMORY_SEGMENT = 1 << 20
_MEMORY = 64 << 20
#: Seconds until a full memory is asked again.
_RETRY = 1.0


class _Lost(Segment):
    """Where records go when neither disk nor memory has room: they are counted."""

    def __init__(self, writer: Writer) -> None:
        self.number = 0
        self.size = 0
        self.lanes = {}
        self.series = iter(range(format.SERIES_LIMIT))
        self.write = self._drop
        self._writer = writer
        self._end: int | None = None
        self._until = time.monotonic() + _RETRY

    def _drop(self, record: bytes) -> None:
        if self._end is not None or time.monotonic() > self._until:
            raise ValueError("there may be room again")
        # A record that is no point has no points in it; a dictionary's points come together.
        points = len(record) // SLOT if record[27] == 0 else 0
        # No call within these additions, so no other thread either.
        if points:
            self._writer.dropped_points += points
        elif format.read_head(record)[0] != Kind.SERIES:
            self._writer.dropped_records += 1

    @property
    def position(self) -> int:
        return 0

    def seal(self) -> None:
        self._end = 0

    def read(self, start: int, stop: int) -> bytes:
        return b""

    def discard(self) -> None:
        self._end = 0

    def abandon(self) -> None:
        self._end = 0


class Writer:
    """The journal of this process for one destination.

    Safe in threads, signal handlers and, through `abandon`, across forks. Nothing here raises because
    of a disk or a server.

    Attributes:
        id: 32 hexadecimal digits.
        uri: Where the records go, without credentials.
        folder: The journal; None when it has to live in memory.
        segments: Those that are not drained yet, oldest first; the last one is being written.
        dropped_points: Points that found no room, so far.
        dropped_records: Other records that found none.
    """

    def __init__(self, uri: str) -> None:
        """Begin a journal.

        Args:
            uri: The destination, without credentials.
        """
        self.uri = uri
        self.dropped_points = 0
        self.dropped_records = 0
        self._synchronous = flag("JOURNAL_SYNC")
        self._memory_limit = int(number("JOURNAL_MEMORY", _MEMORY))
        self._lock = threading.RLock()
        self._lock_file: int | None = None
        self._numbers = itertools.count(1)
        self._size = _FIRST
        self._warned = False
        self._prepared: Segment | None = None
        self.folder: Path | None = None
        try:
            self.folder, self._lock_file = make_journal(journal_directory())
            self.id = self.folder.name
        except OSError as error:
            self.id = os.urandom(16).hex()
            self._degrade(error)
        self._origin = format.record(
            Kind.ORIGIN,
            _encode(
                Origin(
                    uri=uri,
                    writer=self.id,
                    user=_user(),
                    host=platform.node(),
                    pid=os.getpid(),
                    made=time.time_ns() // 1_000_000,
                    inode=0 if self._lock_file is None else os.fstat(self._lock_file).st_ino,
                )
            ),
        )
        self._segment: Segment = self._make(SLOT)
        self.segments: list[Segment] = [self._segment]

    # What callers use.

    def lane(self, run_id: str) -> Lane:
        """The way in for points of a run; good until its ``write`` raises ValueError."""
        return self._segment.lane(run_id)

    def define(self, lane: Lane, key: str) -> int:
        """The series number of a metric that is new to a lane.

        Raises:
            InvalidParameter: The key is not acceptable.
            ValueError: The lane's segment is full.
        """
        if type(key) is not str:
            raise InvalidParameter(
                f"Invalid metric name: {str(key)[:100]!r} is {type(key).__name__}; give text."
            )
        check_key(key, "metric")
        if "\x00" in key:
            raise InvalidParameter(f"Invalid metric name: {key[:60]!r} holds a NUL character.")
        number = lane.series.get(key)
        if number is None:
            # Two threads may define one key at once: it has two numbers then, which does no harm.
            number = next(lane.segment.series)
            if number >= format.SERIES_LIMIT:
                raise ValueError("no more series in this segment")
            lane.write(format.record(Kind.SERIES, _encode((number, lane.run_id, key))))
            lane.series[key] = number
        return number

    def step(self, step: Step) -> None:
        """Append a step.

        Raises:
            InvalidParameter: It is larger than 32 MiB, or text in it is not Unicode.
        """
        self._append(Kind.STEP, step)

    def artifact(self, artifact: StagedArtifact) -> None:
        """Append a file to upload."""
        self._append(Kind.ARTIFACT, artifact)

    def turn(self, full: Segment, need: int = SLOT) -> None:
        """Go on in another segment, unless that was done already.

        Args:
            full: The segment that had no room.
            need: Bytes that must fit.
        """
        with self._lock:
            # Also asked for by a signal handler that interrupted this very method.
            if self._segment is not full:
                return
            prepared, self._prepared = self._prepared, None
            if prepared is not None and prepared.size - prepared.position < need:
                prepared.discard()
                prepared = None
            segment = prepared or self._make(need)
            lost = isinstance(segment, _Lost)
            # No call until both are set, so no signal handler, and no exception that one raises.
            if self._segment is full:
                if not lost:
                    self.segments = [*self.segments, segment]
                self._segment = segment
                full.seal()
            else:
                segment.discard()

    def _append(self, kind: Kind, payload: object) -> None:
        try:
            data = _encode(payload)
        except UnicodeEncodeError as error:
            raise InvalidParameter(
                f"Text to log holds half of a surrogate pair ({error.object[:60]!r}), which is no "
                "character; remove it."
            ) from None
        if len(data) > format.MAX_PAYLOAD:
            raise InvalidParameter(
                f"{len(data)} bytes are too much to log at once: at most {format.MAX_PAYLOAD} are "
                "allowed. Log it as an artifact."
            )
        record = format.record(kind, data)
        while True:
            segment = self._segment
            try:
                segment.write(record)
                return
            except ValueError:
                self.turn(segment, len(record))

    # What the drain uses.

    @property
    def current(self) -> Segment:
        """The segment that is being written."""
        return self._segment

    def prepare(self) -> None:
        """Make the next segment before it is needed, so that no caller has to."""
        for one in self.segments:
            if not one.sealed and one is not self._segment:
                with self._lock:  # an exception from a signal handler ended the turn, or it goes on
                    one.seal()
        segment = self._segment
        if self._prepared is None and self.folder and 2 * segment.position > segment.size:
            with self._lock:
                if self._prepared is None and self._segment is segment:
                    prepared = self._make(SLOT)
                    if isinstance(prepared, FileSegment):
                        self._prepared = prepared
                    else:
                        prepared.discard()

    def discard(self, segment: Segment) -> None:
        """Remove a segment that has arrived; not the one being written."""
        with self._lock:
            if segment in self.segments:
                self.segments.remove(segment)
            segment.discard()

    def close(self, arrived: int) -> bool:
        """Let go of the journal at the end of the process; further calls are lost.

        Args:
            arrived: Position up to which everything has arrived. If that is all, the journal is removed;
                else its files stay, cut to what is used, and their lock is free.

        Returns:
            Whether that was all.
        """
        with self._lock:
            if self._prepared is not None:
                self._prepared.discard()
                self._prepared = None
            last = self._segment
            lost = _Lost(self)
            lost._until = float("inf")
            self._segment = lost
            for one in (*self.segments, last):
                one.seal()
            # Only now nothing can come any more.
            left = [one for one in self.segments if one.number << 32 | one.position > arrived]
            for segment in () if left else self.segments:
                segment.discard()
            self.segments = left
            if self._lock_file is not None and self.folder is not None:
                if not left:
                    (self.folder / "lock").unlink(missing_ok=True)
                    _remove(self.folder)
                os.close(self._lock_file)
                self._lock_file = None
            return not left

    def abandon(self) -> None:
        """In a forked child: everything here is the parent's. Lanes fail from now on."""
        self._lock = threading.RLock()
        for segment in {*self.segments, self._segment, self._prepared}:  # the current is among them
            if segment is not None:
                segment.abandon()
        if self._lock_file is not None:
            os.close(self._lock_file)  # the parent's descriptor still holds the lock
            self._lock_file = None

    # Segments.

    def _make(self, need: int) -> Segment:
        """A new segment with its origin written: in a file, else in memory, else nowhere."""
        number = next(self._numbers)  # one step: a signal handler may be in here too
        need += len(self._origin) + 2 * SLOT
        segment: Segment | None = None
        if self.folder is not None:
            size = self._size
            while size < need:
                size *= 2
            try:
                segment = FileSegment(self.folder, number, size, self._synchronous)
                self._size = min(4 * self._size, _LARGEST)
            except OSError as error:
                self._degrade(error)
        if segment is None:
            segment = self._in_memory(number, need)
        if segment is None:
            return _Lost(self)
        segment.write(self._origin)
        return segment

    def _in_memory(self, number: int, need: int) -> Segment | None:
        size = -(-max(need, _MEMORY_SEGMENT) // mmap.PAGESIZE) * mmap.PAGESIZE
        used = sum(one.size for one in getattr(self, "segments", ()) if one.path is None)
        if used + size > self._memory_limit:
            return None
        try:
            return MemorySegment(number, size)
        except OSError:  # a limit on the process's memory
            return None

    def _degrade(self, error: OSError) -> None:
        if not self._warned:
            self._warned = True
            where = error.filename or self.folder or "the journal directory"
            _log.warning(
                "The journal cannot be written (%s: %s). Training goes on; up to %d MiB of what is logged are kept "
                "in memory until they are sent, and are lost if this process is killed. Free some disk, or "
                "set HEADRACE_JOURNAL_DIR to a directory that can be written.",
                where,
                error.strerror or error,
                self._memory_limit >> 20,
            )


def _remove(folder: Path) -> None:
    with contextlib.suppress(OSError):  # staged artifacts, or a file that is not ours
        folder.rmdir()


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # no such user in this container
        return ""
