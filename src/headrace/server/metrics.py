"""What /metrics shows, in Prometheus' format.

With several workers the numbers of all are added up through prometheus-client's files (the server sets
``PROMETHEUS_MULTIPROC_DIR`` before this module is imported); memory and CPU are those of the worker that
answers.
"""

from __future__ import annotations

import os
from typing import Any

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)

CONTENT_TYPE = CONTENT_TYPE_LATEST.encode()
_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0)


class Metrics:
    """Counts requests."""

    def __init__(self, version: str) -> None:
        self._shared = "PROMETHEUS_MULTIPROC_DIR" in os.environ
        disable_created_metrics()  # type: ignore[no-untyped-call]
        registry = self._registry = CollectorRegistry()
        self._requests = Counter(
            "headrace_http_requests",
            "Requests answered, by operation and HTTP status.",
            ("operation", "status"),
            registry=registry,
        )
        self._seconds = Histogram(
            "headrace_http_request_seconds",
            "Seconds from a request's head to the end of its answer, by operation.",
            ("operation",),
            buckets=_BUCKETS,
            registry=registry,
        )
        self._in_flight = Gauge(
            "headrace_http_requests_in_flight",
            "Requests being answered.",
            registry=registry,
            multiprocess_mode="livesum",
        )
        self._waiting = Gauge(
            "headrace_store_calls_waiting",
            "Calls handed to the store and not answered yet: the queue before the database.",
            registry=registry,
            multiprocess_mode="livesum",
        )
        build = Gauge(
            "headrace_build",
            "Version of this server.",
            ("version",),
            registry=registry,
            multiprocess_mode="max",
        )
        build.labels(version).set(1)
        self._counters: dict[tuple[str, int], Any] = {}
        self._timers: dict[str, Any] = {}

    def observe(self, operation: str, status: int, seconds: float) -> None:
        """Count one answered request."""
        counter = self._counters.get((operation, status))
        if counter is None:
            counter = self._counters[operation, status] = self._requests.labels(operation, status)
        counter.inc()
        timer = self._timers.get(operation)
        if timer is None:
            timer = self._timers[operation] = self._seconds.labels(operation)
        timer.observe(seconds)

    def page(self, in_flight: int, waiting: int) -> bytes:
        """The page as text; the two gauges are read when asked, not kept on every request."""
        self._in_flight.set(in_flight)
        self._waiting.set(waiting)
        registry = self._registry
        if self._shared:
            from prometheus_client.multiprocess import MultiProcessCollector

            registry = CollectorRegistry()
            MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        page = generate_latest(registry)
        process = CollectorRegistry()
        ProcessCollector(registry=process)
        return page + generate_latest(process)
