"""Metrics: logging points, alone and in batches, and reading them back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from headrace.client.base import ClientBase, RunOperations, finished
from headrace.client.paging import PagedList
from headrace.client.values import metric_value, now_ms, whole_number
from headrace.entities import KeyValue, Metric, MetricBucket
from headrace.protocol.limits import (
    MAX_ITEMS_PER_BATCH,
    MAX_METRICS_PER_BATCH,
    MAX_PARAMS_PER_BATCH,
    MAX_TAGS_PER_BATCH,
)
from headrace.protocol.metrics import Metrics
from headrace.protocol.runs import Runs

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_HISTORY_PAGE = 25_000


class MetricColumns(NamedTuple):
    """A series as arrays of equal length, in the order of (timestamp, step, value).

    ``steps`` and ``timestamps`` (milliseconds) are int64, ``values`` float64.
    """

    steps: NDArray[np.int64]
    timestamps: NDArray[np.int64]
    values: NDArray[np.float64]


class MetricCalls(ClientBase):
    """Metric points."""

    def log_metric(
        self,
        run_id: str,
        key: str,
        value: Any,
        timestamp: int | None = None,
        step: int | None = None,
        synchronous: bool | None = None,
        dataset_name: str | None = None,
        dataset_digest: str | None = None,
        model_id: str | None = None,
    ) -> RunOperations | None:
        """Log one point.

        Args:
            run_id: Of an active run.
            key: At most 250 letters, digits, ``_ - . space : /``.
            value: A number, or an array or tensor of one element; NaN and infinities are kept.
            timestamp: Milliseconds since the Unix epoch; default now.
            step: Any int64; default 0.
            synchronous: False returns a `RunOperations`; the point is logged when the call returns.
            dataset_name: With ``dataset_digest``: the data set that the metric is about.
            dataset_digest: See there.
            model_id: The logged model that the metric is about.
        """
        self._call(
            Runs.log_metric,
            run_id=run_id,
            key=key,
            value=metric_value(key, value),
            timestamp=whole_number("timestamp", timestamp, now_ms()),
            step=whole_number("step", step, 0),
            dataset_name=dataset_name,
            dataset_digest=dataset_digest,
            model_id=model_id,
        )
        return finished(synchronous)

    def log_batch(
        self,
        run_id: str,
        metrics: Iterable[Metric | Mapping[str, Any]] = (),
        params: Iterable[KeyValue] | Mapping[str, Any] = (),
        tags: Iterable[KeyValue] | Mapping[str, Any] = (),
        synchronous: bool | None = None,
    ) -> RunOperations | None:
        """Log metrics, params and tags together.

        Up to 1000 metrics, 100 params and 100 tags (1000 in all) are one request, recorded all or
        nothing; more are sent as several such requests.

        Args:
            run_id: Of an active run.
            metrics: `Metric`, or dictionaries with ``key``, ``value`` and, if wanted, ``timestamp``
                and ``step``.
            params: `Param`, or a dictionary.
            tags: `RunTag`, or a dictionary.
            synchronous: As for `log_metric`.
        """
        now = now_ms()
        points = [_point(metric, now) for metric in metrics]
        param_list, tag_list = _pair_list(params), _pair_list(tags)
        while points or param_list or tag_list:
            some_params = param_list[:MAX_PARAMS_PER_BATCH]
            some_tags = tag_list[:MAX_TAGS_PER_BATCH]
            room = MAX_ITEMS_PER_BATCH - len(some_params) - len(some_tags)
            some_points = points[: min(room, MAX_METRICS_PER_BATCH)]
            self._call(
                Runs.log_batch,
                run_id=run_id,
                metrics=some_points,
                params=some_params,
                tags=some_tags,
            )
            points = points[len(some_points) :]
            param_list = param_list[len(some_params) :]
            tag_list = tag_list[len(some_tags) :]
        return finished(synchronous)

    def get_metric_history(self, run_id: str, key: str) -> PagedList[Metric]:
        """All points of one series in the order of (timestamp, step, value).

        A run or key that is not there has none. For long series `get_metric_columns` is faster.
        """
        points: list[Metric] = []
        token: str | None = None
        while True:
            page = self._call(
                Metrics.get_metric_history,
                run_id=run_id,
                metric_key=key,
                max_results=_HISTORY_PAGE,
                page_token=token,
            )
            points.extend(page.metrics)
            token = page.next_page_token
            if not token:
                return PagedList(points, None)

    def get_metric_chart(
        self,
        run_id: str,
        key: str,
        buckets: int = 1000,
        start_step: int | None = None,
        end_step: int | None = None,
    ) -> list[MetricBucket]:
        """A series of any length as a few buckets of min, max and last, in the order of steps.

        Args:
            run_id: The run.
            key: The metric.
            buckets: At most so many, 1 to 10,000.
            start_step: First step to look at; default the first there is.
            end_step: Last step to look at, included; default the last there is.
        """
        chart = self._call(
            Metrics.get_metric_chart,
            run_id=run_id,
            metric_key=key,
            buckets=buckets,
            start_step=start_step,
            end_step=end_step,
        )
        return list(chart.buckets)

    def get_metric_columns(self, run_id: str, key: str) -> MetricColumns:
        """All points of one series as numpy arrays."""
        import numpy as np  # lazily: logging needs no numpy

        steps, timestamps, values = bytearray(), bytearray(), bytearray()
        token: str | None = None
        while token != "":
            page = self._call(
                Metrics.get_metric_columns, run_id=run_id, metric_key=key, page_token=token
            )
            steps += page.steps
            timestamps += page.timestamps
            values += page.values
            token = page.next_page_token
        return MetricColumns(
            np.frombuffer(steps, "<i8"),
            np.frombuffer(timestamps, "<i8"),
            np.frombuffer(values, "<f8"),
        )


def point_fields(metric: Metric | Mapping[str, Any], now: int) -> dict[str, Any]:
    """A point as the fields of a `MetricPoint`, its value as it was given.

    Args:
        metric: A `Metric`, any object with MLflow's attributes, or a dictionary.
        now: Milliseconds since the Unix epoch, for a point without a time.

    Raises:
        InvalidParameter: A step or time that is no whole number.
    """
    if isinstance(metric, Mapping):
        given = dict(metric)
    else:
        given = {name: getattr(metric, name) for name in ("key", "value", "timestamp", "step")}
        for name in ("model_id", "dataset_name", "dataset_digest"):
            given[name] = getattr(metric, name, None)
    for name in ("model_id", "dataset_name", "dataset_digest"):
        if not given.get(name):
            given.pop(name, None)
    given["key"] = str(given.get("key", ""))
    given["timestamp"] = whole_number("timestamp", given.get("timestamp"), now)
    given["step"] = whole_number("step", given.get("step"), 0)
    return given


def _point(metric: Metric | Mapping[str, Any], now: int) -> dict[str, Any]:
    given = point_fields(metric, now)
    given["value"] = metric_value(given["key"], given.get("value"))
    return given


def _pair_list(pairs: Iterable[KeyValue] | Mapping[str, Any]) -> list[dict[str, str]]:
    if isinstance(pairs, Mapping):
        return [{"key": str(key), "value": str(value)} for key, value in pairs.items()]
    return [{"key": pair.key, "value": str(pair.value)} for pair in pairs]
