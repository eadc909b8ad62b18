"""What became of series since they were looked at last, told from their summaries.

A summary has the last value and the least and greatest of all. So a spike between two looks shows as a new
extreme. Only where thresholds lie between what is new for sure and the old extremes, the points must tell.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from headrace.engine.rules.index import SeriesRules
from headrace.engine.rules.observations import Looked, RunFacts

#: Series that are remembered; of those that were forgotten the first look is a first one again.
_MOST = 200_000


class Summary(NamedTuple):
    """A row of ``metric_summary``, NaN as a number."""

    run_number: int
    key: str
    last: float
    last_step: int
    last_time: int
    low: float
    high: float
    points: int
    nan_count: int


class Look(NamedTuple):
    """What is new about a series.

    Attributes:
        seen: What its summary tells.
        hidden: (time, step) after which values may have passed a threshold that the summary does not show;
            None when there is no such place.
    """

    seen: Looked
    hidden: tuple[int, int] | None


class Looks:
    """Remembers what summaries were like."""

    def __init__(self) -> None:
        self._known: dict[tuple[int, str], Summary] = {}

    def look(
        self,
        run: RunFacts,
        found: Summary,
        rules: SeriesRules,
        time: int,
        baselines: dict[tuple[str, str], float],
    ) -> Look | None:
        """What is new about a series; None when nothing is."""
        known = self._known.get((found.run_number, found.key))
        if known is not None and known.points == found.points:
            return None
        if len(self._known) > _MOST:
            self._known.clear()
        self._known[found.run_number, found.key] = found
        best = (found.low, found.high) if found.low <= found.high else None
        if known is None:
            first = Looked(
                time, run, found.key, found.low, found.high, found.last, found.last_step,
                found.nan_count > 0, best, baselines,
            )  # fmt: skip
            return Look(first, None)
        low = found.low if found.low < known.low else math.inf
        high = found.high if found.high > known.high else -math.inf
        seen = Looked(
            time, run, found.key, low, high, found.last, found.last_step,
            found.nan_count > known.nan_count, best, baselines, known.last_step,
        )  # fmt: skip
        hidden = found.points - known.points > 1 and rules.hidden(seen, found.low, found.high)
        return Look(seen, (known.last_time, known.last_step) if hidden else None)

    def forget(self, run_number: int) -> None:
        """Drop what is known of a run."""
        for name in [one for one in self._known if one[0] == run_number]:
            del self._known[name]
