"""Shows the evaluator what happens, and writes down what it says.

One `look` reads what there is: series and console output of the runs that moved, events, signs of life. In
this order, so that an event that ends a run finds what the run did last. What came of it is written in one
transaction with the place in the log.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from headrace.engine import Engine
from headrace.engine.events.feed import Move
from headrace.engine.rules.compiled import CompiledRule
from headrace.engine.rules.evaluator import Evaluator, Key, Muted, Outcome
from headrace.engine.rules.machine import Fired
from headrace.engine.rules.observations import Happened, Looked, RunFacts, Spoke
from headrace.engine.rules.records import Pending, Record, Watched, Written
from headrace.errors import Gone
from headrace.events.rules.facts import Facts
from headrace.events.rules.output import Output
from headrace.events.rules.series import SeriesWatch
from headrace.protocol.cloudevents import Row
from headrace.protocol.event_filter import EventFilter

_log = logging.getLogger(__name__)

_EVENTS = 1000
#: Clocks that disagree by more than this, in seconds, jumped; looks that are later were kept from it.
_JUMP_S, _LATE_S = 1.0, 10.0
#: Seconds between two looks at all running runs: on SQLite other processes' metrics are not told.
_SWEEP_S = 5.0
#: States that changed, but with which nothing fired, are written after so many seconds.
_SAVE_S = 5.0
_PRUNE_S = 60.0
#: Time passes for groups in steps of so many milliseconds.
_TICK_MS = 1000
#: Runs that neither began nor spoke for so long, in milliseconds, are not waited for.
_OLD_MS = 86_400_000
#: What comes of a run that ended so long ago, in milliseconds, is history: an import, or a late journal.
_PAST_MS = 600_000
_RULE_CHANGES = frozenset(("rule.created", "rule.updated", "rule.deleted"))
_EXPERIMENT_CHANGES = frozenset(("experiment.created", "experiment.renamed", "experiment.purged"))
#: An experiment's runs go with it, and come back with it, without events of their own.
_EXPERIMENT_GOES = frozenset(("experiment.deleted", "experiment.restored"))
_ENDS = frozenset(
    ("run.finished", "run.failed", "run.killed", "run.deleted", "run.purged", "run.lost")
)
_CHANGES = _ENDS | {
    "run.created", "run.started", "run.scheduled", "run.resumed", "run.recovered", "run.restored",
    "run.tags.set", "run.tag.deleted", "run.params.logged", "run.renamed",
}  # fmt: skip


class Watcher:
    """The evaluator over a live store. Not thread-safe."""

    def __init__(
        self,
        engine: Engine,
        *,
        wall: Callable[[], float] = time.time,
        steady: Callable[[], float] = time.monotonic,
    ) -> None:
        """Take up what is kept; a store where rules were never evaluated begins with what happens now.

        Args:
            engine: The store.
            wall: The clock of events, seconds since the Unix epoch.
            steady: A clock that nobody sets, in seconds.
        """
        self._engine = engine
        self._wall, self._steady = wall, steady
        self._now = int(wall() * 1000)
        self._last = (wall(), steady())
        self._evaluator = Evaluator(self._now)
        self._facts = Facts(engine)
        self._series = SeriesWatch(engine, self._evaluator)
        self._output = Output(engine, self._evaluator)
        self._chains: dict[str, tuple[str, ...]] = {}
        self._outcomes: list[Outcome | Muted] = []
        self._signs: dict[str, int] = {}
        self._gone: list[Key] = []
        self._ticked = 0
        self._pending: list[Pending] = []
        self._swept = self._saved = self._pruned = steady()
        end = engine.log.end()
        watched: Watched = engine.ask("watched_rules")
        self._rules_upto = end
        self._seq = end if watched.seq is None else watched.seq
        self._written = watched.seq
        self._experiments = watched.experiments
        self._evaluator.load(watched.groups)
        self._take_rules(watched)

    def look(self, moves: Iterable[Move] = ()) -> list[Pending]:
        """Look now; firings whose actions are to be carried out.

        Args:
            moves: Runs that got metrics or console output since the last look.
        """
        self._pass_time()
        metrics: dict[str, None] = {}
        console: dict[str, None] = {}
        for move in moves:
            (metrics if move.what == "metrics" else console)[move.run_id] = None
        spoke = metrics | console
        if self._steady() - self._swept >= _SWEEP_S:
            self._sweep(metrics, console)
        pending: list[Pending] = []
        while True:
            rows, more = self._events()
            ended = dict.fromkeys(_run_of(row) for row in rows if row.type in _ENDS)
            self._see_moved(metrics | ended, console | ended, spoke)
            self._see_events(rows)
            if self._now - self._ticked >= _TICK_MS:
                self._ticked = self._now
                self._take(self._evaluator.tick(self._now))
            pending += self._save()
            if not more:
                break
            metrics, console, spoke = {}, {}, {}
        if self._steady() - self._pruned >= _PRUNE_S:
            self._prune()
        return pending

    @property
    def idle(self) -> bool:
        """Whether there is no rule."""
        return not self._evaluator.rules

    def close(self) -> None:
        """Write what was not written yet."""
        self._save(everything=True)

    # Time

    def _pass_time(self) -> None:
        wall, steady = self._wall(), self._steady()
        before_wall, before_steady = self._last
        self._last = (wall, steady)
        passed = steady - before_steady
        self._now = max(self._now, int(wall * 1000))
        if abs(wall - before_wall - passed) > _JUMP_S or passed > _LATE_S:
            self._evaluator.heard = self._now

    # Rules

    def _take_rules(self, watched: Watched) -> None:
        self._evaluator.set_rules(watched.rules, watched.muted)
        self._chosen = _wanted(watched.rules)
        self._evaluator.set_experiments(watched.experiments)
        self._facts.wanted_by(watched.rules)
        self._evaluator.begin(None, self._now)
        if self._evaluator.watches_silence or any(rule.metrics for rule in watched.rules):
            ids = self._engine.ask("running_runs", self._now - _OLD_MS)
            for run in self._facts.of(ids).values():
                self._evaluator.begin(run, self._now)

    def _reload(self) -> None:
        """Rules were changed: go on with what is kept of those, and with what is known of the others."""
        self._rules_upto = self._engine.log.end()  # what is read next has at least these changes
        before = {name: rule.revision for name, rule in self._evaluator.rules.items()}
        watched: Watched = self._engine.ask("watched_rules", dict(self._evaluator.rules))
        now = {rule.name: rule.revision for rule in watched.rules}
        for key in list(self._evaluator.groups):
            if now.get(key[0]) != before.get(key[0]):
                self._evaluator.forget(key)
        changed = {name for name, revision in now.items() if before.get(name) != revision}
        self._evaluator.load({key: one for key, one in watched.groups.items() if key[0] in changed})
        self._experiments = watched.experiments
        self._take_rules(watched)

    # What happens

    def _events(self) -> tuple[list[Row], bool]:
        try:
            stretch = self._engine.log.read(self._seq, _EVENTS, self._chosen)
        except Gone:
            # Trimmed meanwhile, or another database was put in the place of this one.
            oldest = self._engine.log.read(None, 0)
            _log.warning("Rules missed events up to %d: they were trimmed.", oldest.next)
            stretch = self._engine.log.read(oldest.next, _EVENTS, self._chosen)
        self._seq = stretch.next
        for place, row in enumerate(stretch.rows):
            if self._is_news(row):
                # What follows is read again: other events may matter from here on.
                self._seq = row.seq
                return stretch.rows[: place + 1], True
        return stretch.rows, stretch.next < stretch.last

    def _is_news(self, row: Row) -> bool:
        """Whether rules were changed that are not known yet."""
        return row.type in _RULE_CHANGES and row.seq > self._rules_upto

    def _see_events(self, rows: list[Row]) -> None:
        wanted = [row for row in rows if self._relevant(row)]
        if not wanted:
            return
        changed = {_run_of(row) for row in wanted if row.type in _CHANGES} - {""}
        runs = dict(self._facts.of(changed, anew=True))
        runs |= self._facts.of({_run_of(row) for row in wanted} - {""} - changed)
        for row in wanted:
            if row.type.startswith("experiment."):
                self._refresh_experiments(row)
            data = json.loads(row.data)
            run = runs.get(_run_of(row))
            seen = Happened(row.time, row, data, run, self._chain(row, data))
            if run is not None and run.alive:
                self._evaluator.begin(run, self._now)
            self._take(self._evaluator.feed(seen, max(self._now, row.time)))
        if any(map(self._is_news, wanted)):
            self._pending += self._outcomes_written()
            self._reload()

    def _relevant(self, row: Row) -> bool:
        if row.type in _CHANGES or row.type.startswith(("rule.", "experiment.")):
            return True
        return self._evaluator.wants(row.type) or (
            self._evaluator.listens and row.subject.startswith("run/")
        )

    def _refresh_experiments(self, row: Row) -> None:
        if row.type in _EXPERIMENT_CHANGES:
            self._experiments = self._engine.ask("watched_rules").experiments
            self._evaluator.set_experiments(self._experiments)
            self._evaluator.begin(None, self._now)
        elif row.type in _EXPERIMENT_GOES and row.experiment_id:
            known = self._facts.forget(row.experiment_id)
            known |= self._evaluator.runs_of(row.experiment_id)
            for run in self._facts.of(known).values():
                if not run.alive:
                    self._take(self._evaluator.end(run, self._now))

    def _chain(self, row: Row, data: dict[str, Any]) -> tuple[str, ...]:
        """Rules whose firings led to an event."""
        if row.type.startswith("rule.") and isinstance(data.get("chain"), list):
            return tuple(map(str, data["chain"]))
        if row.actor.startswith("rule:"):
            name = row.actor.removeprefix("rule:")
            return self._chains.get(name, (name,))
        return ()

    def _see_moved(
        self, metrics: Iterable[str], console: Iterable[str], spoke: Iterable[str]
    ) -> None:
        """Look at runs.

        Args:
            metrics: Those whose metrics are looked at.
            console: Those whose console output is.
            spoke: Those that are known to have given a sign of life; others did if their metrics are new.
        """
        runs = self._facts.of({*metrics, *console})
        recent = {
            name: run
            for name, run in runs.items()
            if run.alive or (run.end_time or 0) > self._now - _PAST_MS
        }
        measured = [recent[one] for one in metrics if one in recent]
        printed = [recent[one] for one in console if one in recent]
        heard: set[str] = set()
        for name in spoke:
            if name in recent:
                self._hear(recent[name], heard)
        for seen in self._series.look(measured, self._now, self._steady()):
            if type(seen) is Looked:
                self._hear(seen.run, heard)
            self._take(self._evaluator.feed(seen, self._now))
        for line in self._output.look(printed, self._now):
            self._take(self._evaluator.feed(line, self._now))

    def _hear(self, run: RunFacts, heard: set[str]) -> None:
        """Take a run's sign of life in, once."""
        if self._evaluator.listens and run.run_id not in heard:
            heard.add(run.run_id)
            self._take(self._evaluator.feed(Spoke(self._now, run), self._now))

    def _sweep(self, metrics: dict[str, None], console: dict[str, None]) -> None:
        """Look at what nobody told: metrics of other processes, signs of life without anything else."""
        self._swept = self._steady()
        rules = self._evaluator.rules.values()
        if any(rule.metrics or rule.logs for rule in rules):
            running = self._engine.ask("running_runs", self._now - _OLD_MS)
            metrics |= dict.fromkeys(running)
            if any(rule.logs for rule in rules):
                console |= dict.fromkeys(running)
        if self._evaluator.listens:
            found: dict[str, int] = dict(self._engine.ask("signs_of_life", self._now - _OLD_MS))
            new = {one: seen for one, seen in found.items() if self._signs.get(one, 0) < seen}
            self._signs = found
            for run_id, run in self._facts.of(new).items():
                seen = Spoke(min(new[run_id], self._now), run)
                self._take(self._evaluator.feed(seen, self._now))

    # What came of it

    def _take(self, outcomes: list[Outcome | Muted]) -> None:
        for one in outcomes:
            if type(one) is Outcome and type(one.change) is Fired:
                self._chains[one.rule.name] = one.chain
        self._outcomes += outcomes

    def _save(self, *, everything: bool = False) -> list[Pending]:
        due = self._steady() - self._saved >= _SAVE_S or everything
        unsaved = self._evaluator.dirty or self._gone or self._written != self._seq
        pending, self._pending = self._pending, []
        if self._outcomes or (due and unsaved):
            pending += self._outcomes_written()
        return pending

    def _outcomes_written(self) -> list[Pending]:
        evaluator = self._evaluator
        states = {key: evaluator.groups[key] for key in evaluator.dirty if key in evaluator.groups}
        record = Record(
            self._outcomes, states, self._gone, self._seq, self._experiments, evaluator.rules
        )
        written: Written = self._engine.change("record_rules", record)
        for key, number in written.firing.items():
            state = evaluator.groups.get(key)
            if state is not None and state.phase == "firing":
                state.firing = number
        evaluator.dirty.clear()
        self._outcomes, self._gone = [], []
        self._written, self._saved = self._seq, self._steady()
        return written.pending

    def _prune(self) -> None:
        """Forget groups of runs that ended, and that nothing hangs on any more."""
        self._pruned = self._steady()
        evaluator = self._evaluator
        idle = {
            key: state
            for key, state in evaluator.groups.items()
            if state.run_id and state.phase == "ok" and key[0] in evaluator.rules
        }
        runs = self._facts.of({state.run_id for state in idle.values()})
        for key, state in idle.items():
            run = runs.get(state.run_id)
            quiet = (state.last_fired or state.since) + evaluator.rules[key[0]].cooldown
            if _over(run, self._now) and max(quiet, state.last_true) < self._now - _PAST_MS:
                evaluator.forget(key)
                self._gone.append(key)


def _wanted(rules: Sequence[CompiledRule]) -> EventFilter | None:
    """The events that must be read; None for all."""
    types = set(_RULE_CHANGES | _EXPERIMENT_CHANGES | _EXPERIMENT_GOES)
    if rules:
        types |= _CHANGES
    for rule in rules:
        if rule.types is None or rule.listens:
            return None
        types |= rule.types
    return EventFilter(types=frozenset(types))


def _over(run: RunFacts | None, now: int) -> bool:
    return run is None or (not run.alive and (run.end_time or 0) < now - _PAST_MS)


def _run_of(row: Row) -> str:
    return row.subject[4:] if row.subject.startswith("run/") else ""
