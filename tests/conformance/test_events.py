"""Every change writes its event, in the transaction of the change, on every store."""

from __future__ import annotations

import contextlib
import json

import pytest

from headrace.entities import KeyValue, RunStatus
from headrace.errors import HeadraceError
from headrace.protocol.ingest import LogParams, UpdateRun
from support.api import Api, pairs, point, unique
from support.backend import Backend
from support.batches import Journal

UPDATE = {"status": "FINISHED", "end_time": 9}


def test_the_life_of_an_experiment(api: Api, backend: Backend) -> None:
    name, renamed = unique("event"), unique("event")
    number = api.new_experiment(name=name, tags=pairs(a="1"))
    api.update_experiment(experiment_id=number, new_name=renamed)
    api.update_experiment(experiment_id=number, new_name=renamed)  # changes nothing: no event
    api.set_experiment_tag(experiment_id=number, key="b", value="1")
    api.set_experiment_tag(experiment_id=number, key="b", value="2")
    api.set_experiment_tag(experiment_id=number, key="b", value="2")
    api.delete_experiment_tag(experiment_id=number, key="b")
    api.delete_experiment(experiment_id=number)
    api.restore_experiment(experiment_id=number)
    api.delete_experiment(experiment_id=number)
    api.purge_trash(experiment_ids=[number])
    assert backend.events(f"experiment/{number}") == [
        ("experiment.created", {"name": name, "artifact_location": None, "tags": {"a": "1"}}),
        ("experiment.renamed", {"before": {"name": name}, "after": {"name": renamed}}),
        ("experiment.tag.set", {"key": "b", "before": None, "after": "1"}),
        ("experiment.tag.set", {"key": "b", "before": "1", "after": "2"}),
        ("experiment.tag.deleted", {"key": "b", "before": "2"}),
        ("experiment.deleted", {"name": renamed}),
        ("experiment.restored", {"name": renamed}),
        ("experiment.deleted", {"name": renamed}),
        ("experiment.purged", {"name": renamed}),
    ]


def test_the_life_of_a_run(api: Api, backend: Backend) -> None:
    experiment = api.new_experiment()
    run_id = api.new_run(experiment, run_name="one", tags=pairs(a="1"))
    api.update_run(run_id=run_id, **UPDATE)
    api.update_run(run_id=run_id, **UPDATE)  # changes nothing: no event
    api.update_run(run_id=run_id, end_time=10)
    api.update_run(run_id=run_id, run_name="two")
    api.log_param(run_id=run_id, key="p", value="1")
    api.log_param(run_id=run_id, key="p", value="1")
    api.set_tag(run_id=run_id, key="a", value="2")
    api.set_tag(run_id=run_id, key="a", value="2")
    api.delete_tag(run_id=run_id, key="a")
    for _ in range(2):
        api.delete_run(run_id=run_id)
    for _ in range(2):
        api.restore_run(run_id=run_id)
    api.delete_run(run_id=run_id)
    api.purge_trash(run_ids=[run_id])
    tags = {"a": "1", "mlflow.runName": "one"}
    assert backend.events(f"run/{run_id}") == [
        ("run.created", {"experiment_id": experiment, "run_name": "one", "tags": tags}),
        ("run.finished", {"before": {"status": "RUNNING", "end_time": None}, "after": UPDATE}),
        ("run.updated", {"before": {"end_time": 9}, "after": {"end_time": 10}}),
        ("run.renamed", {"before": "one", "after": "two"}),
        (
            "run.tags.set",
            {"before": {"mlflow.runName": "one"}, "after": {"mlflow.runName": "two"}},
        ),
        ("run.params.logged", {"params": {"p": "1"}}),
        ("run.tags.set", {"before": {"a": "1"}, "after": {"a": "2"}}),
        ("run.tag.deleted", {"key": "a", "before": "2"}),
        ("run.deleted", {}),
        ("run.restored", {}),
        ("run.deleted", {}),
        ("run.purged", {"experiment_id": experiment}),
    ]


@pytest.mark.parametrize(
    ("status", "type"),
    [("FAILED", "run.failed"), ("KILLED", "run.killed"), ("SCHEDULED", "run.scheduled")],
)
def test_how_a_run_ended_is_the_type(api: Api, backend: Backend, status: str, type: str) -> None:
    run_id = api.new_run()
    api.update_run(run_id=run_id, status=status)
    api.update_run(run_id=run_id, status="RUNNING")
    again = "run.started" if status == "SCHEDULED" else "run.resumed"
    assert [kind for kind, _ in backend.events(f"run/{run_id}")][1:] == [type, again]


def test_inputs_and_outputs(api: Api, backend: Backend) -> None:
    run_id = api.new_run()
    dataset = {"name": "d", "digest": "1", "source_type": "local", "source": "{}"}
    for _ in range(2):
        api.log_inputs(run_id=run_id, datasets=[{"tags": pairs(c="x"), "dataset": dataset}])
    for _ in range(2):  # the second changes nothing: no event
        api.log_inputs(run_id=run_id, models=[{"model_id": "m-1"}])
        api.log_outputs(run_id=run_id, models=[{"model_id": "m-2", "step": 4}])
    api.log_outputs(run_id=run_id, models=[{"model_id": "m-2", "step": 5}, {"model_id": "m-3"}])
    assert backend.events(f"run/{run_id}")[1:] == [
        ("run.datasets.logged", {"datasets": [{"name": "d", "digest": "1", "tags": {"c": "x"}}]}),
        ("run.model_inputs.logged", {"models": {"m-1": 0}}),
        ("run.model_outputs.logged", {"models": {"m-2": 4}}),
        ("run.model_outputs.logged", {"models": {"m-2": 5, "m-3": 0}}),
    ]


def test_only_the_first_point_of_a_metric_is_an_event(api: Api, backend: Backend) -> None:
    run_id = api.new_run()
    api.log_metric(run_id=run_id, key="m", value=1, timestamp=1)
    for step in range(5):
        api.log_batch(run_id=run_id, metrics=[point("m", step, step)])
    api.log_metric(run_id=run_id, key="m", value=float("nan"), timestamp=1, step=9)
    api.log_metric(run_id=run_id, key="m", value=float("inf"), timestamp=1, step=10)
    assert backend.events(f"run/{run_id}")[1:] == [
        ("metric.created", {"keys": ["m"]}),
        ("metric.nonfinite", {"keys": ["m"], "nan": ["m"], "infinite": []}),
    ]


def test_a_run_ends_with_its_metrics(api: Api, backend: Backend) -> None:
    run_id = api.new_run()
    points = [point("m", 3, 0), point("m", 1, 1), point("m", 2, 2)]
    odd = [point("nan", float("nan")), point("inf", float("inf")), point("inf", 0, 1)]
    api.log_batch(run_id=run_id, metrics=points + odd)
    api.update_run(run_id=run_id, status="FAILED")
    api.update_run(run_id=run_id, status="KILLED")  # it had ended
    events = backend.events(f"run/{run_id}")[3:]
    assert [kind for kind, _ in events] == ["metric.last", "run.failed", "run.killed"]
    assert events[0][1] == {
        "metrics": {
            "m": {"value": 2.0, "step": 2, "min": 1.0, "max": 3.0, "count": 3},
            "nan": {"value": "NaN", "step": 0, "min": None, "max": None, "count": 1},
            "inf": {"value": 0.0, "step": 1, "min": 0.0, "max": "Infinity", "count": 2},
        }
    }


def test_a_long_value_is_cut_in_the_event_alone(api: Api, backend: Backend) -> None:
    run_id = api.new_run(tags=pairs(first="x" * 50_000))
    api.set_tag(run_id=run_id, key="first", value="y" * 50_000)
    api.log_param(run_id=run_id, key="p", value="z" * 50_000)
    api.delete_tag(run_id=run_id, key="first")
    data = [data for _, data in backend.events(f"run/{run_id}")]
    cut = {letter: letter * 10_000 + "…" for letter in "xyz"}
    assert data[0]["tags"]["first"] == cut["x"]
    assert data[1:] == [
        {"before": {"first": cut["x"]}, "after": {"first": cut["y"]}},
        {"params": {"p": cut["z"]}},
        {"key": "first", "before": cut["y"]},
    ]
    assert api.run(run_id).data.params == {"p": "z" * 50_000}


def test_an_event_names_a_thousand_things_at_most(api: Api, backend: Backend) -> None:
    run_id = api.new_run()
    points = [(run_id, f"m{number}", 0, 0, float("nan")) for number in range(1500)]
    params = tuple(KeyValue(f"p{number}", "") for number in range(1500))
    ends = UpdateRun(run_id=run_id, status=RunStatus.FINISHED)
    steps = [LogParams(run_id=run_id, params=params), ends]
    assert backend.store.ingest(Journal().batch(points, steps)).rejected == ()
    events = dict(backend.events(f"run/{run_id}"))
    for kind, field in (
        ("metric.created", "keys"),
        ("metric.nonfinite", "keys"),
        ("metric.nonfinite", "nan"),
        ("run.params.logged", "params"),
        ("metric.last", "metrics"),
    ):
        assert (len(events[kind][field]), events[kind]["count"]) == (1000, 1500), kind


def test_an_import_is_an_event_per_run(api: Api, backend: Backend) -> None:
    experiment = api.new_experiment()
    run = {"experiment_id": experiment, "run_name": "r", "params": pairs(p="1")}
    (run_id,) = api.import_runs(runs=[run]).run_ids
    api.import_runs(runs=[{**run, "run_id": run_id}])
    assert backend.events(f"run/{run_id}") == [
        (
            "run.created",
            {
                "experiment_id": experiment,
                "run_name": "r",
                "status": "FINISHED",
                "tags": {"mlflow.runName": "r"},
                "params": {"p": "1"},
                "imported": True,
            },
        )
    ]


def test_an_imported_run_is_created_before_its_metrics(api: Api, backend: Backend) -> None:
    run = {"experiment_id": api.new_experiment(), "metrics": [point("m", float("nan"))]}
    (run_id,) = api.import_runs(runs=[run]).run_ids
    types = [type for type, _ in backend.events(f"run/{run_id}")]
    assert types == ["run.created", "metric.created", "metric.nonfinite"]


def test_what_failed_is_no_event(api: Api, backend: Backend) -> None:
    run_id = api.new_run()
    api.log_param(run_id=run_id, key="p", value="1")
    before = backend.events(f"run/{run_id}")
    with contextlib.suppress(HeadraceError):
        api.log_batch(
            run_id=run_id, metrics=[point("m", 1)], params=pairs(p="2"), tags=pairs(t="1")
        )
    with contextlib.suppress(HeadraceError):
        api.delete_tag(run_id=run_id, key="none")
    with contextlib.suppress(HeadraceError):
        api.log_model(run_id=run_id, model_json=json.dumps({}))
    assert backend.events(f"run/{run_id}") == before
