"""A rule, ready to be evaluated."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from headrace.engine.rules.leaves import (
    EventLeaf,
    Hit,
    Leaf,
    LogLeaf,
    Matcher,
    NoEventLeaf,
    SilentLeaf,
    pattern_of,
)
from headrace.engine.rules.metric_leaves import MetricLeaf
from headrace.engine.rules.observations import RunFacts
from headrace.engine.rules.window_leaves import metric_leaf
from headrace.protocol.rule_spec import Condition, RuleSpec
from headrace.protocol.rule_text import millis


class Truth(NamedTuple):
    """Whether a condition was true in a step, and whether it is now; by which hits."""

    peak: Hit | None
    level: Hit | None


#: Truth of a leaf by its place.
Truths = Mapping[str, Truth]


class CompiledRule:
    """One rule. It keeps no state.

    Attributes:
        spec: The document.
        leaves: Its single conditions.
        momentary: Its condition is true in moments only.
        clocked: It may come true, or be over, by the passing of time alone.
        group_by: What it watches apart.
        hold, within, cooldown, after: Milliseconds; 0 for none.
        created: Since when it is looked at, milliseconds since the Unix epoch.
        revision: Of the document.
    """

    def __init__(self, spec: RuleSpec, created: int = 0, revision: int = 0) -> None:
        self.spec = spec
        self.name = spec.name
        self.created = created
        self.revision = revision
        self.leaves: list[Leaf] = []
        self._tree = self._built(spec.when, "when")
        self.hold = _millis(spec.for_)
        self.within = _millis(spec.within)
        self.cooldown = _millis(spec.cooldown)
        self.after = _millis(spec.resolve.after)
        self.until = None if spec.resolve.until is None else Matcher(spec.resolve.until)
        self.momentary = not self.within and any(leaf.momentary for leaf in self.leaves)
        self.clocked = bool(
            self.hold or self.within or self.after or any(leaf.clocked for leaf in self.leaves)
        )
        #: What resolves it is said in the rule, or its condition lasts.
        self.lasts = not self.momentary or self.until is not None or bool(self.after)
        self.of_runs = all(leaf.of_runs for leaf in self.leaves)
        self.group_by = spec.group_by or self._grouping()
        self.metrics = [leaf for leaf in self.leaves if isinstance(leaf, MetricLeaf)]
        self.windows = [leaf for leaf in self.metrics if leaf.windowed]
        self.logs = [leaf for leaf in self.leaves if isinstance(leaf, LogLeaf)]
        #: It must know of every sign of life.
        self.listens = any(isinstance(leaf, SilentLeaf) for leaf in self.leaves)
        #: It watches groups of which nothing may be heard.
        self.watches_silence = any(
            isinstance(leaf, SilentLeaf | NoEventLeaf) for leaf in self.leaves
        )
        #: Types of events that it must see; None for all.
        self.types = self._types()

    def within_scope(self, run: RunFacts) -> bool:
        """Whether a run has the tags and params of its scope."""
        scope = self.spec.scope
        return _has(run.tags, scope.tags) and _has(run.params, scope.params)

    def experiments(self, names: Mapping[int, str]) -> frozenset[int] | None:
        """Numbers of the experiments in its scope; None for all.

        Args:
            names: Of the experiments that there are.
        """
        wanted = [str(one) for one in self.spec.scope.experiments]
        if not wanted:
            return None
        matches = [pattern_of(one) for one in wanted]
        return frozenset(
            number
            for number, name in names.items()
            if str(number) in wanted or any(match(name) for match in matches)
        )

    def truth(self, of: Truths) -> Truth:
        """Of the whole condition."""
        return self._tree(of)

    @property
    def words(self) -> str:
        """Its condition in words."""
        return " and ".join(leaf.words for leaf in self.leaves[:3])

    def _built(self, condition: Condition, place: str) -> Callable[[Truths], Truth]:
        if condition.all_ is not None or condition.any_ is not None:
            word = "all" if condition.all_ is not None else "any"
            parts = [
                self._built(child, f"{place}.{word}[{number}]")
                for number, child in enumerate(condition.children())
            ]
            return _all(parts) if word == "all" else _any(parts)
        if condition.not_ is not None:
            return _not(self._built(condition.not_, f"{place}.not"))
        self.leaves.append(_leaf(condition, place))
        return lambda of: of[place]

    def _grouping(self) -> str:
        if self.of_runs:
            return "run"
        return "experiment" if all(leaf.momentary for leaf in self.leaves) else "none"

    def _types(self) -> frozenset[str] | None:
        found: set[str] = set()
        for one in self._matched():
            if one is None:
                return None
            found |= one
        return frozenset(found)

    def _matched(self) -> Iterator[frozenset[str] | None]:
        for leaf in self.leaves:
            if isinstance(leaf, EventLeaf):
                yield leaf.match.types
            elif isinstance(leaf, NoEventLeaf):
                yield leaf.types
        if self.until is not None:
            yield self.until.types


def _leaf(condition: Condition, place: str) -> Leaf:
    if condition.event is not None:
        return EventLeaf(place, condition.event)
    if condition.metric is not None:
        return metric_leaf(place, condition.metric)
    if condition.silent is not None:
        return SilentLeaf(place, condition.silent)
    if condition.no_event is not None:
        return NoEventLeaf(place, condition.no_event)
    assert condition.log is not None
    return LogLeaf(place, condition.log)


def _all(parts: list[Callable[[Truths], Truth]]) -> Callable[[Truths], Truth]:
    def truth(of: Truths) -> Truth:
        found = [part(of) for part in parts]
        return Truth(_joined([one.peak for one in found]), _joined([one.level for one in found]))

    return truth


def _any(parts: list[Callable[[Truths], Truth]]) -> Callable[[Truths], Truth]:
    def truth(of: Truths) -> Truth:
        found = [part(of) for part in parts]
        return Truth(
            next((one.peak for one in found if one.peak), None),
            next((one.level for one in found if one.level), None),
        )

    return truth


def _not(part: Callable[[Truths], Truth]) -> Callable[[Truths], Truth]:
    def truth(of: Truths) -> Truth:
        found = part(of)
        hit = None if found.peak or found.level else Hit(0, {})
        return Truth(hit, hit)

    return truth


def _joined(hits: list[Hit | None]) -> Hit | None:
    """One hit of several; none if one is missing."""
    values: dict[str, Any] = {}
    found = [hit for hit in hits if hit is not None]
    if len(found) < len(hits):
        return None
    for hit in reversed(found):
        values.update(hit.values)
    return Hit(
        max(hit.time for hit in found),
        values,
        next((hit.run for hit in found if hit.run), None),
        next((hit.cause for hit in found if hit.cause), None),
        next((hit.chain for hit in found if hit.chain), ()),
    )


def _has(values: Mapping[str, str], wanted: Mapping[str, str]) -> bool:
    return all(key in values and pattern_of(glob)(values[key]) for key, glob in wanted.items())


def _millis(text: str | None) -> int:
    return 0 if text is None else millis(text, "rule")
