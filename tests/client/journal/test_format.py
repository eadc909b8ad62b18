"""The journal's format: what was written is read again, and damage neither hides nor invents a record."""

from __future__ import annotations

import struct
from collections.abc import Callable
from zlib import crc32

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.client.journal import format
from headrace.client.journal.format import RESIDUE, SLOT, Kind
from headrace.client.journal.reader import Damage, Payload, Points, records

#: A point's fields, or the kind and payload of another record.
Record = tuple[int, int, float, int] | tuple[Kind, bytes]

_int64 = st.integers(-(2**63), 2**63 - 1)
_points = st.tuples(
    _int64,
    _int64,
    st.floats(allow_nan=False),  # NaN does not equal itself; its bits are compared below
    st.integers(0, format.SERIES_LIMIT - 1),
)
_payloads = st.one_of(
    st.binary(max_size=200),
    st.integers(0, 500).map(bytes),  # zeros are what an unwritten slot holds
    st.integers(0, 300).map(lambda size: b"\xff" * size),
)
_records = st.lists(st.one_of(_points, st.tuples(st.sampled_from(Kind), _payloads)), max_size=25)


def point(step: int, time: int, value: float, series: int) -> bytes:
    packed = format.pack_point(step, time, value, series)
    return format.seal(packed, crc32(packed, RESIDUE))


def written(content: list[Record]) -> tuple[bytes, list[int]]:
    """A segment without the zeros behind it, and where each record of it ends."""
    data, ends = bytearray(format.header(1, 0)), []
    for one in content:
        data += point(*one) if len(one) == 4 else format.record(*one)
        ends.append(len(data))
    return bytes(data), ends


def read(data: bytes, *, whole: bool = True) -> tuple[list[Record], Damage | None]:
    """What the reader makes of a segment."""
    content: list[Record] = []
    at = SLOT
    for found in records(lambda start, stop: data[start:stop], SLOT, len(data), whole=whole):
        if isinstance(found, Damage):
            return content, found
        assert found.start == at  # nothing is left out between two records
        at = found.end
        if isinstance(found, Points):
            for step, time, value, series, _ in struct.iter_unpack("<qqdII", found.data):
                content.append((step, time, value, series))
        else:
            assert isinstance(found, Payload)
            content.append((Kind(found.kind), found.data))
    return content, None


def before(content: list[Record], ends: list[int], offset: int) -> list[Record]:
    """The records that end before a byte."""
    return [one for one, end in zip(content, ends, strict=True) if end <= offset]


@settings(max_examples=150, deadline=None)
@given(_records, st.integers(0, 9).map(lambda slots: slots * SLOT))
def test_what_is_written_is_read_again(content: list[Record], unused: int) -> None:
    data, _ = written(content)
    assert read(data + bytes(unused)) == (content, None)
    assert read(data, whole=False) == (content, None)


def test_every_kind_of_number_keeps_its_bits() -> None:
    for bits in (0x7FF8000000000001, 0xFFF0000000000000, 0x8000000000000000, 1):
        (value,) = struct.unpack("<d", struct.pack("<Q", bits))
        data, _ = written([(0, 0, value, 0)])
        (found,) = records(lambda start, stop, d=data: d[start:stop], SLOT, len(data), whole=True)
        assert struct.unpack_from("<Q", found.data, 16) == (bits,)


@pytest.mark.parametrize(
    ("points", "payload"), [(65_536, 0), (66_000, 70_000), (65_534, 32), (20_000, 3_000_000)]
)
def test_long_stretches_are_read_across_their_borders(points: int, payload: int) -> None:
    content: list[Record] = [(step, step, 0.5, 1) for step in range(points)]
    content.insert(points // 2, (Kind.STEP, bytes(payload)))
    assert read(written(content)[0] + bytes(SLOT)) == (content, None)


def _damaged(
    content: list[Record], unused: int, place: int, change: Callable[[bytearray, int], None]
) -> None:
    """Change a segment at a byte: all before it is there, nothing else, and it is reported."""
    data, ends = written(content)
    used = len(data)
    whole = bytearray(data + bytes(unused))
    offset = SLOT + place % max(len(whole) - SLOT, 1)
    if offset >= len(whole):
        return
    change(whole, offset)
    if bytes(whole) == data + bytes(unused):
        return
    found, damage = read(bytes(whole))
    assert found == before(content, ends, offset)
    assert damage is not None
    assert damage.start == max([SLOT, *(end for end in ends if end <= offset)])
    assert damage.lost <= max(used, offset + 1) - damage.start


def _flip(bit: int) -> Callable[[bytearray, int], None]:
    def change(data: bytearray, offset: int) -> None:
        data[offset] ^= 1 << bit

    return change


def _byte(value: int) -> Callable[[bytearray, int], None]:
    def change(data: bytearray, offset: int) -> None:
        data[offset] = value

    return change


_unused = st.integers(0, 3).map(lambda slots: slots * SLOT)
_places = st.integers(0, 2**31)


@given(_records, _unused, _places, st.integers(0, 7))
@settings(max_examples=150, deadline=None)
def test_a_flipped_bit_anywhere_costs_nothing_before_it(
    content: list[Record], unused: int, place: int, bit: int
) -> None:
    _damaged(content, unused, place, _flip(bit))


@given(_records, st.just(0), _places, st.integers(0, 255))
@settings(max_examples=150, deadline=None)
def test_a_wrong_byte_anywhere_costs_nothing_before_it(
    content: list[Record], unused: int, place: int, value: int
) -> None:
    data, ends = written(content)
    offset = SLOT + place % max(len(data) - SLOT, 1)
    # Zeros in place of all that was left in the last record look like one that was never begun.
    last = max([SLOT, *(end for end in ends if end <= offset)])
    if value == 0 and not any(data[last:offset] + data[offset + 1 :]):
        return
    _damaged(content, unused, place, _byte(value))


def test_each_bit_of_each_kind_of_record_is_checked() -> None:
    content: list[Record] = [(3, 4, 5.0, 6), (Kind.STEP, b"abc"), (7, 8, 9.0, 10), (Kind.STEP, b"")]
    data, _ = written(content)
    for place in range(len(data) - SLOT):
        for bit in range(8):
            _damaged(content, SLOT, place, _flip(bit))


@given(_records, _unused, _places)
@settings(max_examples=150, deadline=None)
def test_a_file_cut_anywhere_has_what_was_before(
    content: list[Record], unused: int, place: int
) -> None:
    data, ends = written(content)
    cut = SLOT + place % (len(data) + unused - SLOT + 1)
    kept = (data + bytes(unused))[:cut]
    found, damage = read(kept)
    assert found == before(content, ends, cut)
    last = max([SLOT, *(end for end in ends if end <= cut)])
    # At the border of two records, or within the zeros that a record begins with, it is just an end.
    assert (damage is None) == (not any(kept[last:]))


@given(_records, _places, st.integers(1, 8))
@settings(max_examples=150, deadline=None)
def test_zeroed_slots_in_the_middle_are_told_from_the_end(
    content: list[Record], place: int, slots: int
) -> None:
    data, ends = written(content)
    first = place % max(len(data) // SLOT - 1, 1) * SLOT + SLOT
    whole = data[:first] + bytes(len(data[first : first + slots * SLOT]))
    whole += data[len(whole) :]
    found, damage = read(whole)
    last = max([SLOT, *(end for end in ends if end <= first)])
    if whole == data:
        assert (found, damage) == (content, None)
    elif not any(whole[last:]):
        assert (found, damage) == (before(content, ends, first), None)
    else:
        # Zeros within a payload of zeros change nothing: the records up to the first change are there.
        change = next(at for at, byte in enumerate(data) if whole[at] != byte)
        assert found == before(content, ends, change)
        assert damage is not None


def test_a_record_that_was_being_written_when_its_process_died_is_no_damage() -> None:
    content: list[Record] = [
        (n, n, 1.0, 1) for n in range(124)
    ]  # up to 96 bytes before a page's end
    data, _ = written([*content, (Kind.STEP, b"x" * 200)])
    torn = data[:4096] + bytes(4096)
    assert read(torn) == (content, None)
    assert read(torn, whole=False)[1] is not None
    assert read(data[:4096])[1] is not None  # the file was cut there
    assert read(data[:4064] + bytes(8192))[1] is None
    assert read(data[:4128] + bytes(8192))[1] is not None  # it went on behind the border
    for bit in range(8):
        flipped = bytearray(data + bytes(4096))
        flipped[4050] ^= 1 << bit
        assert read(bytes(flipped))[1] is not None


@given(st.binary(max_size=2000))
@settings(max_examples=150, deadline=None)
def test_bytes_that_are_no_journal_are_no_records(noise: bytes) -> None:
    found, damage = read(format.header(1, 0) + noise)
    assert found == []
    assert (damage is None) == (not any(noise))


@given(st.integers(1, 2**32 - 1), st.integers(0, 2**62), st.integers(0, SLOT * 8 - 1))
def test_a_header_is_read_again_and_checked(number: int, created: int, bit: int) -> None:
    slot = format.header(number, created)
    assert len(slot) == SLOT
    assert format.read_header(slot) == (format.VERSION, number)
    damaged = bytearray(slot)
    damaged[bit // 8] ^= 1 << bit % 8
    for wrong in (bytes(damaged), slot[: bit // 8], b""):
        try:
            format.read_header(wrong)
        except ValueError:
            continue
        raise AssertionError(wrong)


@given(st.integers(0, 1000))
def test_the_size_of_a_record_is_told_by_its_length(length: int) -> None:
    assert len(format.record(Kind.STEP, bytes(length))) == format.size_of(length)
    assert format.size_of(length) % SLOT == 0
