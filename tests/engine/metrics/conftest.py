"""A store without a background compactor, and a plain-Python model of what it should answer."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from headrace.engine import Engine
from headrace.entities import Metric
from headrace.protocol.operation import Operation, operations_of
from headrace.protocol.runs import MetricPoint
from headrace.protocol.store import Store

OPERATIONS: dict[str, Operation] = operations_of(Store)


class MetricStore:
    """Calls operations by name with keyword arguments."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.experiment_id = self.call("create_experiment", name="metrics").experiment_id

    def call(self, operation: str, /, **fields: Any) -> Any:
        return self.engine.call(OPERATIONS[operation], OPERATIONS[operation].build(**fields))

    def run(self) -> str:
        found: str = self.call("create_run", experiment_id=self.experiment_id).run.info.run_id
        return found

    def log(self, run_id: str, points: Sequence[MetricPoint]) -> None:
        request = OPERATIONS["log_batch"].request(run_id=run_id, metrics=tuple(points))  # type: ignore[call-arg]
        self.engine.call(OPERATIONS["log_batch"], request)

    def history(self, run_id: str, key: str, page: int | None = None) -> list[Metric]:
        found: list[Metric] = []
        token = ""
        while True:
            answer = self.call(
                "get_metric_history",
                run_id=run_id,
                metric_key=key,
                max_results=page,
                page_token=token,
            )
            found += answer.metrics
            token = answer.next_page_token
            if not token:
                return found
            assert len(answer.metrics) == page


@pytest.fixture
def store(database_url: str) -> Iterator[MetricStore]:
    engine = Engine(database_url, artifact_root="file:///nowhere", compact=False)
    yield MetricStore(engine)
    engine.close()


def place(point: MetricPoint | Metric) -> tuple[Any, ...]:
    """What makes a point the point it is, in the order of the history."""
    nan = math.isnan(point.value)
    number = 0.0 if nan else point.value
    return (point.timestamp, point.step, number, math.copysign(1, number), nan)
