"""Searching runs, on every store. The grammar's own corners are in tests/engine/search."""

from __future__ import annotations

import math

import pytest

from headrace.errors import InvalidParameter
from support.api import Api, pairs, point


@pytest.fixture(scope="module")
def runs(backend: object) -> tuple[Api, str, dict[str, str]]:
    """An experiment with five runs, a to e, the last deleted."""
    api = Api(backend.store)  # type: ignore[attr-defined]
    experiment = api.new_experiment()
    rows = {
        "a": (
            1,
            "FINISHED",
            {"loss": 0.1, "acc": 0.9},
            {"lr": "0.1", "opt": "adam"},
            {"team": "red"},
        ),
        "b": (
            2,
            "FAILED",
            {"loss": 0.5, "acc": math.nan},
            {"lr": "10", "opt": "SGD"},
            {"team": "Red"},
        ),
        "c": (3, "RUNNING", {"loss": math.inf}, {"lr": "9", "opt": "adam_w"}, {}),
        "d": (4, "FINISHED", {"acc": -1.0}, {}, {"team": "blue", "with space": "x y"}),
        "e": (5, "FINISHED", {"loss": 0.1}, {"lr": "0.1"}, {"team": "red"}),
    }
    ids = {}
    for name, (start, status, metrics, params, tags) in rows.items():
        ids[name] = api.new_run(
            experiment, run_name=name, user_id="ann" if name < "c" else "bob", start_time=start
        )
        api.log_batch(
            run_id=ids[name],
            metrics=[point(key, value) for key, value in metrics.items()],
            params=pairs(**params),
            tags=pairs(**tags),
        )
        api.update_run(run_id=ids[name], status=status, end_time=start * 10)
    dataset = {"name": "digits", "digest": "abc", "source_type": "local", "source": "{}"}
    tags = [{"key": "mlflow.data.context", "value": "train"}]
    api.log_inputs(run_id=ids["a"], datasets=[{"tags": tags, "dataset": dataset}])
    api.log_outputs(run_id=ids["a"], models=[{"model_id": "m-1"}])
    api.delete_run(run_id=ids["e"])
    return api, experiment, ids


FILTERS = {
    "": "dcba",
    "metrics.loss < 0.3": "a",
    "metric.loss <= 0.5": "ba",
    "metrics.loss > 1e300": "c",
    "metrics.loss != 0.1": "cb",
    "metrics.loss = .1": "a",
    "metrics.acc != 0.9": "db",
    "metrics.acc > -2": "da",
    "metrics.acc < 100": "da",
    "params.opt = 'adam'": "a",
    'param.opt = "adam"': "a",
    "parameter.opt != 'adam'": "cb",
    "params.opt LIKE 'adam%'": "ca",
    "params.opt like 'a_am'": "a",
    "params.opt ILIKE 'sgd'": "b",
    "params.lr IS NULL": "d",
    "params.lr IS NOT NULL": "cba",
    "tags.team = 'red'": "a",
    "tags.team ILIKE 'red'": "ba",
    "tags.team != 'red'": "db",
    "tags.team is null": "c",
    "tags.`with space` = 'x y'": "d",
    "tags.\"with space\" = 'x y'": "d",
    "attributes.status = 'FINISHED'": "da",
    "status != 'FINISHED'": "cb",
    "attr.run_name LIKE '%'": "dcba",
    "run_name = 'a'": "a",
    "run_name IN ('a', 'b')": "ba",
    "user_id = 'ann'": "ba",
    "start_time > 1 AND start_time <= 3": "cb",
    "end_time >= 30": "dc",
    "dataset.name = 'digits'": "a",
    "datasets.digest LIKE 'ab%'": "a",
    "dataset.context IN ('train', 'test')": "a",
    "metrics.loss < 1 and tags.team = 'red' AND params.lr = '0.1'": "a",
    # Beyond MLflow.
    "tags.team = 'red' OR tags.team = 'blue'": "da",
    "NOT tags.team = 'red'": "dcb",
    "(tags.team = 'red' OR params.opt = 'SGD') AND metrics.loss < 1": "ba",
    "params.lr > 0.5": "cb",
    "params.lr <= 9": "ca",
    "params.opt IN ('adam', 'SGD')": "ba",
    "tags.team NOT IN ('red')": "db",
    "metrics.acc IN (0.9, -1)": "da",
    "metrics.loss IS NULL": "d",
    "metrics.loss.min < 0.3": "a",
}


@pytest.mark.parametrize("filter", FILTERS)
def test_filters(runs: tuple[Api, str, dict[str, str]], filter: str) -> None:
    api, experiment, ids = runs
    found = api.search_runs(experiment_ids=[experiment], filter=filter).runs
    names = {number: name for name, number in ids.items()}
    assert "".join(names[one.info.run_id] for one in found) == FILTERS[filter]


ORDERS = {
    (): "dcba",
    ("start_time ASC",): "abcd",
    ("attributes.start_time",): "abcd",
    ("metrics.loss ASC",): "abcd",
    ("metrics.loss DESC",): "cbad",
    ("metrics.acc",): "dabc",
    ("metrics.acc DESC",): "adbc",
    ("params.lr ASC",): "abcd",
    ("params.lr DESC",): "cbad",
    ("tags.team DESC", "start_time"): "adbc",  # red, blue, Red: by code point
    ("status", "start_time DESC"): "bdac",
    ("run_name DESC",): "dcba",
    ("user_id", "run_name DESC"): "badc",
    ("metrics.never", "run_name"): "abcd",
    ("end_time desc",): "dcba",
}


@pytest.mark.parametrize("order", ORDERS, ids=str)
def test_orders(runs: tuple[Api, str, dict[str, str]], order: tuple[str, ...]) -> None:
    api, experiment, ids = runs
    names = {number: name for name, number in ids.items()}
    whole = api.search_runs(experiment_ids=[experiment], order_by=order).runs
    assert "".join(names[one.info.run_id] for one in whole) == ORDERS[order]
    found, token = "", ""
    for _ in range(9):
        page = api.search_runs(
            experiment_ids=[experiment], order_by=order, max_results=1, page_token=token
        )
        found += "".join(names[one.info.run_id] for one in page.runs)
        token = page.next_page_token
        if not token:
            break
    assert found == ORDERS[order]


def test_view_types(runs: tuple[Api, str, dict[str, str]]) -> None:
    api, experiment, _ids = runs

    def names(view: str) -> list[str]:
        found = api.search_runs(experiment_ids=[experiment], run_view_type=view).runs
        return [one.info.run_name for one in found]

    assert names("ACTIVE_ONLY") == list("dcba")
    assert names("DELETED_ONLY") == ["e"]
    assert names("ALL") == list("edcba")


def test_found_runs_are_whole(runs: tuple[Api, str, dict[str, str]]) -> None:
    api, experiment, ids = runs
    (found,) = api.search_runs(experiment_ids=[experiment], filter="run_name = 'a'").runs
    assert found == api.run(ids["a"])


def test_experiments_are_searched_together_and_unknown_ones_ignored(
    runs: tuple[Api, str, dict[str, str]],
) -> None:
    api, experiment, _ = runs
    other = api.new_experiment()
    there = api.new_run(other, start_time=0)
    found = api.search_runs(experiment_ids=[experiment, other, "987654321", experiment]).runs
    assert len(found) == 5
    assert found[-1].info.run_id == there
    assert api.search_runs(experiment_ids=[]).runs == ()
    assert api.search_runs().runs == ()
    assert api.search_runs(experiment_ids=["987654321"]).runs == ()


def test_pages_hold_still_while_runs_come_and_go(api: Api) -> None:
    experiment = api.new_experiment()
    ids = [api.new_run(experiment, start_time=i) for i in range(10)]
    page = api.search_runs(experiment_ids=[experiment], max_results=4)
    found = [one.info.run_id for one in page.runs]
    api.new_run(experiment, start_time=100)  # before the first page: not seen, nothing shifts
    api.delete_run(run_id=ids[9])
    while page.next_page_token:
        page = api.search_runs(
            experiment_ids=[experiment], max_results=4, page_token=page.next_page_token
        )
        found += [one.info.run_id for one in page.runs]
    assert found == ids[::-1]


BAD_FILTERS = [
    "metrics.loss",
    "metrics.loss <",
    "metrics.loss < 'a'",
    "metrics.loss < nan",
    "metrics. < 1",
    "params.lr = 0.1.2",
    "params.opt = adam",
    "tags.a = 'x",
    "nonsense = 'a'",
    "nonsense.a = 'a'",
    "attributes.nonsense = 'a'",
    "status > 'RUNNING'",
    "start_time = 'soon'",
    "run_id LIKE",
    "a.b.c.d ~ 1",
    "metrics.a > 1;",
    "metrics.a > 1 DROP TABLE run",
    "metrics.a > 1 AND",
    "AND metrics.a > 1",
    "(metrics.a > 1",
    "metrics.a BETWEEN 1 AND 2",
    "metrics.a <> 1",
    "tags.a IN ()",
    "tags.a = '\x00'",
    "(" * 5000 + "metrics.a > 1" + ")" * 4999,
    "dataset.nonsense = 'a'",
]


@pytest.mark.parametrize("filter", BAD_FILTERS, ids=lambda filter: filter[:40].replace("\x00", "0"))
def test_filters_that_do_not_parse_are_refused(
    runs: tuple[Api, str, dict[str, str]], filter: str
) -> None:
    api, experiment, _ = runs
    with pytest.raises(InvalidParameter) as refused:
        api.search_runs(experiment_ids=[experiment], filter=filter)
    assert "SELECT" not in str(refused.value)


@pytest.mark.parametrize(
    "fields",
    [
        {"max_results": 0},
        {"max_results": -1},
        {"max_results": 50_001},
        {"max_results": 1.5},
        {"order_by": ["nonsense"]},
        {"order_by": ["metrics.a sideways"]},
        {"order_by": ["dataset.name"]},
        {"order_by": [""]},
        {"order_by": "start_time"},
        {"run_view_type": "BOGUS"},
        {"experiment_ids": ["a"]},
        {"experiment_ids": ["../0"]},
        {"experiment_ids": ["1.5"]},
        {"experiment_ids": "0"},
        {"page_token": "bm90IGEgdG9rZW4="},
        {"page_token": "eyJvZmZzZXQiOiAxfQ=="},
        {"page_token": "é"},
        {"page_token": "a\x00"},
    ],
    ids=repr,
)
def test_searches_that_make_no_sense_are_refused(
    runs: tuple[Api, str, dict[str, str]], fields: dict
) -> None:
    api, experiment, _ = runs
    with pytest.raises(InvalidParameter):
        api.search_runs(**{"experiment_ids": [experiment], **fields})


def test_a_token_belongs_to_its_search(runs: tuple[Api, str, dict[str, str]]) -> None:
    api, experiment, _ = runs
    token = api.search_runs(experiment_ids=[experiment], max_results=1).next_page_token
    for other in ({"order_by": ["run_name"]}, {"order_by": ["metrics.loss"]}):
        with pytest.raises(InvalidParameter):
            api.search_runs(experiment_ids=[experiment], page_token=token, **other)
