"""Metric points, their history and their charts, on every store."""

from __future__ import annotations

import hashlib
import itertools
import math
import struct

import pytest

from headrace.errors import InvalidParameter
from support.api import Api, point, points

FLOAT_MAX = 1.7976931348623157e308


def test_the_last_value_is_that_of_the_greatest_step_then_time_then_value(api: Api) -> None:
    run_id = api.new_run()
    for step, time, value in (
        (5, 100, 1.0),
        (3, 200, 2.0),
        (5, 100, 0.5),
        (5, 100, 1.5),
        (5, 99, 9.0),
    ):
        api.log_metric(run_id=run_id, key="m", value=value, step=step, timestamp=time)
    (last,) = api.run(run_id).data.metric_list
    assert (last.value, last.step, last.timestamp) == (1.5, 5, 100)


def test_nan_competes_as_zero_for_the_last_value(api: Api) -> None:
    run_id = api.new_run()
    nan = float("nan")
    api.log_batch(run_id=run_id, metrics=[point("above", 0.1), point("above", nan)])
    api.log_batch(run_id=run_id, metrics=[point("below", nan), point("below", -0.1)])
    metrics = api.run(run_id).data.metrics
    assert metrics["above"] == 0.1
    assert math.isnan(metrics["below"])


def test_every_float_comes_back_as_it_went_in(api: Api) -> None:
    run_id = api.new_run()
    values = [0.0, 1.5, -2.25, 1e-320, FLOAT_MAX, -FLOAT_MAX, 0.1 + 0.2, math.inf, -math.inf]
    for step, value in enumerate([*values, math.nan, 7]):
        api.log_metric(run_id=run_id, key="m", value=value, timestamp=step, step=step)
    found = [value for _, _, value in api.history(run_id, "m")]
    assert found == [*values, "NaN", 7.0]
    for step, value in enumerate(values):
        key = f"k{step}"
        api.log_batch(run_id=run_id, metrics=[point(key, value)])
        assert api.run(run_id).data.metrics[key] == value
    assert math.isnan(api.run(api_nan(api)).data.metrics["m"])


def api_nan(api: Api) -> str:
    run_id = api.new_run()
    api.log_batch(run_id=run_id, metrics=[point("m", "NaN")])
    return run_id


def test_steps_and_times_are_whole_64_bit_numbers(api: Api) -> None:
    run_id = api.new_run()
    steps = [-(2**63), -1, 0, 2**63 - 1]
    api.log_batch(run_id=run_id, metrics=[point("m", i, step, i) for i, step in enumerate(steps)])
    api.log_metric(run_id=run_id, key="m", value=9, timestamp=2**63 - 1, step="12")
    assert [step for _, step, _ in api.history(run_id, "m")] == [*steps, 12]


BAD_POINTS = [
    {"value": None},
    {"value": "high"},
    {"value": ""},
    {"value": [1]},
    {"value": "0x10"},
    {"timestamp": None},
    {"timestamp": -1},
    {"timestamp": 1.5},
    {"timestamp": "soon"},
    {"timestamp": 2**63},
    {"timestamp": float("nan")},
    {"step": 1.5},
    {"step": 2**63},
    {"step": -(2**63) - 1},
    {"step": "one"},
    {"step": float("inf")},
    {"dataset_name": "only the name"},
    {"dataset_digest": "only the digest"},
    {"model_id": 7},
    {"model_id": "a\x00b"},
    {"model_id": "".join(hashlib.sha256(bytes([i])).hexdigest() for i in range(200))},
]


@pytest.mark.parametrize("bad", BAD_POINTS, ids=repr)
def test_bad_points_are_refused_with_their_whole_batch(api: Api, bad: dict) -> None:
    run_id = api.new_run()
    before = api.run(run_id)
    fields = {**point("m", 1.0), **bad}
    with pytest.raises(InvalidParameter):
        api.log_metric(run_id=run_id, **fields)
    fields = {key: value for key, value in fields.items() if value is not None}
    with pytest.raises(InvalidParameter):
        api.log_batch(run_id=run_id, metrics=[point("good", 1.0), fields])
    assert api.run(run_id) == before
    assert api.history(run_id, "good") == []


def test_exact_duplicates_collapse(api: Api) -> None:
    run_id = api.new_run()
    for value in (1.0, 1.0, float("nan"), float("nan"), 2.0):
        api.log_metric(run_id=run_id, key="m", value=value, step=3, timestamp=4)
    api.log_batch(run_id=run_id, metrics=[point("m", 1.0, 3, 4)] * 5)
    found = api.history(run_id, "m")
    assert sorted(map(str, found)) == sorted(map(str, [(4, 3, 1.0), (4, 3, 2.0), (4, 3, "NaN")]))


def test_history_is_ordered_by_time_then_step_then_value(api: Api) -> None:
    run_id = api.new_run()
    given = [(3, 1, 5.0), (1, 9, 1.0), (2, 2, 2.0), (2, 1, 3.0), (2, 1, 1.0)]
    for time, step, value in given:
        api.log_metric(run_id=run_id, key="m", value=value, step=step, timestamp=time)
    assert api.history(run_id, "m") == sorted(given)


def test_history_of_what_is_not_there_is_empty(api: Api) -> None:
    run_id = api.new_run()
    assert api.history(run_id, "never") == []
    assert api.history("0" * 32, "never") == []
    assert api.get_metric_history_bulk_interval(run_ids=[run_id], metric_key="never").metrics == ()
    assert api.get_metric_history_bulk(run_id=[run_id], metric_key="never").metrics == ()


def test_history_comes_in_pages_that_lose_nothing(api: Api) -> None:
    run_id = api.new_run()
    for start in range(0, 2500, 500):
        rows = [point("m", i * 0.5, i, i) for i in range(start, start + 500)]
        api.log_batch(run_id=run_id, metrics=rows)
    found, token, pages = [], "", 0
    while pages == 0 or token:
        page = api.get_metric_history(
            run_id=run_id, metric_key="m", max_results=700, page_token=token
        )
        assert len(page.metrics) <= 700
        found += points(page.metrics)
        token = page.next_page_token
        pages += 1
        if pages == 2:  # what is written meanwhile at the end is not skipped
            api.log_metric(run_id=run_id, key="m", value=-1, timestamp=9999, step=9999)
    assert pages == 4
    assert found == [*((i, i, i * 0.5) for i in range(2500)), (9999, 9999, -1.0)]
    assert api.history(run_id, "m") == found


@pytest.mark.parametrize(
    "fields",
    [
        {"metric_key": ""},
        {"metric_key": None},
        {"run_id": ""},
        {"run_id": None},
        {"max_results": 0},
        {"max_results": -1},
        {"max_results": 2**63},
        {"max_results": "all"},
        {"max_results": 5, "page_token": "bm90IGEgdG9rZW4="},
        {"max_results": 5, "page_token": "not base64!"},
        {"max_results": 5, "page_token": "a\x00"},
    ],
    ids=repr,
)
def test_bad_history_requests_are_refused(api: Api, fields: dict) -> None:
    run_id = api.new_run()
    api.log_metric(run_id=run_id, key="m", value=1, timestamp=0)
    with pytest.raises(InvalidParameter):
        api.get_metric_history(**{"run_id": run_id, "metric_key": "m", **fields})


def test_bulk_history_is_run_by_run(api: Api) -> None:
    experiment = api.new_experiment()
    a, b = api.new_run(experiment), api.new_run(experiment)
    for i in range(5):
        api.log_metric(run_id=a, key="m", value=i, step=i, timestamp=i)
        api.log_metric(run_id=b, key="m", value=-i, step=i, timestamp=i)
    found = api.get_metric_history_bulk(run_id=[a, b], metric_key="m").metrics
    by_run = [(one.run_id, one.step, one.value) for one in found]
    assert sorted(by_run) == sorted(
        [(a, i, float(i)) for i in range(5)] + [(b, i, float(-i)) for i in range(5)]
    )
    assert len({run for run, _, _ in by_run[:5]}) == 1
    few = api.get_metric_history_bulk(run_id=[a, b], metric_key="m", max_results=3).metrics
    assert len(few) == 3


@pytest.mark.parametrize(
    "fields",
    [
        {"run_ids": []},
        {"run_ids": ["r"] * 101},
        {"metric_key": ""},
        {"start_step": 1},
        {"end_step": 1},
        {"start_step": 5, "end_step": 4},
        {"max_results": 0},
        {"max_results": 2501},
        {"max_results": -1},
    ],
    ids=lambda fields: str(fields)[:40],
)
def test_bad_interval_requests_are_refused(api: Api, fields: dict) -> None:
    run_id = api.new_run()
    with pytest.raises(InvalidParameter):
        api.get_metric_history_bulk_interval(**{"run_ids": [run_id], "metric_key": "m", **fields})


def test_interval_history_samples_evenly_and_keeps_both_ends(api: Api) -> None:
    run_id = api.new_run()
    api.log_batch(run_id=run_id, metrics=[point("m", i, i, i) for i in range(1000)])
    found = api.get_metric_history_bulk_interval(
        run_ids=[run_id], metric_key="m", max_results=10
    ).metrics
    assert {one.run_id for one in found} == {run_id}
    steps = [one.step for one in found]
    assert steps == sorted(steps)
    assert (steps[0], steps[-1]) == (0, 999)
    assert 10 <= len(steps) <= 12
    gaps = [b - a for a, b in itertools.pairwise(steps)]
    assert max(gaps) <= 2 * 1000 / 10
    part = api.get_metric_history_bulk_interval(
        run_ids=[run_id], metric_key="m", start_step=100, end_step=104
    ).metrics
    assert [one.step for one in part] == [100, 101, 102, 103, 104]


def test_a_chart_never_loses_a_spike(api: Api) -> None:
    run_id = api.new_run()
    for start in range(0, 4000, 1000):
        api.log_batch(
            run_id=run_id,
            metrics=[
                point("m", 1e6 if i == 2345 else math.sin(i), i, i)
                for i in range(start, start + 1000)
            ],
        )
    buckets = api.get_metric_chart(run_id=run_id, metric_key="m", buckets=50).buckets
    assert 1 <= len(buckets) <= 50
    assert sum(one.count for one in buckets) == 4000
    assert max(one.max for one in buckets) == 1e6
    assert (buckets[0].first_step, buckets[-1].last_step) == (0, 3999)
    assert all(a.last_step <= b.first_step for a, b in itertools.pairwise(buckets))
    part = api.get_metric_chart(
        run_id=run_id, metric_key="m", buckets=10, start_step=2000, end_step=2099
    ).buckets
    assert sum(one.count for one in part) == 100


@pytest.mark.parametrize(
    "fields",
    [{"buckets": 0}, {"buckets": 10_001}, {"buckets": -5}, {"run_id": ""}, {"metric_key": ""}],
    ids=repr,
)
def test_bad_charts_are_refused(api: Api, fields: dict) -> None:
    run_id = api.new_run()
    with pytest.raises(InvalidParameter):
        api.get_metric_chart(**{"run_id": run_id, "metric_key": "m", **fields})


def test_columns_hold_the_raw_points(api: Api) -> None:
    run_id = api.new_run()
    api.log_batch(run_id=run_id, metrics=[point("m", i / 3, i - 5, i) for i in range(100)])
    token, found = "", []
    while True:
        page = api.get_metric_columns(run_id=run_id, metric_key="m", limit=60, page_token=token)
        n = page.count
        found += zip(
            struct.unpack(f"<{n}q", page.timestamps),
            struct.unpack(f"<{n}q", page.steps),
            struct.unpack(f"<{n}d", page.values),
            strict=True,
        )
        token = page.next_page_token
        if not token:
            break
    assert found == api.history(run_id, "m")
    for limit in (0, -1, 1_000_001):
        with pytest.raises(InvalidParameter):
            api.get_metric_columns(run_id=run_id, metric_key="m", limit=limit)
