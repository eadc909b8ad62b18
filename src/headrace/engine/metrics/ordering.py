"""The orders of points, and what a stretch of points comes to.

A point is (step, time, value). Two points are the same when all three are: NaN is one value whatever
its payload, and -0.0 is not 0.0. Values are ordered as numbers, with -0.0 just below 0.0 and NaN just
above it (MLflow counts NaN as 0 in its orders).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from headrace.engine.metrics.columns import LINE, NO_POINTS, Floats, Int64s, Lines, Points

_LOW_BITS = np.int64(2**63 - 1)


def order_key(values: Floats) -> Int64s:
    """Integers that are ordered as the values are, and equal where they are the same."""
    bits = values.view(np.int64)
    keys = bits ^ ((bits >> 63) & _LOW_BITS)
    keys += keys > 0  # leaves 1 free for NaN, between 0.0 and the least positive number
    keys[np.isnan(values)] = 1
    return keys


def joined(parts: Sequence[Points]) -> Points:
    """The points of all parts, one part after the other."""
    if len(parts) == 1:
        return parts[0]
    if not parts:
        return NO_POINTS
    return Points(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))


def by_time(points: Points) -> Points:
    """The points in the order of (time, step, value), each once."""
    return _ordered(points, points.times, points.steps)


def by_step(points: Points) -> Points:
    """The points in the order of (step, time, value), each once."""
    return _ordered(points, points.steps, points.times)


def _ordered(points: Points, first: Int64s, second: Int64s) -> Points:
    if bool(np.all(first[1:] > first[:-1])):
        return points
    third = order_key(points.values)
    if bool(np.all(_ascends(first, second, third))):
        return points
    order = np.lexsort((third, second, first))
    first, second, third = first[order], second[order], third[order]
    fresh = np.empty(len(order), np.bool_)
    fresh[0] = True
    fresh[1:] = (first[1:] != first[:-1]) | (second[1:] != second[:-1]) | (third[1:] != third[:-1])
    return points.take(order[fresh])


def _ascends(first: Int64s, second: Int64s, third: Int64s) -> npt.NDArray[np.bool_]:
    """Where each entry is greater than the one before it."""
    least = (second[1:] == second[:-1]) & (third[1:] > third[:-1])
    middle = (first[1:] == first[:-1]) & ((second[1:] > second[:-1]) | least)
    ascends: npt.NDArray[np.bool_] = (first[1:] > first[:-1]) | middle
    return ascends


def line_starts(steps: Int64s) -> npt.NDArray[np.intp]:
    """Where to start the overview lines of a block.

    A line begins where the step changes if that is near, so that neighbouring lines do not share one.
    """
    count = len(steps)
    wanted = np.arange(LINE, count, LINE)
    if not len(wanted):
        return np.zeros(1, np.intp)
    changes = np.flatnonzero(steps[1:] != steps[:-1]) + 1
    if len(changes):
        place = np.searchsorted(changes, wanted)
        found = changes[np.minimum(place, len(changes) - 1)]
        wanted = np.where((found >= wanted) & (found - wanted < LINE), found, wanted)
    return np.unique(np.concatenate((np.zeros(1, np.intp), wanted)))


def overview(points: Points) -> Lines:
    """The overview lines of points that are in the order of `by_time`."""
    starts = line_starts(points.steps)
    if bool(np.any(points.steps[1:] < points.steps[:-1])):
        group = np.zeros(points.size, np.intp)
        group[starts[1:]] = 1
        keys = order_key(points.values)
        order = np.lexsort((keys, points.times, points.steps, np.cumsum(group)))
        points = points.take(order)
    return summed(points, starts)


def summed(points: Points, starts: npt.NDArray[np.intp]) -> Lines:
    """What each stretch of points comes to.

    Args:
        points: Not empty; in the order of `by_step` within each stretch.
        starts: Index of the first point of each stretch, ascending, the first 0.
    """
    steps, times, values = points
    nan = np.isnan(values)
    ends = np.append(starts[1:], points.size)
    place = np.maximum.reduceat(np.where(nan, -1, np.arange(points.size)), starts)
    has_last = place >= 0
    place = np.where(has_last, place, ends - 1)
    return Lines(
        points=ends - starts,
        nan_count=np.add.reduceat(nan, starts, dtype=np.int64),
        min_step=np.minimum.reduceat(steps, starts),
        max_step=np.maximum.reduceat(steps, starts),
        min_time=np.minimum.reduceat(times, starts),
        max_time=np.maximum.reduceat(times, starts),
        last_step=steps[place],
        last_time=times[place],
        min=np.fmin.reduceat(values, starts),
        max=np.fmax.reduceat(values, starts),
        last=np.where(has_last, values[place], np.nan),
    )


def merged(lines: Lines, starts: npt.NDArray[np.intp], *, apart: bool) -> Lines:
    """Stretches of lines as one line each.

    Args:
        lines: Not empty.
        starts: Index of the first line of each stretch, ascending, the first 0.
        apart: The lines are in the order of their steps and share none, so that of two the later has the
            later last point.
    """
    total = len(lines.points)
    ends = np.append(starts[1:], total)
    nan = np.isnan(lines.last)
    if apart:
        place = np.maximum.reduceat(np.where(nan, -1, np.arange(total)), starts)
        last = np.where(place >= 0, place, ends - 1)
    else:
        group = np.zeros(total, np.intp)
        group[starts[1:]] = 1
        # A line without numbers sorts before all others of its stretch.
        columns = (order_key(lines.last), lines.last_time, lines.last_step, ~nan, np.cumsum(group))
        last = np.lexsort(columns)[ends - 1]
    return Lines(
        points=np.add.reduceat(lines.points, starts),
        nan_count=np.add.reduceat(lines.nan_count, starts),
        min_step=np.minimum.reduceat(lines.min_step, starts),
        max_step=np.maximum.reduceat(lines.max_step, starts),
        min_time=np.minimum.reduceat(lines.min_time, starts),
        max_time=np.maximum.reduceat(lines.max_time, starts),
        last_step=lines.last_step[last],
        last_time=lines.last_time[last],
        min=np.fmin.reduceat(lines.min, starts),
        max=np.fmax.reduceat(lines.max, starts),
        last=lines.last[last],
    )
