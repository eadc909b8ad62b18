"""What the evaluator reads: facts of runs, summaries, points, lines and signs of life."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import sqlalchemy as sa

from headrace.engine import schema
from headrace.engine.database import execute_driver
from headrace.engine.liveness import LOST
from headrace.engine.metrics import columns
from headrace.engine.metrics.columns import Points
from headrace.engine.metrics.ordering import by_time, joined
from headrace.engine.rules.looks import Summary
from headrace.engine.rules.observations import RunFacts
from headrace.engine.session import SessionBase
from headrace.entities import RunStatus
from headrace.protocol.rule_check import baseline_parts

#: Runs that one statement asks for.
_PART = 500
#: Rows that one read of points takes up: bounds memory. Of segments the newest.
_MOST_BATCHES, _MOST_SEGMENTS = 128, 64
#: Status of a run in the trash, for rules.
DELETED = "DELETED"

_run = schema.run
_experiment = schema.experiment
_heartbeat = schema.heartbeat


class WantedFacts(NamedTuple):
    """Which runs, and which of their tags and params."""

    run_ids: Sequence[str]
    tags: frozenset[str] = frozenset()
    params: frozenset[str] = frozenset()


class WantedLooks(NamedTuple):
    """Numbers of runs, and keys of their metrics; None for all."""

    runs: Sequence[int]
    keys: frozenset[str] | None


class WantedPoints(NamedTuple):
    """Series of a run.

    Attributes:
        run: The run's number.
        places: By key the (time, step) after which points are wanted; None for all.
        batch, segment: Of rows with numbers up to these, nothing is wanted that was not given before.
    """

    run: int
    places: Mapping[str, tuple[int, int] | None]
    batch: int = 0
    segment: int = 0


class NewPoints(NamedTuple):
    """Points by key, in the order of their times; and how far was read: the next `WantedPoints` begins there.

    Attributes:
        more: There are batches that were not read.
    """

    points: dict[str, Points]
    batch: int
    segment: int
    more: bool


class WantedBaseline(NamedTuple):
    """What a run is compared with, and in which metric."""

    run: RunFacts
    baseline: str
    stat: str
    key: str


class RuleReading(SessionBase):
    """Reads for the evaluator; no operations of the protocol."""

    def run_facts(self, wanted: WantedFacts) -> dict[str, RunFacts]:
        """Facts of those runs that are there, by public id."""
        found: dict[str, RunFacts] = {}
        ids = list(dict.fromkeys(wanted.run_ids))
        for start in range(0, len(ids), _PART):
            rows = self.connection.execute(
                self._runs().where(_run.c.uuid.in_(ids[start : start + _PART]))
            ).all()
            tags = self._pairs(schema.tag, [row.id for row in rows], wanted.tags)
            params = self._pairs(schema.param, [row.id for row in rows], wanted.params)
            for row in rows:
                found[row.uuid] = _facts(row, tags.get(row.id, {}), params.get(row.id, {}))
        return found

    def running_runs(self, since: int) -> list[str]:
        """Public ids of runs that run, and began or gave a sign of life since then."""
        statement = (
            sa.select(_run.c.uuid)
            .outerjoin(_heartbeat, _heartbeat.c.run_id == _run.c.id)
            .where(
                _run.c.status.in_((RunStatus.RUNNING.value, LOST)),
                _run.c.deleted_time.is_(None),
                (_run.c.start_time >= since) | (_heartbeat.c.seen_time >= since),
            )
            .order_by(_run.c.id.desc())
            .limit(10_000)
        )
        return list(self.connection.execute(statement).scalars())

    def signs_of_life(self, since: int) -> list[tuple[str, int]]:
        """Runs that were heard since then, and when."""
        statement = (
            sa.select(_run.c.uuid, _heartbeat.c.seen_time)
            .join(_heartbeat, _heartbeat.c.run_id == _run.c.id)
            .where(_heartbeat.c.seen_time > since)
        )
        return [(row.uuid, row.seen_time) for row in self.connection.execute(statement)]

    def metric_looks(self, wanted: WantedLooks) -> list[Summary]:
        """Summaries of the series of some runs, with one statement for every 500 of them."""
        if wanted.keys is not None:
            numbers = self.keys.lookup(wanted.keys)
            if not numbers:
                return []
            names = {number: name for name, number in numbers.items()}
            only = f" AND key_id IN ({', '.join(map(str, sorted(names)))})"
        else:
            names, only = {}, ""
        rows: list[Any] = []
        for start in range(0, len(wanted.runs), _PART):
            these = ", ".join(map(str, map(int, wanted.runs[start : start + _PART])))
            rows += execute_driver(
                self.connection,
                "SELECT run_id, key_id, last_rank, last_value, last_step, last_time, min_value, max_value, "
                f"count, nan_count FROM metric_summary WHERE run_id IN ({these}){only}",
                (),
            )
        if wanted.keys is None:
            names = self.keys.names(row[1] for row in rows)
        return [
            Summary(
                run, names[key], math.nan if rank == schema.RANK_NAN else last, step, time,
                math.inf if low is None else low, -math.inf if high is None else high, count, nans,
            )
            for run, key, rank, last, step, time, low, high, count, nans in rows
        ]  # fmt: skip

    def points_since(self, wanted: WantedPoints) -> NewPoints:
        """New points of series of a run: each row that holds some is unpacked once for all of them."""
        numbers = self.keys.lookup(wanted.places)
        names = {number: name for name, number in numbers.items()}
        parts: dict[int, list[Points]] = {number: [] for number in names}
        batch, segment = schema.metric_batch.c, schema.metric_segment.c
        outlines = self.connection.execute(
            sa.select(segment.id, segment.key_id, segment.max_time, segment.max_step).where(
                segment.run_id == wanted.run, segment.key_id.in_(names), segment.id > wanted.segment
            )
        ).all()
        # Most new segments hold what was read while it was in batches.
        unknown = sorted(
            (one.id for one in outlines
             if _beyond(one.max_time, one.max_step, wanted.places[names[one.key_id]])),
            reverse=True,
        )[:_MOST_SEGMENTS]  # fmt: skip
        segments = self.connection.execute(
            sa.select(segment.id, segment.data).where(segment.id.in_(unknown))
        ).all()
        batches = self.connection.execute(
            sa.select(batch.id, batch.data)
            .where(batch.run_id == wanted.run, batch.id > wanted.batch)
            .order_by(batch.id)
            .limit(_MOST_BATCHES)
        ).all()
        for row in (*segments, *batches):
            block = columns.decode(row.data)
            assert block is not None
            for number, points in block.series():
                if number in parts:
                    parts[number].append(after_place(points, wanted.places[names[number]]))
        found = {
            names[number]: by_time(joined([one for one in some if one.size]))
            for number, some in parts.items()
        }
        return NewPoints(
            {key: points for key, points in found.items() if points.size},
            batches[-1].id if batches else wanted.batch,
            max((row.id for row in outlines), default=wanted.segment),
            len(batches) == _MOST_BATCHES,
        )

    def baselines(self, wanted: Sequence[WantedBaseline]) -> list[float | None]:
        """Values to compare with, in the order of what is wanted; None for those that are not there."""
        return [self._baseline(one) for one in wanted]

    def console_end(self, run_id: str) -> int:
        """Number of the last line of a run; 0 when it has none."""
        chunk = schema.console_chunk
        row = self.connection.execute(
            sa.select(chunk.c.first, chunk.c.lines)
            .join(_run, _run.c.id == chunk.c.run_id)
            .where(_run.c.uuid == run_id)
            .order_by(chunk.c.first.desc())
            .limit(1)
        ).first()
        return 0 if row is None else int(row.first + row.lines - 1)

    def _runs(self) -> sa.Select[Any]:
        return sa.select(
            _run.c.id, _run.c.uuid, _run.c.name, _run.c.experiment_id, _run.c.status,
            _run.c.start_time, _run.c.end_time, _run.c.parent_uuid, _run.c.deleted_time,
            _experiment.c.deleted_time.label("gone"),
        ).join(_experiment, _experiment.c.id == _run.c.experiment_id)  # fmt: skip

    def _pairs(
        self, table: sa.Table, runs: Sequence[int], keys: Iterable[str]
    ) -> dict[int, dict[str, str]]:
        """Values of some tags or params, by run and key."""
        numbers = self.keys.lookup(keys)
        found: dict[int, dict[str, str]] = {}
        if numbers and runs:
            names = {number: name for name, number in numbers.items()}
            statement = sa.select(table.c.run_id, table.c.key_id, table.c.value).where(
                table.c.run_id.in_(runs), table.c.key_id.in_(names)
            )
            for row in self.connection.execute(statement):
                found.setdefault(row.run_id, {})[names[row.key_id]] = row.value
        return found

    def _baseline(self, wanted: WantedBaseline) -> float | None:
        parts = baseline_parts(wanted.baseline, "baseline")
        keys = self.keys.lookup([wanted.key, parts["key"] or wanted.key])
        number = keys.get(wanted.key)
        if number is None:
            return None
        statement = sa.select(schema.metric_summary).join(
            _run, _run.c.id == schema.metric_summary.c.run_id
        )
        if parts["run"]:
            statement = statement.where(_run.c.uuid == parts["run"])
        elif wanted.baseline == "parent":
            statement = statement.where(_run.c.uuid == wanted.run.parent)
        else:
            tag = schema.tag
            statement = statement.join(tag, tag.c.run_id == _run.c.id).where(
                tag.c.key_id == keys.get(parts["key"]),
                tag.c.value == parts["value"],
                _run.c.experiment_id == wanted.run.experiment_id,
                _run.c.deleted_time.is_(None),
            )
        row = self.connection.execute(
            statement.where(
                schema.metric_summary.c.key_id == number, _run.c.id != wanted.run.number
            )
            .order_by(_run.c.start_time.desc(), _run.c.id.desc())
            .limit(1)
        ).first()
        if row is None:
            return None
        value: float | None = getattr(row, f"{wanted.stat}_value")
        return value


def after_place(points: Points, place: tuple[int, int] | None) -> Points:
    """The points after a (time, step)."""
    if place is None or not points.size:
        return points
    time, step = place
    if (int(points.times[0]), int(points.steps[0])) > place and bool(
        np.all(points.times[1:] >= points.times[:-1])
    ):
        return points  # nearly always: batches hold what is new
    return points.take((points.times > time) | ((points.times == time) & (points.steps > step)))


def _beyond(time: int, step: int, place: tuple[int, int] | None) -> bool:
    """Whether a segment that reaches to a time and step may hold points after a place."""
    return place is None or time > place[0] or (time == place[0] and step > place[1])


def _facts(row: Any, tags: dict[str, str], params: dict[str, str]) -> RunFacts:
    status = row.status if row.deleted_time is None and row.gone is None else DELETED
    return RunFacts(
        row.id, row.uuid, row.name, row.experiment_id, status, row.start_time, row.end_time,
        row.parent_uuid, tags, params,
    )  # fmt: skip
