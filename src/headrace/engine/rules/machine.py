"""What becomes of one group of one rule when something is seen, or time passes.

`step` is a pure function: it reads no clock and no database, and changes nothing that it was given. So what
is tested by a replay is what happens.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import msgspec

from headrace.engine.rules.compiled import CompiledRule, Truth
from headrace.engine.rules.leaves import Hit
from headrace.engine.rules.observations import Happened, Observation

Phase = Literal["ok", "pending", "firing"]


class GroupState(msgspec.Struct, kw_only=True):
    """What is remembered of a group.

    Attributes:
        phase: ``ok``; ``pending`` while the condition has held, but not for long enough; ``firing``.
        since: When the phase began, milliseconds since the Unix epoch.
        firing: Number of the firing, while it fires.
        last_fired: When it fired last.
        last_true: When the condition was true last.
        run_id: The run that it is about, if about one.
        experiment_id: Number of the experiment, if about one.
        leaves: States of the conditions, by their places.
    """

    phase: Phase = "ok"
    since: int = 0
    firing: int = 0
    last_fired: int | None = None
    last_true: int = 0
    run_id: str = ""
    experiment_id: int | None = None
    leaves: dict[str, dict[str, Any]] = {}

    def copy(self) -> GroupState:
        """One that may be changed. (States of things are never changed, but replaced.)"""
        return msgspec.structs.replace(
            self, leaves={place: dict(states) for place, states in self.leaves.items()}
        )

    @property
    def idle(self) -> bool:
        """Nothing is lost when it is forgotten."""
        return self.phase == "ok" and self.last_fired is None and not any(self.leaves.values())


class Fired(NamedTuple):
    """A group's condition came true.

    Attributes:
        time: When, milliseconds since the Unix epoch.
        hit: By what.
        momentary: It is over already, and nothing will resolve it.
    """

    time: int
    hit: Hit
    momentary: bool


class Resolved(NamedTuple):
    """What made it fire is over, and why that is known."""

    time: int
    reason: str


Change = Fired | Resolved


def step(
    rule: CompiledRule, state: GroupState, seen: Observation | None, now: int, heard: int
) -> tuple[GroupState, list[Change]]:
    """The state after an observation, and what came of it.

    Args:
        rule: The rule.
        state: Of the group before; it is not changed.
        seen: What was seen of the group; None when only time has passed.
        now: Milliseconds since the Unix epoch, never less than before.
        heard: Since when whatever happened was heard.
    """
    state = state.copy()
    truth = _truth(rule, state, seen, now, heard)
    time = now if seen is None else min(seen.time, now)
    true = truth.peak or truth.level
    if true is not None:
        state.last_true = max(state.last_true, time)
    changes: list[Change] = []
    if state.phase == "firing" and (reason := _over(rule, state, truth, seen, now)):
        changes.append(Resolved(time, reason))
        state.phase, state.since, state.firing = "ok", time, 0
        if reason == _UNTIL:
            for leaf in rule.leaves:
                leaf.answered(state.leaves[leaf.place])
        return state, changes  # what ends in a step does not begin again in it
    if state.phase != "firing":
        changes += _begun(rule, state, truth, time, now)
    if state.phase == "firing" and (reason := _over(rule, state, truth, None, now)):
        changes.append(Resolved(time, reason))
        state.phase, state.since, state.firing = "ok", time, 0
    return state, changes


_UNTIL = "an event ended it"


def _truth(
    rule: CompiledRule, state: GroupState, seen: Observation | None, now: int, heard: int
) -> Truth:
    """Whether the condition was true in this step, and whether it is after it."""
    hits: dict[str, Hit | None] = {}
    for leaf in rule.leaves:
        states = state.leaves.setdefault(leaf.place, {})
        hits[leaf.place] = None if seen is None else leaf.observe(states, seen)
    levels = _levels(rule, state, now, heard)
    peak = rule.truth(
        {place: Truth(hit or levels[place], levels[place]) for place, hit in hits.items()}
    )
    run = None if seen is None else seen.run
    if run is not None and not run.alive:
        for leaf in rule.leaves:
            leaf.ended(state.leaves[leaf.place], run.run_id)
        levels = _levels(rule, state, now, heard)
    level = rule.truth({place: Truth(levels[place], levels[place]) for place in hits})
    # Without anything new, what was true before the run ended is no reason to begin.
    return Truth(peak.peak if any(hits.values()) else level.level, level.level)


def _levels(rule: CompiledRule, state: GroupState, now: int, heard: int) -> dict[str, Hit | None]:
    return {
        leaf.place: leaf.holds(state.leaves[leaf.place], now, heard, rule.within)
        for leaf in rule.leaves
    }


def _begun(
    rule: CompiledRule, state: GroupState, truth: Truth, time: int, now: int
) -> list[Change]:
    """Whether it fires; the phase is set accordingly."""
    hit = truth.level if rule.hold else truth.peak or truth.level
    if hit is None:
        state.phase, state.since = "ok", state.since if state.phase == "ok" else time
        return []
    if rule.hold:
        if state.phase == "ok":
            state.phase, state.since = "pending", time
        if now - state.since < rule.hold:
            return []
    if state.last_fired is not None and time < state.last_fired + rule.cooldown:
        return []
    state.last_fired = time
    if rule.lasts:
        state.phase, state.since = "firing", time
    return [Fired(time, hit, not rule.lasts)]


def _over(
    rule: CompiledRule, state: GroupState, truth: Truth, seen: Observation | None, now: int
) -> str:
    """Why what fires is over; empty when it is not."""
    if rule.until is not None and type(seen) is Happened and rule.until(seen):
        return _UNTIL
    if rule.after:
        if truth.level is None and now - state.last_true >= rule.after:
            return "it was not true again for the time that the rule gives"
        return ""
    if rule.until is not None and rule.momentary:
        return ""
    return "" if truth.level is not None else "the condition is not true any more"
