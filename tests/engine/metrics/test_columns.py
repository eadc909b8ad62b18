"""The format of metric columns."""

from __future__ import annotations

import math
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.engine.metrics import columns, ordering
from headrace.engine.metrics.columns import Points

INT64 = st.integers(-(2**63), 2**63 - 1)
FLOAT = st.floats(width=64) | st.sampled_from([math.nan, math.inf, -math.inf, -0.0, 0.0, 5e-324])
POINT = st.tuples(INT64, INT64, FLOAT)


def _points(rows: list[tuple[int, int, float]]) -> Points:
    steps, times, values = zip(*rows, strict=True) if rows else ((), (), ())
    return Points(
        np.array(steps, np.int64), np.array(times, np.int64), np.array(values, np.float64)
    )


def _same(left: Points, right: Points) -> bool:
    return (
        left.steps.tolist() == right.steps.tolist()
        and left.times.tolist() == right.times.tolist()
        and ordering.order_key(left.values).tolist() == ordering.order_key(right.values).tolist()
    )


@given(st.lists(st.lists(POINT, min_size=1, max_size=150), min_size=1, max_size=5))
def test_a_block_gives_back_every_series(series: list[list[tuple[int, int, float]]]) -> None:
    keys = [2**40 + 3 * number for number in range(len(series))]
    rows = [row for one in series for row in one]
    steps, times, values = (list(column) for column in zip(*rows, strict=True))
    data = columns.encode(keys, [len(one) for one in series], steps, times, values)
    block = columns.decode(data)
    assert block is not None
    assert [key for key, _ in block.series()] == keys
    for (_, found), one in zip(block.series(), series, strict=True):
        assert _same(found, _points(one))


@pytest.mark.parametrize("size", [1, 2, 63, 64, 65, 65_536])
def test_a_block_of_any_size_gives_back_its_points(size: int) -> None:
    random = np.random.default_rng(size)
    points = Points(
        random.integers(-(2**63), 2**63, size, np.int64),
        np.arange(size, dtype=np.int64) * 1000,
        random.normal(size=size),
    )
    points.values[::7] = math.nan
    points.values[1::11] = -math.inf
    block = columns.decode(columns.encode_series(5, points), 5)
    assert block is not None
    assert _same(block.points, points)


def test_the_payload_of_a_nan_makes_no_difference() -> None:
    (odd,) = struct.unpack("<d", struct.pack("<Q", 0xFFF8_0000_DEAD_BEEF))
    points = _points([(1, 1, math.nan), (1, 1, odd)])
    assert ordering.by_time(points).size == 1


def test_a_block_without_the_wanted_series_is_not_unpacked() -> None:
    assert columns.decode(columns.encode([3, 4], [1, 1], [1, 2], [1, 2], [0.5, 0.5]), 5) is None


def test_a_block_of_another_version_is_refused() -> None:
    data = b"\x02" + columns.encode([3], [1], [1], [1], [0.5])[1:]
    with pytest.raises(ValueError, match="version 2"):
        columns.decode(data)


def test_a_block_of_version_1_is_still_read() -> None:
    plain = bytes.fromhex(
        "01000100000001000000" + "0700000000000000" + "01000000"
        "0300000000000000" + "e803000000000000" + "000000000000e03f"
    )
    block = columns.decode(plain, 7)
    assert block is not None
    assert [column.tolist() for column in block.points] == [[3], [1000], [0.5]]


@given(st.lists(POINT, min_size=1, max_size=700))
def test_an_overview_gives_back_its_lines(rows: list[tuple[int, int, float]]) -> None:
    points = ordering.by_time(_points(rows))
    lines = ordering.overview(points)
    found = columns.decode_overview(columns.encode_overview(lines))
    for left, right in zip(found, lines, strict=True):
        np.testing.assert_array_equal(left, right)
    assert lines.points.sum() == points.size
    assert lines.points.max() < 2 * columns.LINE


@given(st.lists(FLOAT, min_size=2, max_size=20))
def test_values_are_ordered_as_numbers_with_nan_at_zero(values: list[float]) -> None:
    order = np.argsort(ordering.order_key(np.array(values)), kind="stable")
    found = [values[place] for place in order]
    as_numbers = [0.0 if math.isnan(value) else value for value in found]
    assert as_numbers == sorted(as_numbers)


def test_a_noisy_series_takes_at_most_ten_bytes_a_point() -> None:
    size = 65_536
    random = np.random.default_rng(1)
    points = Points(
        np.arange(size, dtype=np.int64),
        1_700_000_000_000 + np.cumsum(random.integers(80, 140, size)),
        random.normal(size=size),
    )
    overview = columns.encode_overview(ordering.overview(points))
    assert (len(columns.encode_series(1, points)) + len(overview)) / size <= 10
