"""Points that come as columns are recorded as those that come one by one; and what a batch costs."""

from __future__ import annotations

import math
import random
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from headrace.engine import Engine, schema
from headrace.engine.metrics import columns
from headrace.engine.metrics.arriving import BLOCK
from headrace.entities import (
    Dataset,
    DatasetInput,
    KeyValue,
    LoggedModelInput,
    LoggedModelOutput,
    RunStatus,
)
from headrace.errors import Unavailable
from headrace.protocol.ingest import (
    Batch,
    ConsoleLine,
    LogInputs,
    LogOutputs,
    LogParams,
    LogPoints,
    Series,
    SetTags,
    StartRun,
    UpdateRun,
    WriteConsole,
)
from headrace.protocol.operation import operations_of
from headrace.protocol.runs import GetRun, LogBatch, MetricPoint
from headrace.protocol.store import Store
from support.batches import Journal, interleaved, line, new_writer

OPERATIONS = operations_of(Store)

KEYS = ("a", "b", "c")
STEP = st.integers(-(2**63), 2**63 - 1) | st.integers(-2, 2)
TIME = st.integers(0, 2**63 - 1) | st.integers(0, 2)
VALUE = st.floats(width=64) | st.sampled_from([math.nan, math.inf, -math.inf, 0.0, -0.0, 1.0])
POINTS = st.lists(st.tuples(st.sampled_from(KEYS), STEP, TIME, VALUE), max_size=100)


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    path = tmp_path_factory.mktemp("ingest") / "headrace.db"
    engine = Engine(f"sqlite:///{path}", artifact_root="file:///nowhere", compact=False)
    yield engine
    engine.close()


def rows(engine: Engine, statement: sa.Select[Any]) -> list[Any]:
    with engine._database.read() as connection:
        return list(connection.execute(statement).all())


def summaries(engine: Engine, run_id: str) -> list[Any]:
    """All that is said of a run's metrics, by key, and its events."""
    summary, key = schema.metric_summary, schema.key.c
    fields = [column for column in summary.c if column.name not in ("run_id", "key_id")]
    found = rows(
        engine,
        sa.select(key.name, *fields)
        .join(schema.key, key.id == summary.c.key_id)
        .join(schema.run, schema.run.c.id == summary.c.run_id)
        .where(schema.run.c.uuid == run_id)
        .order_by(key.name),
    )
    event = schema.event.c
    events = rows(
        engine,
        sa.select(event.type, event.data)
        .where(event.subject == f"run/{run_id}", event.type.like("metric.%"))
        .order_by(event.seq),
    )
    return [*found, *events]


def history(engine: Engine, run_id: str, key: str) -> list[tuple[int, int, str]]:
    operation = OPERATIONS["get_metric_history"]
    answer = engine.call(operation, operation.build(run_id=run_id, metric_key=key))
    return [(one.timestamp, one.step, repr(one.value)) for one in answer.metrics]


@settings(
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
    deadline=None,
    max_examples=80,
)
@given(st.lists(POINTS, min_size=1, max_size=3))
@example([[("a", 1, 1, 0.0), ("a", 1, 1, -0.0)], [("a", 1, 1, -0.0), ("a", 1, 1, 0.0)]])
@example(
    [
        [
            ("a", 1, 1, math.nan),
            ("a", 1, 1, 0.0),
            ("a", 1, 1, math.nan),
            ("b", 1, 1, -1.0),
            ("b", 1, 1, math.nan),
        ]
    ]
)
@example([[("a", -(2**63), 0, math.nan)] * 70, [("a", 2**63 - 1, 2**63 - 1, math.inf)] * 2])
def test_columns_are_recorded_as_points_are(
    engine: Engine, batches: list[list[tuple[str, int, int, float]]]
) -> None:
    journal = Journal()
    one, other = new_writer(), new_writer()
    engine.ingest(journal.batch(steps=[StartRun(run_id=one), StartRun(run_id=other)]))
    for points in batches:
        answer = engine.ingest(journal.batch([(one, *point) for point in points]))
        assert answer.rejected == ()
        engine.log_batch(
            LogBatch(
                run_id=other,
                metrics=tuple(
                    MetricPoint(key=key, step=step, timestamp=time, value=value)
                    for key, step, time, value in points
                ),
            )
        )
    assert summaries(engine, one) == summaries(engine, other)
    for key in KEYS:
        assert history(engine, one, key) == history(engine, other, key)


TEXT = st.text(st.characters(exclude_categories=()), max_size=8) | st.sampled_from(
    ["r", "k", "\x00", "\ud800"]
)
NAME = st.sampled_from(["r", "s", "t"]) | TEXT
PAIRS = st.lists(st.builds(KeyValue, TEXT, TEXT), max_size=4).map(tuple)
DATASET = st.builds(
    Dataset, name=TEXT, digest=TEXT, source_type=TEXT, source=TEXT, schema=st.none() | TEXT
)
MODELS = st.builds(LoggedModelInput, model_id=TEXT)
STEPS = st.one_of(
    st.builds(StartRun, run_id=NAME, experiment_id=st.sampled_from(["", "", "0", "x"]), experiment_name=TEXT,
              run_name=TEXT, user_id=TEXT, start_time=st.none() | TIME, tags=PAIRS),
    st.builds(UpdateRun, run_id=NAME, status=st.none() | st.sampled_from(RunStatus), end_time=st.none() | TIME,
              run_name=st.none() | TEXT),
    st.builds(LogParams, run_id=NAME, params=PAIRS),
    st.builds(SetTags, run_id=NAME, tags=PAIRS),
    st.builds(LogPoints, run_id=NAME, metrics=st.lists(st.builds(
        MetricPoint, key=TEXT, value=VALUE, timestamp=TIME, step=STEP, model_id=TEXT, dataset_name=TEXT,
        dataset_digest=TEXT), max_size=3).map(tuple)),
    st.builds(LogInputs, run_id=NAME, models=st.lists(MODELS, max_size=2).map(tuple),
              datasets=st.lists(st.builds(DatasetInput, tags=PAIRS, dataset=DATASET), max_size=2).map(tuple)),
    st.builds(LogOutputs, run_id=NAME, models=st.lists(
        st.builds(LoggedModelOutput, model_id=TEXT, step=STEP), max_size=2).map(tuple)),
    st.builds(WriteConsole, run_id=NAME, stream=st.sampled_from(["stdout", "stderr"]) | TEXT, source=TEXT,
              lines=st.lists(st.builds(ConsoleLine, TIME, TEXT), max_size=3).map(tuple), unfinished=TEXT),
)  # fmt: skip


def test_whatever_a_batch_says_it_is_applied_and_what_is_wrong_told(database_url: str) -> None:
    engine = Engine(database_url, artifact_root="file:///nowhere", compact=False)
    journal = Journal()

    @settings(suppress_health_check=list(HealthCheck), deadline=None, max_examples=100)
    @given(
        st.lists(st.tuples(NAME, TEXT, STEP, STEP, VALUE), max_size=5),
        st.lists(STEPS, max_size=6),
        st.lists(NAME, max_size=3),
    )
    def check(points: list[Any], steps: list[Any], alive: list[str]) -> None:
        batch = journal.batch(points, steps, alive=tuple(alive))
        answer = engine.ingest(batch)
        assert answer.position == batch.end
        msgspec.json.encode(answer)

    try:
        engine.ingest(journal.batch(steps=[StartRun(run_id="r")]))
        check()
    finally:
        engine.close()


def test_points_of_several_runs_keep_apart(engine: Engine) -> None:
    chance = random.Random(1)
    runs = [new_writer() for _ in range(5)]
    points = [
        (chance.choice(runs), chance.choice(KEYS), chance.randrange(50), 0, chance.random())
        for _ in range(3000)
    ]
    series = [
        Series(run, key) for run in runs for key in (*KEYS, "unused")
    ] * 2  # each of them twice
    chance.shuffle(series)
    numbers = [
        chance.choice([n for n, one in enumerate(series) if (one.run_id, one.key) == point[:2]])
        for point in points
    ]
    engine.ingest(
        Batch(
            writer=new_writer(),
            start=0,
            end=1,
            series=tuple(series),
            numbers=np.array(numbers, "<u4").tobytes(),
            steps=np.array([point[2] for point in points], "<i8").tobytes(),
            timestamps=bytes(8 * len(points)),
            values=np.array([point[4] for point in points], "<f8").tobytes(),
            operations=tuple(StartRun(run_id=run) for run in runs),
        )
    )
    for run in runs:
        for key in KEYS:
            expected = {
                (0, step, repr(value)) for r, k, step, _, value in points if (r, k) == (run, key)
            }
            assert set(history(engine, run, key)) == expected
        assert history(engine, run, "unused") == []


def test_a_long_batch_becomes_blocks_of_bounded_size(engine: Engine) -> None:
    run_id = new_writer()
    count = 2 * BLOCK + 1000
    points = np.arange(count)
    batch = Batch(
        writer=new_writer(),
        start=0,
        end=1,
        series=tuple(Series(run_id, key) for key in KEYS),
        numbers=(points % 3).astype("<u4").tobytes(),
        steps=points.astype("<i8").tobytes(),
        timestamps=points.astype("<i8").tobytes(),
        values=points.astype("<f8").tobytes(),
        operations=(StartRun(run_id=run_id),),
    )
    engine.ingest(batch)
    table = schema.metric_batch.c
    stored = rows(
        engine,
        sa.select(table.points, table.data)
        .join(schema.run, schema.run.c.id == table.run_id)
        .where(schema.run.c.uuid == run_id),
    )
    assert [row.points for row in stored] == [BLOCK, BLOCK, 1000]
    for row in stored:
        block = columns.decode(row.data)
        assert block is not None
        assert sum(block.counts) == row.points
        assert min(block.counts) > 0
    assert [len(history(engine, run_id, key)) for key in KEYS] == [
        len(range(place, count, 3)) for place in range(3)
    ]
    engine.compact()
    assert len(history(engine, run_id, "a")) == len(range(0, count, 3))


def test_a_batch_that_the_database_cannot_take_moves_nothing(tmp_path: Path) -> None:
    engine = Engine(f"sqlite:///{tmp_path}/h.db", artifact_root="file:///nowhere", compact=False)
    try:
        run_id = new_writer()
        journal = Journal()
        engine.ingest(journal.batch(steps=[StartRun(run_id=run_id)]))
        with engine._database.write() as connection:  # a disk that fails in the middle of a batch
            connection.exec_driver_sql(
                "CREATE TRIGGER fails BEFORE INSERT ON param "
                "BEGIN SELECT RAISE(FAIL, 'disk I/O error'); END"
            )
        batch = journal.batch(
            line(run_id, "m", range(5)), [LogParams(run_id=run_id, params=(KeyValue("p", "1"),))]
        )
        with pytest.raises((Unavailable, sa.exc.DBAPIError)):
            engine.ingest(batch)
        assert history(engine, run_id, "m") == []
        with engine._database.write() as connection:
            connection.exec_driver_sql("DROP TRIGGER fails")
        assert engine.ingest(batch).position == batch.end
        assert len(history(engine, run_id, "m")) == 5
    finally:
        engine.close()


def test_a_batch_of_metrics_takes_few_statements(database_url: str) -> None:
    engine = Engine(database_url, artifact_root="file:///nowhere", compact=False)
    try:
        runs = [new_writer() for _ in range(3)]
        journal = Journal()

        def batch(first: int) -> Batch:
            series = [line(run, key, range(first, first + 50)) for run in runs for key in KEYS]
            return journal.batch(interleaved(*series), alive=tuple(runs))

        engine.ingest(journal.batch(steps=[StartRun(run_id=run) for run in runs]))
        engine.ingest(batch(0))
        statements: list[str] = []
        lock = threading.Lock()

        def count(_connection: Any, _cursor: Any, statement: str, *_more: Any) -> None:
            with lock:
                statements.append(statement)

        sa.event.listen(engine._database._writes, "before_cursor_execute", count)
        engine.ingest(batch(50))
        told = (
            "BEGIN",
            "SET",
            "LISTEN",
            "NOTIFY",
            "SELECT pg_notify",
        )  # the feed's, off the write path
        shown = [one for one in statements if not one.startswith(told)]
        assert len(shown) <= 5, shown
        assert len(history(engine, runs[2], "c")) == 100
    finally:
        engine.close()


def test_params_and_tags_in_turn_take_few_statements(database_url: str) -> None:
    engine = Engine(database_url, artifact_root="file:///nowhere", compact=False)
    try:
        runs = [new_writer() for _ in range(2)]
        journal = Journal()
        engine.ingest(journal.batch(steps=[StartRun(run_id=run) for run in runs]))
        steps: list[Any] = []
        for number in range(100):
            pair = (KeyValue(key=f"k{number}", value=str(number)),)
            for run in runs:
                steps += [LogParams(run_id=run, params=pair), SetTags(run_id=run, tags=pair)]
        statements: list[str] = []

        def count(_connection: Any, _cursor: Any, statement: str, *_more: Any) -> None:
            statements.append(statement)

        sa.event.listen(engine._database._writes, "before_cursor_execute", count)
        answer = engine.ingest(journal.batch(steps=steps))
        assert answer.rejected == ()
        assert len(statements) <= 40, statements
        for run in runs:
            data = engine.get_run(GetRun(run_id=run)).run.data
            assert data.params == {f"k{number}": str(number) for number in range(100)}
            assert data.tags["k99"] == "99"
    finally:
        engine.close()


def test_work_of_many_callers_is_answered_while_the_pool_is_small(engine: Engine) -> None:
    run_id = new_writer()
    engine.ingest(Journal().batch(steps=[StartRun(run_id=run_id)]))
    operation = OPERATIONS["ingest"]
    futures = [
        engine.submit(operation, Journal().batch(line(run_id, "m", [number])), "")
        for number in range(200)
    ]
    bad = engine.submit(operation, Batch(writer="x", start=0, end=1), "")
    assert all(future.result(30).rejected == () for future in futures)
    assert "writer" in str(bad.exception(30))
    assert len(history(engine, run_id, "m")) == 200
