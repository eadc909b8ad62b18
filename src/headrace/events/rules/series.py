"""Metrics for the evaluator: one query a look for all runs that moved and all keys that rules watch."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import cast

import numpy as np

from headrace.engine import Engine
from headrace.engine.metrics.columns import Points
from headrace.engine.rules.evaluator import Evaluator
from headrace.engine.rules.index import SeriesRules
from headrace.engine.rules.looks import Looks, Summary
from headrace.engine.rules.observations import Arrived, Looked, RunFacts
from headrace.engine.rules.reading import NewPoints, WantedBaseline, WantedLooks, WantedPoints
from headrace.engine.rules.window_leaves import WindowLeaf

#: The points of a series are read once in so many seconds at most.
_EVERY_S = 1.0
#: Reading points, and what windows make of them, takes about this part of the time of one core at most.
_SHARE = 0.06
#: Runs whose points are read.
_MOST_STREAMS = 10_000
#: What runs are compared with is asked for again after so many seconds.
_BASELINE_S = 5.0


class _Stream:
    """The points of a run that are read as they come.

    Attributes:
        places: By key how far was read.
        batch, segment: Rows that were read.
        read: When, by a clock that nobody sets, seconds.
    """

    def __init__(self) -> None:
        self.places: dict[str, tuple[int, int] | None] = {}
        self.batch = self.segment = 0
        self.read = -_EVERY_S

    def add(self, key: str, place: tuple[int, int] | None) -> None:
        """Read a key, too."""
        self.places[key] = place
        self.batch = self.segment = 0  # it may be in rows that were read for others


class SeriesWatch:
    """Looks at series of runs that moved. Not thread-safe."""

    def __init__(self, engine: Engine, evaluator: Evaluator) -> None:
        self._engine = engine
        self._evaluator = evaluator
        self._looks = Looks()
        #: What was seen of series last; of those with points that are read.
        self._seen: dict[tuple[str, str], Looked] = {}
        self._streams: dict[str, _Stream] = {}
        #: Runs with points that were not read yet.
        self._unread: dict[str, RunFacts] = {}
        self._rests_until = 0.0
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
            stream = self._streams.get(run.run_id)
            streamed = stream is not None and one.key in stream.places
            if rules.windowed and not streamed:
                self._stream(run, one.key, self._place(run, one.key, rules))
                streamed = True
            if rules.looks:
                compared = self._compared(run, one.key, rules, steady)
                found = self._looks.look(run, one, rules, now, compared)
                if found is not None:
                    if found.hidden is not None and not streamed:
                        self._stream(run, one.key, found.hidden)
                        streamed = True
                    if streamed:
                        self._seen[run.run_id, one.key] = found.seen
                    yield found.seen
            if streamed:
                self._unread[run.run_id] = run
        yield from self._arrived({run.run_id: run for run in runs}, now, steady)

    def _stream(self, run: RunFacts, key: str, place: tuple[int, int] | None) -> None:
        if len(self._streams) > _MOST_STREAMS:
            self._streams.clear()
            self._seen.clear()
        self._streams.setdefault(run.run_id, _Stream()).add(key, place)

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

    def _arrived(
        self, moved: dict[str, RunFacts], now: int, steady: float
    ) -> Iterator[Looked | Arrived]:
        if steady < self._rests_until:
            return
        used = time.thread_time()
        yield from self._read(moved, now, steady)
        self._rests_until = steady + (time.thread_time() - used) * (1 - _SHARE) / _SHARE

    def _read(
        self, moved: dict[str, RunFacts], now: int, steady: float
    ) -> Iterator[Looked | Arrived]:
        for run_id, known in list(self._unread.items()):
            run = moved.get(run_id, known)
            stream = self._streams.get(run_id)
            if stream is None:
                del self._unread[run_id]
                continue
            if steady - stream.read < _EVERY_S and run.alive:
                continue
            stream.read = steady
            wanted = WantedPoints(run.number, stream.places, stream.batch, stream.segment)
            found: NewPoints = self._engine.ask("points_since", wanted)
            stream.batch, stream.segment = found.batch, found.segment
            if not found.more:
                del self._unread[run_id]
            for key, points in found.points.items():
                stream.places[key] = (int(points.times[-1]), int(points.steps[-1]))
                yield from self._told(run, key, points, now)

    def _told(
        self, run: RunFacts, key: str, points: Points, now: int
    ) -> Iterator[Looked | Arrived]:
        rules = self._evaluator.metrics_of(run.experiment_id).of(key)
        if rules is None:
            return
        if rules.windowed:
            yield Arrived(now, run, key, points, {})
        seen = self._seen.get((run.run_id, key))
        if rules.looks and seen is not None:
            values = points.values[~np.isnan(points.values)]
            if len(values):
                low, high = float(values.min()), float(values.max())
                after = int(points.steps[0]) - 1
                yield seen._replace(time=now, run=run, low=low, high=high, nan=False, after=after)

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
