"""Confidence intervals of metrics, by the bootstrap (Efron, 1979): percentiles over resamples of the rows.

Rows that belong together (a query's, a series') are drawn together.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from headrace.models.evaluation.arrays import Indices


def intervals(
    scored: Any, resamples: int, confidence: float, seed: int
) -> dict[str, tuple[float, float]]:
    """The interval of each metric: lower and upper end.

    A metric that has no meaning in some resamples has the interval over the others, and none if there are none.

    Args:
        scored: Rows of one kind.
        resamples: How many.
        confidence: Share of the resamples within.
        seed: The same one gives the same intervals.
    """
    random = np.random.default_rng(seed)
    values: dict[str, list[float]] = {}
    draw = _Draw(scored)
    for _ in range(resamples):
        for name, value in draw(random).metrics().items():
            values.setdefault(name, []).append(value)
    tail = 100 * (1 - confidence) / 2
    found = {}
    for name, drawn in values.items():
        known = np.array([value for value in drawn if not np.isnan(value)])
        if len(known) and not name.endswith("_count"):
            low, high = np.percentile(known, [tail, 100 - tail])
            found[name] = (float(low), float(high))
    return found


class _Draw:
    """Draws rows with replacement; whole units, if the rows have such."""

    def __init__(self, scored: Any) -> None:
        self._scored = scored
        self._units: list[Indices] | None = None
        if scored.units is not None:
            _, codes, counts = np.unique(scored.units, return_inverse=True, return_counts=True)
            order = np.argsort(codes, kind="stable")
            self._units = np.split(order, np.cumsum(counts)[:-1])

    def __call__(self, random: np.random.Generator) -> Any:
        if self._units is None:
            count = len(self._scored)
            return self._scored.take(np.sort(random.integers(0, count, count)))
        drawn = [self._units[one] for one in random.integers(0, len(self._units), len(self._units))]
        # A query that is drawn twice is two queries.
        numbers = np.repeat(np.arange(len(drawn)), [len(rows) for rows in drawn])
        return self._scored.take(np.concatenate(drawn), numbers)
