"""Whatever is written and compacted, a reader sees what was logged: in order, each point once."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headrace.engine.metrics import compactor
from headrace.errors import InvalidParameter
from headrace.protocol.runs import MetricPoint

from .conftest import MetricStore, place

KEYS = ["loss", "accuracy", "läuft/gut"]
SMALL = st.integers(0, 30)
STEP = SMALL | st.sampled_from([-(2**63), 2**63 - 1, -1])
TIME = SMALL | st.sampled_from([2**63 - 1])
VALUE = st.sampled_from([math.nan, math.inf, -math.inf, 0.0, -0.0, 1.5]) | st.floats()
POINT = st.builds(MetricPoint, key=st.sampled_from(KEYS), value=VALUE, timestamp=TIME, step=STEP)
BATCH = st.lists(POINT, min_size=1, max_size=60)
#: A long stretch that logs a series as training does, from a given step on.
STRETCH = st.tuples(st.integers(0, 3000), st.integers(200, 1000))
ACTION = st.one_of(BATCH, STRETCH, st.just("compact"), st.just("background"))
FAST = settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


def _stretch(first: int, size: int) -> list[MetricPoint]:
    return [
        MetricPoint(key="loss", value=math.sin(step), timestamp=10 * step, step=step)
        for step in range(first, first + size)
    ]


def _number(value: float) -> float:
    return 0.0 if math.isnan(value) else value


@FAST
@given(actions=st.lists(ACTION, min_size=1, max_size=12), page=st.integers(1, 700))
def test_reading_gives_back_what_was_logged(
    store: MetricStore, actions: list[Any], page: int
) -> None:
    run_id = store.run()
    logged: list[MetricPoint] = []
    for action in actions:
        if action == "compact":
            store.engine.compact()
        elif action == "background":
            database, transact = store.engine._database, store.engine.transact
            compactor.Compactor(database, transact, start=False).run_once()
        else:
            points = action if isinstance(action, list) else _stretch(*action)
            store.log(run_id, points)
            logged += points
    summary = {
        metric.key: metric for metric in store.call("get_run", run_id=run_id).run.data.metric_list
    }
    for key in KEYS:
        of_key = [point for point in logged if point.key == key]
        expected = sorted({place(point) for point in of_key})
        assert [place(point) for point in store.history(run_id, key)] == expected
        if len(expected) < 40 * page:
            assert [place(point) for point in store.history(run_id, key, page)] == expected
        if of_key:
            last = max(
                (point.step, point.timestamp, _number(point.value), math.isnan(point.value))
                for point in of_key
            )
            found = summary[key]
            assert last == (
                found.step,
                found.timestamp,
                _number(found.value),
                math.isnan(found.value),
            )
        else:
            assert key not in summary


@FAST
@given(
    points=st.lists(POINT, min_size=1, max_size=80),
    size=st.integers(1, 90),
    compact=st.booleans(),
)
def test_an_interval_sample_is_the_first_of_each_tile_and_the_last(
    store: MetricStore, points: list[MetricPoint], size: int, compact: bool
) -> None:
    points = [
        MetricPoint(key="m", value=p.value, timestamp=p.timestamp, step=p.step) for p in points
    ]
    run_id = store.run()
    store.log(run_id, points)
    if compact:
        store.engine.compact()
    rows = sorted({(p.step, *place(p)) for p in points})
    tiles: list[list[Any]] = []
    base, more = divmod(len(rows), size)
    start = 0
    for number in range(size):
        end = start + base + (number < more)
        tiles.append(rows[start:end])
        start = end
    expected = [tile[0] for tile in tiles if tile]
    if expected[-1] != rows[-1]:
        if len(expected) >= size:
            expected[-1] = rows[-1]
        else:
            expected.append(rows[-1])
    answer = store.call(
        "get_metric_history_bulk_interval", run_ids=(run_id,), metric_key="m", max_results=size
    )
    assert [(p.step, *place(p)) for p in answer.metrics] == expected
    assert {p.run_id for p in answer.metrics} == {run_id}


@FAST
@given(batches=st.lists(BATCH, min_size=1, max_size=5))
def test_summaries_are_those_of_all_points(
    store: MetricStore, batches: list[list[MetricPoint]]
) -> None:
    run_id = store.run()
    for points in batches:
        store.log(run_id, points)
    for key in KEYS:
        points = [point for batch in batches for point in batch if point.key == key]
        rows = _summaries(store, run_id, key)
        if not points:
            assert rows == []
            continue
        numbers = [(p.value, p.step) for p in points if not math.isnan(p.value)]
        least = min((value for value, _ in numbers), default=None)
        greatest = max((value for value, _ in numbers), default=None)
        assert rows == [
            (
                least,
                min((step for value, step in numbers if value == least), default=None),
                greatest,
                min((step for value, step in numbers if value == greatest), default=None),
                len(points),
                len(points) - len(numbers),
                min(p.step for p in points),
                min(p.timestamp for p in points),
            )
        ]


def _summaries(store: MetricStore, run_id: str, key: str) -> list[tuple[Any, ...]]:
    with store.engine._database.read() as connection:
        rows = connection.exec_driver_sql(
            "SELECT min_value, min_step, max_value, max_step, count, nan_count, first_step, first_time "
            "FROM metric_summary s JOIN run r ON r.id = s.run_id JOIN key k ON k.id = s.key_id "
            f"WHERE r.uuid = '{run_id}' AND k.name = '{key}'"
        )
        return [tuple(row) for row in rows]


def test_the_last_point_has_the_greatest_step_then_time_then_value(store: MetricStore) -> None:
    run_id = store.run()
    for step, time, value in [
        (5, 100, 1.0),
        (3, 200, 2.0),
        (5, 100, 0.5),
        (5, 100, 1.5),
        (5, 99, 9.0),
    ]:
        store.log(run_id, [MetricPoint(key="m", value=value, timestamp=time, step=step)])
    assert store.call("get_run", run_id=run_id).run.data.metrics == {"m": 1.5}


def test_bulk_history_goes_by_run_id_and_stops_at_the_limit(store: MetricStore) -> None:
    runs = sorted(store.run() for _ in range(3))
    for run_id in runs:
        store.log(
            run_id,
            [MetricPoint(key="m", value=step, timestamp=9 - step, step=step) for step in range(4)],
        )
    answer = store.call(
        "get_metric_history_bulk",
        run_id=(*reversed(runs), "unknown"),
        metric_key="m",
        max_results=6,
    )
    expected = [(run_id, step) for run_id in runs for step in (3, 2, 1, 0)][:6]
    assert [(point.run_id, point.step) for point in answer.metrics] == expected


def test_an_unknown_run_or_key_has_an_empty_history(store: MetricStore) -> None:
    run_id = store.run()
    store.log(run_id, [MetricPoint(key="m", value=1, timestamp=1)])
    for run, key in ((run_id, "other"), ("unknown", "m")):
        assert store.history(run, key) == []
        assert store.call("get_metric_chart", run_id=run, metric_key=key).buckets == ()
        assert store.call("get_metric_columns", run_id=run, metric_key=key).count == 0
        for name, field in (
            ("get_metric_history_bulk", "run_id"),
            ("get_metric_history_bulk_interval", "run_ids"),
        ):
            assert store.call(name, **{field: (run,)}, metric_key=key).metrics == ()


@pytest.mark.parametrize(
    ("operation", "fields", "message"),
    [
        ("get_metric_history", {"max_results": 0}, "positive integer"),
        ("get_metric_history", {"page_token": "nonsense"}, "page token"),
        ("get_metric_history", {"page_token": "bnVsbA=="}, "page token"),
        (
            "get_metric_history",
            {"page_token": "WyJyIiwibSIsMSwyLDk5OTk5OTk5OTk5OTk5OTk5OTk5XQ=="},
            "page token",
        ),
        ("get_metric_history", {"page_token": "\u00e9"}, "page token"),
        ("get_metric_history_bulk", {"run_id": ()}, "run_id"),
        ("get_metric_history_bulk", {"run_id": ("r",) * 101}, "at most 100"),
        ("get_metric_history_bulk", {"run_id": ("r",), "max_results": -1}, "positive integer"),
        ("get_metric_history_bulk_interval", {"run_ids": ("r",), "max_results": 2501}, "2500"),
        ("get_metric_history_bulk_interval", {"run_ids": ("r",), "start_step": 1}, "both"),
        (
            "get_metric_history_bulk_interval",
            {"run_ids": ("r",), "start_step": 2, "end_step": 1},
            "end_step must be greater",
        ),
        ("get_metric_chart", {"buckets": 0}, "buckets"),
        ("get_metric_chart", {"buckets": 10_001}, "buckets"),
        ("get_metric_columns", {"limit": 0}, "limit"),
        ("get_metric_columns", {"limit": 1_000_001}, "limit"),
    ],
)
def test_a_bad_request_says_what_is_wrong(
    store: MetricStore, operation: str, fields: dict[str, Any], message: str
) -> None:
    if "run_id" not in fields and "run_ids" not in fields:
        fields = {"run_id": "r", **fields}
    with pytest.raises(InvalidParameter, match=message):
        store.call(operation, metric_key="m", **fields)


def test_a_page_token_of_another_series_is_refused(store: MetricStore) -> None:
    run_id = store.run()
    for key in ("a", "b"):
        store.log(run_id, [MetricPoint(key=key, value=1, timestamp=time) for time in range(3)])
    token = store.call(
        "get_metric_history", run_id=run_id, metric_key="a", max_results=1
    ).next_page_token
    with pytest.raises(InvalidParameter, match="belongs to metric 'a'"):
        store.call("get_metric_history", run_id=run_id, metric_key="b", page_token=token)


def test_new_series_and_first_odd_values_are_events(store: MetricStore) -> None:
    run_id = store.run()
    for value in (1.0, math.inf, 2.0, math.nan):
        store.log(run_id, [MetricPoint(key="m", value=value, timestamp=1)])
    with store.engine._database.read() as connection:
        rows = connection.exec_driver_sql(
            f"SELECT type, data FROM event WHERE subject = 'run/{run_id}' AND type LIKE 'metric.%%' ORDER BY seq"
            if store.engine._database.url.get_backend_name() != "sqlite"
            else f"SELECT type, data FROM event WHERE subject = 'run/{run_id}' AND type LIKE 'metric.%' ORDER BY seq"
        )
        found = [tuple(row) for row in rows]
    assert found == [
        ("metric.created", '{"keys":["m"]}'),
        ("metric.nonfinite", '{"keys":["m"],"nan":[],"infinite":["m"]}'),
    ]


def test_points_of_a_logged_model_are_kept_under_it(store: MetricStore) -> None:
    run_id = store.run()
    store.log(
        run_id,
        [
            MetricPoint(
                key="m",
                value=0.5,
                timestamp=7,
                step=3,
                model_id="m-1",
                dataset_name="d",
                dataset_digest="x",
            ),
            MetricPoint(key="m", value=0.6, timestamp=8, step=4),
        ],
    )
    with store.engine._database.read() as connection:
        rows = connection.exec_driver_sql(
            "SELECT model_id, step, time, value, dataset_name, dataset_digest FROM logged_model_metric"
        )
        assert [tuple(row) for row in rows] == [("m-1", 3, 7, 0.5, "d", "x")]
    assert len(store.history(run_id, "m")) == 2
