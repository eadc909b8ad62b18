"""Recording metric points: one batch row, and one summary row per series."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from headrace.engine import schema
from headrace.engine.database import execute_driver
from headrace.engine.metrics import columns
from headrace.engine.metrics.arriving import RunPoints
from headrace.engine.session import SessionBase, bounded
from headrace.protocol.runs import MetricPoint

_SUMMARY = tuple(column.name for column in schema.metric_summary.columns)
_NOT_FINITE = (math.inf, -math.inf)
#: Summary rows per statement on SQLite: few enough that the driver keeps every such statement.
_ROWS = 32
#: Series per look for earlier NaNs and infinities.
_LOOKED_UP = 1000

#: A row of metric_summary, in the order of its columns.
_Row = tuple[Any, ...]


def record(
    session: SessionBase,
    run_id: int,
    run_uuid: str,
    experiment_id: int,
    points: Sequence[MetricPoint],
) -> None:
    """Record points of one run, in the session's transaction.

    The points are checked and the run is active. Costs one batch row and one upsert statement, and an
    event when a series is new to the run (``metric.created``) or gets its first NaN or infinity
    (``metric.nonfinite``).

    Args:
        session: In a write transaction.
        run_id: The run's number.
        run_uuid: Its public id, for events.
        experiment_id: Its experiment's number.
        points: In any order; duplicates are fine.
    """
    if not points:
        return
    data, rows, names = _columns(session, run_id, experiment_id, points)
    session.keys.discover(experiment_id, schema.KIND_METRIC, names)
    run = (run_uuid, experiment_id)
    _store(session, [(run_id, len(points), data)], rows, {run_id: run}, names)
    _record_for_models(session, ((run_id, names, points),))


def record_columns(session: SessionBase, runs: Sequence[tuple[int, int, RunPoints]]) -> None:
    """Record points that came as columns: what `record` does, for several runs with few statements.

    Args:
        session: In a write transaction.
        runs: (run number, experiment number, points) of different runs, active and with checked keys.
    """
    numbers = session.keys.number(key for _, _, points in runs for key in points.keys)
    names = {number: name for name, number in numbers.items()}
    batches, rows = [], []
    discovered: dict[int, set[int]] = {}
    for run_id, experiment_id, points in runs:
        ids = [numbers[key] for key in points.keys]
        discovered.setdefault(experiment_id, set()).update(ids)
        rows += [
            (run_id, key, experiment_id, *summary)
            for key, summary in zip(ids, points.summaries, strict=True)
        ]
        for part in points.parts:
            data = columns.block([ids[place] for place in part.series], part.counts, part.body)
            batches.append((run_id, part.body.points, data))
    rows.sort(key=lambda row: row[:2])
    for experiment_id in sorted(discovered):
        session.keys.discover(experiment_id, schema.KIND_METRIC, discovered[experiment_id])
    known = {number: (points.run_id, experiment) for number, experiment, points in runs}
    _store(session, batches, rows, known, names)


def _store(
    session: SessionBase,
    batches: Sequence[tuple[int, int, bytes]],
    rows: list[_Row],
    runs: Mapping[int, tuple[str, int]],
    names: Mapping[int, str],
) -> None:
    """Write batch rows and summary rows, and the events that follow from them.

    Args:
        session: In a write transaction.
        batches: Rows of ``metric_batch``.
        rows: Rows of ``metric_summary`` in the order of their runs and keys.
        runs: Public id and experiment number of each run.
        names: Of the keys.
    """
    odd = {row[:2]: row for row in rows if _has_nonfinite(row)}
    new_to_it = _never_nonfinite(session, list(odd)) if odd else []
    counts = _write(session.connection, batches, rows)
    created: dict[int, list[str]] = {}
    for row in rows:
        if counts[row[0], row[1]] == row[_COUNT]:
            created.setdefault(row[0], []).append(names[row[1]])
    nonfinite: dict[int, list[_Row]] = {}
    for one in new_to_it:
        nonfinite.setdefault(one[0], []).append(odd[one])
    events: list[tuple[str, str, dict[str, Any], int]] = []
    for run_id, keys in created.items():
        uuid, experiment = runs[run_id]
        events.append(("metric.created", f"run/{uuid}", bounded("keys", keys), experiment))
    for run_id, summaries in nonfinite.items():
        uuid, experiment = runs[run_id]
        events.append(
            ("metric.nonfinite", f"run/{uuid}", _nonfinite_data(summaries, names), experiment)
        )
    session.emit_many(events)
    for uuid, experiment in runs.values():
        session.moved(uuid, experiment, "metrics")


def record_many(
    session: SessionBase, runs: Sequence[tuple[int, str, int, Sequence[MetricPoint]]]
) -> None:
    """Record points of runs that were made in this same transaction: one statement per table.

    Args:
        session: In a write transaction.
        runs: (run number, public id, experiment number, points) of each.
    """
    batches, summaries, events, named = [], [], [], []
    discovered: dict[int, set[int]] = {}
    for run_id, run_uuid, experiment_id, points in runs:
        if not points:
            continue
        data, rows, names = _columns(session, run_id, experiment_id, points)
        batches.append({"run_id": run_id, "points": len(points), "data": data})
        summaries += rows
        named.append((run_id, names, points))
        discovered.setdefault(experiment_id, set()).update(names)
        subject = f"run/{run_uuid}"
        created = bounded("keys", list(names.values()))
        events.append(("metric.created", subject, created, experiment_id))
        odd = [row for row in rows if _has_nonfinite(row)]
        if odd:
            told = _nonfinite_data(odd, names)
            events.append(("metric.nonfinite", subject, told, experiment_id))
        session.moved(run_uuid, experiment_id, "metrics")
    if not batches:
        return
    for experiment_id, keys in discovered.items():
        session.keys.discover(experiment_id, schema.KIND_METRIC, keys)
    session.connection.execute(schema.metric_batch.insert(), batches)
    session.connection.exec_driver_sql(_insert_summary(session.connection.dialect.name), summaries)
    session.emit_many(events)
    _record_for_models(session, named)


def _columns(
    session: SessionBase, run_id: int, experiment_id: int, points: Sequence[MetricPoint]
) -> tuple[bytes, list[_Row], dict[int, str]]:
    """The points as a block, their summary rows in the order of key ids, and the keys' names."""
    groups: dict[str, list[MetricPoint]] = {}
    for point in points:
        group = groups.get(point.key)
        if group is None:
            groups[point.key] = [point]
        else:
            group.append(point)
    numbers = session.keys.number(groups)
    names = {numbers[name]: name for name in groups}
    keys = sorted(names)
    counts, steps, times, values = [], [], [], []
    rows = []
    for key in keys:
        group = groups[names[key]]
        its_steps = [point.step for point in group]
        its_times = [point.timestamp for point in group]
        its_values = [point.value for point in group]
        rows.append((run_id, key, experiment_id, *_summary(its_steps, its_times, its_values)))
        counts.append(len(group))
        steps += its_steps
        times += its_times
        values += its_values
    return columns.encode(keys, counts, steps, times, values), rows, names


def _summary(steps: list[int], times: list[int], values: list[float]) -> tuple[Any, ...]:
    """What follows the experiment in a summary row. (Lists: numpy costs more at these lengths.)"""
    count = len(steps)
    if count == 1:
        step, time, value = steps[0], times[0], values[0]
        if value == value:
            return schema.RANK_NUMBER, value, step, time, value, step, value, step, 1, 0, step, time
        return schema.RANK_NAN, None, step, time, None, None, None, None, 1, 1, step, time
    numbers, number_steps = values, steps
    # The sum is a number when no value is NaN, unless infinities cancel out; then look closely.
    if math.isnan(sum(values)):
        pairs = [(value, step) for value, step in zip(values, steps, strict=True) if value == value]
        numbers, number_steps = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    least = greatest = least_step = greatest_step = None
    if numbers:
        least, greatest = min(numbers), max(numbers)
        least_step = _first_step(numbers, number_steps, least)
        greatest_step = _first_step(numbers, number_steps, greatest)
    last = max(steps)
    if steps.count(last) == 1:
        at = steps.index(last)
        last_time, last_value = times[at], values[at]
    else:
        last_time, _, isnan, last_value = max(
            (time, value if value == value else 0.0, value != value, value)
            for step, time, value in zip(steps, times, values, strict=True)
            if step == last
        )
    isnan = last_value != last_value
    return (
        schema.RANK_NAN if isnan else schema.RANK_NUMBER,
        None if isnan else last_value,
        last,
        last_time,
        least,
        least_step,
        greatest,
        greatest_step,
        count,
        count - len(numbers),
        min(steps),
        min(times),
    )


def _first_step(values: list[float], steps: list[int], value: float) -> int:
    if values.count(value) == 1:
        return steps[values.index(value)]
    return min(step for step, other in zip(steps, values, strict=True) if other == value)


_COUNT = _SUMMARY.index("count")
_NAN_COUNT = _SUMMARY.index("nan_count")
_MIN = _SUMMARY.index("min_value")
_MAX = _SUMMARY.index("max_value")


def _has_nonfinite(row: _Row) -> bool:
    return row[_NAN_COUNT] > 0 or row[_MIN] in _NOT_FINITE or row[_MAX] in _NOT_FINITE


def _nonfinite_data(rows: Sequence[_Row], names: Mapping[int, str]) -> dict[str, Any]:
    """What ``metric.nonfinite`` says of summaries."""
    data = bounded("keys", [names[row[1]] for row in rows])
    rows = rows[: len(data["keys"])]
    infinite = [row for row in rows if row[_MIN] in _NOT_FINITE or row[_MAX] in _NOT_FINITE]
    return data | {
        "nan": [names[row[1]] for row in rows if row[_NAN_COUNT] > 0],
        "infinite": [names[row[1]] for row in infinite],
    }


def _never_nonfinite(session: SessionBase, series: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Those of the (run, key) that have no NaN and no infinity yet."""
    summary = schema.metric_summary.c
    before: set[tuple[int, int]] = set()
    for start in range(0, len(series), _LOOKED_UP):
        part = series[start : start + _LOOKED_UP]
        statement = schema.metric_summary.select().where(
            summary.run_id.in_({run_id for run_id, _ in part}),
            summary.key_id.in_({key for _, key in part}),
        )
        found = session.connection.execute(statement)
        before.update((row[0], row[1]) for row in found if _has_nonfinite(tuple(row)))
    return [one for one in series if one not in before]


def _write(
    connection: sa.Connection, batches: Sequence[tuple[int, int, bytes]], rows: list[_Row]
) -> dict[tuple[int, int], int]:
    """Insert batches, merge rows into metric_summary; the count that each (run, key) of them has now.

    The rows are in the order of runs and keys, so that transactions cannot deadlock.
    """
    dialect = connection.dialect.name
    insert = _insert_batch(dialect)
    if dialect != "sqlite":
        one = len(batches) == 1  # then both go in one statement, for one round trip less
        if not one:
            connection.exec_driver_sql(insert, list(batches))
        few = len(rows) == 1
        statement = _upsert_statement(dialect, 1 if few else 0, one)
        values = rows[0] if few else tuple(list(column) for column in zip(*rows, strict=True))
        if one:
            values = (*batches[0], *values)
        return {(r[0], r[1]): r[2] for r in execute_driver(connection, statement, values)}
    for batch in batches:
        execute_driver(connection, insert, batch)
    counts: dict[tuple[int, int], int] = {}
    for start in range(0, len(rows), _ROWS):
        part = rows[start : start + _ROWS]
        statement = _upsert_statement(dialect, len(part))
        values = tuple(value for row in part for value in row)
        counts.update(((r[0], r[1]), r[2]) for r in execute_driver(connection, statement, values))
    return counts


@functools.cache
def _upsert_statement(dialect: str, rows: int, batch: bool = False) -> str:
    """INSERT ... ON CONFLICT of so many rows; of 0 rows: of any number, given as arrays (PostgreSQL).

    With `batch` it inserts a row of metric_batch before (PostgreSQL).

    Written by hand because this statement is the hot path: SQLAlchemy takes longer to look up a
    compiled insert of several rows than SQLite takes to run it.
    """
    table = schema.metric_summary
    if rows:
        row = f"({', '.join([_placeholder(dialect)] * len(_SUMMARY))})"
        source = f"VALUES {', '.join([row] * rows)}"
    else:
        types = [column.type.compile(_postgresql()) for column in table.columns]
        arrays = ", ".join(f"%s::{type}[]" for type in types)
        source = f"SELECT * FROM unnest({arrays})"
    old, new = table.name, "excluded"

    def fields(place: str, *names: str) -> str:
        return ", ".join(f"{place}.{name}" for name in names)

    def chosen(condition: str, *names: str) -> list[str]:
        return [
            f"{name} = CASE WHEN {condition} THEN {new}.{name} ELSE {old}.{name} END"
            for name in names
        ]

    def last(place: str) -> str:
        return (
            f"({fields(place, 'last_step', 'last_time')}, coalesce({place}.last_value, 0), "
            f"{place}.last_rank)"
        )

    def extreme(stat: str, sign: str) -> list[str]:
        value, step = f"{stat}_value", f"{stat}_step"
        return chosen(
            f"{old}.{value} IS NULL OR {new}.{value} {sign} {old}.{value} "
            f"OR ({new}.{value} = {old}.{value} AND {new}.{step} < {old}.{step})",
            value,
            step,
        )

    changes = [
        *chosen(f"{last(new)} > {last(old)}", "last_rank", "last_value", "last_step", "last_time"),
        *extreme("min", "<"),
        *extreme("max", ">"),
        *(f"{name} = {old}.{name} + {new}.{name}" for name in ("count", "nan_count")),
        *chosen(f"{new}.first_step < {old}.first_step", "first_step"),
        *chosen(f"{new}.first_time < {old}.first_time", "first_time"),
    ]
    before = f"WITH batch AS ({_insert_batch(dialect)}) " if batch else ""
    return (
        f"{before}INSERT INTO {old} ({', '.join(_SUMMARY)}) {source} "
        f"ON CONFLICT (run_id, key_id) DO UPDATE SET {', '.join(changes)} "
        f"RETURNING run_id, key_id, {old}.count"
    )


def _postgresql() -> Any:
    from sqlalchemy.dialects import postgresql

    return postgresql.dialect()  # type: ignore[no-untyped-call]


def _placeholder(dialect: str) -> str:
    return "?" if dialect == "sqlite" else "%s"


@functools.cache
def _insert_batch(dialect: str) -> str:
    marks = ", ".join([_placeholder(dialect)] * 3)
    return f"INSERT INTO {schema.metric_batch.name} (run_id, points, data) VALUES ({marks})"


@functools.cache
def _insert_summary(dialect: str) -> str:
    marks = ", ".join([_placeholder(dialect)] * len(_SUMMARY))
    return f"INSERT INTO {schema.metric_summary.name} ({', '.join(_SUMMARY)}) VALUES ({marks})"


def _record_for_models(
    session: SessionBase, runs: Iterable[tuple[int, dict[int, str], Sequence[MetricPoint]]]
) -> None:
    """Points that name a logged model are also kept under that model."""
    rows = []
    for run_id, names, points in runs:
        numbers: dict[str, int] = {}
        for point in points:
            if point.model_id:
                numbers = numbers or {name: key for key, name in names.items()}
                rows.append(
                    {
                        "model_id": point.model_id,
                        "run_id": run_id,
                        "key_id": numbers[point.key],
                        "step": point.step,
                        "time": point.timestamp,
                        "value": None if math.isnan(point.value) else point.value,
                        "dataset_name": point.dataset_name or None,
                        "dataset_digest": point.dataset_digest or None,
                    }
                )
    if rows:
        session.connection.execute(schema.logged_model_metric.insert(), rows)
