"""Charts: exact for the stretch that each bucket claims, never overlapping, no spike lost."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.engine.metrics import ordering
from headrace.engine.metrics.chart import chart
from headrace.engine.metrics.columns import Lines, Points
from headrace.engine.metrics.series import Outline, Series
from headrace.entities import MetricBucket
from headrace.protocol.runs import MetricPoint

from .conftest import MetricStore

LOW, HIGH = -(2**63), 2**63 - 1


class MemorySeries(Series):
    """A series whose segments lie in memory, however odd their order."""

    def __init__(self, segments: Sequence[Points], pending: Points) -> None:
        self._segments = {number + 1: ordering.by_time(one) for number, one in enumerate(segments)}
        self._in_batches = pending

    def pending(self) -> Points:
        return self._in_batches

    def outlines(self) -> list[Outline]:
        found = [
            Outline(
                id,
                one.size,
                int(one.steps.min()),
                int(one.steps.max()),
                int(one.times.min()),
                int(one.times.max()),
            )
            for id, one in self._segments.items()
        ]
        return sorted(found, key=lambda one: (one.min_time, one.id))

    def overviews(self, low: int, high: int) -> list[tuple[int, Lines]]:
        return [
            (id, ordering.overview(one))
            for id, one in self._segments.items()
            if one.steps.max() >= low and one.steps.min() <= high
        ]

    def segment(self, id: int) -> Points:
        return self._segments[id]


def _check(
    buckets: Sequence[MetricBucket], points: Points, most: int, low: int = LOW, high: int = HIGH
) -> None:
    points = ordering.by_step(points)
    points = points.take((points.steps >= low) & (points.steps <= high))
    assert len(buckets) <= most
    assert sum(bucket.count for bucket in buckets) == points.size
    before = None
    for bucket in buckets:
        assert bucket.first_step <= bucket.last_step
        assert before is None or before < bucket.first_step
        before = bucket.last_step
        inside = points.take(
            (points.steps >= bucket.first_step) & (points.steps <= bucket.last_step)
        )
        values = inside.values[~np.isnan(inside.values)]
        assert bucket == MetricBucket(
            first_step=int(inside.steps[0]),
            last_step=int(inside.steps[-1]),
            first_timestamp=int(inside.times.min()),
            last_timestamp=int(inside.times.max()),
            count=inside.size,
            nan_count=inside.size - len(values),
            min=float(values.min()) if len(values) else None,
            max=float(values.max()) if len(values) else None,
            last=float(values[-1]) if len(values) else None,
        )


SHAPES = st.sampled_from(["rising", "falling", "shuffled", "threefold", "flat", "sparse", "wide"])


def _shape(shape: str, size: int, first: int, seed: int) -> Points:
    random = np.random.default_rng(seed)
    steps = np.arange(size, dtype=np.int64)
    times = np.sort(random.integers(0, 2 * size, size)) + first
    if shape == "falling":
        steps = steps[::-1].copy()
    elif shape == "shuffled":
        random.shuffle(steps)
    elif shape == "threefold":
        steps //= 3
    elif shape == "flat":
        steps[:] = 7
    elif shape == "sparse":
        steps = steps * steps
    elif shape == "wide":
        steps = np.sort(random.integers(LOW, HIGH, size, np.int64))
    values = random.choice([math.nan, math.inf, 0.0, 1.0, -2.5, 1e300], size)
    return Points(steps if shape == "wide" else steps + first, times, values)


@given(
    shapes=st.lists(
        st.tuples(SHAPES, st.integers(1, 900), st.integers(0, 1500), st.integers(0, 3)),
        min_size=1,
        max_size=5,
    ),
    pending=st.booleans(),
    buckets=st.integers(1, 40),
    bounds=st.none() | st.tuples(st.integers(-10, 1500), st.integers(0, 1500)),
)
def test_buckets_are_exact_whatever_the_segments(
    shapes: list[tuple[str, int, int, int]],
    pending: bool,
    buckets: int,
    bounds: tuple[int, int] | None,
) -> None:
    parts = [_shape(*one) for one in shapes]
    loose = parts.pop() if pending else ordering.joined([])
    series = MemorySeries(parts, loose)
    low, high = (LOW, HIGH) if bounds is None else (bounds[0], bounds[0] + bounds[1])
    found = chart(series, buckets, *((None, None) if bounds is None else (low, high)), read_whole=0)
    _check(found, ordering.joined([*parts, loose]), buckets, low, high)


def _regular(size: int) -> Points:
    steps = np.arange(size, dtype=np.int64)
    return Points(steps, 1000 * steps, np.sin(steps / 5000))


def _resumed(size: int) -> Points:
    """Back to a checkpoint in the middle: steps repeat at later times."""
    points = _regular(size)
    again = np.concatenate((np.arange(size // 2), np.arange(size // 3, size - size // 6)))
    return Points(again[:size], points.times, points.values)


def _logged_twice(size: int) -> Points:
    points = _regular(size // 2)
    return ordering.joined([points, points])


def _same_step(size: int) -> Points:
    points = _regular(size)
    return points._replace(steps=np.zeros(size, np.int64))


@pytest.mark.parametrize("make", [_regular, _resumed, _logged_twice, _same_step])
def test_a_stored_series_is_charted_exactly(
    store: MetricStore, make: Callable[[int], Points]
) -> None:
    points = make(80_000)
    points.values[12_345] = 99.0  # a spike
    points.values[54_321] = math.nan
    run_id = store.run()
    rows = list(zip(*(column.tolist() for column in points), strict=True))
    for start in range(0, len(rows), 1000):
        store.log(
            run_id,
            [
                MetricPoint(key="m", step=step, timestamp=time, value=value)
                for step, time, value in rows[start : start + 1000]
            ],
        )
        if start in (40_000, 75_000):
            store.engine.compact()
    for low, high in ((None, None), (10, 60_000), (100, 130)):
        buckets = store.call(
            "get_metric_chart",
            run_id=run_id,
            metric_key="m",
            buckets=500,
            start_step=low,
            end_step=high,
        ).buckets
        _check(buckets, points, 500, LOW if low is None else low, HIGH if high is None else high)
    answer = store.call("get_metric_columns", run_id=run_id, metric_key="m")
    whole = ordering.by_time(points)
    assert answer.steps == whole.steps.astype("<i8").tobytes()
    assert answer.timestamps == whole.times.astype("<i8").tobytes()
