"""Metrics for the evaluator: one query a look for all runs that moved and all keys that rules watch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import cast

from headrace.engine import Engine
from headrace.engine.rules.evaluator import Evaluator
from headrace.engine.rules.index import SeriesRules
from headrace.engine.rules.looks import Looks, Summary
from headrace.engine.rules.metric_leaves import WindowLeaf
from headrace.engine.rules.observations import Arrived, Looked, Point, RunFacts
from headrace.engine.rules.reading import (
    MOST_POINTS,
    WantedBaseline,
    WantedLooks,
    WantedPoints,
)

#: The points of a series are read once in so many seconds at most.
_EVERY_S = 1.0
#: What runs are compared with is asked for again after so many seconds.
_BASELINE_S = 5.0


class SeriesWatch:
    """Looks at series of runs that moved. Not thread-safe."""

    def __init__(self, engine: Engine, evaluator: Evaluator) -> None:
        self._engine = engine
        self._evaluator = evaluator
        self._looks = Looks()
        #: Series with points that were not read yet, and when each was read last.
        self._unread: dict[tuple[str, str], RunFacts] = {}
        self._read: dict[tuple[str, str], float] = {}
        #: By run, key, baseline and which value: when it was asked for, and the value.
        self._baselines: dict[tuple[str, ...], tuple[float, float | None]] = {}

    def look(self, runs: Sequence[RunFacts], now: int, steady: float) -> Iterator[Looked | Arrived]:
        """What is new about the series of runs.

        Args:
            runs: Those that moved.
            now: Milliseconds since the Unix epoch.
            steady: A clock that nobody sets, seconds.
        """
        watched = [run for run in runs if self._evaluator.metrics_of(run.experiment_id)]
        by_number = {run.number: run for run in watched}
        for one in self._summaries(watched):
            run = by_number[one.run_number]
            rules = self._evaluator.metrics_of(run.experiment_id).of(one.key)
            if rules is None:
                continue
            if rules.windowed:
                self._unread[run.run_id, one.key] = run
            if rules.looks:
                compared = self._compared(run, one.key, rules, steady)
                seen = self._looks.look(run, one, rules, now, self._points, compared)
                if seen is not None:
                    yield seen
        yield from self._arrived({run.run_id: run for run in runs}, now, steady)

    def _summaries(self, runs: Sequence[RunFacts]) -> list[Summary]:
        if not runs:
            return []
        keys: frozenset[str] | None = frozenset()
        for experiment in {run.experiment_id for run in runs}:
            rules = self._evaluator.metrics_of(experiment)
            keys = None if rules.globs or keys is None else keys | rules.keys
        found: list[Summary] = self._engine.ask(
            "metric_looks", WantedLooks([run.number for run in runs], keys)
        )
        return found

    def _arrived(self, moved: dict[str, RunFacts], now: int, steady: float) -> Iterator[Arrived]:
        for name, known in list(self._unread.items()):
            run = moved.get(name[0], known)
            if run.alive and steady - self._read.get(name, -_EVERY_S) < _EVERY_S:
                continue
            del self._unread[name]
            self._read[name] = steady
            if len(self._read) > 10_000:
                self._read.clear()
            rules = self._evaluator.metrics_of(run.experiment_id).of(name[1])
            if rules is None:
                continue
            place = self._place(run, name[1], rules)
            while points := self._points(run, name[1], place):
                yield Arrived(now, run, name[1], points)
                place = points[-1][:2]
                if len(points) < MOST_POINTS:
                    break

    def _place(self, run: RunFacts, key: str, rules: SeriesRules) -> tuple[int, int] | None:
        """The point after which some rule wants those of a series; None: from the first on."""
        places: list[tuple[int, int] | None] = []
        for rule, leaf in rules.windowed:
            state = self._evaluator.state_of(rule, run)
            states = {} if state is None else state.leaves.get(leaf.place, {})
            place = cast(WindowLeaf, leaf).place_in(states, run.run_id, key)
            if place is None and rule.created > run.start_time:
                place = (rule.created, 0)  # what came before it was made is not its business
            places.append(place)
        return None if None in places else min(place for place in places if place is not None)

    def _points(self, run: RunFacts, key: str, after: tuple[int, int] | None) -> list[Point]:
        found: list[Point] = self._engine.ask("points_after", WantedPoints(run.number, key, after))
        return found

    def _compared(
        self, run: RunFacts, key: str, rules: SeriesRules, steady: float
    ) -> dict[tuple[str, str], float]:
        found: dict[tuple[str, str], float] = {}
        for one in rules.baselines:
            name = (run.run_id, key, *one)
            known = self._baselines.get(name)
            if known is None or steady - known[0] > _BASELINE_S:
                if len(self._baselines) > 10_000:
                    self._baselines.clear()
                (value,) = self._engine.ask("baselines", [WantedBaseline(run, *one, key)])
                known = self._baselines[name] = (steady, value)
            if known[1] is not None:
                found[one] = known[1]
        return found
