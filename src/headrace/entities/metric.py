"""Metric points and chart buckets."""

from __future__ import annotations

from headrace.entities.base import Entity


class Metric(Entity, frozen=True, gc=False):
    """One point of a metric.

    ``value`` is any float64; on the JSON wire NaN and the infinities travel as the strings
    ``"NaN"``, ``"Infinity"`` and ``"-Infinity"``. ``timestamp`` is in milliseconds since the Unix
    epoch; ``step`` is any int64. ``run_id`` is set only where points of several runs are mixed.
    """

    key: str
    value: float
    timestamp: int
    step: int
    run_id: str | None = None


class MetricBucket(Entity, frozen=True, kw_only=True):
    """The points of one stretch of a series, summed up so that no spike is lost.

    ``first_step`` and ``last_step`` bound the stretch, both ends included. ``min``, ``max`` and
    ``last`` are over its values that are not NaN (None when all are NaN); ``last`` belongs to the
    greatest (step, timestamp). ``count`` is the number of points, ``nan_count`` of them NaN.
    """

    first_step: int
    last_step: int
    first_timestamp: int
    last_timestamp: int
    count: int
    nan_count: int
    min: float | None
    max: float | None
    last: float | None
