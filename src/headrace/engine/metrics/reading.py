"""Metric history, samples, charts and columns, implemented."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Sequence
from itertools import repeat

import msgspec
import numpy as np
import sqlalchemy as sa

from headrace.engine import schema
from headrace.engine.metrics.chart import chart
from headrace.engine.metrics.columns import Points
from headrace.engine.metrics.ordering import by_step
from headrace.engine.metrics.series import Place, Series, place_of_last
from headrace.engine.session import SessionBase
from headrace.entities import Metric
from headrace.errors import InvalidParameter
from headrace.protocol.limits import (
    MAX_BULK_HISTORY_POINTS,
    MAX_HISTORY_RUNS,
    MAX_INTERVAL_POINTS,
)
from headrace.protocol.metrics import (
    BulkMetrics,
    GetMetricChart,
    GetMetricColumns,
    GetMetricHistory,
    GetMetricHistoryBulk,
    GetMetricHistoryInterval,
    MetricChart,
    MetricColumns,
    MetricHistory,
    Metrics,
)

_MAX_BUCKETS = 10_000
_MAX_COLUMNS = 1_000_000
_run = schema.run.c


class _Token(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Where a page ended, and of which series."""

    run_id: str
    key: str
    time: int
    step: int
    value: int


_token_decoder = msgspec.json.Decoder(_Token)


class MetricOperations(SessionBase, Metrics):
    """`Metrics` over batches and segments."""

    def get_metric_history(self, request: GetMetricHistory) -> MetricHistory:
        run_id = request.run_id or request.run_uuid
        if not run_id:
            raise InvalidParameter(
                "Missing value for required parameter 'run_id': name the run whose history to get."
            )
        limit = request.max_results
        if limit is not None and limit <= 0:
            raise InvalidParameter(
                f"Invalid value {limit} for parameter 'max_results' supplied. It must be a positive "
                "integer."
            )
        after = _place(request.page_token, run_id, request.metric_key)
        series = self._series_of_run(run_id, request.metric_key)
        if series is None:
            return MetricHistory()
        if limit is None and after is None:
            points, more = series.points(), False
        else:
            points, more = series.page(after, 2**62 if limit is None else limit)
        return MetricHistory(
            metrics=tuple(_metrics(request.metric_key, points)),
            next_page_token=_token(run_id, request.metric_key, points) if more else "",
        )

    def get_metric_history_bulk(self, request: GetMetricHistoryBulk) -> BulkMetrics:
        run_ids = sorted(set(_checked_runs(request.run_id, "run_id")))
        limit = MAX_BULK_HISTORY_POINTS if request.max_results is None else request.max_results
        if limit <= 0:
            raise InvalidParameter(
                f"Invalid value {limit} for parameter 'max_results' supplied. It must be a positive "
                "integer."
            )
        room = min(limit, MAX_BULK_HISTORY_POINTS)
        found: list[Metric] = []
        series = self._series_of_runs(run_ids, request.metric_key)
        for run_id in run_ids:
            if run_id in series and room:
                points, _ = series[run_id].page(None, room)
                found += _metrics(request.metric_key, points, run_id)
                room -= points.size
        return BulkMetrics(metrics=tuple(found))

    def get_metric_history_bulk_interval(self, request: GetMetricHistoryInterval) -> BulkMetrics:
        run_ids = _checked_runs(request.run_ids, "run_ids")
        limit = MAX_INTERVAL_POINTS if request.max_results is None else request.max_results
        if not 1 <= limit <= MAX_INTERVAL_POINTS:
            raise InvalidParameter(
                f"max_results must be between 1 and {MAX_INTERVAL_POINTS}, got {limit}."
            )
        low, high = request.start_step, request.end_step
        if (low is None) != (high is None):
            raise InvalidParameter(
                "If either start step or end step are specified, both must be specified."
            )
        _check_steps(low, high)
        found: list[Metric] = []
        series = self._series_of_runs(run_ids, request.metric_key)
        for run_id in run_ids:
            if run_id in series:
                points = _sample(by_step(series[run_id].points(low, high)), limit)
                found += _metrics(request.metric_key, points, run_id)
        return BulkMetrics(metrics=tuple(found))

    def get_metric_chart(self, request: GetMetricChart) -> MetricChart:
        if not 1 <= request.buckets <= _MAX_BUCKETS:
            raise InvalidParameter(
                f"buckets must be between 1 and {_MAX_BUCKETS}, got {request.buckets}."
            )
        _check_steps(request.start_step, request.end_step)
        series = self._series_of_run(request.run_id, request.metric_key)
        if series is None:
            return MetricChart()
        buckets = chart(series, request.buckets, request.start_step, request.end_step)
        return MetricChart(buckets=tuple(buckets))

    def get_metric_columns(self, request: GetMetricColumns) -> MetricColumns:
        if not 1 <= request.limit <= _MAX_COLUMNS:
            raise InvalidParameter(
                f"limit must be between 1 and {_MAX_COLUMNS}, got {request.limit}."
            )
        after = _place(request.page_token, request.run_id, request.metric_key)
        series = self._series_of_run(request.run_id, request.metric_key)
        if series is None:
            return MetricColumns(count=0, steps=b"", timestamps=b"", values=b"")
        points, more = series.page(after, request.limit)
        return MetricColumns(
            count=points.size,
            steps=points.steps.astype("<i8", copy=False).tobytes(),
            timestamps=points.times.astype("<i8", copy=False).tobytes(),
            values=points.values.astype("<f8", copy=False).tobytes(),
            next_page_token=_token(request.run_id, request.metric_key, points) if more else "",
        )

    def _series_of_run(self, run_id: str, key: str) -> Series | None:
        return self._series_of_runs([run_id], key).get(run_id)

    def _series_of_runs(self, run_ids: Sequence[str], key: str) -> dict[str, Series]:
        """The series of that key, by run id; runs and keys that are not there are left out."""
        number = self.keys.lookup([key]).get(key)
        if number is None:
            return {}
        statement = sa.select(_run.uuid, _run.id).where(_run.uuid.in_(set(run_ids)))
        return {
            row.uuid: Series(self.connection, row.id, number)
            for row in self.connection.execute(statement)
        }


def _metrics(key: str, points: Points, run_id: str | None = None) -> Iterable[Metric]:
    columns = (points.values.tolist(), points.times.tolist(), points.steps.tolist())
    if run_id is None:
        return map(Metric, repeat(key), *columns)
    return map(Metric, repeat(key), *columns, repeat(run_id))


def _sample(points: Points, size: int) -> Points:
    """An even sample by row, first and last kept, as SQL's ``ntile(size)`` deals the rows out.

    Of each tile the first row is taken, and the last row of all besides; a sample that is full gives
    its own last row up for it, so that of one tile the last row is what remains.
    """
    count = points.size
    if count <= size and size > 1:
        return points
    # The first count % size tiles have one row more than the others.
    tile = np.arange(min(size, count))
    chosen = tile * (count // size) + np.minimum(tile, count % size)
    if count:
        chosen[-1] = count - 1
    return points.take(chosen)


def _checked_runs(run_ids: Sequence[str], name: str) -> Sequence[str]:
    if not run_ids:
        raise InvalidParameter(
            f"Missing value for required parameter '{name}': name at least one run."
        )
    if len(run_ids) > MAX_HISTORY_RUNS:
        raise InvalidParameter(
            f"'{name}' names {len(run_ids)} runs; at most {MAX_HISTORY_RUNS} are allowed in one request."
        )
    return run_ids


def _check_steps(low: int | None, high: int | None) -> None:
    if low is not None and high is not None and low > high:
        raise InvalidParameter(
            f"end_step must be greater than start_step. Found start_step={low} and end_step={high}."
        )


def _token(run_id: str, key: str, points: Points) -> str:
    token = _Token(run_id, key, *place_of_last(points))
    return base64.urlsafe_b64encode(msgspec.json.encode(token)).decode()


def _place(token: str, run_id: str, key: str) -> Place | None:
    """The place that a page token stands for; None for no token.

    Raises:
        InvalidParameter: The token is none of ours, or of another series.
    """
    if not token:
        return None
    try:
        found = _token_decoder.decode(base64.b64decode(token, altchars="-_", validate=True))
        np.array([found.time, found.step, found.value], np.int64)
    except (binascii.Error, ValueError, OverflowError, msgspec.DecodeError):
        raise InvalidParameter(
            f"Invalid page token '{token[:100]}': give next_page_token of the page before as it came."
        ) from None
    if (found.run_id, found.key) != (run_id, key):
        raise InvalidParameter(
            f"The page token belongs to metric '{found.key}' of run '{found.run_id}', not to metric "
            f"'{key}' of run '{run_id}'."
        )
    return found.time, found.step, found.value
