"""Which rules a look at a series may concern: found without asking each of them.

A thousand thresholds on a key are two sorted lists. A rule whose threshold was not reached since the last
look, and that remembers nothing of the series, would see nothing: so it is not asked.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Iterable, Iterator

from headrace.engine.rules.compiled import CompiledRule
from headrace.engine.rules.metric_leaves import MetricLeaf, ThresholdLeaf
from headrace.engine.rules.observations import Looked


class SeriesRules:
    """The rules that look at the metric of one key in one experiment."""

    def __init__(self, watching: Iterable[tuple[CompiledRule, MetricLeaf]]) -> None:
        above: list[tuple[float, str]] = []
        below: list[tuple[float, str]] = []
        self._nan: set[str] = set()
        self._infinite: set[str] = set()
        self._always: set[str] = set()
        #: What their conditions compare with.
        self.baselines: set[tuple[str, str]] = set()
        #: Rules that need points.
        self.windowed: list[tuple[CompiledRule, MetricLeaf]] = []
        for rule, leaf in watching:
            if leaf.windowed:
                self.windowed.append((rule, leaf))
            elif isinstance(leaf, ThresholdLeaf):
                self._file(rule.name, leaf, above, below)
            else:
                self._always.add(rule.name)
                if leaf.compared is not None:
                    self.baselines.add(leaf.compared)
        above.sort()
        below.sort()
        self._above = ([number for number, _ in above], [name for _, name in above])
        self._below = ([number for number, _ in below], [name for _, name in below])
        #: Thresholds are on this key at all.
        self.looks = bool(above or below or self._nan or self._infinite or self._always)

    def _file(
        self,
        name: str,
        leaf: ThresholdLeaf,
        above: list[tuple[float, str]],
        below: list[tuple[float, str]],
    ) -> None:
        if leaf.nan:
            self._nan.add(name)
        if leaf.infinite:
            self._infinite.add(name)
        if leaf.compare is None:
            return
        match leaf.compare.operator:
            case ">" | ">=":
                above.append((leaf.compare.number, name))
            case "<" | "<=":
                below.append((leaf.compare.number, name))
            case _:
                self._always.add(name)

    def concerned(self, seen: Looked) -> set[str]:
        """Names of the rules that may see something in a look."""
        found = set(self._always)
        low, high = self.reach(seen)
        found.update(self._above[1][: bisect.bisect_right(self._above[0], high)])
        found.update(self._below[1][bisect.bisect_left(self._below[0], low) :])
        if seen.nan or math.isnan(seen.last):
            found |= self._nan
        if math.isinf(low) or math.isinf(high):
            found |= self._infinite
        return found

    @staticmethod
    def reach(seen: Looked) -> tuple[float, float]:
        """Least and greatest value that a look tells of."""
        low, high = seen.low, seen.high
        if not math.isnan(seen.last):
            low, high = min(low, seen.last), max(high, seen.last)
        return (low, high) if low <= high else (math.nan, math.nan)

    def hidden(self, seen: Looked, least: float, greatest: float) -> bool:
        """Whether values may have passed a threshold that a look does not show.

        Args:
            seen: The look.
            least, greatest: Of all values of the series.
        """
        low, high = self.reach(seen)
        if math.isnan(low):
            low, high = math.inf, -math.inf
        above, below = self._above[0], self._below[0]
        if (
            self._infinite
            and math.isinf(least - greatest)
            and not (math.isinf(low) and math.isinf(high))
        ):
            return True
        return bisect.bisect_right(above, greatest) > bisect.bisect_right(
            above, high
        ) or bisect.bisect_left(below, least) < bisect.bisect_left(below, low)


class ExperimentRules:
    """The rules that look at metrics of one experiment, by key."""

    def __init__(self, rules: Iterable[CompiledRule]) -> None:
        self._leaves = [(rule, leaf) for rule in rules for leaf in rule.metrics]
        self._series: dict[str, SeriesRules | None] = {}
        #: Keys that they name.
        self.keys = frozenset(leaf.key for _, leaf in self._leaves if leaf.exact)
        #: Some of them are globs.
        self.globs = any(not leaf.exact for _, leaf in self._leaves)
        self._by_key: dict[str, list[tuple[CompiledRule, MetricLeaf]]] = {}
        for rule, leaf in self._leaves:
            if leaf.exact:
                self._by_key.setdefault(leaf.key, []).append((rule, leaf))
        self._by_glob = [(rule, leaf) for rule, leaf in self._leaves if not leaf.exact]

    def __bool__(self) -> bool:
        return bool(self._leaves)

    def of(self, key: str) -> SeriesRules | None:
        """The rules that look at a key; None when none does."""
        if key not in self._series:
            found = [*self._by_key.get(key, ()), *self._globbed(key)]
            self._series[key] = SeriesRules(found) if found else None
        return self._series[key]

    def _globbed(self, key: str) -> Iterator[tuple[CompiledRule, MetricLeaf]]:
        return ((rule, leaf) for rule, leaf in self._by_glob if leaf.watches(key))
