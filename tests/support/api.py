"""The protocol's operations as functions of keyword arguments, over any store."""

from __future__ import annotations

import itertools
import math
import uuid
from collections.abc import Callable, Iterable
from typing import Any

from headrace.entities import Metric
from headrace.protocol.operation import operations_of
from headrace.protocol.store import Store

OPERATIONS = operations_of(Store)
_number = itertools.count(1)


class Api:
    """``api.create_run(experiment_id="0")``: builds the request as every client does, and calls the store."""

    def __init__(self, store: Store) -> None:
        self.store = store

    def __getattr__(self, name: str) -> Callable[..., Any]:
        operation = OPERATIONS[name]

        def call(**fields: Any) -> Any:
            return getattr(self.store, name)(operation.build(**fields))

        return call

    # Three steps that most tests begin with.

    def new_experiment(self, **fields: Any) -> str:
        """Id of a new experiment, of a name nobody has."""
        fields.setdefault("name", unique("experiment"))
        return str(self.create_experiment(**fields).experiment_id)

    def new_run(self, experiment_id: str | None = None, **fields: Any) -> str:
        """Id of a new run, in a new experiment unless one is given."""
        experiment_id = experiment_id or self.new_experiment()
        return str(self.create_run(experiment_id=experiment_id, **fields).run.info.run_id)

    def run(self, run_id: str) -> Any:
        """The run as it is now."""
        return self.get_run(run_id=run_id).run

    def history(self, run_id: str, key: str) -> list[tuple[int, int, Any]]:
        """All points of a series as (timestamp, step, value), in the store's order."""
        return points(self.get_metric_history(run_id=run_id, metric_key=key).metrics)


def points(metrics: Iterable[Metric]) -> list[tuple[int, int, Any]]:
    """Points as (timestamp, step, value); NaN as the word, because it does not equal itself."""
    return [
        (one.timestamp, one.step, "NaN" if math.isnan(one.value) else one.value) for one in metrics
    ]


def pairs(**values: str) -> list[dict[str, str]]:
    """Params or tags as they travel."""
    return [{"key": key, "value": value} for key, value in values.items()]


def point(key: str, value: Any, step: int = 0, timestamp: int = 0) -> dict[str, Any]:
    """A metric point as it travels."""
    return {"key": key, "value": value, "step": step, "timestamp": timestamp}


def unique(word: str) -> str:
    """A name that nothing else in the store has."""
    return f"{word}-{next(_number)}-{uuid.uuid4().hex[:8]}"
