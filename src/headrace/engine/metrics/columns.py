"""The format of metric columns: blocks of points, and overviews of blocks.

A **block** holds the points of one or more series of one run::

    u8   version (1)
    u8   encoding: 0 plain, 1 packed
    u32  number of series
    u32  number of points
    i64  key id of each series
    u32  points of each series
    then three columns, steps (i64), timestamps (i64) and values (f64), series after series:
         plain   as they are
         packed  steps and timestamps as zigzag differences to the one before (modulo 2**64), then all
                 three as byte planes (every first byte, every second byte, ...), as one zstd frame

An **overview** sums up the points of a one-series block, a line for about 128 of them::

    u8   version (1)
    u32  number of lines
    then one zstd frame of byte planes of the columns of `Lines`, integers as zigzag differences

All numbers are little-endian. A new layout gets a new version; every version ever written is read.
"""

from __future__ import annotations

import struct
import threading
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import zstandard

Int64s = npt.NDArray[np.int64]
UInt64s = npt.NDArray[np.uint64]
Floats = npt.NDArray[np.float64]

_VERSION = 1
_PLAIN, _PACKED = 0, 1
_HEAD = struct.Struct("<BBII")
_OVERVIEW_HEAD = struct.Struct("<BI")
#: Below this many points packing costs more time than it saves bytes.
_PACK_FROM = 64
#: Points that one overview line stands for, about.
LINE = 128

_I8, _U8, _F8, _U4 = (np.dtype(code) for code in ("<i8", "<u8", "<f8", "<u4"))
_ONE = np.uint64(1)


class Points(NamedTuple):
    """Some points of one series: three columns of equal length."""

    steps: Int64s
    times: Int64s
    values: Floats

    @property
    def size(self) -> int:
        """Number of points."""
        return len(self.steps)

    def take(self, which: slice | npt.NDArray[np.bool_] | npt.NDArray[np.intp]) -> Points:
        """Those points that an index, mask or slice selects."""
        return Points(self.steps[which], self.times[which], self.values[which])


NO_POINTS = Points(np.empty(0, _I8), np.empty(0, _I8), np.empty(0, _F8))


class Block(NamedTuple):
    """A decoded block: ``points`` holds the series one after the other, ``counts`` long each."""

    keys: list[int]
    counts: list[int]
    points: Points

    def series(self) -> list[tuple[int, Points]]:
        """The points of each series, by key id."""
        found, start = [], 0
        for key, count in zip(self.keys, self.counts, strict=True):
            found.append((key, self.points.take(slice(start, start + count))))
            start += count
        return found


class Body(NamedTuple):
    """What follows the counts in a block."""

    encoding: int
    points: int
    data: bytes


class Lines(NamedTuple):
    """Overview lines as columns, one entry per line.

    ``min``, ``max`` and ``last`` are over the values that are not NaN, and NaN where there are none;
    ``last`` is that of the greatest (step, time, value), which ``last_step`` and ``last_time`` give.
    """

    points: Int64s
    nan_count: Int64s
    min_step: Int64s
    max_step: Int64s
    min_time: Int64s
    max_time: Int64s
    last_step: Int64s
    last_time: Int64s
    min: Floats
    max: Floats
    last: Floats

    def take(self, which: slice | npt.NDArray[np.bool_] | npt.NDArray[np.intp]) -> Lines:
        """Those lines that an index, mask or slice selects."""
        return Lines._make(column[which] for column in self)

    def integers(self) -> list[Int64s]:
        """The columns before ``min``."""
        return list(self[:_LINE_INTS])  # type: ignore[arg-type]


_LINE_INTS = 8


class _Zstd(threading.local):
    """zstd contexts, which may not be shared between threads."""

    def __init__(self) -> None:
        self.compress = zstandard.ZstdCompressor(level=1).compress
        self.decompress = zstandard.ZstdDecompressor().decompress


_zstd = _Zstd()


def encode(
    keys: Sequence[int],
    counts: Sequence[int],
    steps: Sequence[int] | Int64s,
    times: Sequence[int] | Int64s,
    values: Sequence[float] | Floats,
) -> bytes:
    """A block.

    Args:
        keys: Key id of each series.
        counts: Points of each series.
        steps, times, values: The columns, series after series.
    """
    series, points = len(keys), len(steps)
    if points < _PACK_FROM:
        return struct.pack(
            f"<BBII{series}q{series}I{2 * points}q{points}d",
            *(_VERSION, _PLAIN, series, points),
            *(*keys, *counts),
            *(*steps, *times, *values),
        )
    columns = Points(np.asarray(steps, _I8), np.asarray(times, _I8), np.asarray(values, _F8))
    return block(keys, counts, pack(columns))


def pack(points: Points) -> Body:
    """Columns as the body of a block; `block` puts the head before it."""
    size = points.size
    if size < _PACK_FROM:
        return Body(_PLAIN, size, b"".join(column.tobytes() for column in points))
    planes = np.empty((3, 8, size), np.uint8)
    _scatter(_differences(points.steps), planes[0])
    _scatter(_differences(points.times), planes[1])
    _scatter(points.values.view(_U8), planes[2])
    packed: bytes = _zstd.compress(planes.data)
    return Body(_PACKED, size, packed)


def block(keys: Sequence[int], counts: Sequence[int], body: Body) -> bytes:
    """A block of series whose columns are packed already, series after series."""
    series = len(keys)
    head = struct.pack(
        f"<BBII{series}q{series}I", _VERSION, body.encoding, series, body.points, *keys, *counts
    )
    return head + body.data


def encode_series(key: int, points: Points) -> bytes:
    """A block of one series."""
    return encode((key,), (points.size,), *points)


def decode(data: bytes, key: int | None = None) -> Block | None:
    """The block that `encode` made.

    Args:
        data: The encoded block.
        key: Answer None, without unpacking, when the block has no series of this key id.
    """
    version, encoding, series, points = _HEAD.unpack_from(data)
    if version != _VERSION:
        raise ValueError(
            f"Metric block of version {version}; this headrace reads version {_VERSION}."
        )
    at = _HEAD.size
    if series == 1:
        keys, counts = [struct.unpack_from("<q", data, at)[0]], [points]
    else:
        keys = np.frombuffer(data, _I8, series, at).tolist()
        counts = np.frombuffer(data, _U4, series, at + 8 * series).tolist()
    if key is not None and key not in keys:
        return None
    at += 12 * series
    if encoding == _PLAIN:
        ints = np.frombuffer(data, _I8, 2 * points, at)
        values = np.frombuffer(data, _F8, points, at + 16 * points)
        return Block(keys, counts, Points(ints[:points], ints[points:], values))
    raw = _zstd.decompress(memoryview(data)[at:])
    planes = np.frombuffer(raw, np.uint8).reshape(3, 8, points)
    return Block(
        keys,
        counts,
        Points(
            _sums(_gather(planes[0])),
            _sums(_gather(planes[1])),
            _gather(planes[2]).view(_F8),
        ),
    )


def encode_overview(lines: Lines) -> bytes:
    """An overview."""
    count = len(lines.points)
    words = [_differences(column) for column in lines.integers()]
    words += [column.view(_U8) for column in (lines.min, lines.max, lines.last)]
    planes = np.empty((len(words), 8, count), np.uint8)
    for word, plane in zip(words, planes, strict=True):
        _scatter(word, plane)
    packed: bytes = _zstd.compress(planes.data)
    return _OVERVIEW_HEAD.pack(_VERSION, count) + packed


def decode_overview(data: bytes) -> Lines:
    """The overview that `encode_overview` made."""
    version, count = _OVERVIEW_HEAD.unpack_from(data)
    if version != _VERSION:
        raise ValueError(
            f"Metric overview of version {version}; this headrace reads version {_VERSION}."
        )
    raw = _zstd.decompress(memoryview(data)[_OVERVIEW_HEAD.size :])
    words = _gather(np.frombuffer(raw, np.uint8).reshape(len(Lines._fields), 8, count))
    return Lines._make([*_sums(words[:_LINE_INTS]), *words[_LINE_INTS:].view(_F8)])


def _differences(column: Int64s) -> UInt64s:
    words = column.view(_U8)
    found = np.empty(len(words), _U8)
    found[:1] = words[:1]
    np.subtract(words[1:], words[:-1], out=found[1:])
    sign = (found.view(_I8) >> 63).view(_U8)
    zigzag: UInt64s = (found << _ONE) ^ sign
    return zigzag


def _sums(words: UInt64s) -> Int64s:
    """Undo `_differences` along the last axis."""
    differences = (words >> _ONE) ^ (np.uint64(0) - (words & _ONE))
    return np.cumsum(differences, axis=-1, dtype=np.uint64, out=differences).view(_I8)


def _scatter(words: UInt64s, planes: npt.NDArray[np.uint8]) -> None:
    octets = words.view(np.uint8).reshape(-1, 8)
    for place in range(8):
        planes[place] = octets[:, place]


def _gather(planes: npt.NDArray[np.uint8]) -> UInt64s:
    """Words from byte planes, which lie along the last axis but one."""
    octets = np.empty((*planes.shape[:-2], planes.shape[-1], 8), np.uint8)
    for place in range(8):
        octets[..., place] = planes[..., place, :]
    words: UInt64s = octets.view(_U8)[..., 0]
    return words
