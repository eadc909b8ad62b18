"""All rules and their groups: who is concerned by what is seen, and what came of it.

It reads no clock and no database. Whoever feeds it (the job of a server, or a replay) keeps time from going
backwards, and writes down what it answers.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from headrace.engine.rules.compiled import CompiledRule
from headrace.engine.rules.index import ExperimentRules
from headrace.engine.rules.machine import Fired, GroupState, Resolved, step
from headrace.engine.rules.observations import (
    Arrived,
    Happened,
    Looked,
    Observation,
    Printed,
    RunFacts,
    Spoke,
)

#: Rules that one firing may lead to, one after the other.
LONGEST_CHAIN = 3
#: A rule that fires more often in so many milliseconds is muted ...
MOST_FIRINGS = 60
FIRINGS_MS = 60_000
#: ... for so long.
MUTED_MS = 600_000

#: A rule's name and its group.
Key = tuple[str, str]


class Outcome(NamedTuple):
    """What came of an observation: one group of one rule fired, or was resolved.

    Attributes:
        rule: The rule.
        group: The group.
        change: What happened.
        state: The group's state then.
        run: The run that it is about, if known.
        chain: Rules whose firings led to it, and this one.
        firing: Number of the firing that is over; 0 when it was not written yet.
    """

    rule: CompiledRule
    group: str
    change: Fired | Resolved
    state: GroupState
    run: RunFacts | None
    chain: tuple[str, ...]
    firing: int


class Muted(NamedTuple):
    """A rule fired too often."""

    rule: CompiledRule
    time: int
    until: int
    reason: str


class Evaluator:
    """Rules with their groups. Not thread-safe.

    Attributes:
        groups: States by rule and group.
        dirty: Groups whose states changed, since somebody emptied it.
        heard: Since when whatever happened was heard, milliseconds since the Unix epoch.
    """

    def __init__(self, heard: int) -> None:
        """Without rules; see `set_rules`."""
        self.heard = heard
        self.groups: dict[Key, GroupState] = {}
        self.dirty: set[Key] = set()
        self._rules: dict[str, CompiledRule] = {}
        self._names: Mapping[int, str] = {}
        self._scopes: dict[str, frozenset[int] | None] = {}
        self._experiments: dict[int, ExperimentRules] = {}
        self._marked: dict[str, set[str]] = {}
        self._muted: dict[str, int] = {}
        self._fired: dict[str, deque[int]] = {}
        self._of_type: dict[str, list[CompiledRule]] = {}
        self._silent: list[CompiledRule] = []
        self._measured: list[CompiledRule] = []
        self._logged: list[CompiledRule] = []

    # What is watched

    def set_rules(
        self, rules: Iterable[CompiledRule], muted: Mapping[str, int] | None = None
    ) -> None:
        """Evaluate these rules from now on. Groups of those that are not among them are left alone.

        Args:
            rules: The rules that are enabled.
            muted: Until when some are not looked at.
        """
        self._rules = {rule.name: rule for rule in rules}
        self._muted = dict(muted or {})
        every = self._rules.values()
        self._silent = [rule for rule in every if rule.listens]
        self._measured = [rule for rule in every if rule.metrics]
        self._logged = [rule for rule in every if rule.logs]
        self._refresh()

    def set_experiments(self, names: Mapping[int, str]) -> None:
        """Tell which experiments there are, by number."""
        self._names = names
        self._refresh()

    def load(self, groups: Mapping[Key, GroupState]) -> None:
        """Take up states that were kept."""
        self.groups.update(groups)
        for (name, _), state in groups.items():
            if name in self._rules:
                self._mark(self._rules[name], state)

    def forget(self, key: Key) -> None:
        """Drop a group."""
        self.groups.pop(key, None)
        self.dirty.discard(key)

    @property
    def rules(self) -> Mapping[str, CompiledRule]:
        """Those that are evaluated, by name."""
        return self._rules

    def metrics_of(self, experiment: int) -> ExperimentRules:
        """The rules that look at metrics of an experiment."""
        found = self._experiments.get(experiment)
        if found is None:
            rules = (
                rule
                for rule in self._rules.values()
                if rule.metrics and self._covers(rule, experiment)
            )
            found = self._experiments[experiment] = ExperimentRules(rules)
        return found

    def logs_of(self, run: RunFacts) -> Iterator[CompiledRule]:
        """The rules that look at the console output of a run."""
        for rule in self._logged:
            if self._concerns(rule, run, run.experiment_id):
                yield rule

    def state_of(self, rule: CompiledRule, run: RunFacts) -> GroupState | None:
        """The state of the group that a run belongs to; None when there is none yet."""
        return self.groups.get((rule.name, _group_of_run(rule, run)))

    def runs_of(self, experiment: int) -> set[str]:
        """Public ids of the runs of an experiment that are groups."""
        return {
            state.run_id
            for state in self.groups.values()
            if state.run_id and state.experiment_id == experiment
        }

    def wants(self, type: str) -> bool:
        """Whether a rule looks at events of a type."""
        return bool(self._at_type(type))

    @property
    def listens(self) -> bool:
        """Whether a rule must know of every sign of life."""
        return bool(self._silent)

    @property
    def watches_silence(self) -> bool:
        """Whether a rule must know of runs that say nothing."""
        return any(rule.watches_silence for rule in self._rules.values())

    # What is seen

    def begin(self, run: RunFacts | None, now: int) -> None:
        """Watch a run of which nothing may be heard; with None: all groups that are no run's."""
        for rule in self._rules.values():
            if not rule.watches_silence:
                continue
            if run is not None:
                if run.alive and self._concerns(rule, run, run.experiment_id):
                    self._begin(rule, _group_of_run(rule, run), run, now)
            elif rule.group_by == "none":
                self._begin(rule, "", None, now)
            elif rule.group_by == "experiment":
                for number in self._names:
                    if self._covers(rule, number):
                        self._begin(rule, str(number), None, now)

    def feed(self, seen: Observation, now: int) -> list[Outcome | Muted]:
        """Take one observation in."""
        found: list[Outcome | Muted] = []
        for rule in self._concerned(seen):
            experiment = seen.run.experiment_id if seen.run is not None else None
            if type(seen) is Happened:
                experiment = seen.row.experiment_id if experiment is None else experiment
                if seen.time < rule.created:
                    continue  # what came before the rule was made is not its business
                if rule.name in seen.chain or len(seen.chain) >= LONGEST_CHAIN:
                    continue
            if self._concerns(rule, seen.run, experiment):
                group = _group(rule, seen, experiment)
                found += self._step(rule, group, seen, now, seen.run, experiment)
        return found

    def end(self, run: RunFacts, now: int) -> list[Outcome | Muted]:
        """Let what lasts in a run be over: it ended, or is in the trash."""
        found: list[Outcome | Muted] = []
        for rule in dict.fromkeys((*self._silent, *self._measured)):
            group = _group_of_run(rule, run)
            if (rule.name, group) in self.groups:
                found += self._step(rule, group, Spoke(now, run), now, run, run.experiment_id)
        return found

    def tick(self, now: int) -> list[Outcome | Muted]:
        """Let time pass."""
        found: list[Outcome | Muted] = []
        for (name, group), state in list(self.groups.items()):
            rule = self._rules.get(name)
            if rule is not None and (rule.clocked or rule.cooldown) and not state.idle:
                found += self._step(rule, group, None, now, None, state.experiment_id)
        return found

    # Inside

    def _refresh(self) -> None:
        self._scopes = {name: rule.experiments(self._names) for name, rule in self._rules.items()}
        self._experiments.clear()
        self._of_type.clear()
        self._marked.clear()
        for (name, _), state in self.groups.items():
            if name in self._rules:
                self._mark(self._rules[name], state)

    def _covers(self, rule: CompiledRule, experiment: int | None) -> bool:
        scope = self._scopes.get(rule.name)
        return scope is None or experiment in scope

    def _concerns(self, rule: CompiledRule, run: RunFacts | None, experiment: int | None) -> bool:
        if not self._covers(rule, experiment):
            return False
        if rule.spec.scope.tags or rule.spec.scope.params:
            return run is not None and rule.within_scope(run)
        return True

    def _at_type(self, type: str) -> list[CompiledRule]:
        found = self._of_type.get(type)
        if found is None:
            found = [
                rule for rule in self._rules.values() if rule.types is None or type in rule.types
            ]
            self._of_type[type] = found
        return found

    def _concerned(self, seen: Observation) -> Iterable[CompiledRule]:
        if type(seen) is Looked:
            return self._concerned_by_look(seen)
        if type(seen) is Happened:
            found = self._at_type(seen.row.type)
            if seen.run is None:
                return found
            # What lasts in a run ends with it.
            more = self._silent if seen.run.alive else [*self._silent, *self._measured]
            return list(dict.fromkeys((*found, *more)))
        if type(seen) is Arrived:
            series = self.metrics_of(seen.run.experiment_id).of(seen.key)
            return () if series is None else dict.fromkeys(rule for rule, _ in series.windowed)
        return self._logged if type(seen) is Printed else self._silent

    def _concerned_by_look(self, seen: Looked) -> Iterable[CompiledRule]:
        series = self.metrics_of(seen.run.experiment_id).of(seen.key)
        if series is None:
            return ()
        names = series.concerned(seen)
        marked = self._marked.get(f"{seen.run.run_id}\n{seen.key}")
        if marked:
            names |= marked
        return [self._rules[name] for name in sorted(names)]

    def _begin(self, rule: CompiledRule, group: str, run: RunFacts | None, now: int) -> None:
        state = self.groups.get((rule.name, group))
        if state is None:
            state = self.groups[rule.name, group] = GroupState(since=now)
            self.dirty.add((rule.name, group))
        state = state.copy()
        if run is not None and rule.group_by == "run":
            state.run_id, state.experiment_id = run.run_id, run.experiment_id
        elif group and rule.group_by == "experiment":
            state.experiment_id = int(group)
        for leaf in rule.leaves:
            leaf.begin(state.leaves.setdefault(leaf.place, {}), run, now)
        self.groups[rule.name, group] = state

    def _step(
        self,
        rule: CompiledRule,
        group: str,
        seen: Observation | None,
        now: int,
        run: RunFacts | None,
        experiment: int | None,
    ) -> list[Outcome | Muted]:
        if self._muted.get(rule.name, 0) > now:
            return []
        key = (rule.name, group)
        before = self.groups.get(key)
        state = GroupState(since=now) if before is None else before
        firing = state.firing
        if type(seen) is Looked and seen.after is None and _knows(rule, state, seen.run):
            seen = seen._replace(low=math.inf, high=-math.inf, nan=False)
        if type(seen) is Arrived and rule.created > seen.run.start_time:
            # What came before the rule was made is not its business.
            seen = seen._replace(
                points=seen.points.take(seen.points.times >= rule.created), memo={}
            )
        state, changes = step(rule, state, seen, now, self.heard)
        if run is not None and rule.group_by == "run":
            state.run_id, state.experiment_id = run.run_id, run.experiment_id
        elif rule.group_by == "experiment":
            state.experiment_id = experiment
        if before is None and state.idle:
            return []
        self.groups[key] = state
        if before is None or before != state:
            self.dirty.add(key)
        if type(seen) is Looked:
            self._mark(rule, state, f"{seen.run.run_id}\n{seen.key}")
        found: list[Outcome | Muted] = []
        for change in changes:
            led = change.hit.chain if type(change) is Fired else ()
            about = (change.hit.run if type(change) is Fired else None) or run
            found.append(Outcome(rule, group, change, state, about, (*led, rule.name), firing))
            if type(change) is Fired:
                firing = 0
                found += self._counted(rule, now)
        return found

    def _mark(self, rule: CompiledRule, state: GroupState, series: str | None = None) -> None:
        """Note of which series a rule remembers something: it must be asked when they are looked at."""
        for leaf in rule.metrics:
            if leaf.windowed:
                continue
            states = state.leaves.get(leaf.place, {})
            if series is None:
                for name in states:
                    self._marked.setdefault(name, set()).add(rule.name)
            elif series in states:
                self._marked.setdefault(series, set()).add(rule.name)
                return
        if series is not None and series in self._marked:
            self._marked[series].discard(rule.name)
            if not self._marked[series]:
                del self._marked[series]

    def _counted(self, rule: CompiledRule, now: int) -> list[Outcome | Muted]:
        times = self._fired.setdefault(rule.name, deque())
        times.append(now)
        while times[0] <= now - FIRINGS_MS:
            times.popleft()
        if len(times) <= MOST_FIRINGS:
            return []
        times.clear()
        self._muted[rule.name] = now + MUTED_MS
        reason = (
            f"It fired more than {MOST_FIRINGS} times in a minute and is not looked at for 10 minutes. Give it "
            "a cooldown, a wider group_by, or a narrower condition; enabling it again ends this."
        )
        return [Muted(rule, now, now + MUTED_MS, reason)]


def _knows(rule: CompiledRule, state: GroupState, run: RunFacts) -> bool:
    """Whether what a series was like before the first look is no news to a rule, or not its business."""
    return state.last_fired is not None or rule.created > run.start_time


def _group_of_run(rule: CompiledRule, run: RunFacts) -> str:
    if rule.group_by == "run":
        return run.run_id
    return str(run.experiment_id) if rule.group_by == "experiment" else ""


def _group(rule: CompiledRule, seen: Observation, experiment: int | None) -> str:
    if seen.run is not None:
        return _group_of_run(rule, seen.run)
    if rule.group_by == "experiment":
        return "" if experiment is None else str(experiment)
    if rule.group_by == "none" or type(seen) is not Happened:
        return ""
    return seen.row.subject.removeprefix("run/")
