"""Finding the records in a segment again, up to its end or to where it is damaged."""

from __future__ import annotations

import mmap
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple
from zlib import crc32

from headrace.client.journal import format
from headrace.client.journal.format import RESIDUE, SLOT, Kind
from headrace.client.journal.segment import SUFFIX

#: Gives the bytes from one offset to another, fewer at the end of the file.
Read = Callable[[int, int], bytes]

#: Bytes that are looked at at once, a multiple of 32.
_STRETCH = 2 << 20
_HEAD = re.compile(rb"[^\0]")


class Points(NamedTuple):
    """Points that follow one another in a segment, as they lie there: 32 bytes each."""

    start: int
    data: bytes

    @property
    def end(self) -> int:
        """Where the next record begins."""
        return self.start + len(self.data)


class Payload(NamedTuple):
    """A record that is no point."""

    start: int
    end: int
    kind: int
    data: bytes


class Damage(NamedTuple):
    """Where a segment cannot be read any further.

    ``lost`` is the number of bytes from there to the last one that is not zero.
    """

    start: int
    lost: int
    reason: str


Found = Points | Payload | Damage


def records(read: Read, start: int, stop: int, *, whole: bool) -> Iterator[Found]:
    """The records of a segment.

    Args:
        read: The segment's bytes.
        start: Offset of a record; 32 is the first.
        stop: Offset of the end: the writer's position, or the size of the file.
        whole: The file is not being written: look for its end, and tell zeros with something behind
            them from the end. Else everything before ``stop`` is there.

    Yields:
        Points in stretches of at most 2 MiB, payloads one by one; a `Damage` comes last.
    """
    at = start
    # Read once: records that are no points come one by one, and must not fetch a stretch each.
    window, base = b"", start
    marks = b""
    while at < stop:
        if at + SLOT > base + len(window):
            window, base = read(at, min(stop, at + _STRETCH)), at
            if len(window) < SLOT:
                # The file was cut. Zeros were a slot that was never begun.
                if whole and window.strip(b"\0"):
                    yield Damage(at, len(window.rstrip(b"\0")), "the file ends within a record")
                return
            # The highest byte of the fourth field: 0 in a point (and in zeros), else in a head.
            marks = window[27 : len(window) // SLOT * SLOT : SLOT]
        first = (at - base) // SLOT
        head = _HEAD.search(marks, first)
        slots = (head.start() if head else len(window) // SLOT) - first
        if not slots:
            payload = _payload(read, window, at - base, at, stop)
            if isinstance(payload, Damage):
                if not (whole and _is_torn(read, at, payload)):
                    yield payload
                return
            yield payload
            at = payload.end
            continue
        points = window[at - base : at - base + slots * SLOT]
        good = len(points) if crc32(points, RESIDUE) == RESIDUE else _good(points)
        if good:
            yield Points(at, points[:good])
            at += good
        if good < len(points):
            if not whole or points[good : good + SLOT].strip(b"\0"):
                yield Damage(at, _unread(read, at, stop), "a point's checksum is wrong")
            elif lost := _unread(read, at, stop):
                yield Damage(at, lost, "zeros where records should be")
            return


def _payload(read: Read, window: bytes, place: int, at: int, stop: int) -> Payload | Damage:
    """The record at an offset, which is at a place in the window."""
    slot = window[place : place + SLOT]
    if crc32(slot, RESIDUE) != RESIDUE:
        return Damage(at, _unread(read, at, stop), "a record's checksum is wrong")
    kind, length = format.read_head(slot)
    size = format.size_of(length)
    if not 0 <= length <= format.MAX_PAYLOAD or size > stop - at:
        return Damage(at, _unread(read, at, stop), "a record is cut off")
    body = window[place + SLOT : place + size]
    if len(body) < size - SLOT:
        body = read(at + SLOT, at + size)
    if len(body) < size - SLOT or (body and crc32(body, RESIDUE) != RESIDUE):
        return Damage(at, _unread(read, at, stop), "a record's checksum is wrong")
    return Payload(at, at + size, kind, body[:length])


def _is_torn(read: Read, at: int, damage: Damage) -> bool:
    """Whether a record was being written when its process was killed: its call never returned.

    A process dies where the kernel has it, and it has it when the record goes on in a page that was
    never touched. Then that page holds zeros, the record's checksum among them.
    """
    slot = read(at, at + SLOT)
    border = -(-(at + SLOT) // mmap.PAGESIZE) * mmap.PAGESIZE
    return (
        crc32(slot, RESIDUE) == RESIDUE
        and border < at + format.size_of(format.read_head(slot)[1])
        and at + damage.lost <= border
        and bool(read(border, border + SLOT))  # the file was not cut there
    )


def _good(points: bytes) -> int:
    """Bytes of undamaged points at the front: halving finds the first damaged one."""
    good, size = 0, len(points)
    while size - good > SLOT:
        middle = good + (size - good) // SLOT // 2 * SLOT
        if crc32(points[good:middle], RESIDUE) == RESIDUE:
            good = middle
        else:
            size = middle
    return good


def _unread(read: Read, start: int, stop: int) -> int:
    """Bytes from here to the last one that is not zero."""
    last = start
    for at in range(start, stop, _STRETCH):
        data = read(at, min(stop, at + _STRETCH))
        filled = len(data.rstrip(b"\0"))
        if filled:
            last = at + filled
    return last - start


def segments(folder: Path) -> list[tuple[int, Path]]:
    """The segment files of a journal with their numbers, in order."""
    found = []
    for path in folder.glob(f"*{SUFFIX}"):
        if path.stem.isdigit():
            found.append((int(path.stem), path))
    return sorted(found)


__all__ = ["Damage", "Found", "Kind", "Payload", "Points", "records", "segments"]
