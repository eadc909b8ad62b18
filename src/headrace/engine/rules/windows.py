"""The recent part of a series in a few numbers, which fit into a row of the database.

A window is kept as at most `BUCKETS` stretches that follow each other, each with count, mean, sum of squared
deviations and first value. So it ends not at the very point but within a part of itself, costs the same for
a hundred steps and for a million, and can be stored.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from headrace.protocol.rule_text import Window

BUCKETS = 32

#: (where it begins, count, mean, sum of squared deviations from it, first value)
Bucket = Sequence[float]


def added(buckets: Sequence[Bucket], window: Window, place: int, value: float) -> list[Bucket]:
    """The window after one more point; what is too old for it is gone.

    Args:
        buckets: The window before, the oldest bucket first.
        window: How long it is.
        place: The point's step or time, as the window counts.
        value: A finite number.
    """
    width = max(window.size // BUCKETS, 1)
    kept = [one for one in buckets if one[0] + (width - 1) > place - window.size]
    if kept and kept[-1][0] <= place < kept[-1][0] + width:
        begin, count, mean, squares, first = kept[-1]
        count += 1
        delta = value - mean
        mean += delta / count
        kept[-1] = (begin, count, mean, squares + delta * (value - mean), first)
        return kept
    kept.append((place - place % width, 1, value, 0.0, value))
    return kept


def first_value(buckets: Sequence[Bucket]) -> float | None:
    """The value that the window begins with; None for an empty one."""
    return buckets[0][4] if buckets else None


def spread(buckets: Sequence[Bucket]) -> tuple[int, float, float]:
    """Count, mean and standard deviation (of a sample) of the points in the window.

    Buckets are merged as by Chan, Golub and LeVeque, "Updating formulae and a pairwise algorithm for computing
    sample variances" (1979).
    """
    count, mean, squares = 0.0, 0.0, 0.0
    for _, n, its_mean, its_squares, _ in buckets:
        delta = its_mean - mean
        total = count + n
        squares += its_squares + delta * delta * count * n / total
        mean += delta * n / total
        count = total
    return int(count), mean, math.sqrt(squares / (count - 1)) if count > 1 else 0.0
