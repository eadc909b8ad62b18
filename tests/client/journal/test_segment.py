"""One segment: appending, sealing at any moment, and what is left of its file."""

from __future__ import annotations

import os
from pathlib import Path
from zlib import crc32

import pytest

from headrace.client.journal.format import RESIDUE, SLOT, Kind, pack_point, record, seal
from headrace.client.journal.reader import Points, records
from headrace.client.journal.segment import FileSegment, MemorySegment, Segment


def point(step: int) -> bytes:
    packed = pack_point(step, step, float(step), 0)
    return seal(packed, crc32(packed, RESIDUE))


@pytest.fixture(params=["file", "synchronous", "memory"])
def segment(request: pytest.FixtureRequest, tmp_path: Path) -> Segment:
    if request.param == "memory":
        return MemorySegment(3, 4096)
    return FileSegment(tmp_path, 3, 4096, request.param == "synchronous")


def steps(segment: Segment) -> int:
    found = records(segment.read, SLOT, segment.position, whole=False)
    return sum(len(one.data) // SLOT for one in found if isinstance(one, Points))


def test_a_full_segment_takes_no_more_and_keeps_what_it_has(segment: Segment) -> None:
    written = 4096 // SLOT - 1
    for step in range(written):
        segment.write(point(step))
    with pytest.raises(ValueError, match=r"\S"):
        segment.write(point(written))
    assert (segment.position, segment.sealed) == (4096, False)
    segment.seal()
    assert (segment.position, segment.sealed, steps(segment)) == (4096, True, written)
    segment.discard()


def test_a_sealed_segment_takes_no_more_and_is_cut_to_what_it_has(segment: Segment) -> None:
    for step in range(10):
        segment.write(point(step))
    segment.write(record(Kind.STEP, b"text"))
    end = segment.position
    segment.seal()
    segment.seal()
    with pytest.raises(ValueError, match=r"\S"):
        segment.write(point(10))
    assert (segment.position, steps(segment)) == (end, 10)
    if segment.path is not None:
        assert segment.path.stat().st_size == end
    segment.discard()
    assert segment.path is None or not segment.path.exists()


def test_sealing_may_be_interrupted_and_asked_for_again(segment: Segment) -> None:
    """As by an exception from a signal handler: between its two steps, other threads append."""
    segment.write(point(0))
    memory = segment._memory
    segment._sealing = memory.tell()
    segment.write(point(1))
    segment.write(record(Kind.STEP, b"text" * 20))
    end = memory.tell()
    memory.seek(0, os.SEEK_END)
    segment.seal()
    assert (segment.position, steps(segment)) == (end, 2)
    segment.discard()


def test_a_file_that_cannot_be_made_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(OSError, match=r"\S"):
        FileSegment(tmp_path, 1, 1 << 60)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(FileNotFoundError):
        FileSegment(tmp_path / "nowhere", 1, 4096)


def test_files_are_readable_by_their_owner_alone(tmp_path: Path) -> None:
    one = FileSegment(tmp_path, 1, 4096)
    assert one.path is not None
    assert one.path.stat().st_mode & 0o777 == 0o600
    one.discard()
