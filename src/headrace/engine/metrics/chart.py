"""Charts: a series of any length as a few hundred exact buckets.

A short series is read whole. Of a long one the overview lines are read, each of which stands for about
128 points. Lines whose steps overlap form a *cluster*, which no bucket bound may cut. Most clusters are
one line. A cluster is unpacked to its points where its lines alone could be wrong or too coarse: where it
sticks out of the steps asked for, where two segments could hold the same point, or where it is wider than
a bucket should be. Then lines and points are put into the cells of a grid over the steps.
"""

from __future__ import annotations

import itertools

import numpy as np
import numpy.typing as npt

from headrace.engine.metrics.columns import LINE, Int64s, Lines, Points
from headrace.engine.metrics.ordering import by_step, by_time, joined, merged, overview, summed
from headrace.engine.metrics.series import Series, between
from headrace.entities import MetricBucket
from headrace.protocol.limits import INT64_MAX

#: Series of up to so many points are charted from the points themselves.
_READ_WHOLE = 65_536
#: Stands for the batches where a segment's id is expected.
_PENDING = 0
_LOWEST = -(2**63)


def chart(
    series: Series,
    buckets: int,
    start_step: int | None,
    end_step: int | None,
    read_whole: int = _READ_WHOLE,
) -> list[MetricBucket]:
    """The chart of a series.

    Args:
        series: What to read.
        buckets: How many buckets at most.
        start_step, end_step: Bounds, both included; None for open.
        read_whole: Chart up to so many points from the points themselves.

    Returns:
        Buckets that do not overlap, by step; none where there are no points.
    """
    low = _LOWEST if start_step is None else start_step
    high = INT64_MAX if end_step is None else end_step
    outlines = [one for one in series.outlines() if one.max_step >= low and one.min_step <= high]
    if sum(one.points for one in outlines) <= read_whole:
        return _of_points(series.points(low, high), buckets)
    return _OverviewChart(series, low, high, buckets).draw(read_whole)


def _of_points(points: Points, buckets: int) -> list[MetricBucket]:
    if not points.size:
        return []
    points = by_step(points)
    cells = _Grid(int(points.steps[0]), int(points.steps[-1]), buckets).cells(points.steps)
    return _entities(summed(points, _starts(cells)))


class _Grid:
    """Cells of equal width over a range of steps."""

    def __init__(self, low: int, high: int, cells: int) -> None:
        self._low = np.int64(low).astype(np.uint64)
        self._count = cells
        self.width = (high - low + 1) / cells

    def cells(self, steps: Int64s) -> npt.NDArray[np.intp]:
        """The cell of each step; never falls where the steps rise."""
        offset = (steps.astype(np.uint64) - self._low).astype(np.float64)
        return np.minimum((offset / self.width).astype(np.intp), self._count - 1)


class _OverviewChart:
    def __init__(self, series: Series, low: int, high: int, buckets: int) -> None:
        self._series = series
        self._low, self._high = low, high
        self._buckets = buckets
        self._pending = by_time(series.pending())
        sources = series.overviews(low, high)
        if self._pending.size:
            sources.append((_PENDING, overview(self._pending)))
        parts, source, begin = [], [], []
        for id, lines in sources:
            reaches = (lines.max_step >= low) & (lines.min_step <= high)
            firsts = np.cumsum(lines.points) - lines.points
            if not reaches.all():
                lines, firsts = lines.take(reaches), firsts[reaches]
            parts.append(lines)
            source.append(np.full(len(firsts), id, np.int64))
            begin.append(firsts)
        self._lines = Lines._make(map(np.concatenate, zip(*parts, strict=True)))
        self._source: Int64s = np.concatenate(source)
        self._begin: Int64s = np.concatenate(begin)
        if bool(np.any(self._lines.min_step[1:] <= self._lines.min_step[:-1])):
            order = np.lexsort((self._lines.max_step, self._lines.min_step))
            self._lines = self._lines.take(order)
            self._source, self._begin = self._source[order], self._begin[order]

    def draw(self, read_whole: int) -> list[MetricBucket]:
        lines = self._lines
        if not len(lines.points):
            return []
        if len(lines.points) * LINE <= read_whole:
            everything = np.ones(len(lines.points), np.bool_)
            return _of_points(self._unpacked(everything), self._buckets)
        grid = _Grid(
            max(self._low, int(lines.min_step.min())),
            min(self._high, int(lines.max_step.max())),
            self._buckets,
        )
        reach = np.maximum.accumulate(lines.max_step)
        fresh = np.ones(len(reach), np.bool_)
        fresh[1:] = lines.min_step[1:] > reach[:-1]
        starts = np.flatnonzero(fresh)
        unclear = self._unclear(starts, grid.width)
        atoms = []
        if not unclear.all():
            clear = np.repeat(~unclear, np.diff(np.append(starts, len(reach))))
            kept = lines if clear.all() else lines.take(clear)
            own = np.flatnonzero(fresh[clear])
            atoms.append(kept if len(own) == len(kept.points) else merged(kept, own, apart=False))
        if unclear.any():
            which = np.repeat(unclear, np.diff(np.append(starts, len(reach))))
            points = by_step(between(self._unpacked(which), self._low, self._high))
            if points.size:
                # Points of two clusters never share an atom: a clear cluster may lie between them.
                cluster = np.searchsorted(lines.min_step[starts], points.steps, side="right")
                cells = _starts(grid.cells(points.steps))
                edges = np.union1d(cells, _starts(cluster))
                atoms.append(summed(points, edges))
        if not atoms:
            return []
        whole = atoms[0]
        if len(atoms) > 1:
            whole = Lines._make(map(np.concatenate, zip(*atoms, strict=True)))
            whole = whole.take(np.argsort(whole.min_step, kind="stable"))
        return _entities(merged(whole, _starts(grid.cells(_middle(whole))), apart=True))

    def _unclear(self, starts: npt.NDArray[np.intp], width: float) -> npt.NDArray[np.bool_]:
        """Which clusters must be unpacked."""
        lines = self._lines
        first = np.minimum.reduceat(lines.min_step, starts)
        last = np.maximum.reduceat(lines.max_step, starts)
        size = np.diff(np.append(starts, len(lines.points)))
        extent = (last.astype(np.uint64) - first.astype(np.uint64)).astype(np.float64)
        found: npt.NDArray[np.bool_] = (first < self._low) | (last > self._high)
        found |= (size > 1) & (extent > max(2 * width, 1))
        several = np.minimum.reduceat(self._source, starts) != np.maximum.reduceat(
            self._source, starts
        )
        ends = np.append(starts[1:], len(lines.points))
        for number in np.flatnonzero(several & ~found):
            found[number] = self._may_repeat(slice(starts[number], ends[number]))
        return found

    def _may_repeat(self, cluster: slice) -> bool:
        """True when two sources of a cluster overlap in time, so that they could share a point."""
        source, lines = self._source[cluster], self._lines.take(cluster)
        spans = sorted(
            (
                int(lines.min_time[source == id].min()),
                int(lines.max_time[source == id].max()),
            )
            for id in np.unique(source)
        )
        return any(later[0] <= earlier[1] for earlier, later in itertools.pairwise(spans))

    def _unpacked(self, which: npt.NDArray[np.bool_]) -> Points:
        """The points of some lines."""
        parts = []
        for id in np.unique(self._source[which]):
            points = self._pending if id == _PENDING else self._series.segment(int(id))
            mine = which & (self._source == id)
            begin, count = self._begin[mine], self._lines.points[mine]
            inside = np.zeros(points.size + 1, np.int64)
            np.add.at(inside, begin, 1)
            np.add.at(inside, begin + count, -1)
            parts.append(points.take(np.cumsum(inside[:-1]) > 0))
        return between(joined(parts), self._low, self._high)


def _middle(lines: Lines) -> Int64s:
    extent = lines.max_step.astype(np.uint64) - lines.min_step.astype(np.uint64)
    middle: Int64s = (lines.min_step.astype(np.uint64) + extent // np.uint64(2)).astype(np.int64)
    return middle


def _starts(groups: npt.NDArray[np.intp]) -> npt.NDArray[np.intp]:
    """Where the runs of equal entries begin."""
    return np.concatenate((np.zeros(1, np.intp), np.flatnonzero(groups[1:] != groups[:-1]) + 1))


def _entities(lines: Lines) -> list[MetricBucket]:
    numbers = [
        [None if value != value else value for value in column.tolist()]
        for column in (lines.min, lines.max, lines.last)
    ]
    return [
        MetricBucket(
            first_step=first_step,
            last_step=last_step,
            first_timestamp=first_time,
            last_timestamp=last_time,
            count=count,
            nan_count=nan_count,
            min=least,
            max=greatest,
            last=last,
        )
        for first_step, last_step, first_time, last_time, count, nan_count, least, greatest, last in zip(
            lines.min_step.tolist(),
            lines.max_step.tolist(),
            lines.min_time.tolist(),
            lines.max_time.tolist(),
            lines.points.tolist(),
            lines.nan_count.tolist(),
            *numbers,
            strict=True,
        )
    ]
