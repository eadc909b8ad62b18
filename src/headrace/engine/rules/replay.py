"""History through a rule: what would have fired, by the very code that decides what fires.

Points come in slices of a second, as looks at a run would have found them. Time passes in steps of a part of
the rule's shortest span. What is not kept cannot be replayed: tags, params and baselines are those of now,
and of signs of life only events, points and lines are known.
"""

from __future__ import annotations

import heapq
import json
import math
from collections.abc import Iterator, Sequence
from itertools import groupby, pairwise
from typing import Any

import numpy as np
import sqlalchemy as sa

from headrace.engine import schema
from headrace.engine.console import decode
from headrace.engine.metrics.series import Series
from headrace.engine.rules.compiled import CompiledRule
from headrace.engine.rules.evaluator import Evaluator, Muted, Outcome
from headrace.engine.rules.machine import Fired
from headrace.engine.rules.observations import (
    Arrived,
    Happened,
    Looked,
    Observation,
    Printed,
    RunFacts,
    Spoke,
)
from headrace.engine.rules.operations import RuleOperations
from headrace.engine.rules.reading import RuleReading, WantedBaseline, WantedFacts, WantedLooks
from headrace.engine.rules.rendering import rendered
from headrace.entities import RunStatus
from headrace.errors import InvalidParameter
from headrace.protocol.cloudevents import Row
from headrace.protocol.rule_check import parse_rule
from headrace.protocol.rule_spec import RuleSpec
from headrace.protocol.rules import Firing, RuleName, RuleTest, TestRule

#: Points within one such stretch, in milliseconds, come in one look.
_SLICE = 1000
#: Runs that a replay looks at, the newest.
_RUNS = 10_000
_EVENTS = 5_000
#: Time passes in this part of the shortest span, between these bounds, in milliseconds.
_PART, _SHORTEST, _LONGEST = 10, 1_000, 300_000
_ENDS = frozenset(("run.finished", "run.failed", "run.killed", "run.deleted", "run.purged"))

_event = schema.event
_run = schema.run


class ReplayOperations(RuleOperations, RuleReading):
    """`Rules.test_rule`."""

    def test_rule(self, request: TestRule) -> RuleTest:
        if (request.spec is None) == (not request.name):
            raise InvalidParameter(
                "Give the name of a rule, or a document: which one is to be tested?"
            )
        if not 1 <= request.limit <= 10_000:
            raise InvalidParameter(f"limit must be from 1 to 10000, got {request.limit}.")
        until = self.now if request.until is None else min(request.until, self.now)
        if request.since >= until:
            raise InvalidParameter(
                f"since ({request.since}) must be before until ({until}): there is no history to replay."
            )
        document = request.spec
        if document is None:
            document = self.get_rule(RuleName(name=request.name)).rule.spec
        spec = parse_rule(document, "spec")
        return _Replay(self, spec, request.since, until, request.limit).run()


class _Replay:
    def __init__(
        self, session: ReplayOperations, spec: RuleSpec, since: int, until: int, limit: int
    ) -> None:
        self._session = session
        self._rule = CompiledRule(spec)
        self._until, self._limit = until, limit
        oldest = session.connection.execute(sa.select(sa.func.min(_event.c.time))).scalar()
        trimmed = session.connection.execute(sa.select(schema.event_log.c.trimmed)).scalar()
        self._since = max(since, oldest) if trimmed and oldest is not None else since
        self._counts = {"events": 0, "points": 0, "lines": 0}
        self._firings: list[dict[str, Any]] = []
        self._open: dict[str, dict[str, Any]] = {}
        self._names = self._experiments()
        self._runs = self._chosen_runs()

    def run(self) -> RuleTest:
        """Replay."""
        evaluator = Evaluator(self._since)
        evaluator.set_rules([self._rule])
        evaluator.set_experiments(self._names)
        evaluator.begin(None, self._since)
        quantum = self._quantum()
        now = self._since
        complete = True
        for seen in self._history():
            while quantum and seen.time - now > quantum:
                now += quantum
                self._take(evaluator.tick(now))
            now = max(now, seen.time)
            if seen.run is not None and seen.run.alive:
                evaluator.begin(seen.run, now)
            self._take(evaluator.feed(seen, now))
            if len(self._firings) >= self._limit:
                complete = False
                break
        while complete and quantum and now < self._until:
            now = min(now + quantum, self._until)
            self._take(evaluator.tick(now))
        return RuleTest(
            firings=tuple(Firing(**one) for one in self._firings[: self._limit]),
            since=self._since,
            complete=complete,
            **self._counts,
        )

    def _take(self, outcomes: Sequence[Outcome | Muted]) -> None:
        for one in outcomes:
            if type(one) is Muted:
                continue
            assert type(one) is Outcome
            if type(one.change) is Fired:
                said = rendered(one, self._names)
                firing = {
                    "number": 0, "rule": one.rule.name, "group": one.group, "run_id": said.run_id,
                    "experiment_id": "" if said.experiment_id is None else str(said.experiment_id),
                    "severity": one.rule.spec.severity, "title": said.title, "text": said.text,
                    "time": one.change.time, "momentary": one.change.momentary,
                    "values": said.values, "cause": one.change.hit.cause, "chain": one.chain,
                    "actions": tuple(said.actions),
                }  # fmt: skip
                self._firings.append(firing)
                self._open[one.group] = firing
            else:
                self._open[one.group]["resolved_time"] = one.change.time

    def _quantum(self) -> int:
        """Milliseconds in which time passes; 0 when nothing of the rule hangs on it."""
        if not (self._rule.clocked or self._rule.cooldown):
            return 0
        spans = [self._rule.hold, self._rule.within, self._rule.after, self._rule.cooldown]
        spans += [leaf.span for leaf in self._rule.leaves]
        shortest = min((span for span in spans if span), default=_LONGEST * _PART)
        return min(max(shortest // _PART, _SHORTEST), _LONGEST)

    def _experiments(self) -> dict[int, str]:
        experiment = schema.experiment.c
        rows = self._session.connection.execute(sa.select(experiment.id, experiment.name))
        return {row.id: row.name for row in rows}

    def _chosen_runs(self) -> dict[str, RunFacts]:
        scope = self._rule.spec.scope
        statement = sa.select(_run.c.uuid).where(
            _run.c.start_time < self._until,
            (_run.c.end_time.is_(None)) | (_run.c.end_time >= self._since),
        )
        chosen = self._rule.experiments(self._names)
        if chosen is not None:
            statement = statement.where(_run.c.experiment_id.in_(chosen))
        ids = self._session.connection.execute(
            statement.order_by(_run.c.id.desc()).limit(_RUNS)
        ).scalars()
        wanted = WantedFacts(list(ids), frozenset(scope.tags), frozenset(scope.params))
        found = self._session.run_facts(wanted)
        return {run_id: run for run_id, run in found.items() if self._rule.within_scope(run)}

    def _history(self) -> Iterator[Observation]:
        sources: list[Iterator[Observation]] = [self._events()]
        for run in self._runs.values():
            if self._rule.metrics or self._rule.listens:
                sources += self._series_of(run)
            if self._rule.logs or self._rule.listens:
                sources.append(self._lines(run))
        return heapq.merge(*sources, key=lambda seen: seen.time)

    def _events(self) -> Iterator[Observation]:
        after = 0
        while True:
            rows = self._session.connection.execute(
                sa.select(
                    _event.c.seq, _event.c.time, _event.c.type, _event.c.subject, _event.c.actor,
                    _event.c.experiment_id, _event.c.data,
                )
                .where(
                    _event.c.seq > after,
                    _event.c.time >= self._since,
                    _event.c.time <= self._until,
                )
                .order_by(_event.c.seq)
                .limit(_EVENTS)
            ).all()  # fmt: skip
            for found in rows:
                row = Row(*found)
                self._counts["events"] += 1
                data = json.loads(row.data)
                run = self._runs.get(row.subject.removeprefix("run/"))
                if run is not None:
                    run = _at(run, row.time, ended=row.type in _ENDS)
                yield Happened(row.time, row, data, run, _chain(row, data))
            if len(rows) < _EVENTS:
                return
            after = rows[-1].seq

    def _series_of(self, run: RunFacts) -> list[Iterator[Observation]]:
        summaries = self._session.metric_looks(WantedLooks([run.number], None))
        wanted = [
            one for one in summaries if any(leaf.watches(one.key) for leaf in self._rule.metrics)
        ]
        if self._rule.listens and summaries:  # one series tells as well as all when it was alive
            most = max(summaries, key=lambda one: one.points)
            if most not in wanted:
                wanted.append(most)
        return [self._points(run, one.key) for one in wanted]

    def _points(self, run: RunFacts, key: str) -> Iterator[Observation]:
        # Before anything is read: of runs that are not there yet, or any more, nothing is in memory.
        yield Spoke(max(run.start_time, self._since), _at(run, run.start_time))
        session = self._session
        compared = self._baselines(run, key)
        number = session.keys.lookup([key])[key]
        points = Series(session.connection, run.number, number).points()
        cuts = np.flatnonzero(np.diff(points.times // _SLICE)) + 1
        least, greatest = math.inf, -math.inf
        last: tuple[int, int, float] | None = None  # (step, time, value)
        for begin, end in pairwise([0, *cuts.tolist(), points.size] if points.size else []):
            part = points.take(slice(begin, end))
            values = [value for value in part.values.tolist() if not math.isnan(value)]
            low, high = min(values, default=math.inf), max(values, default=-math.inf)
            least, greatest = min(least, low), max(greatest, high)
            after = int(part.steps[0]) - 1 if last is None else last[0]
            newest = max(zip(*(column.tolist() for column in part), strict=True))
            last = newest if last is None else max(last, newest)
            time = int(part.times[-1])
            if not self._since <= time <= self._until:
                continue
            self._counts["points"] += part.size
            then = _at(run, time)
            best = (least, greatest) if least <= greatest else None
            if self._rule.listens:
                yield Spoke(time, then)
            yield Arrived(time, then, key, part, {})
            yield Looked(
                time, then, key, low, high, last[2], last[0], len(values) < part.size, best,
                compared, after,
            )  # fmt: skip

    def _baselines(self, run: RunFacts, key: str) -> dict[tuple[str, str], float]:
        compared = sorted(
            {leaf.compared for leaf in self._rule.metrics if leaf.compared and leaf.watches(key)}
        )
        values = self._session.baselines([WantedBaseline(run, *one, key) for one in compared])
        return {
            one: value for one, value in zip(compared, values, strict=True) if value is not None
        }

    def _lines(self, run: RunFacts) -> Iterator[Observation]:
        yield Spoke(max(run.start_time, self._since), _at(run, run.start_time))
        chunk = schema.console_chunk
        following = 0
        while True:
            row = self._session.connection.execute(
                sa.select(chunk.c.first, chunk.c.lines, chunk.c.data)
                .where(chunk.c.run_id == run.number, chunk.c.first > following)
                .order_by(chunk.c.first)
                .limit(1)
            ).first()
            if row is None:
                return
            following = row.first
            numbered = enumerate(decode(row.data), row.first)
            for time, group in groupby(numbered, lambda line: line[1].time):
                lines = [(number, line.stream, line.source, line.text) for number, line in group]
                if self._since <= time <= self._until:
                    self._counts["lines"] += len(lines)
                    then = _at(run, time)
                    yield Spoke(time, then)
                    yield Printed(time, then, lines)


def _at(run: RunFacts, time: int, *, ended: bool = False) -> RunFacts:
    """A run as it was then."""
    if ended or (run.end_time is not None and time > run.end_time):
        return run if not run.alive else run._replace(status=RunStatus.FINISHED.value)
    return run if run.alive else run._replace(status=RunStatus.RUNNING.value, end_time=None)


def _chain(row: Row, data: Any) -> tuple[str, ...]:
    """Rules that led to an event, as far as the event tells."""
    if row.type.startswith("rule.") and isinstance(data.get("chain"), list):
        return tuple(data["chain"])
    return (row.actor.removeprefix("rule:"),) if row.actor.startswith("rule:") else ()
