"""One series as it is stored: the segments of its own, and its points in the run's batches."""

from __future__ import annotations

from typing import NamedTuple

import sqlalchemy as sa

from headrace.engine import schema
from headrace.engine.metrics import columns
from headrace.engine.metrics.columns import Lines, Points
from headrace.engine.metrics.ordering import by_time, joined, order_key

_segment = schema.metric_segment.c
_batch = schema.metric_batch.c

_PENDING = sa.select(_batch.data).where(_batch.run_id == sa.bindparam("run_id"))
_OF_SERIES = (_segment.run_id == sa.bindparam("run_id")) & (
    _segment.key_id == sa.bindparam("key_id")
)
_OUTLINES = sa.select(
    _segment.id,
    _segment.points,
    _segment.min_step,
    _segment.max_step,
    _segment.min_time,
    _segment.max_time,
).where(_OF_SERIES)
_OVERVIEWS = (
    sa.select(_segment.id, _segment.overview)
    .where(_OF_SERIES)
    .where(_segment.max_step >= sa.bindparam("low"), _segment.min_step <= sa.bindparam("high"))
    .order_by(_segment.id)
)
_DATA = sa.select(_segment.data).where(_segment.id == sa.bindparam("id"))

#: A point's place in the order of (timestamp, step, value); the value as its `order_key`.
Place = tuple[int, int, int]


class Outline(NamedTuple):
    """What is known of a segment without reading its points."""

    id: int
    points: int
    min_step: int
    max_step: int
    min_time: int
    max_time: int


class Series:
    """Reads one series of one run in the snapshot of a read transaction."""

    def __init__(self, connection: sa.Connection, run_id: int, key_id: int) -> None:
        self._connection = connection
        self._of = {"run_id": run_id, "key_id": key_id}

    def pending(self) -> Points:
        """The points that are still in batches, in no order."""
        parts = []
        for data in self._connection.execute(_PENDING, {"run_id": self._of["run_id"]}).scalars():
            block = columns.decode(data, self._of["key_id"])
            if block is not None:
                parts += [points for key, points in block.series() if key == self._of["key_id"]]
        return joined(parts)

    def outlines(self) -> list[Outline]:
        """The segments, by the time where they begin."""
        rows = self._connection.execute(_OUTLINES, self._of)
        return sorted((Outline(*row) for row in rows), key=lambda one: (one.min_time, one.id))

    def overviews(self, low: int, high: int) -> list[tuple[int, Lines]]:
        """Overview lines by segment id, of the segments that reach into these steps."""
        rows = self._connection.execute(_OVERVIEWS, {**self._of, "low": low, "high": high})
        return [(row.id, columns.decode_overview(row.overview)) for row in rows]

    def segment(self, id: int) -> Points:
        """The points of a segment, in the order of `by_time`."""
        block = columns.decode(self._connection.execute(_DATA, {"id": id}).scalar_one())
        assert block is not None
        return block.points

    def points(self, low: int | None = None, high: int | None = None) -> Points:
        """All points in the order of `by_time`, each once.

        Args:
            low, high: Leave out the points below and above these steps.
        """
        parts = [
            self.segment(one.id)
            for one in self.outlines()
            if (low is None or one.max_step >= low) and (high is None or one.min_step <= high)
        ]
        parts.append(self.pending())
        return by_time(between(joined([part for part in parts if part.size]), low, high))

    def page(self, after: Place | None, limit: int) -> tuple[Points, bool]:
        """The first points after a place, in the order of `by_time`; and whether there are more.

        Only the segments that the page reaches into are unpacked.
        """
        outlines = [one for one in self.outlines() if after is None or one.max_time >= after[0]]
        found = [_after(self.pending(), after)]
        for number, outline in enumerate(outlines):
            found.append(_after(self.segment(outline.id), after))
            if number + 1 == len(outlines):
                break
            # Whatever is not unpacked yet begins at this time: what lies before it is complete.
            limit_time = outlines[number + 1].min_time
            if sum(int((part.times < limit_time).sum()) for part in found) > limit:
                complete = by_time(joined([part for part in found if part.size]))
                if int((complete.times < limit_time).sum()) > limit:
                    return complete.take(slice(limit)), True
                found = [complete]
        complete = by_time(joined([part for part in found if part.size]))
        return complete.take(slice(limit)), complete.size > limit


def place_of_last(points: Points) -> Place:
    """The place of the last of some points."""
    last = points.take(slice(-1, None))
    return int(last.times[0]), int(last.steps[0]), int(order_key(last.values)[0])


def between(points: Points, low: int | None, high: int | None) -> Points:
    """The points of these steps, both ends included."""
    if low is not None:
        points = points.take(points.steps >= low)
    if high is not None:
        points = points.take(points.steps <= high)
    return points


def _after(points: Points, place: Place | None) -> Points:
    if place is None or not points.size:
        return points
    time, step, value = place
    beyond = (points.times == time) & (
        (points.steps > step) | ((points.steps == step) & (order_key(points.values) > value))
    )
    return points.take((points.times > time) | beyond)
