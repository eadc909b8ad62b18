"""Run: one execution, what went in and what came out."""

from __future__ import annotations

import msgspec

from headrace.entities.base import Entity, KeyValue, as_dict
from headrace.entities.dataset import DatasetInput
from headrace.entities.metric import Metric
from headrace.entities.types import LifecycleStage, RunStatus


class RunInfo(Entity, frozen=True, kw_only=True):
    """What identifies a run. Times are milliseconds since the Unix epoch.

    ``run_uuid`` repeats ``run_id``: old clients read only the former.

    A run that gives signs of life has a ``seen_time``, that of its last one, until it ends. When it has
    been silent for too long it is ``lost``. Its status stays RUNNING, because MLflow's clients know no
    other word for it; in filters it is ``LOST``.
    """

    run_id: str
    run_uuid: str
    run_name: str
    experiment_id: str
    user_id: str
    status: RunStatus
    start_time: int
    end_time: int | None = None
    artifact_uri: str
    lifecycle_stage: LifecycleStage
    lost: bool = False
    seen_time: int | None = None


class RunData(Entity, frozen=True, kw_only=True):
    """Params, tags, and the last point of every metric.

    *Last* is the greatest (step, timestamp, value); NaN counts as 0 there, as in MLflow.
    """

    metric_list: tuple[Metric, ...] = msgspec.field(default=(), name="metrics")
    param_list: tuple[KeyValue, ...] = msgspec.field(default=(), name="params")
    tag_list: tuple[KeyValue, ...] = msgspec.field(default=(), name="tags")

    @property
    def metrics(self) -> dict[str, float]:
        """Last value by metric key."""
        return {metric.key: metric.value for metric in self.metric_list}

    @property
    def params(self) -> dict[str, str]:
        """Value by param key."""
        return as_dict(self.param_list)

    @property
    def tags(self) -> dict[str, str]:
        """Value by tag key."""
        return as_dict(self.tag_list)


class LoggedModelInput(Entity, frozen=True, kw_only=True):
    """A logged model that a run read."""

    model_id: str


class LoggedModelOutput(Entity, frozen=True, kw_only=True):
    """A logged model that a run produced, at a step."""

    model_id: str
    step: int = 0


class RunInputs(Entity, frozen=True, kw_only=True):
    """What a run read."""

    dataset_inputs: tuple[DatasetInput, ...] = ()
    model_inputs: tuple[LoggedModelInput, ...] = ()


class RunOutputs(Entity, frozen=True, kw_only=True):
    """What a run produced."""

    model_outputs: tuple[LoggedModelOutput, ...] = ()


class Run(Entity, frozen=True, kw_only=True):
    """One execution."""

    info: RunInfo
    data: RunData
    inputs: RunInputs
    outputs: RunOutputs
