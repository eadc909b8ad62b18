"""Metric history and charts: declarations."""

from __future__ import annotations

from headrace.entities import Metric, MetricBucket
from headrace.protocol.limits import Int64, Required
from headrace.protocol.operation import (
    NATIVE_PREFIXES,
    Interface,
    Request,
    Response,
    operation,
)


class GetMetricHistory(Request, frozen=True, kw_only=True):
    """``max_results`` must be positive when given; without it the whole history comes at once."""

    run_id: str = ""
    run_uuid: str = ""
    metric_key: Required
    max_results: Int64 | None = None
    page_token: str = ""


class MetricHistory(Response, frozen=True, kw_only=True):
    metrics: tuple[Metric, ...] = ()
    next_page_token: str = ""


class GetMetricHistoryBulk(Request, frozen=True, kw_only=True):
    """``run_id`` may be repeated, 1 to 100 times; ``max_results`` at most 25,000 points in all."""

    run_id: tuple[str, ...] = ()
    metric_key: Required
    max_results: Int64 | None = None


class BulkMetrics(Response, frozen=True, kw_only=True):
    metrics: tuple[Metric, ...] = ()


class GetMetricHistoryInterval(Request, frozen=True, kw_only=True):
    """``run_ids`` 1 to 100; ``start_step`` and ``end_step`` both or neither; ``max_results`` 1 to 2500 per run."""

    run_ids: tuple[str, ...] = ()
    metric_key: Required
    start_step: Int64 | None = None
    end_step: Int64 | None = None
    max_results: Int64 | None = None


class GetMetricChart(Request, frozen=True, kw_only=True):
    """``buckets`` is from 1 to 10,000; steps bound the chart, both ends included."""

    run_id: Required
    metric_key: Required
    buckets: Int64 = 1000
    start_step: Int64 | None = None
    end_step: Int64 | None = None


class MetricChart(Response, frozen=True, kw_only=True):
    """Buckets in the order of their steps; they never overlap."""

    buckets: tuple[MetricBucket, ...] = ()


class GetMetricColumns(Request, frozen=True, kw_only=True):
    """``limit`` is from 1 to 1,000,000 points."""

    run_id: Required
    metric_key: Required
    page_token: str = ""
    limit: Int64 = 1_000_000


class MetricColumns(Response, frozen=True, kw_only=True):
    """A stretch of a series, in the order of (timestamp, step, value), as three columns.

    ``steps`` and ``timestamps`` are little-endian int64, ``values`` little-endian float64, base64
    in JSON, raw bytes in MessagePack.
    """

    count: int
    steps: bytes
    timestamps: bytes
    values: bytes
    next_page_token: str = ""


class Metrics(Interface):
    """Reading what `Runs` recorded. A run or key that is not there has an empty history."""

    @operation("GET", "/mlflow/metrics/get-history", permission="run:read", reads=True)
    def get_metric_history(self, request: GetMetricHistory) -> MetricHistory:
        """All points of one series in the order of (timestamp, step, value), by pages if asked."""
        raise NotImplementedError

    @operation("GET", "/mlflow/metrics/get-history-bulk", permission="run:read", reads=True)
    def get_metric_history_bulk(self, request: GetMetricHistoryBulk) -> BulkMetrics:
        """The series of several runs, run by run, each in the order of (timestamp, step, value)."""
        raise NotImplementedError

    @operation(
        "GET", "/mlflow/metrics/get-history-bulk-interval", permission="run:read", reads=True
    )
    def get_metric_history_bulk_interval(self, request: GetMetricHistoryInterval) -> BulkMetrics:
        """An even sample of the series of several runs, first and last points kept, with ``run_id``."""
        raise NotImplementedError

    @operation("GET", "/metrics/chart", permission="run:read", reads=True, prefixes=NATIVE_PREFIXES)
    def get_metric_chart(self, request: GetMetricChart) -> MetricChart:
        """A series of any length as at most so many buckets of min, max and last.

        Costs what the buckets cost, not what the series holds; bucket bounds may snap to the
        storage's blocks, so buckets need not be equally wide, but each is exact for its stretch.
        """
        raise NotImplementedError

    @operation(
        "GET", "/metrics/columns", permission="run:read", reads=True, prefixes=NATIVE_PREFIXES
    )
    def get_metric_columns(self, request: GetMetricColumns) -> MetricColumns:
        """The raw points of a series as typed columns."""
        raise NotImplementedError
