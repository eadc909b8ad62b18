"""What rules are told: the same, whether it happens now or is replayed."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from headrace.engine.metrics.columns import Points
from headrace.entities import RunStatus
from headrace.protocol.cloudevents import Row

#: Statuses of runs that something may still come of; LOST is what the store has for a silent one.
_ALIVE = frozenset((RunStatus.RUNNING.value, RunStatus.SCHEDULED.value, "LOST"))

_NOTHING: Mapping[str, str] = MappingProxyType({})


class RunFacts(NamedTuple):
    """What rules need to know of a run.

    Attributes:
        number: Its number inside.
        run_id: Its public id.
        name: Its name.
        experiment_id: Its experiment's number.
        status: As it is stored.
        start_time: Milliseconds since the Unix epoch.
        end_time: Likewise; None while it runs.
        parent: Public id of the run that it belongs to.
        tags: Of the tags that some rule asks for, those that it has.
        params: Likewise.
    """

    number: int
    run_id: str
    name: str
    experiment_id: int
    status: str
    start_time: int
    end_time: int | None = None
    parent: str | None = None
    tags: Mapping[str, str] = _NOTHING
    params: Mapping[str, str] = _NOTHING

    @property
    def alive(self) -> bool:
        """Whether it has not ended."""
        return self.status in _ALIVE


class Happened(NamedTuple):
    """An event.

    Attributes:
        time: Milliseconds since the Unix epoch.
        row: As it is in the log.
        data: Its data.
        run: The run that it is about, if it is about one that is there.
        chain: Rules whose firings led to it, the first first.
    """

    time: int
    row: Row
    data: dict[str, Any]
    run: RunFacts | None
    chain: tuple[str, ...] = ()


class Looked(NamedTuple):
    """What became of one series since it was looked at last.

    Attributes:
        time: When it was looked at, milliseconds since the Unix epoch.
        run: The run.
        key: The metric's.
        low: Least of the new values that are not NaN; infinity when there is none.
        high: Greatest of them; minus infinity when there is none.
        last: The series' last value, by step.
        last_step: Its step.
        nan: Whether one of the new values is NaN.
        best: Least and greatest of all values; None when there is none.
        baselines: Values of other runs by (baseline, which value).
        after: The last step when it was looked at before; None when it never was, and `low`, `high` and
            `nan` are of all its values.
    """

    time: int
    run: RunFacts
    key: str
    low: float
    high: float
    last: float
    last_step: int
    nan: bool
    best: tuple[float, float] | None
    baselines: Mapping[tuple[str, str], float] = MappingProxyType({})
    after: int | None = None


class Arrived(NamedTuple):
    """New points of one series in the order of their times; those seen before may be among them."""

    time: int
    run: RunFacts
    key: str
    points: Points
    #: What was worked out of these points, for other conditions that need the same.
    memo: dict[Any, Any]


class Printed(NamedTuple):
    """Lines of a run's console output: (number, stream, source, text); those seen before may be among them."""

    time: int
    run: RunFacts
    lines: list[tuple[int, str, str, str]]


class Spoke(NamedTuple):
    """A run gave a sign of life."""

    time: int
    run: RunFacts


Observation = Happened | Looked | Arrived | Printed | Spoke
