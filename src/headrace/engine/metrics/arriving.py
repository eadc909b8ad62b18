"""Points that arrive as columns: checked, grouped by run and series, packed, summed up.

None of this needs the database, so it is done before the transaction: on SQLite one thread writes for
everybody, and what it does not have to do costs nobody else's time.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from headrace.engine import schema
from headrace.engine.metrics.columns import Body, Floats, Int64s, Points, pack
from headrace.errors import InvalidParameter

#: Points in one batch row at most: what a reader of one series has to unpack at once.
BLOCK = 65_536

_INT64_MAX = np.iinfo(np.int64).max

Numbers = npt.NDArray[np.integer[Any]]
Indices = npt.NDArray[np.intp]


class Part(NamedTuple):
    """What becomes one batch row: the series by their place in `RunPoints.keys`."""

    series: list[int]
    counts: list[int]
    body: Body


class RunPoints(NamedTuple):
    """Points of one run, ready to be recorded.

    Attributes:
        run_id: The run's public id.
        keys: Its metrics.
        parts: All points.
        summaries: Of each metric, what follows the experiment in a row of ``metric_summary``.
    """

    run_id: str
    keys: list[str]
    parts: list[Part]
    summaries: list[tuple[Any, ...]]


class Columns(NamedTuple):
    """Points of many series: of each point the number of its series, step, time and value."""

    numbers: Numbers
    steps: Int64s
    times: Int64s
    values: Floats

    def take(self, which: npt.NDArray[np.bool_] | Indices | slice) -> Columns:
        """Those points that a mask or index selects."""
        return Columns._make(column[which] for column in self)


def read_columns(
    series: int, numbers: bytes, steps: bytes, timestamps: bytes, values: bytes
) -> Columns:
    """Columns from their bytes.

    Raises:
        InvalidParameter: They differ in length, or name a series that is none of so many.
    """
    count, rest = divmod(len(numbers), 4)
    wrong = [
        f"'{name}' has {len(data)} bytes"
        for name, data in (("steps", steps), ("timestamps", timestamps), ("values", values))
        if len(data) != 8 * count
    ]
    if rest or wrong:
        raise InvalidParameter(
            f"Columns of different lengths: 'numbers' has {len(numbers)} bytes, "
            f"{', '.join(wrong) or 'which is no multiple of 4'}. "
            "Give 4 bytes a point in 'numbers' and 8 in each of the others."
        )
    columns = Columns(
        np.frombuffer(numbers, "<u4"),
        np.frombuffer(steps, "<i8"),
        np.frombuffer(timestamps, "<i8"),
        np.frombuffer(values, "<f8"),
    )
    greatest = int(columns.numbers.max()) if count else -1
    if greatest >= series:
        raise InvalidParameter(
            f"'numbers' holds the series number {greatest}, and 'series' has {series} entries; "
            "they are counted from 0."
        )
    return columns


def grouped(series: Sequence[tuple[str, str] | None], columns: Columns) -> list[RunPoints]:
    """Points by run, each run's by series, in the order in which they came.

    Args:
        series: Run id and key of each series; two may be the same; None: leave its points out.
        columns: Their points.
    """
    if not len(columns.numbers):
        return []
    slots = _slots(series)
    ordered, counts = _in_order(series, slots, columns)
    names = list(slots)
    used = np.flatnonzero(counts)
    if not len(used):
        return []
    counts = counts[used]
    starts = np.cumsum(counts) - counts
    with np.errstate(invalid="ignore"):  # signalling NaNs are NaNs like others
        summaries = _summaries(ordered, starts, counts)
    found: list[RunPoints] = []
    first = 0
    places = used.tolist()
    for place in range(1, len(places) + 1):
        run_id = names[places[first]][0]
        if place < len(places) and names[places[place]][0] == run_id:
            continue
        keys = [names[slot][1] for slot in places[first:place]]
        begin = int(starts[first])
        size = counts[first:place].tolist()
        points = ordered.take(slice(begin, begin + sum(size)))
        found.append(RunPoints(run_id, keys, _parts(points, size), summaries[first:place]))
        first = place
    return found


def _slots(series: Sequence[tuple[str, str] | None]) -> dict[tuple[str, str], int]:
    """Places of the different series, those of a run side by side."""
    runs: dict[str, dict[tuple[str, str], None]] = {}
    for one in series:
        if one is not None:
            runs.setdefault(one[0], {})[one] = None
    return {one: slot for slot, one in enumerate(one for run in runs.values() for one in run)}


def _in_order(
    series: Sequence[tuple[str, str] | None], slots: dict[tuple[str, str], int], columns: Columns
) -> tuple[Points, Indices]:
    """The points slot by slot, and how many each slot has."""
    none = len(slots)
    # A stable sort of 16-bit numbers is numpy's radix sort.
    kind = np.uint16 if none < 2**16 else np.uint32
    place = np.array([none if one is None else slots[one] for one in series], kind)
    numbers = place[columns.numbers]
    counts = np.bincount(numbers, minlength=none + 1)[:none]
    points = Points(*columns[1:])
    if none == 1 and counts[0] == points.size:
        return points, counts
    order = np.argsort(numbers, kind="stable")[: int(counts.sum())]
    return points.take(order), counts


def _parts(points: Points, counts: list[int]) -> list[Part]:
    """Points as bodies of blocks, cut where one would be too long."""
    if points.size <= BLOCK:
        return [Part(list(range(len(counts))), counts, pack(points))]
    ends = np.cumsum(counts)
    parts = []
    for begin in range(0, points.size, BLOCK):
        end = min(begin + BLOCK, points.size)
        inside = np.minimum(ends, end) - np.maximum(ends - counts, begin)
        which = np.flatnonzero(inside > 0)
        body = pack(points.take(slice(begin, end)))
        parts.append(Part(which.tolist(), inside[which].tolist(), body))
    return parts


def _summaries(points: Points, starts: Indices, counts: Indices) -> list[tuple[Any, ...]]:
    """Summary rows of series that lie one after the other, none of them empty."""
    steps, times, values = points
    nan = np.isnan(values)
    least = np.fmin.reduceat(values, starts)
    greatest = np.fmax.reduceat(values, starts)
    last = _last(points, nan, starts, counts)
    last_values = values[last]
    return list(
        zip(
            np.where(nan[last], schema.RANK_NAN, schema.RANK_NUMBER).tolist(),
            _or_none(last_values),
            steps[last].tolist(),
            times[last].tolist(),
            _or_none(least),
            _first_steps(points, least, starts, counts),
            _or_none(greatest),
            _first_steps(points, greatest, starts, counts),
            counts.tolist(),
            np.add.reduceat(nan, starts, dtype=np.int64).tolist(),
            np.minimum.reduceat(steps, starts).tolist(),
            np.minimum.reduceat(times, starts).tolist(),
            strict=True,
        )
    )


def _or_none(values: Floats) -> list[float | None]:
    return [None if value != value else value for value in values.tolist()]


def _last(points: Points, nan: npt.NDArray[np.bool_], starts: Indices, counts: Indices) -> Indices:
    """Of each series, the index of its greatest (step, time, value), NaN as 0; of equal ones the first."""
    steps, times, values = points
    greatest = np.maximum.reduceat(steps, starts)
    at = np.flatnonzero(steps == np.repeat(greatest, counts))
    if len(at) == len(starts):
        return at
    series = np.searchsorted(starts, at, side="right")
    number = np.where(nan[at], 0.0, values[at])
    order = np.lexsort((-at, nan[at], number, times[at], series))
    ends = np.flatnonzero(np.append(np.diff(series), 1))
    return at[order[ends]]


def _first_steps(
    points: Points, wanted: Floats, starts: Indices, counts: Indices
) -> list[int | None]:
    """Of each series the least step that has a value; None where that is NaN."""
    there = points.values == np.repeat(wanted, counts)
    steps = np.minimum.reduceat(np.where(there, points.steps, _INT64_MAX), starts).tolist()
    nan = np.isnan(wanted).tolist()
    return [None if missing else step for step, missing in zip(steps, nan, strict=True)]
