"""Searching runs, experiments and keys: each part of the grammar on real data, orders and pages."""

from __future__ import annotations

import base64
import json
import math
from typing import Any

import pytest

from headrace.engine import assemble
from headrace.engine.search import operations
from headrace.engine.search.operations import MAX_SEPARATE
from headrace.engine.search.parse import MAX_DEPTH
from headrace.errors import InvalidParameter
from headrace.protocol.experiments import ExperimentId, Experiments, SearchExperiments
from headrace.protocol.operation import operation_of
from headrace.protocol.runs import DeleteTag, LogInputs, RunId, Runs, SearchKeys, SetTag
from support.searched import Searched

NAN, INF = math.nan, math.inf

FILTERS = [
    ("", "ant bee cat dog"),
    ("metrics.acc > 0.5", "ant"),
    ("metrics.acc >= 0.5 AND metrics.acc < 0.9", "cat"),
    ("metrics.acc = 0.9", "ant"),
    # NaN fails every comparison but inequality; a missing metric fails that too.
    ("metrics.acc != 0.9", "bee cat"),
    ("metrics.acc <= 1e308", "ant cat"),
    ("metrics.acc IN (0.5, 0.9)", "ant cat"),
    ("metrics.acc NOT IN (0.5, 7)", "ant bee"),
    ("metrics.acc IS NULL", "dog"),
    ("metrics.acc IS NOT NULL", "ant bee cat"),
    ("metrics.nobody = 1", ""),
    ("metrics.nobody != 1", ""),
    ("metrics.nobody IS NULL", "ant bee cat dog"),
    ("metrics.acc.min < 0.3", "ant"),
    ("metrics.`loss`.max = 3", "ant"),
    ("metrics.acc.min IS NULL", "bee dog"),
    ("params.lr = '0.01'", "ant"),
    ("params.lr != '0.01'", "bee cat"),
    ("params.lr < 0.05", "ant"),
    ("params.lr = 0.1", "bee"),
    ("params.lr != 0.1", "ant"),
    ("params.lr IN (0.01, 0.1)", "ant bee"),
    ("params.lr IN ('auto')", "cat"),
    ("params.lr NOT IN ('auto')", "ant bee"),
    ("params.lr IS NULL", "dog"),
    ("params.model LIKE 'res%'", "ant"),
    ("params.model ILIKE 'RES%'", "ant bee"),
    ("params.model NOT LIKE 'res%'", "bee"),
    ("params.model LIKE '______50'", "ant"),
    ("tags.team = 'red'", "ant"),
    ("tags.team ILIKE 'red'", "ant bee"),
    ("tags.`a b` = 'x'", "ant"),
    ('tags."a b" = "x"', "ant"),
    ("tags.team IN ('red', 'Red')", "ant bee"),
    ("tags.team IS NOT NULL", "ant bee"),
    ("tags.mlflow.parentRunId = 'ant'", "bee"),
    ("tags.mlflow.parentRunId IS NULL", "ant cat dog"),
    ("tags.mlflow.runName = 'Ant'", "ant"),
    ("status = 'RUNNING'", "cat dog"),
    ("status != 'RUNNING'", "ant bee"),
    ("attributes.status IN ('FAILED', 'FINISHED')", "ant bee"),
    ("status = 'running'", ""),
    ("run_id IN ('ant', 'dog', 'nobody')", "ant dog"),
    ("run_id LIKE '%o%'", "dog"),
    ("run_name = 'Ant'", "ant"),
    ("`Run Name` ILIKE 'ANT'", "ant"),
    ("run_name LIKE 'd\\g_'", "dog"),
    ("run_name LIKE 'd\\\\g_'", ""),
    ("user_id = 'ann'", "ant"),
    ("artifact_uri LIKE '%/ant/artifacts'", "ant"),
    ("start_time > 2000", "ant bee"),
    ("created <= 2000.5", "cat dog"),
    ("start_time >= '1970-01-01T00:00:03Z'", "ant bee"),
    ("start_time IN (1000, 4000.0)", "ant dog"),
    ("start_time > 99999999999999999999", ""),
    ("end_time IS NULL", "cat dog"),
    ("end_time > 0", "ant bee"),
    ("end_time != 5000", "bee"),
    ("duration > '5s'", "bee"),
    ("duration = 1000", "ant"),
    ("dataset.name = 'digits'", ""),
    # NOT is the complement: runs without the key are in it.
    ("NOT params.lr = '0.01'", "bee cat dog"),
    ("NOT metrics.acc > 0.5", "bee cat dog"),
    ("NOT end_time > 5000", "ant cat dog"),
    ("NOT (metrics.acc > 0.5 OR status = 'RUNNING')", "bee"),
    ("metrics.acc > 0.5 OR status = 'RUNNING' AND params.lr = 'auto'", "ant cat"),
    ("(metrics.acc > 0.5 OR status = 'RUNNING') AND params.lr = 'auto'", "cat"),
]

ORDERS: list[tuple[list[str], str]] = [
    ([], "ant bee cat dog"),
    (["start_time"], "dog cat bee ant"),
    (["Created DESC"], "ant bee cat dog"),
    (["metrics.acc"], "cat ant bee dog"),
    (["metrics.acc DESC"], "ant cat bee dog"),
    (["metrics.loss.min DESC"], "bee ant cat dog"),
    (["metrics.nobody"], "ant bee cat dog"),
    (["params.lr"], "ant bee cat dog"),
    (["params.lr DESC"], "cat bee ant dog"),
    (["tags.team"], "bee ant cat dog"),
    (["end_time"], "ant bee cat dog"),
    (["end_time DESC"], "bee ant cat dog"),
    (["duration DESC"], "bee ant cat dog"),
    (["run_name"], "ant bee cat dog"),
    (["status", "start_time"], "bee ant dog cat"),
    (["status", "run_id DESC"], "bee ant dog cat"),
    (["status DESC", "status", "metrics.acc"], "cat dog ant bee"),
    (["artifact_uri DESC"], "dog cat bee ant"),
    (["user_id DESC"], "bee ant cat dog"),
]


@pytest.fixture
def runs(store: Searched) -> tuple[Searched, str]:
    """Four runs, the newest first when nothing else is asked."""
    experiment = store.experiment("animals")
    store.add(
        experiment,
        {
            "ant": {
                "start_time": 4000,
                "end_time": 5000,
                "status": "FINISHED",
                "run_name": "Ant",
                "user_id": "ann",
                "metrics": {"acc": [0.2, 0.9], "loss": [3.0, 1.0, 2.0]},
                "params": {"lr": "0.01", "model": "resnet50"},
                "tags": {"team": "red", "a b": "x"},
            },
            "bee": {
                "start_time": 3000,
                "end_time": 10_000,
                "status": "FAILED",
                "run_name": "bee",
                "user_id": "bob",
                "metrics": {"acc": [NAN], "loss": [INF]},
                "params": {"lr": "1e-1", "model": "ResNet18"},
                "tags": {"team": "Red", "mlflow.parentRunId": "ant"},
            },
            "cat": {
                "start_time": 2000,
                "status": "RUNNING",
                "run_name": "cat",
                "metrics": {"acc": [0.5]},
                "params": {"lr": "auto"},
            },
            "dog": {"start_time": 1000, "status": "RUNNING", "run_name": "d\\g%"},
        },
    )
    return store, experiment


def test_a_filter_finds_these_runs(runs: tuple[Searched, str]) -> None:
    store, experiment = runs
    for filter, found in FILTERS:
        assert " ".join(store.find(experiment, filter)) == found, filter


def test_an_order_puts_missing_last_and_nan_before_them(runs: tuple[Searched, str]) -> None:
    store, experiment = runs
    for order_by, found in ORDERS:
        assert " ".join(store.find(experiment, "", *order_by)) == found, order_by
        assert store.walk([experiment], "", order_by, size=1) == found.split(), order_by


def test_a_data_set_is_found_by_name_digest_and_context(runs: tuple[Searched, str]) -> None:
    store, experiment = runs
    operation = operation_of(Runs.log_inputs)
    for run_id, name, context in (
        ("ant", "digits", "train"),
        ("ant", "iris", "eval"),
        ("cat", "iris", ""),
    ):
        tags = [{"key": "mlflow.data.context", "value": context}] if context else []
        dataset = {"name": name, "digest": name[0], "source_type": "x", "source": "y"}
        request = operation.build(run_id=run_id, datasets=[{"dataset": dataset, "tags": tags}])
        assert isinstance(request, LogInputs)
        store.engine.call(operation, request)
    for filter, found in {
        "dataset.name = 'digits'": "ant",
        "datasets.name LIKE 'i%'": "ant cat",
        "dataset.name != 'iris'": "ant",
        "dataset.digest IN ('i', 'x')": "ant cat",
        "dataset.name NOT IN ('digits')": "ant cat",
        "dataset.context = 'train'": "ant",
        "dataset.context IS NULL": "bee cat dog",
        "dataset.name IS NULL": "bee dog",
        "NOT dataset.name = 'digits'": "bee cat dog",
    }.items():
        assert " ".join(store.find(experiment, filter)) == found, filter


def test_an_unquoted_min_is_the_metric_of_that_name_where_there_is_one(store: Searched) -> None:
    plain, named = store.experiment("plain"), store.experiment("named")
    store.add(plain, {"a": {"metrics": {"loss": [1.0, 5.0]}}})
    assert store.find(plain, "metrics.loss.min = 1") == ["a"]
    store.add(named, {"b": {"metrics": {"loss": [7.0, 8.0], "loss.min": [0.0]}}})
    assert store.find(plain, "metrics.loss.min = 1") == ["a"]
    assert store.find(named, "metrics.loss.min = 0") == ["b"]
    assert store.find(named, "metrics.`loss`.min = 7") == ["b"]
    assert store.find(named, "metrics.`loss.min` = 0") == ["b"]
    assert store.find(plain, "metrics.`loss.min` = 1") == []


def test_a_child_stays_found_when_its_parent_tag_changes(runs: tuple[Searched, str]) -> None:
    store, experiment = runs
    tag = SetTag(run_id="cat", key="mlflow.parentRunId", value="ant")
    store.engine.call(operation_of(Runs.set_tag), tag)
    assert store.find(experiment, "tags.mlflow.parentRunId = 'ant'", "metrics.acc") == [
        "cat",
        "bee",
    ]
    store.engine.call(
        operation_of(Runs.delete_tag), DeleteTag(run_id="cat", key="mlflow.parentRunId")
    )
    assert store.find(experiment, "tags.mlflow.parentRunId IN ('ant')") == ["bee"]


def test_the_view_says_which_runs_are_seen(runs: tuple[Searched, str]) -> None:
    store, experiment = runs
    other = store.experiment("other")
    store.add(other, {"elk": {"start_time": 9000, "metrics": {"acc": [0.1]}}})
    store.engine.call(operation_of(Runs.delete_run), RunId(run_id="cat"))
    store.engine.call(
        operation_of(Experiments.delete_experiment), ExperimentId(experiment_id=other)
    )
    both = [experiment, other]
    for order_by in ([], ["metrics.acc DESC"]):
        for view, found in {
            "ACTIVE_ONLY": {"ant", "bee", "dog"},
            "DELETED_ONLY": {"cat", "elk"},
            "ALL": {"ant", "bee", "cat", "dog", "elk"},
        }.items():
            ids = store.walk(both, "", order_by, size=2, run_view_type=view)
            assert len(ids) == len(set(ids))
            assert set(ids) == found


def test_runs_of_many_experiments_come_in_one_order(store: Searched) -> None:
    ids = [store.experiment(f"e{number}") for number in range(20)]
    for number, experiment in enumerate(ids):
        store.add(
            experiment,
            {
                f"r{number:02}{letter}": {
                    "start_time": number * 7 % 20,
                    "metrics": {"m": [number * 3 % 20 + place]} if number % 5 else {},
                }
                for place, letter in enumerate("ab")
            },
        )
    for order_by in ([], ["metrics.m"], ["metrics.m DESC", "start_time"], ["run_name", "run_id"]):
        one_by_one = store.walk(ids[:10], "", order_by, size=3)
        together = store.walk(ids, "", order_by, size=3)
        assert len(set(together)) == 40
        assert [run_id for run_id in together if run_id in set(one_by_one)] == one_by_one


def test_the_largest_filters_are_carried_out(runs: tuple[Searched, str]) -> None:
    store, experiment = runs
    ids = ", ".join(f"'{number}'" for number in range(10_000))
    assert store.find(experiment, f"run_id IN ({ids}, 'ant')") == ["ant"]
    parts = [f"metrics.acc > -{number}" for number in range(1, 501)]
    assert store.find(experiment, " AND ".join(parts)) == ["ant", "cat"]
    parts = [f"params.lr = '{number}'" for number in range(499)]
    assert store.find(experiment, " OR ".join([*parts, "status = 'FAILED'"])) == ["bee"]
    deep = "NOT (" * MAX_DEPTH + "metrics.acc > 0.5" + ")" * MAX_DEPTH
    assert store.find(experiment, deep) == ["ant"]
    deep = "NOT metrics.acc != 0.9 AND artifact_uri LIKE '%t/artifacts'"
    for level in range(MAX_DEPTH - 2):
        deep = f"{'NOT' if level == 3 else ''} metrics.acc != 3 {('OR', 'AND')[level % 2]} ({deep})"
    for order_by in ([], ["metrics.acc", "duration", "params.lr"]):
        found = store.find(experiment, deep, *order_by)
        assert store.walk([experiment], deep, order_by, size=1) == found
    order_by = [f"{kind}.{key}" for kind in ("metrics", "params", "tags") for key in "abcdefghij"]
    assert len(store.walk([experiment], "", order_by, size=1)) == 4


def test_no_experiments_have_no_runs(runs: tuple[Searched, str]) -> None:
    store, experiment = runs
    assert store.page([]).runs == ()
    assert store.page(["4711", "-1", "9" * 25]).runs == ()
    assert len(store.page([experiment, experiment, "4711"]).runs) == 4


def test_an_experiment_id_is_a_number(store: Searched) -> None:
    for experiment in ("", "x", "1.5", " 1", "1_0"):
        with pytest.raises(InvalidParameter, match="whole numbers"):
            store.page([experiment])


def test_the_size_of_a_page_has_bounds(runs: tuple[Searched, str]) -> None:
    store, experiment = runs
    for size in (0, -1, 50_001):
        with pytest.raises(InvalidParameter, match="1 to 50000"):
            store.page([experiment], max_results=size)
        with pytest.raises(InvalidParameter, match="1 to 50000"):
            store.experiments(max_results=size)


def test_the_last_page_has_no_token(runs: tuple[Searched, str]) -> None:
    store, experiment = runs
    assert store.page([experiment], max_results=4).next_page_token == ""
    assert store.page([experiment], max_results=3).next_page_token != ""


def test_pages_do_not_shift_when_runs_are_added(runs: tuple[Searched, str]) -> None:
    store, experiment = runs
    orders: list[list[str]] = [[], ["metrics.acc"], ["params.lr DESC"], ["status"]]
    for place, order_by in enumerate(orders):
        before = store.find(experiment, "", *order_by)
        page = store.page([experiment], "", *order_by, max_results=2 + 5 * place)
        store.add(
            experiment,
            {
                f"new{place}{number}": {
                    "start_time": number * 1500,
                    "status": "FAILED",
                    "metrics": {"acc": [number / 4]},
                    "params": {"lr": str(number)},
                }
                for number in range(5)
            },
        )
        rest = store.page([experiment], "", *order_by, page_token=page.next_page_token)
        found = [run.info.run_id for run in (*page.runs, *rest.runs)]
        assert [run_id for run_id in found if not run_id.startswith(f"new{place}")] == before


def test_a_token_of_another_search_is_refused(runs: tuple[Searched, str]) -> None:
    store, experiment = runs
    other = store.experiment("other")
    token = store.page([experiment], "status != 'x'", "metrics.acc", max_results=1).next_page_token
    good: dict[str, Any] = {"max_results": 2, "page_token": token}
    assert len(store.page([experiment], "status != 'x'", "metrics.acc", **good).runs) == 2
    for experiments, filter, order_by, view in (
        ([experiment], "status != 'y'", ["metrics.acc"], "ACTIVE_ONLY"),
        ([experiment], "status != 'x'", ["metrics.acc DESC"], "ACTIVE_ONLY"),
        ([experiment], "status != 'x'", [], "ACTIVE_ONLY"),
        ([experiment], "status != 'x'", ["metrics.acc"], "ALL"),
        ([experiment, other], "status != 'x'", ["metrics.acc"], "ACTIVE_ONLY"),
    ):
        with pytest.raises(InvalidParameter, match="another search"):
            store.page(experiments, filter, *order_by, run_view_type=view, page_token=token)


def test_a_token_that_is_none_is_refused(runs: tuple[Searched, str]) -> None:
    store, experiment = runs
    real = store.page([experiment], "", "metrics.acc", "run_name", max_results=1).next_page_token
    digest, keys = json.loads(base64.b64decode(real, altchars=b"-_"))

    def forged(*changed: Any) -> str:
        return base64.urlsafe_b64encode(json.dumps([digest, changed]).encode()).decode()

    metric, *rest = keys
    tokens = [
        "x",
        "é",
        "e30=",
        base64.b64encode(b'{"offset": 5}').decode(),
        base64.b64encode(b"[" * 100_000).decode(),
        base64.b64encode(b"\xff").decode(),
        forged(),
        forged(*keys, *keys),
        forged(1, *rest),
        forged([0, "x"], *rest),
        forged([0, None], *rest),
        forged([0, NAN], *rest),
        forged([7, None], *rest),
        forged(["0", 1.0], *rest),
        forged(metric, [0, 5], *rest[1:]),
        forged(metric, [2, None], *rest[1:]),
        forged(metric, [0, "\0"], *rest[1:]),
        forged(metric, [0, "\ud800"], *rest[1:]),
        forged(metric, rest[0], [0, 2**63], *rest[2:]),
        forged(metric, rest[0], [0, True], *rest[2:]),
    ]
    for token in tokens:
        with pytest.raises(InvalidParameter, match="page_token"):
            store.page([experiment], "", "metrics.acc", "run_name", page_token=token)


def test_experiments_are_found_and_ordered(store: Searched) -> None:
    tags = [{"key": "team", "value": "red"}]
    operation = operation_of(Experiments.create_experiment)
    store.engine.call(operation, operation.build(name="Ant", tags=tags))
    store.engine.call(operation, operation.build(name="bee", tags=[{"key": "a b", "value": ""}]))
    cat = store.experiment("cat")
    for filter, found in {
        "": {"Ant", "bee", "cat", "Default"},
        "name = 'bee'": {"bee"},
        "attribute.name LIKE 'B%'": set(),
        "name ILIKE 'B%'": {"bee"},
        "name IN ('bee', 'cat')": {"bee", "cat"},
        f"experiment_id = '{cat}'": {"cat"},
        f"experiment_id NOT IN ('0', '{cat}')": {"Ant", "bee"},
        "creation_time > 0 AND last_update_time > '2020-01-01'": {"Ant", "bee", "cat", "Default"},
        "creation_time < 0": set(),
        "tags.team = 'red'": {"Ant"},
        "tags.team != 'blue'": {"Ant"},
        "tag.`a b` IS NOT NULL": {"bee"},
        "tags.team IS NULL AND name != 'Default'": {"bee", "cat"},
        "NOT (tags.team = 'red' OR name LIKE '%e%')": {"cat"},
    }.items():
        assert set(store.experiments(filter)) == found, filter
    assert store.experiments("", "name") == ["Ant", "Default", "bee", "cat"]
    assert store.experiments("", "name DESC", max_results=2) == ["cat", "bee"]
    assert store.experiments("", "experiment_id DESC") == ["cat", "bee", "Ant", "Default"]
    assert store.experiments("", "attribute.creation_time")[0] == "Default"


def test_experiments_come_in_pages_by_view(store: Searched) -> None:
    names = [f"e{number}" for number in range(7)]
    ids = {name: store.experiment(name) for name in names}
    operation = operation_of(Experiments.delete_experiment)
    for name in ("e2", "e5"):
        store.engine.call(operation, ExperimentId(experiment_id=ids[name]))
    search = operation_of(Experiments.search_experiments)
    for view, expected in {
        "ACTIVE_ONLY": {"Default", "e0", "e1", "e3", "e4", "e6"},
        "DELETED_ONLY": {"e2", "e5"},
        "ALL": {"Default", *names},
    }.items():
        for order_by in ((), ("name DESC",), ("last_update_time",)):
            found: list[str] = []
            token = ""
            while True:
                request = search.build(
                    max_results=2, view_type=view, order_by=order_by, page_token=token
                )
                assert isinstance(request, SearchExperiments)
                page = store.engine.call(search, request)
                found += [experiment.name for experiment in page.experiments]
                token = page.next_page_token
                if not token:
                    break
            assert len(found) == len(expected)
            assert set(found) == expected


def test_keys_are_found_by_kind_and_part_of_the_name(runs: tuple[Searched, str]) -> None:
    store, experiment = runs
    operation = operation_of(Runs.search_keys)

    def keys(
        kind: str, contains: str = "", size: int = 10, ids: tuple[str, ...] = (experiment,)
    ) -> Any:
        request = SearchKeys(experiment_ids=ids, kind=kind, contains=contains, max_results=size)
        return store.engine.call(operation, request).keys

    assert keys("metric") == ("acc", "loss")
    assert keys("metric", size=1) == ("acc",)
    assert keys("param") == ("lr", "model")
    assert keys("tag") == ("a b", "mlflow.parentRunId", "mlflow.runName", "team")
    assert keys("tag", "RUN") == ("mlflow.parentRunId", "mlflow.runName")
    assert keys("tag", "%") == ()
    assert keys("tag", "_") == ()
    assert keys("tag", "x" * 100_000) == ()
    assert keys("metric", ids=()) == ()
    with pytest.raises(InvalidParameter, match="metric, param, tag"):
        keys("color")


def test_a_key_is_found_by_what_it_is_called_in_every_script(store: Searched) -> None:
    experiment = store.experiment("e")
    store.add(experiment, {"a": {"metrics": {"Ärger": [1.0], "ÖL/druck": [1.0], "plain": [1.0]}}})
    for contains, found in {"Ärger": "Ärger", "ÄRG": "Ärger", "ÖL/DRUCK": "ÖL/druck"}.items():
        request = SearchKeys(experiment_ids=(experiment,), contains=contains)
        assert store.engine.call(operation_of(Runs.search_keys), request).keys == (found,)


@pytest.mark.parametrize("order", [(), ("metrics.m DESC",), ("params.p", "run_id DESC")])
def test_more_experiments_than_a_statement_takes_are_searched_in_parts(
    store: Searched, monkeypatch: pytest.MonkeyPatch, order: tuple[str, ...]
) -> None:
    experiments = [store.experiment(f"e{number}") for number in range(MAX_SEPARATE + 4)]
    for number, experiment in enumerate(experiments):
        runs = {
            f"r{number}x{i}": {"metrics": {"m": [float(number * i % 7)]}, "params": {"p": str(i)}}
            for i in range(3)
        }
        store.add(experiment, runs)
    whole = store.walk(experiments, "metrics.m >= 0", order, 1000)
    assert len(whole) == 3 * len(experiments)
    monkeypatch.setattr(operations, "_CHUNK", 3)
    monkeypatch.setattr(assemble, "_CHUNK", 3)
    assert store.walk(experiments, "metrics.m >= 0", order, 1000) == whole
    assert store.walk(experiments, "metrics.m >= 0", order, 7) == whole
