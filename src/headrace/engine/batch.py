"""What is done about a batch before its transaction: it is checked, and its points are packed."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from headrace.engine.metrics.arriving import Columns, RunPoints, grouped, read_columns
from headrace.engine.rejected import rejection
from headrace.errors import InvalidParameter
from headrace.protocol.ingest import Batch, Rejection, Series
from headrace.protocol.limits import check_key

_WRITER = re.compile(r"[0-9a-f]{32}")


class Prepared(NamedTuple):
    """A batch with all that was found out about it without the database."""

    batch: Batch
    points: list[RunPoints]
    rejected: list[Rejection]


def prepare(batch: Batch) -> Prepared:
    """Check a batch and pack its points; needs no session, and does the heavy work.

    Raises:
        InvalidParameter: As `Ingest.ingest` does.
    """
    if not _WRITER.fullmatch(batch.writer):
        raise InvalidParameter(
            f"Invalid value for parameter 'writer' of ingest: {batch.writer[:100]!r}; "
            "a writer has 32 hexadecimal digits, in lower case."
        )
    if not 0 <= batch.start <= batch.end:
        raise InvalidParameter(
            f"Invalid positions: 'start' is {batch.start} and 'end' is {batch.end}; "
            "give 0 <= start <= end."
        )
    if batch.silence <= 0:
        raise InvalidParameter(
            f"Invalid value for parameter 'silence' of ingest: {batch.silence}; "
            "give a positive number of milliseconds."
        )
    columns = read_columns(
        len(batch.series), batch.numbers, batch.steps, batch.timestamps, batch.values
    )
    if batch.start == batch.end and (batch.operations or len(columns.numbers)):
        raise InvalidParameter(
            f"Invalid positions: 'start' and 'end' are both {batch.start}, but the batch is not empty; "
            "what is at no position cannot be told from its repetition."
        )
    rejected: list[Rejection] = []
    columns = _without_bad_times(batch.series, columns, rejected)
    series = _checked_series(batch.series, columns, rejected)
    return Prepared(batch, grouped(series, columns), rejected)


def _without_bad_times(
    series: Sequence[Series], columns: Columns, rejected: list[Rejection]
) -> Columns:
    early = columns.times < 0
    if not early.any():
        return columns
    counts = np.bincount(columns.numbers[early])
    for number in np.flatnonzero(counts).tolist():
        one = series[number]
        message = (
            f"{counts[number]} points have a timestamp before 1970; "
            "give milliseconds since the Unix epoch."
        )
        rejected.append(rejection(one.run_id, f"metric {one.key}", message))
    return columns.take(~early)


def _checked_series(
    series: Sequence[Series], columns: Columns, rejected: list[Rejection]
) -> list[tuple[str, str] | None]:
    """The series with acceptable keys; None in the place of each other one."""
    found: list[tuple[str, str] | None] = []
    counts = np.bincount(columns.numbers, minlength=len(series))
    for number, one in enumerate(series):
        try:
            check_key(one.key, "metric")
        except InvalidParameter as error:
            found.append(None)
            if counts[number]:
                rejected.append(rejection(one.run_id, f"metric {one.key}", error.message))
        else:
            found.append((one.run_id, one.key))
    return found
