"""Batches are carried out whole or not at all, on every store."""

from __future__ import annotations

import pytest

from headrace.errors import InvalidParameter, NotFound
from support.api import Api, pairs, point


def test_a_batch_holds_metrics_params_and_tags(api: Api) -> None:
    run_id = api.new_run(run_name="n")
    api.log_batch(
        run_id=run_id,
        metrics=[point("m", 1.0, 1, 1), point("m", 2.0, 2, 2), point("other", -1.0)],
        params=pairs(p="1", q=""),
        tags=pairs(t="1", u=""),
    )
    data = api.run(run_id).data
    assert data.metrics == {"m": 2.0, "other": -1.0}
    assert data.params == {"p": "1", "q": ""}
    assert data.tags == {"t": "1", "u": "", "mlflow.runName": "n"}
    assert api.history(run_id, "m") == [(1, 1, 1.0), (2, 2, 2.0)]


def test_an_empty_batch_is_fine(api: Api) -> None:
    run_id = api.new_run()
    before = api.run(run_id)
    api.log_batch(run_id=run_id)
    assert api.run(run_id) == before


def test_of_equal_tags_in_a_batch_the_last_wins(api: Api) -> None:
    run_id = api.new_run()
    api.log_batch(run_id=run_id, tags=[*pairs(t="1"), *pairs(t="2")])
    assert api.run(run_id).data.tags["t"] == "2"


def test_a_batch_may_be_as_large_as_the_limits(api: Api) -> None:
    run_id = api.new_run()
    api.log_batch(
        run_id=run_id,
        metrics=[point(f"m{i % 10}", i, i, i) for i in range(800)],
        params=[{"key": f"p{i}", "value": str(i)} for i in range(100)],
        tags=[{"key": f"t{i}", "value": str(i)} for i in range(100)],
    )
    api.log_batch(run_id=run_id, metrics=[point("full", i, i, i) for i in range(1000)])
    data = api.run(run_id).data
    assert (len(data.metrics), len(data.params), len(data.tags)) == (11, 100, 101)
    assert data.metrics["full"] == 999


GOOD = {"metrics": [point("m", 1.0)], "params": pairs(p="1"), "tags": pairs(t="1")}
BAD_BATCHES = {
    "a param in conflict with the run's": {"params": pairs(p="1", there="other")},
    "a param twice": {"params": [*pairs(p="1"), *pairs(p="2")]},
    "a param twice with one value": {"params": [*pairs(p="1"), *pairs(p="1")]},
    "1001 metrics": {"metrics": [point("m", 1, i) for i in range(1001)]},
    "101 params": {"params": [{"key": f"p{i}", "value": ""} for i in range(101)]},
    "101 tags": {"tags": [{"key": f"t{i}", "value": ""} for i in range(101)]},
    "1001 things": {"metrics": [point("m", 1, i) for i in range(999)]},
    "a metric without time": {"metrics": [point("m", 1), {"key": "x", "value": 1}]},
    "a metric without value": {"metrics": [point("m", 1), {"key": "x", "timestamp": 1}]},
    "a metric without key": {"metrics": [point("m", 1), {"value": 1, "timestamp": 1}]},
    "a float step": {"metrics": [point("m", 1), point("x", 1, 1.5)]},
    "a key that climbs": {"tags": [*pairs(t="1"), {"key": "../t", "value": ""}]},
    "metrics that are no list": {"metrics": {"m": 1}},
    "a list of numbers": {"metrics": [1, 2]},
    "a param value that is a number": {"params": [{"key": "p", "value": 5}]},
    "a NUL in a tag": {"tags": pairs(t="a\x00")},
    "a NUL in a param": {"params": pairs(p="a\x00")},
    "a param that is too long": {"params": pairs(p="x" * 100_001)},
}


@pytest.mark.parametrize("name", BAD_BATCHES)
def test_a_bad_batch_leaves_nothing(api: Api, name: str) -> None:
    run_id = api.new_run()
    api.log_param(run_id=run_id, key="there", value="first")
    before = api.run(run_id)
    with pytest.raises(InvalidParameter):
        api.log_batch(run_id=run_id, **{**GOOD, **BAD_BATCHES[name]})
    assert api.run(run_id) == before
    assert api.history(run_id, "m") == []


def test_a_batch_into_the_wrong_run_leaves_nothing(api: Api) -> None:
    with pytest.raises(NotFound):
        api.log_batch(run_id="f" * 32, **GOOD)
    for run_id in ("a/b", "../x", "-a", "a" * 257, "é"):
        with pytest.raises(InvalidParameter):
            api.log_batch(run_id=run_id, **GOOD)


def test_whole_runs_are_imported_once(api: Api) -> None:
    experiment = api.new_experiment()
    runs = [
        {
            "experiment_id": experiment,
            "run_id": f"{experiment}x{i}",
            "run_name": f"run {i}",
            "user_id": "ann",
            "status": "FAILED",
            "start_time": 10 + i,
            "end_time": 20 + i,
            "params": pairs(lr=str(i)),
            "tags": pairs(team="red"),
            "metrics": [point("loss", float(i), step, step) for step in range(3)],
        }
        for i in range(5)
    ]
    first = api.import_runs(runs=runs)
    assert first.created == 5
    assert list(first.run_ids) == [run["run_id"] for run in runs]
    again = api.import_runs(runs=runs)
    assert (again.created, again.run_ids) == (0, first.run_ids)
    for i, run_id in enumerate(first.run_ids):
        run = api.run(run_id)
        assert (run.info.run_name, run.info.user_id) == (f"run {i}", "ann")
        assert (run.info.status, run.info.start_time, run.info.end_time) == (
            "FAILED",
            10 + i,
            20 + i,
        )
        assert run.data.params == {"lr": str(i)}
        assert run.data.tags == {"team": "red", "mlflow.runName": f"run {i}"}
        assert api.history(run_id, "loss") == [(step, step, float(i)) for step in range(3)]
    made = api.import_runs(runs=[{"experiment_id": experiment}, {"experiment_id": experiment}])
    assert made.created == 2
    assert len(set(made.run_ids)) == 2
    assert api.run(made.run_ids[0]).info.status == "FINISHED"


BAD_IMPORTS = {
    "an experiment that is not there": {"experiment_id": "987654321"},
    "no experiment": {"experiment_id": ""},
    "an id that cannot be one": {"run_id": "../a"},
    "a bad status": {"status": "DONE"},
    "a bad key": {"params": pairs(**{"../a": "1"})},
    "a param twice": {"params": [*pairs(p="1"), *pairs(p="1")]},
    "a bad metric": {"metrics": [{"key": "m", "value": "x", "timestamp": 1}]},
    "a negative time": {"start_time": -1},
    "half a data set": {"metrics": [{**point("m", 1), "dataset_name": "d"}]},
}


@pytest.mark.parametrize("name", BAD_IMPORTS)
def test_a_bad_import_leaves_nothing(api: Api, name: str) -> None:
    experiment = api.new_experiment()
    good = {"experiment_id": experiment, "metrics": [point("m", 1)]}
    with pytest.raises((InvalidParameter, NotFound)):
        api.import_runs(runs=[good, {**good, **BAD_IMPORTS[name]}])
    with pytest.raises(InvalidParameter):
        api.import_runs(runs=[{**good, "run_id": "twice"}, {**good, "run_id": "twice"}])
    with pytest.raises(InvalidParameter):
        api.import_runs(runs=[{"experiment_id": experiment}] * 1001)
    assert api.search_runs(experiment_ids=[experiment]).runs == ()
