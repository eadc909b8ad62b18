"""Logging metric points as callers do, and reading them again."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from zlib import crc32

from headrace.client import Client
from headrace.client.journal.format import RESIDUE, pack_point, seal
from headrace.client.journal.journals import Journal


def log_points(journal: Journal, run_id: str, key: str, steps: Iterable[int]) -> None:
    """A point for each step, with the step as value and time."""
    writer = journal.writer
    lane = writer.lane(run_id)
    for step in steps:
        while True:
            try:
                series = lane.series.get(key)
                if series is None:
                    series = writer.define(lane, key)
                point = pack_point(step, step, float(step), series)
                lane.write(seal(point, crc32(point, RESIDUE)))
                break
            except ValueError:
                writer.turn(lane.segment)
                lane = writer.lane(run_id)


def steps_of(client: Client, run_id: str, key: str) -> list[int]:
    """The steps of a metric, in order; each point as it was logged."""
    points = client.get_metric_history(run_id, key)
    assert all(point.value == point.step == point.timestamp for point in points)
    return sorted(point.step for point in points)


def until(condition: Callable[[], object], seconds: float = 60) -> None:
    """Wait until something holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.02)
