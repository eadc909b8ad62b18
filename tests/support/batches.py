"""Batches of a journal, made by hand."""

from __future__ import annotations

import itertools
import struct
import uuid
from collections.abc import Iterable, Sequence
from typing import Any

from headrace.protocol.ingest import AnyStep, Batch, Series

#: (run id, key, step, timestamp, value)
Point = tuple[str, str, int, int, float]


def columns(points: Iterable[Point]) -> dict[str, Any]:
    """The fields of a batch that hold some points."""
    points = list(points)
    numbers: dict[tuple[str, str], int] = {}
    for run_id, key, *_ in points:
        numbers.setdefault((run_id, key), len(numbers))
    count = len(points)
    return {
        "series": tuple(Series(run_id, key) for run_id, key in numbers),
        "numbers": struct.pack(f"<{count}I", *(numbers[one[0], one[1]] for one in points)),
        "steps": struct.pack(f"<{count}q", *(one[2] for one in points)),
        "timestamps": struct.pack(f"<{count}q", *(one[3] for one in points)),
        "values": struct.pack(f"<{count}d", *(one[4] for one in points)),
    }


def new_writer() -> str:
    """The id of a writer that nobody knows."""
    return uuid.uuid4().hex


class Journal:
    """Cuts batches that follow each other."""

    def __init__(self) -> None:
        self.writer = new_writer()
        self.position = 0

    def batch(
        self, points: Iterable[Point] = (), steps: Sequence[AnyStep] = (), **fields: Any
    ) -> Batch:
        """The next batch."""
        start, self.position = self.position, self.position + 100
        return Batch(
            writer=self.writer,
            start=start,
            end=self.position,
            operations=tuple(steps),
            **columns(points),
            **fields,
        )


def line(run_id: str, key: str, steps: Iterable[int]) -> list[Point]:
    """Points of one series that tell their step by time and value."""
    return [(run_id, key, step, 1000 + step, float(step)) for step in steps]


def interleaved(*series: Iterable[Point]) -> list[Point]:
    """Points of several series as a training loop logs them."""
    rounds = itertools.zip_longest(*series)
    return [point for one in rounds for point in one if point is not None]
