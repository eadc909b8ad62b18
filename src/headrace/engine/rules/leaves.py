"""Single conditions: what each remembers, when it was true, and whether it is true now.

A leaf keeps a state for each thing that it tells apart in a group (a run, a series), as JSON can hold it.
States are replaced, never changed. A thing that is not true, and of which nothing must be remembered, has no
state: so an observation that changes nothing costs nothing to keep.
"""

from __future__ import annotations

import fnmatch
import functools
import re
from collections.abc import Mapping
from typing import Any

from headrace.engine.rules.observations import Happened, Observation, Printed, RunFacts
from headrace.errors import InvalidParameter
from headrace.protocol.event_filter import event_filter
from headrace.protocol.rule_check import compiled_pattern
from headrace.protocol.rule_spec import EventMatch, LogLine, NoEvent
from headrace.protocol.rule_text import Comparison, comparison, millis

#: States by what they are of: a run's id, a run's id and a metric's key, or nothing.
States = dict[str, Any]
#: An absence of events counts only this long after the evaluator began to hear, in milliseconds: what
#: happened while it was away may be on its way.
_GRACE = 300_000
#: Characters of a line in a message.
_LINE = 500


class Hit:
    """A leaf was true in this step.

    Attributes:
        time: When.
        values: What it saw, for messages.
        run: The run that it is about.
        cause: Number of the event.
        chain: Rules whose firings led to it.
    """

    __slots__ = ("cause", "chain", "run", "time", "values")

    def __init__(
        self,
        time: int,
        values: dict[str, Any],
        run: RunFacts | None = None,
        cause: int | None = None,
        chain: tuple[str, ...] = (),
    ) -> None:
        self.time, self.values, self.run, self.cause, self.chain = time, values, run, cause, chain


class Leaf:
    """One condition.

    Attributes:
        place: Where it stands in the rule: ``when.all[0]``.
        momentary: It is true in moments, not for a time.
        clocked: It becomes true by the passing of time alone.
        of_runs: It is about runs.
        words: The condition in words.
        span: The time that it must pass to become true, milliseconds; 0 for none.
    """

    span = 0
    momentary = False
    clocked = False
    of_runs = True

    def __init__(self, place: str, words: str) -> None:
        self.place = place
        self.words = words

    def begin(self, states: States, run: RunFacts | None, now: int) -> None:
        """Start to watch a group, or a run."""

    def observe(self, states: States, seen: Observation) -> Hit | None:
        """Take an observation in; a hit when it was true in it."""
        raise NotImplementedError

    def holds(self, states: States, now: int, heard: int, within: int) -> Hit | None:
        """Whether it is true now.

        Args:
            states: As `observe` left them.
            now: Milliseconds since the Unix epoch.
            heard: Since when whatever happened was heard.
            within: What is momentary counts for so long after it came.
        """
        raise NotImplementedError

    def ended(self, states: States, run_id: str) -> None:
        """Take in that a run has ended: nothing is true of it any more."""

    def answered(self, states: States) -> None:
        """Take in that an event ended what it was true of: what was momentary counts no longer."""


class EventLeaf(Leaf):
    """An event happened."""

    momentary = True

    def __init__(self, place: str, match: EventMatch) -> None:
        super().__init__(place, f"event {', '.join(match.globs)}")
        self.match = Matcher(match)
        self.of_runs = self.match.types is not None and all(
            name.startswith(("run.", "metric.")) for name in self.match.types
        )

    def observe(self, states: States, seen: Observation) -> Hit | None:
        if type(seen) is not Happened or not self.match(seen):
            return None
        row = seen.row
        values = {
            "type": row.type, "subject": row.subject, "actor": row.actor, "data": seen.data,
        }  # fmt: skip
        states[""] = [seen.time, values, row.seq]
        return Hit(seen.time, values, seen.run, row.seq, seen.chain)

    def holds(self, states: States, now: int, heard: int, within: int) -> Hit | None:
        if not within or "" not in states:
            return None
        time, values, seq = states[""]
        if time <= now - within:
            del states[""]
            return None
        return Hit(time, values, None, seq)

    def answered(self, states: States) -> None:
        states.clear()


class LogLeaf(Leaf):
    """A line of console output matched."""

    momentary = True

    def __init__(self, place: str, log: LogLine) -> None:
        super().__init__(place, f"a line with {log.pattern}")
        self._pattern = compiled_pattern(log.pattern, place)
        self._log = log

    def observe(self, states: States, seen: Observation) -> Hit | None:
        if type(seen) is not Printed:
            return None
        run_id = seen.run.run_id
        known = states.get(run_id, (0, 0, None, 0))
        upto = int(known[0])
        hit: Hit | None = None
        for number, stream, source, text in seen.lines:
            if number <= upto:
                continue
            upto = number
            if (
                (self._log.stream is None or stream == self._log.stream)
                and (self._log.source is None or source == self._log.source)
                and self._pattern.search(text) is not None
            ):
                count = 1 if hit is None else hit.values["lines"] + 1
                hit = Hit(
                    seen.time, {"line": text[:_LINE], "number": number, "lines": count}, seen.run
                )
        if hit is not None:
            states[run_id] = [upto, hit.time, hit.values]
        elif upto != known[0]:
            states[run_id] = [upto, known[1], known[2]]
        return hit

    def holds(self, states: States, now: int, heard: int, within: int) -> Hit | None:
        if within:
            for _, time, values in states.values():
                if values is not None and time > now - within:
                    return Hit(time, values)
        return None

    def answered(self, states: States) -> None:
        for run_id, (upto, _, _) in states.items():
            states[run_id] = [upto, 0, None]

    def place_in(self, states: States, run_id: str) -> int | None:
        """Number of the last line of a run that was seen; None when none was."""
        return int(states[run_id][0]) if run_id in states else None


class SilentLeaf(Leaf):
    """A running run gave no sign of life."""

    clocked = True

    def __init__(self, place: str, text: str) -> None:
        super().__init__(place, f"silent for {text}")
        self.span = millis(text, place)

    def begin(self, states: States, run: RunFacts | None, now: int) -> None:
        if run is not None and run.alive:
            states.setdefault(run.run_id, run.start_time)

    def observe(self, states: States, seen: Observation) -> Hit | None:
        run = seen.run
        if run is None:
            return None
        if not run.alive:
            states.pop(run.run_id, None)
        elif type(seen) is not Happened or seen.row.type != "run.lost":
            states[run.run_id] = max(states.get(run.run_id, 0), seen.time)
        return None

    def holds(self, states: States, now: int, heard: int, within: int) -> Hit | None:
        for last in states.values():
            if now - max(last, heard) >= self.span:
                return Hit(now, {"seen": last, "silence": now - last})
        return None

    def ended(self, states: States, run_id: str) -> None:
        states.pop(run_id, None)


class NoEventLeaf(Leaf):
    """No such event happened."""

    clocked = True

    def __init__(self, place: str, absence: NoEvent) -> None:
        super().__init__(place, f"no {', '.join(absence.globs)} for {absence.for_}")
        self.types = event_filter(types=absence.globs).types
        self.span = millis(absence.for_, place)
        # Of events about runs there may be none because there is no run: that is no thing of a run.
        self.of_runs = self.types is not None and "run.created" not in self.types and all(
            name.startswith(("run.", "metric.")) for name in self.types
        )  # fmt: skip

    def begin(self, states: States, run: RunFacts | None, now: int) -> None:
        states.setdefault("", now)

    def observe(self, states: States, seen: Observation) -> Hit | None:
        if type(seen) is Happened and (self.types is None or seen.row.type in self.types):
            states[""] = max(states.get("", 0), seen.time)
        return None

    def holds(self, states: States, now: int, heard: int, within: int) -> Hit | None:
        last = states.get("")
        if last is None or now - last < self.span or now - heard < min(self.span, _GRACE):
            return None
        return Hit(now, {"last": last, "silence": now - last})


class Matcher:
    """An `EventMatch`, ready to be asked."""

    def __init__(self, match: EventMatch) -> None:
        self._filter = event_filter(types=match.globs, subjects=match.subjects, actors=match.actors)
        #: Names of the types; None for all.
        self.types = self._filter.types
        self._data = [(path.split("."), _test(wanted)) for path, wanted in match.data.items()]

    def __call__(self, seen: Happened) -> bool:
        """Whether an event matches."""
        if not self._filter.matches(seen.row):
            return False
        return all(any(map(test, _found(seen.data, path))) for path, test in self._data)


def _found(value: Any, path: list[str]) -> list[Any]:
    """What stands at a path in an event's data: of lists every item, of what is not there nothing."""
    if isinstance(value, list):
        return [one for item in value for one in _found(item, path)]
    if not path:
        return [value]
    if not isinstance(value, Mapping):
        return []
    # Keys of params, tags and metrics have dots in them, too.
    return [
        one
        for cut in range(1, len(path) + 1)
        if (name := ".".join(path[:cut])) in value
        for one in _found(value[name], path[cut:])
    ]


def _test(wanted: Any) -> Any:
    if not isinstance(wanted, str):
        return lambda value: value == wanted and isinstance(value, bool) == isinstance(wanted, bool)
    try:
        compared: Comparison = comparison(wanted, "data")
    except InvalidParameter:
        matches = pattern_of(wanted)
        return lambda value: isinstance(value, str) and matches(value)

    def holds(value: Any) -> bool:
        try:
            return not isinstance(value, bool) and compared.holds(float(value))
        except (TypeError, ValueError):
            return False

    return holds


@functools.lru_cache(maxsize=4096)
def pattern_of(glob: str) -> Any:
    """Whether a text matches a glob of ``*`` and ``?``."""
    if "*" not in glob and "?" not in glob:
        return glob.__eq__
    # fnmatch's brackets are no part of our globs: experiments are called "[old] x".
    return re.compile(fnmatch.translate(re.sub(r"\*+", "*", glob).replace("[", "[[]"))).match
