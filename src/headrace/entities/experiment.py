"""Experiment: a named set of runs."""

from __future__ import annotations

import msgspec

from headrace.entities.base import Entity, KeyValue, as_dict
from headrace.entities.types import LifecycleStage


class Experiment(Entity, frozen=True, kw_only=True):
    """A named set of runs.

    Times are milliseconds since the Unix epoch, UTC.
    """

    experiment_id: str
    name: str
    artifact_location: str
    lifecycle_stage: LifecycleStage
    creation_time: int
    last_update_time: int
    tag_list: tuple[KeyValue, ...] = msgspec.field(default=(), name="tags")
    workspace: str | None = None

    @property
    def tags(self) -> dict[str, str]:
        """Tags by key."""
        return as_dict(self.tag_list)
