"""What a stock MLflow client does, step by step.

Each scenario runs unchanged against MLflow's own server (record.py, whose answers are kept in
reference.json) and against ours (test_scenarios.py). A step's outcome is what came back or what was
raised, with ids, times and random names replaced, so that two servers can be compared.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
from mlflow import MlflowClient
from mlflow.entities import (
    Dataset,
    DatasetInput,
    InputTag,
    LoggedModelInput,
    LoggedModelOutput,
    Metric,
    Param,
    RunTag,
    ViewType,
)

from support.recorder import Recorder

Scenario = Callable[[Recorder, MlflowClient, Path], None]
SCENARIOS: dict[str, Scenario] = {}


def scenario(function: Scenario) -> Scenario:
    SCENARIOS[function.__name__] = function
    return function


def experiment(record: Recorder, client: MlflowClient, name: str, **fields: Any) -> str:
    number = client.create_experiment(name, **fields)
    record.known(number, f"<{name}>")
    return number


def run(client: MlflowClient, experiment_id: str, **fields: Any) -> str:
    return str(client.create_run(experiment_id, **fields).info.run_id)


@scenario
def experiments(record: Recorder, client: MlflowClient, _: Path) -> None:
    number = experiment(record, client, "lab", tags={"team": "red", "empty": ""})
    record("get", client.get_experiment, number)
    record("get by name", client.get_experiment_by_name, "lab")
    record("get by unknown name", client.get_experiment_by_name, "nobody")
    record("create again", client.create_experiment, "lab")
    record("create without name", client.create_experiment, "")
    record("create with a name that is no string", client.create_experiment, 5)
    record("create with a long name", client.create_experiment, "x" * 501)
    record("create at runs:", client.create_experiment, "lab2", "runs:/abc/x")
    record("create with ..", client.create_experiment, "lab3", "s3://bucket/../other")
    record("create with a query", client.create_experiment, "lab4", "s3://bucket/a?b=c")
    record("create with a long location", client.create_experiment, "lab5", "s3://" + "x" * 2049)
    own = experiment(record, client, "own place", artifact_location="s3://bucket/own")
    record("own place", client.get_experiment, own)
    record("default", client.get_experiment, "0")
    record("unknown id", client.get_experiment, "4711")
    record("id that is no number", client.get_experiment, "abc")
    record("empty id", client.get_experiment, "")
    record("rename", client.rename_experiment, number, "lab renamed")
    record("renamed", client.get_experiment, number)
    record("rename unknown", client.rename_experiment, "4711", "x")
    record("rename to nothing", client.rename_experiment, number, "")
    record("rename to a taken name", client.rename_experiment, number, "own place")
    record("tag", client.set_experiment_tag, number, "team", "blue")
    record("tag with a number", client.set_experiment_tag, number, "answer", 42)
    record("tag of unknown", client.set_experiment_tag, "4711", "a", "b")
    record("long tag key", client.set_experiment_tag, number, "k" * 251, "b")
    record("long tag value", client.set_experiment_tag, number, "k", "v" * 20_001)
    record("delete tag", client.delete_experiment_tag, number, "empty")
    record("delete tag again", client.delete_experiment_tag, number, "empty")
    record("tags now", lambda: client.get_experiment(number).tags)


@scenario
def deletion(record: Recorder, client: MlflowClient, _: Path) -> None:
    number = experiment(record, client, "trash")
    kept, alone = run(client, number, run_name="kept"), run(client, number, run_name="alone")
    stages = lambda: [client.get_run(one).info.lifecycle_stage for one in (kept, alone)]  # noqa: E731
    record("delete run", client.delete_run, alone)
    record("delete run again", client.delete_run, alone)
    record("write to deleted run", client.log_param, alone, "a", 1)
    record("tag deleted run", client.set_tag, alone, "a", 1)
    record("metric of deleted run", client.log_metric, alone, "a", 1)
    record("batch of deleted run", client.log_batch, alone, params=[Param("a", "1")])
    record("end deleted run", client.set_terminated, alone)
    record("delete unknown run", client.delete_run, "0" * 32)
    record("restore unknown run", client.restore_run, "0" * 32)
    record("delete", client.delete_experiment, number)
    record("stages while deleted", stages)
    record("delete again", client.delete_experiment, number)
    record("delete unknown", client.delete_experiment, "4711")
    record("get deleted", client.get_experiment, number)
    record("get deleted by name", client.get_experiment_by_name, "trash")
    record("run in deleted", client.create_run, number)
    record("tag deleted", client.set_experiment_tag, number, "a", "b")
    record("rename deleted", client.rename_experiment, number, "trash renamed")
    record("write to its run", client.log_param, kept, "a", 1)
    record("restore run of deleted", client.restore_run, kept)
    record("set deleted", mlflow.set_experiment, experiment_id=number)
    record("restore", client.restore_experiment, number)
    record("restore again", client.restore_experiment, number)
    record("restore unknown", client.restore_experiment, "4711")
    record("stages after restore", stages)
    record("restore run", client.restore_run, alone)
    record("restore run again", client.restore_run, alone)
    record("stages at last", stages)
    client.delete_experiment(number)
    record("name of deleted", lambda: client.create_experiment("trash") and "made")
    record("restore with taken name", client.restore_experiment, number)


@scenario
def runs(record: Recorder, client: MlflowClient, _: Path) -> None:
    number = experiment(record, client, "runs")
    made = record("create", client.create_run, number, start_time=1000, tags={"a": "1"})
    run_id = made.info.run_id
    record("get", client.get_run, run_id)
    record("named", client.create_run, number, run_name="named", start_time=1001)
    record(
        "named by tag", client.create_run, number, start_time=1, tags={"mlflow.runName": "by tag"}
    )
    record("two names", client.create_run, number, run_name="one", tags={"mlflow.runName": "two"})
    record("in unknown experiment", client.create_run, "4711")
    record("in no experiment", client.create_run, "")
    record("in experiment abc", client.create_run, "abc")
    record("with bad tag", client.create_run, number, tags={"../a": "b"})
    record("unknown", client.get_run, "0" * 32)
    record("no id", client.get_run, "")
    record("with slash", client.get_run, "a/b")
    record("with dots", client.get_run, "../../x")
    record("rename", client.update_run, run_id, name="renamed")
    record("renamed", client.get_run, run_id)
    record("rename by tag", client.set_tag, run_id, "mlflow.runName", "tagged")
    record("renamed by tag", lambda: client.get_run(run_id).info.run_name)
    record("status", client.update_run, run_id, status="SCHEDULED")
    record("bad status", client.update_run, run_id, status="BOGUS")
    record("terminate", client.set_terminated, run_id, "FAILED", 2000)
    record("terminated", client.get_run, run_id)
    record("bad terminate", client.set_terminated, run_id, "RUNNING")
    record("update unknown", client.update_run, "0" * 32, status="FINISHED")
    child = run(client, number, tags={"mlflow.parentRunId": run_id})
    record("parent", lambda: client.get_parent_run(child).info.run_id == run_id)
    record("no parent", client.get_parent_run, run_id)


@scenario
def params_and_tags(record: Recorder, client: MlflowClient, _: Path) -> None:
    run_id = run(client, experiment(record, client, "params"), run_name="r")
    record("param", client.log_param, run_id, "lr", 0.1)
    record("same again", client.log_param, run_id, "lr", 0.1)
    record("another value", client.log_param, run_id, "lr", 0.2)
    record("empty value", client.log_param, run_id, "empty", "")
    record("None", client.log_param, run_id, "none", None)
    record("a dict", client.log_param, run_id, "dict", {"a": 1})
    record("unicode", client.log_param, run_id, "ключ/实验", "🚀")
    record("quotes", client.log_param, run_id, "quotes", "';\"--\n\t\\")
    record("long value", client.log_param, run_id, "long", "x" * 6001)
    record("long value is kept", lambda: len(client.get_run(run_id).data.params["long"]))
    record("very long value", client.log_param, run_id, "very long", "x" * 100_001)
    for key in ("", "../a", "/a", "a/", "a//b", ".", "a\\b", "a?b", "k" * 250, "k" * 251, "a\nb"):
        record(f"param {key[:9]!r} {len(key)}", client.log_param, run_id, key, "v")
        record(f"tag {key[:9]!r} {len(key)}", client.set_tag, run_id, key, "v")
        record(f"metric {key[:9]!r} {len(key)}", client.log_metric, run_id, key, 1, timestamp=1)
    record("tag", client.set_tag, run_id, "t", 1)
    record("tag again", client.set_tag, run_id, "t", [2])
    record("long tag", client.set_tag, run_id, "long tag", "x" * 8001)
    record("long tag is kept", lambda: len(client.get_run(run_id).data.tags["long tag"]))
    record("delete tag", client.delete_tag, run_id, "t")
    record("delete tag again", client.delete_tag, run_id, "t")
    record("param of unknown run", client.log_param, "0" * 32, "a", "b")
    record("tag of unknown run", client.set_tag, "0" * 32, "a", "b")
    record("delete tag of unknown run", client.delete_tag, "0" * 32, "a")
    data = client.get_run(run_id).data
    record("params", lambda: {key: value[:20] for key, value in data.params.items()})
    record("tags", lambda: {key: value[:20] for key, value in data.tags.items()})


@scenario
def metrics(record: Recorder, client: MlflowClient, _: Path) -> None:
    run_id = run(client, experiment(record, client, "metrics"), run_name="r")
    for step, time, value in ((5, 100, 1), (3, 200, 2), (5, 100, 0.5), (5, 100, 1.5), (5, 99, 9)):
        client.log_metric(run_id, "m", value, timestamp=time, step=step)
    record("last", lambda: client.get_run(run_id).data.metrics)
    record("history", client.get_metric_history, run_id, "m")
    record("same point again", client.log_metric, run_id, "m", 1.5, timestamp=100, step=5)
    record("history is the same", client.get_metric_history, run_id, "m")
    record("nan", client.log_metric, run_id, "nan", math.nan, timestamp=1)
    record("history of nan", client.get_metric_history, run_id, "nan")
    record("inf", client.log_metric, run_id, "inf", math.inf, timestamp=1)
    record("history of inf", client.get_metric_history, run_id, "inf")
    record("-inf", client.log_metric, run_id, "ninf", -math.inf, timestamp=1)
    record("history of -inf", client.get_metric_history, run_id, "ninf")
    record("negative step", client.log_metric, run_id, "m", 1, timestamp=1, step=-5)
    record("negative time", client.log_metric, run_id, "m", 1, timestamp=-5)
    record("text as value", client.log_metric, run_id, "m", "high", timestamp=1)
    record("numeric text as value", client.log_metric, run_id, "text", "0.25", timestamp=1)
    record("float step", client.log_metric, run_id, "m", 1, timestamp=1, step=1.5)
    record("huge step", client.log_metric, run_id, "m", 1, timestamp=1, step=2**63)
    record("numpy", client.log_metric, run_id, "numpy", np.float32(0.5), timestamp=1)
    record("bool", client.log_metric, run_id, "bool", True, timestamp=1)
    record("unknown run", client.log_metric, "0" * 32, "m", 1)
    record("history of unknown run", client.get_metric_history, "0" * 32, "m")
    record("history of unknown key", client.get_metric_history, run_id, "never")
    record("history of no key", client.get_metric_history, run_id, "")
    record("half a data set", client.log_metric, run_id, "m", 1, timestamp=1, dataset_name="d")
    record("all", lambda: client.get_run(run_id).data.metrics)


@scenario
def batches(record: Recorder, client: MlflowClient, _: Path) -> None:
    run_id = run(client, experiment(record, client, "batches"), run_name="r")
    good = {
        "metrics": [Metric("m", i * 0.5, i, i) for i in range(5)],
        "params": [Param("p", "1"), Param("q", "2")],
        "tags": [RunTag("t", "1")],
    }
    state = lambda: client.get_run(run_id)  # noqa: E731
    record("batch", client.log_batch, run_id, **good)
    record("after", state)
    record("empty", client.log_batch, run_id)
    record("again", client.log_batch, run_id, **good)
    record("history", client.get_metric_history, run_id, "m")
    record(
        "conflicting param",
        client.log_batch,
        run_id,
        metrics=[Metric("x", 1, 1, 1)],
        params=[Param("new", "1"), Param("p", "other")],
        tags=[RunTag("x", "1")],
    )
    record("after conflict", state)
    record("param twice", client.log_batch, run_id, params=[Param("d", "1"), Param("d", "2")])
    record("param twice alike", client.log_batch, run_id, params=[Param("d", "1")] * 2)
    record(
        "1001 metrics",
        client.log_batch,
        run_id,
        metrics=[Metric("many", i, i, i) for i in range(1001)],
    )
    record("count", lambda: len(client.get_metric_history(run_id, "many")))
    record("150 params", client.log_batch, run_id, params=[Param(f"n{i}", "") for i in range(150)])
    record("bad key", client.log_batch, run_id, params=[Param("ok", "1"), Param("../a", "1")])
    record("bad metric key", client.log_batch, run_id, metrics=[Metric("../a", 1, 1, 1)])
    record("bad tag key", client.log_batch, run_id, tags=[RunTag("a//b", "1")])
    record("long value", client.log_batch, run_id, params=[Param("long", "x" * 6001)])
    record("unknown run", client.log_batch, "0" * 32, **good)
    record("bad run", client.log_batch, "a/b", **good)
    record("number of params", lambda: len(state().data.params))
    record(
        "unknown model",
        client.log_batch,
        run_id,
        metrics=[Metric("of model", 1, 1, 1, model_id="m-" + "0" * 32)],
        params=[Param("beside", "1")],
    )


@scenario
def inputs(record: Recorder, client: MlflowClient, _: Path) -> None:
    number = experiment(record, client, "inputs")
    run_id = run(client, number, run_name="r")
    dataset = Dataset("digits", "abc", "local", '{"uri": "x"}', schema="{}", profile='{"rows": 3}')
    tag = InputTag("mlflow.data.context", "training")
    record("log", client.log_inputs, run_id, [DatasetInput(dataset, [tag])])
    record("run", client.get_run, run_id)
    record("log again", client.log_inputs, run_id, [DatasetInput(dataset, [tag])])
    other = Dataset("digits", "abc", "local", "{}", schema="other")
    second = run(client, number)
    record("same name and digest", client.log_inputs, second, [DatasetInput(other, [])])
    record("first wins", lambda: client.get_run(second).inputs.dataset_inputs)
    record("run is the same", client.get_run, run_id)
    for field, size in (("name", 501), ("digest", 37), ("source", 65_536), ("schema", 1_048_576)):
        fields = {"name": "d", "digest": "1", "source_type": "local", "source": "{}"}
        bad = Dataset(**{**fields, field: "x" * size})
        record(f"long {field}", client.log_inputs, run_id, [DatasetInput(bad, [])])
    record(
        "long tag", client.log_inputs, run_id, [DatasetInput(dataset, [InputTag("k" * 256, "")])]
    )
    record("unknown run", client.log_inputs, "0" * 32, [DatasetInput(dataset, [])])
    record("bad run", client.log_inputs, "a/b", [DatasetInput(dataset, [])])
    record("search", lambda: client.search_runs([number], "dataset.name = 'digits'"))
    record("search context", lambda: client.search_runs([number], "dataset.context = 'training'"))


@scenario
def search(record: Recorder, client: MlflowClient, _: Path) -> None:
    number = experiment(record, client, "search")
    rows = [
        ("a", "FINISHED", {"loss": 0.1, "acc": 0.9}, {"lr": "0.1", "opt": "adam"}, {"team": "red"}),
        (
            "b",
            "FAILED",
            {"loss": 0.5, "acc": math.nan},
            {"lr": "10", "opt": "SGD"},
            {"team": "Red"},
        ),
        ("c", "RUNNING", {"loss": 2.0}, {"lr": "9", "opt": "adam_w"}, {}),
        ("d", "FINISHED", {"acc": -1.0}, {}, {"team": "blue", "with space": "x y"}),
        ("e", "KILLED", {"loss": 0.1}, {"lr": "0.1"}, {"team": "red"}),
    ]
    for start, (name, status, values, params, tags) in enumerate(rows):
        run_id = run(client, number, run_name=name, start_time=start)
        client.log_batch(
            run_id,
            [Metric(key, value, 1, 0) for key, value in values.items()],
            [Param(key, value) for key, value in params.items()],
            [RunTag(key, value) for key, value in tags.items()],
        )
        client.update_run(run_id, status=status)
        if name == "e":
            client.delete_run(run_id)
    record("whole", client.search_runs, [number], "run_name = 'a'")

    def names(filter: str = "", **fields: Any) -> list[str]:
        return [one.info.run_name for one in client.search_runs([number], filter, **fields)]

    for filter in FILTERS:
        record(f"filter {filter}", names, filter)
    for order in ORDERS:
        record(f"order by {order}", names, order_by=list(order))
    for view in (ViewType.ACTIVE_ONLY, ViewType.DELETED_ONLY, ViewType.ALL):
        record(f"view {view}", names, run_view_type=view)
    for size in (0, -1, 50_001):
        record(f"page of {size}", names, max_results=size)
    record("bad token", names, page_token="nonsense")

    def paged() -> list[list[str]]:
        pages, token = [], None
        while token is not None or not pages:
            page = client.search_runs(
                [number], max_results=2, page_token=token, order_by=["run_name"]
            )
            pages.append([one.info.run_name for one in page])
            token = page.token or None
        return pages

    record("pages", paged)
    record("no experiments", client.search_runs, [])
    record("unknown experiment", client.search_runs, ["4711"])
    record("experiment abc", client.search_runs, ["abc"])


FILTERS = """metrics.loss < 0.3
metric.loss <= 0.5
metrics.loss != 0.1
metrics.loss = .1
metrics.loss > 1e-3
metrics.acc != 0.9
metrics.acc > -2
metrics.`acc` = 0.9
params.opt = 'adam'
param.opt = "adam"
parameters.opt != 'adam'
params.opt LIKE 'adam%'
params.opt like 'a_am'
params.opt LIKE 'ADAM'
params.opt ILIKE 'sgd'
params.lr IS NULL
params.lr is not null
tags.team = 'red'
tags.team ILIKE 'red'
tags.team != 'red'
tags.team IS NULL
tags.`with space` = 'x y'
tags."with space" = 'x y'
tag.mlflow.runName = 'a'
attributes.status = 'FINISHED'
attr.status != 'FINISHED'
run.status LIKE 'F%'
status = 'FINISHED'
status = 'finished'
run_name = 'a'
`run name` = 'a'
attributes.run_name ILIKE 'A'
start_time > 0 AND start_time <= 2
attributes.created >= 3
end_time > 5
metrics.loss < 1 and tags.team = 'red' AND params.lr = '0.1'
run_id = 'x'
run_id IN ('x', 'y')
run_id NOT IN ('x')
artifact_uri LIKE 'mlflow-artifacts:%'
dataset.name = 'none'
metrics.loss
metrics.loss <
metrics.loss < 'a'
metrics.loss < nan
metrics.loss LIKE 'a'
params.opt = adam
params.lr = 0.1
params.lr > '5'
tags.a = 'x
nonsense = 'a'
nonsense.a = 'a'
attributes.nonsense = 'a'
status > 'RUNNING'
start_time = 'soon'
start_time LIKE 'a'
metrics.a > 1;
metrics.a > 1 DROP TABLE run
metrics.a > 1 AND
metrics.a BETWEEN 1 AND 2
metrics.a <> 1
run_id IN ()
dataset.nonsense = 'a'
tags.team = 'it''s'
metrics.loss < 0.3 OR metrics.acc < 0
NOT tags.team = 'red'
(metrics.loss < 0.3)
params.lr > 5
tags.team IN ('red')
params.opt IN ('adam')
metrics.acc IS NULL
run_name IN ('a', 'b')
metrics.loss.min < 0.3""".splitlines()

ORDERS = [
    (),
    ("start_time ASC",),
    ("attributes.start_time desc",),
    ("metrics.loss ASC",),
    ("metrics.loss DESC",),
    ("metrics.acc",),
    ("metrics.acc DESC",),
    ("params.lr ASC",),
    ("params.lr DESC",),
    ("tags.team DESC", "start_time"),
    ("status", "start_time DESC"),
    ("run_name DESC",),
    ("`Created` ASC",),
    ("metrics.never", "run_name"),
    ("end_time",),
    ("nonsense",),
    ("metrics.loss sideways",),
    ("metrics.loss ASC DESC",),
    ("start_time", "start_time"),
    ("dataset.name",),
    ("",),
]


@scenario
def search_experiments(record: Recorder, client: MlflowClient, _: Path) -> None:
    for name in ("find-a", "find-B", "find-c"):
        number = experiment(record, client, name, tags={"team": name[-1], "set": "find"})
    client.delete_experiment(number)

    def names(filter: str | None = None, **fields: Any) -> list[str]:
        fields.setdefault("order_by", ["name ASC"])
        found = client.search_experiments(filter_string=filter, **fields)
        return [one.name for one in found]

    for view in (ViewType.ACTIVE_ONLY, ViewType.DELETED_ONLY, ViewType.ALL):
        record(f"view {view}", names, "tags.set = 'find'", view_type=view)
    for filter in (
        "name = 'find-a'",
        "attribute.name LIKE 'find-%'",
        "name ILIKE 'FIND-b'",
        "name LIKE 'find-%' AND name != 'find-a'",
        "tag.team = 'a'",
        "tags.team IS NOT NULL",
        "tags.team = 'B' AND creation_time > 0",
        "last_update_time < 5",
        "name LIKE 'find-%' AND experiment_id NOT IN ('0')",
        "name =",
        "name > 'a'",
        "name = 'a",
        "nonsense = 'a'",
        "metrics.a > 1",
        "attributes.name = 'find-a'",
        "creation_time = 'x'",
        "experiment_id IN ()",
        "name = 'find-a' OR name = 'find-B'",
        "tags.team IN ('a')",
    ):
        record(f"filter {filter}", names, filter)
    for order in ("name DESC", "experiment_id DESC", "creation_time", "last_update_time DESC"):
        record(f"order {order}", names, "tags.set = 'find'", order_by=[order])
    for order in ("nonsense", "name sideways", "tags.team"):
        record(f"order {order}", names, "tags.set = 'find'", order_by=[order])
    for size in (0, -1, 50_001):
        record(f"page of {size}", names, max_results=size)
    record("bad token", names, page_token="nonsense")
    first = client.search_experiments(filter_string="tags.set = 'find'", max_results=1)
    second = client.search_experiments(
        filter_string="tags.set = 'find'", max_results=1, page_token=first.token
    )
    record("pages", lambda: [[one.name for one in page] for page in (first, second)])
    record("no more pages", lambda: second.token or None)
    record(
        "fluent",
        lambda: [one.name for one in mlflow.search_experiments(filter_string="tags.team = 'a'")],
    )


@scenario
def fluent(record: Recorder, client: MlflowClient, folder: Path) -> None:
    made = mlflow.set_experiment("fluent")
    record.known(made.experiment_id, "<fluent>")
    record("set", lambda: made)
    record("set again", mlflow.set_experiment, "fluent")
    record("set unknown id", mlflow.set_experiment, experiment_id="4711")
    with mlflow.start_run(run_name="parent", tags={"a": "1"}, description="words") as parent:
        record("active", lambda: mlflow.active_run().info.run_id == parent.info.run_id)
        mlflow.log_param("p", 1)
        mlflow.log_params({f"p{i}": i for i in range(150)})
        mlflow.log_metric("m", 0.5, step=1, timestamp=5)
        mlflow.log_metrics({"m": 0.25, "n": 2}, step=2, timestamp=6)
        mlflow.set_tag("t", "x")
        mlflow.set_tags({"u": 1, "v": [2]})
        mlflow.delete_tag("v")
        record("param again", mlflow.log_param, "p", 2)
        with mlflow.start_run(nested=True, run_name="child") as child:
            mlflow.log_metric("m", 7, timestamp=1)
        record("child", lambda: mlflow.get_run(child.info.run_id))
        record("child of", lambda: mlflow.get_parent_run(child.info.run_id).info.run_name)
        record("start in a run", mlflow.start_run)
        mlflow.log_input(mlflow.data.from_numpy(np.arange(6).reshape(2, 3), name="grid"), "train")
    record("parent", lambda: mlflow.get_run(parent.info.run_id))
    record("last", lambda: mlflow.last_active_run().info.run_id == parent.info.run_id)

    def fails() -> None:
        with mlflow.start_run(run_name="fails"):
            raise KeyError("on purpose")

    record("fails", fails)
    frame = mlflow.search_runs(experiment_names=["fluent"], order_by=["start_time"])
    record("frame", lambda: sorted(frame[["status", "tags.mlflow.runName"]].values.tolist()))
    record(
        "columns",
        lambda: sorted(
            name
            for name in frame.columns
            if not name.startswith(("params.p", "tags.mlflow.source"))
        ),
    )
    record(
        "list", lambda: len(mlflow.search_runs(experiment_names=["fluent"], output_format="list"))
    )
    with mlflow.start_run(run_id=parent.info.run_id):
        mlflow.log_metric("late", 1, timestamp=1)
    record("resumed", lambda: mlflow.get_run(parent.info.run_id).data.metrics)
    record("resume unknown", mlflow.start_run, run_id="0" * 32)
    mlflow.delete_run(child.info.run_id)
    record("resume deleted", mlflow.start_run, run_id=child.info.run_id)
    mlflow.set_experiment_tag("note", "x")
    mlflow.set_experiment_tags({"more": "y"})
    record("experiment", mlflow.get_experiment_by_name, "fluent")
    mlflow.delete_experiment(made.experiment_id)
    record("run in deleted", mlflow.start_run)
    record("set deleted", mlflow.set_experiment, "fluent")


@scenario
def asynchronous(record: Recorder, client: MlflowClient, _: Path) -> None:
    number = experiment(record, client, "asynchronous")
    run_id = run(client, number, run_name="r")
    waits = [
        client.log_metric(run_id, "m", i, timestamp=i, step=i, synchronous=False) for i in range(50)
    ]
    waits.append(client.log_param(run_id, "p", 1, synchronous=False))
    waits.append(client.set_tag(run_id, "t", 1, synchronous=False))
    for one in waits:
        one.wait()
    record("run", client.get_run, run_id)
    record("history", lambda: len(client.get_metric_history(run_id, "m")))
    record("conflict", lambda: client.log_param(run_id, "p", 2, synchronous=False).wait())
    with mlflow.start_run(experiment_id=number, run_name="fluent") as active:
        mlflow.log_metrics({f"m{i}": i for i in range(20)}, step=1, timestamp=1, synchronous=False)
        mlflow.log_params({"a": 1}, synchronous=False)
        mlflow.set_tags({"b": 1}, synchronous=False)
        mlflow.flush_async_logging()
    record("fluent", client.get_run, active.info.run_id)


@scenario
def artifacts(record: Recorder, client: MlflowClient, folder: Path) -> None:
    number = experiment(record, client, "artifacts")
    run_id = run(client, number, run_name="r")
    (folder / "tree" / "deep").mkdir(parents=True)
    (folder / "tree" / "a.txt").write_text("a")
    (folder / "tree" / "deep" / "b ü.bin").write_bytes(bytes(range(256)))
    record("none yet", client.list_artifacts, run_id)
    record("file", client.log_artifact, run_id, str(folder / "tree" / "a.txt"))
    record("file in folder", client.log_artifact, run_id, str(folder / "tree" / "a.txt"), "x/y")
    record("folder", client.log_artifacts, run_id, str(folder / "tree"), "tree")
    record("text", client.log_text, run_id, "hällo\n", "notes/text.txt")
    record("dict", client.log_dict, run_id, {"a": [1, None]}, "dict.json")
    record("yaml", client.log_dict, run_id, {"a": [1]}, "dict.yml")
    record("image", client.log_image, run_id, np.zeros((4, 4, 3), np.uint8), "zero.png")
    record("table", client.log_table, run_id, pd.DataFrame({"a": [1, 2]}), "table.json")
    record("more table", client.log_table, run_id, {"a": [3]}, "table.json")
    record("load table", lambda: client.load_table(number, "table.json")["a"].tolist())
    record("empty file", client.log_text, run_id, "", "empty.txt")
    for path in (None, "tree", "tree/deep", "notes", "never", "a.txt", "x"):
        record(f"list {path}", client.list_artifacts, run_id, path)
    record("list ..", client.list_artifacts, run_id, "..")
    record("list absolute", client.list_artifacts, run_id, "/etc")

    def download(path: str) -> Any:
        target = Path(client.download_artifacts(run_id, path, str(folder / "down")))
        if target.is_file():
            return target.read_bytes().hex()
        return sorted(str(one.relative_to(target)) for one in target.rglob("*"))

    (folder / "down").mkdir()
    for path in ("a.txt", "tree", "tree/deep/b ü.bin", "notes/text.txt", "empty.txt", "zero.png"):
        record(f"download {path}", download, path)
    record("download dict", lambda: json.loads(bytes.fromhex(download("dict.json"))))
    record("download unknown", download, "never.txt")
    record("download ..", download, "../../x")
    uri = client.get_run(run_id).info.artifact_uri
    record("load text", mlflow.artifacts.load_text, f"{uri}/notes/text.txt")
    record("load dict", mlflow.artifacts.load_dict, f"runs:/{run_id}/dict.json")
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    repository = get_artifact_repository(uri)
    record("delete", repository.delete_artifacts, "tree")
    record("list after delete", client.list_artifacts, run_id)
    record("delete unknown", repository.delete_artifacts, "never")
    record("unknown run", client.list_artifacts, "0" * 32)
    record("overwrite", client.log_text, run_id, "new", "a.txt")
    record("overwritten", download, "a.txt")
    with mlflow.start_run(experiment_id=number):
        import matplotlib.figure

        record("figure", mlflow.log_figure, matplotlib.figure.Figure(), "figure.png")
        record("stepped image", mlflow.log_image, np.zeros((4, 4, 3), np.uint8), key="img", step=1)
        mlflow.log_text("x", "t.txt")
        record("fluent uri", lambda: mlflow.get_artifact_uri("t.txt"))
        record(
            "fluent list",
            lambda: sorted(
                one.path
                for one in mlflow.artifacts.list_artifacts(run_id=mlflow.active_run().info.run_id)
            ),
        )


@scenario
def outputs(record: Recorder, client: MlflowClient, _: Path) -> None:
    run_id = run(client, experiment(record, client, "outputs"), run_name="r")
    made = [LoggedModelOutput("m-" + "1" * 32, 3), LoggedModelOutput("m-" + "2" * 32, 0)]
    record("log", client.log_outputs, run_id, made)
    record("log inputs", client.log_inputs, run_id, models=[LoggedModelInput("m-" + "3" * 32)])
    record("run", lambda: record.plain(client.get_run(run_id))["outputs"])
    record("inputs", lambda: record.plain(client.get_run(run_id))["model_inputs"])
    record("of unknown run", client.log_outputs, "0" * 32, made)
    record("of none", client.log_outputs, run_id, [])


@scenario
def wire(record: Recorder, client: MlflowClient, _: Path) -> None:
    """What no stock client sends, or sends only by mistake."""
    number = experiment(record, client, "wire")
    run_id = run(client, number, run_name="r", start_time=0)
    post, get = record.post, record.get
    point = f'"run_id": "{run_id}", "timestamp": 1'
    odd = run(client, number, run_name="odd", start_time=0)  # takes what is handled differently
    odd_point = f'"run_id": "{odd}", "timestamp": 1'
    post("bare NaN", "runs/log-metric", f'{{{odd_point}, "key": "bare", "value": NaN}}')
    get("bare NaN stored", f"metrics/get-history?run_id={odd}&metric_key=bare")
    post("NaN as text", "runs/log-metric", f'{{{point}, "key": "text", "value": "NaN"}}')
    get("NaN as text stored", f"metrics/get-history?run_id={run_id}&metric_key=text")
    post(
        "Infinity as text",
        "runs/log-metric",
        f'{{{odd_point}, "key": "inf", "value": "-Infinity"}}',
    )
    get("Infinity stored", f"metrics/get-history?run_id={odd}&metric_key=inf")
    post("number as text", "runs/log-metric", f'{{{point}, "key": "number", "value": "1.5"}}')
    post("true as value", "runs/log-metric", f'{{{odd_point}, "key": "bool", "value": true}}')
    post("word as value", "runs/log-metric", f'{{{point}, "key": "word", "value": "high"}}')
    post("no value", "runs/log-metric", f'{{{point}, "key": "m"}}')
    post("no time", "runs/log-metric", f'{{"run_id": "{run_id}", "key": "m", "value": 1}}')
    post("float step", "runs/log-metric", f'{{{odd_point}, "key": "m", "value": 1, "step": 1.5}}')
    post("whole float step", "runs/log-metric", f'{{{point}, "key": "m", "value": 1, "step": 2.0}}')
    post("step as text", "runs/log-metric", f'{{{point}, "key": "m", "value": 1, "step": "3"}}')
    post(
        "huge step", "runs/log-metric", f'{{{odd_point}, "key": "m", "value": 1, "step": {2**63}}}'
    )
    post(
        "negative time",
        "runs/log-metric",
        f'{{"run_id": "{run_id}", "key": "m", "value": 1, "timestamp": -1}}',
    )
    get("history", f"metrics/get-history?run_id={run_id}&metric_key=m")
    post("no JSON", "runs/search", "not json")
    post("no UTF-8", "runs/search", b'{"filter": "\xff"}')
    post("a list", "runs/search", "[]")
    post("nothing", "runs/search", "")
    post(
        "JSON in a string",
        "runs/set-tag",
        json.dumps(json.dumps({"run_id": run_id, "key": "a", "value": "1"})),
    )
    post("camel case", "runs/set-tag", json.dumps({"runId": odd, "key": "b", "value": "2"}))
    post(
        "both spellings",
        "runs/set-tag",
        json.dumps({"runId": run_id, "run_id": run_id, "key": "c", "value": ""}),
    )
    post(
        "unknown field",
        "runs/set-tag",
        json.dumps({"run_id": run_id, "key": "d", "value": "", "more": 1}),
    )
    post("null field", "runs/set-tag", json.dumps({"run_id": run_id, "key": "e", "value": None}))
    post("no key", "runs/set-tag", json.dumps({"run_id": run_id, "value": ""}))
    post("number as key", "runs/set-tag", json.dumps({"run_id": run_id, "key": 5, "value": ""}))
    post("lone surrogate", "runs/set-tag", f'{{"run_id": "{odd}", "key": "s", "value": "\\ud800"}}')
    post("NUL", "runs/set-tag", json.dumps({"run_id": odd, "key": "nul", "value": "a\0b"}))
    post(
        "by run_uuid", "runs/set-tag", json.dumps({"run_uuid": run_id, "key": "uuid", "value": ""})
    )
    post("delete by run_uuid", "runs/delete", json.dumps({"run_uuid": run_id}))
    get("tags", f"runs/get?run_id={run_id}")
    post("unknown status", "runs/update", json.dumps({"run_id": odd, "status": "BOGUS"}))
    post("status as number", "runs/update", json.dumps({"run_id": run_id, "status": 4}))
    post(
        "unknown view",
        "runs/search",
        json.dumps({"experiment_ids": [number], "run_view_type": "BOGUS"}),
    )
    post(
        "view as number",
        "runs/search",
        json.dumps({"experiment_ids": [number], "run_view_type": 2}),
    )
    post("no experiment", "runs/create", "{}")
    post("search without size", "experiments/search", "{}")
    post(
        "empty search",
        "runs/search",
        json.dumps({"experiment_ids": [number], "filter": "params.x = 'y'"}),
    )
    get("search by GET", "runs/search")
    get("unknown route", "runs/nonsense")
    post(
        "log-batch of a list", "runs/log-batch", json.dumps({"run_id": run_id, "metrics": {"a": 1}})
    )
    post(
        "batch over the limit",
        "runs/log-batch",
        json.dumps(
            {"run_id": run_id, "params": [{"key": f"p{i}", "value": ""} for i in range(101)]}
        ),
    )
    batch = {"run_id": run_id, "params": [{"key": "beside", "value": "1"}]}
    post(
        "batch with a bad point",
        "runs/log-batch",
        json.dumps({**batch, "metrics": [{"key": "m", "value": 1}]}),
    )
    get("bulk history", f"metrics/get-history-bulk?run_id={run_id}&metric_key=text", ajax=True)
    get(
        "bulk interval",
        f"metrics/get-history-bulk-interval?run_ids={run_id}&metric_key=m&max_results=5",
    )
    get(
        "bulk interval half",
        f"metrics/get-history-bulk-interval?run_ids={run_id}&metric_key=m&start_step=1",
    )
    get("bulk interval of none", "metrics/get-history-bulk-interval?metric_key=m")
    get("list artifacts", f"artifacts/list?run_id={run_id}")
    get("list artifacts ..", f"artifacts/list?run_id={run_id}&path=..%2f..")
    get("history of 0", f"metrics/get-history?run_id={run_id}&metric_key=m&max_results=0")
    post("log-model without json", "runs/log-model", json.dumps({"run_id": run_id}))
    post("log-model half", "runs/log-model", json.dumps({"run_id": run_id, "model_json": "{}"}))
    get("run", f"runs/get?run_id={run_id}")
    get("experiment", f"experiments/get?experiment_id={number}")
    get("no experiment id", "experiments/get")
