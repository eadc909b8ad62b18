"""The recent part of a series in a few numbers, which fit into a row of the database.

A window is kept as at most `BUCKETS` stretches that follow each other, each with count, mean, sum of squared
deviations and first value. So it ends not at the very point but within a part of itself, costs the same for
a hundred steps and for a million, and can be stored.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

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


class Walk(NamedTuple):
    """What a window was like at each of many points, and what it is after them.

    Attributes:
        first: The value that the window began with, the point itself in it.
        counts, mean, deviation: Of the points in the window before the point; NaN where there are too few.
        buckets: The window after the last point.
    """

    first: npt.NDArray[np.float64]
    counts: npt.NDArray[np.int64]
    mean: npt.NDArray[np.float64]
    deviation: npt.NDArray[np.float64]
    buckets: list[Bucket]


def walked(
    buckets: Sequence[Bucket],
    window: Window,
    places: npt.NDArray[np.int64],
    values: npt.NDArray[np.float64],
) -> Walk:
    """What `added`, `first_value` and `spread` say point by point, for many points at once.

    Args:
        buckets: The window before them.
        window: How long it is.
        places: Of one point or more, not decreasing.
        values: Finite numbers.
    """
    width = max(window.size // BUCKETS, 1)
    begins = places - places % width
    old = np.array(buckets, np.float64).reshape(-1, 5).T
    if old.size:  # what is in the last bucket goes on there
        begins = np.maximum(begins, int(old[0][-1]))
    starts = np.flatnonzero(np.concatenate(([True], begins[1:] != begins[:-1])))
    # Sums of differences from one of the values: of the values themselves they would cancel out.
    base = float(old[2][-1]) if old.size else float(values[0])
    away = values - base
    old_away = old[2] - base
    totals = [
        np.concatenate((of_old, np.add.reduceat(of_new, starts)))
        for of_old, of_new in (
            (old[1], np.ones(len(values))),
            (old[1] * old_away, away),
            (old[3] + old[1] * old_away * old_away, away * away),
        )
    ]
    begin = np.concatenate((old[0], begins[starts]))
    first = np.concatenate((old[4], values[starts]))
    seam = old.shape[1]
    if seam and begin[seam] == begin[seam - 1]:
        for total in totals:
            total[seam - 1] += total[seam]
        totals = [np.delete(total, seam) for total in totals]
        begin, first = np.delete(begin, seam), np.delete(first, seam)
    oldest = np.searchsorted(begin + (width - 1), places - window.size, side="right")
    count, total, squares = (
        (of_old.sum() + np.concatenate(([0.0], np.cumsum(of_new)[:-1])))
        - np.concatenate(([0.0], np.cumsum(of_all)[:-1]))[oldest]
        for of_old, of_new, of_all in (
            (old[1], np.ones(len(values)), totals[0]),
            (old[1] * old_away, away, totals[1]),
            (old[3] + old[1] * old_away * old_away, away * away, totals[2]),
        )
    )
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = total / count
        deviation = np.sqrt(np.maximum(squares - total * mean, 0) / (count - 1))
    return Walk(
        first[oldest],
        np.rint(count).astype(np.int64),
        base + mean,
        deviation,
        _kept(begin, first, totals, base, int(oldest[-1])),
    )


def _kept(
    begin: npt.NDArray[np.float64],
    first: npt.NDArray[np.float64],
    totals: Sequence[npt.NDArray[np.float64]],
    base: float,
    oldest: int,
) -> list[Bucket]:
    """Buckets from sums."""
    count, total, squares = (one[oldest:] for one in totals)
    mean = total / count
    spread = np.maximum(squares - total * mean, 0)
    return [
        (int(where), int(n), base + m, q, f)
        for where, n, m, q, f in zip(
            begin[oldest:].tolist(), count.tolist(), mean.tolist(), spread.tolist(),
            first[oldest:].tolist(), strict=True,
        )
    ]  # fmt: skip
