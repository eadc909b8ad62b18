"""Data sets and models that runs read and wrote, on every store."""

from __future__ import annotations

import json
from typing import Any

import pytest

from headrace.errors import InvalidParameter, NotFound
from support.api import Api, pairs, unique


def dataset(name: str = "digits", digest: str = "abc", **fields: Any) -> dict[str, Any]:
    return {"name": name, "digest": digest, "source_type": "local", "source": "{}", **fields}


def context(word: str) -> list[dict[str, str]]:
    return [{"key": "mlflow.data.context", "value": word}]


def test_data_sets_of_a_run_come_back(api: Api) -> None:
    run_id = api.new_run()
    api.log_inputs(
        run_id=run_id,
        datasets=[
            {"tags": context("training"), "dataset": dataset(schema="{}", profile='{"rows": 1}')},
            {"dataset": dataset("test", "def")},
        ],
        models=[{"model_id": "m-1"}],
    )
    inputs = api.run(run_id).inputs
    first, second = sorted(inputs.dataset_inputs, key=lambda one: one.dataset.name)
    assert first.dataset.name == "digits"
    assert (first.dataset.schema, first.dataset.profile) == ("{}", '{"rows": 1}')
    assert {tag.key: tag.value for tag in first.tags} == {"mlflow.data.context": "training"}
    assert (second.dataset.name, second.dataset.schema, second.tags) == ("test", None, ())
    assert [model.model_id for model in inputs.model_inputs] == ["m-1"]


def test_a_data_set_is_known_by_name_and_digest_and_the_first_wins(api: Api) -> None:
    experiment = api.new_experiment()
    a, b = api.new_run(experiment), api.new_run(experiment)
    api.log_inputs(run_id=a, datasets=[{"dataset": dataset(schema="first")}] * 2)
    api.log_inputs(run_id=b, datasets=[{"dataset": dataset(schema="second")}])
    for run_id in (a, b):
        (found,) = api.run(run_id).inputs.dataset_inputs
        assert found.dataset.schema == "first"
    elsewhere = api.new_run()
    api.log_inputs(run_id=elsewhere, datasets=[{"dataset": dataset(schema="second")}])
    assert api.run(elsewhere).inputs.dataset_inputs[0].dataset.schema == "second"


def test_data_sets_of_experiments_are_listed(api: Api) -> None:
    experiment = api.new_experiment()
    run_id = api.new_run(experiment)
    api.log_inputs(
        run_id=run_id,
        datasets=[{"dataset": dataset("a")}, {"tags": context("eval"), "dataset": dataset("b")}],
    )
    found = api.search_datasets(experiment_ids=[experiment]).dataset_summaries
    assert [(one.experiment_id, one.name, one.digest, one.context) for one in found] == [
        (experiment, "a", "abc", None),
        (experiment, "b", "abc", "eval"),
    ]
    with pytest.raises(InvalidParameter):
        api.search_datasets(experiment_ids=[])
    with pytest.raises(InvalidParameter):
        api.search_datasets(experiment_ids=["0"] * 21)


BAD_DATASETS = {
    "no name": {"name": ""},
    "a long name": {"name": "x" * 501},
    "no digest": {"digest": ""},
    "a long digest": {"digest": "x" * 37},
    "no source type": {"source_type": ""},
    "no source": {"source": ""},
    "a long source": {"source": "x" * 65_536},
    "a long schema": {"schema": "x" * 1_048_576},
    "a number as name": {"name": 5},
    "a NUL": {"name": "a\x00"},
}


@pytest.mark.parametrize("name", BAD_DATASETS)
def test_a_bad_data_set_is_refused_with_its_request(api: Api, name: str) -> None:
    run_id = api.new_run()
    with pytest.raises(InvalidParameter):
        api.log_inputs(
            run_id=run_id,
            datasets=[{"dataset": dataset()}, {"dataset": dataset(**BAD_DATASETS[name])}],
            models=[{"model_id": "m-1"}],
        )
    assert api.run(run_id).inputs.dataset_inputs == ()
    assert api.run(run_id).inputs.model_inputs == ()


@pytest.mark.parametrize(
    "tag", [{"key": "k" * 256}, {"key": ""}, {"key": "k", "value": "v" * 501}, {"value": "v"}]
)
def test_a_bad_input_tag_is_refused(api: Api, tag: dict) -> None:
    run_id = api.new_run()
    with pytest.raises(InvalidParameter):
        api.log_inputs(run_id=run_id, datasets=[{"tags": [tag], "dataset": dataset()}])
    assert api.run(run_id).inputs.dataset_inputs == ()


def test_models_that_a_run_produced_come_back_with_their_steps(api: Api) -> None:
    run_id = api.new_run()
    api.log_outputs(run_id=run_id, models=[{"model_id": "m-1", "step": 3}, {"model_id": "m-2"}])
    found = api.run(run_id).outputs.model_outputs
    assert {(one.model_id, one.step) for one in found} == {("m-1", 3), ("m-2", 0)}
    for models in ([], [{"model_id": ""}], [{"step": 1}], [{"model_id": "m", "step": 0.5}], None):
        with pytest.raises(InvalidParameter):
            api.log_outputs(run_id=run_id, models=models)


def test_models_are_appended_to_the_runs_history_tag(api: Api) -> None:
    run_id = api.new_run()
    model = {"artifact_path": "m", "flavors": {}, "utc_time_created": "now", "run_id": run_id}
    api.log_model(run_id=run_id, model_json=json.dumps(model))
    api.log_model(run_id=run_id, model_json=json.dumps({**model, "artifact_path": "n"}))
    history = json.loads(api.run(run_id).data.tags["mlflow.log-model.history"])
    assert [one["artifact_path"] for one in history] == ["m", "n"]
    for bad in ("", "{", "[]", "{}", '"text"', "[" * 100_000, json.dumps({**model, "x": 1})[:-9]):
        with pytest.raises(InvalidParameter):
            api.log_model(run_id=run_id, model_json=bad)
    with pytest.raises(NotFound):
        api.log_model(run_id="0" * 32, model_json=json.dumps(model))


def test_keys_in_use_are_found(api: Api) -> None:
    experiment, other = api.new_experiment(), api.new_experiment()
    word = unique("key")
    run_id = api.new_run(experiment)
    api.log_batch(
        run_id=run_id,
        metrics=[{"key": f"{word}/Loss", "value": 1, "timestamp": 1}],
        params=pairs(**{f"{word}-p": "1"}),
        tags=pairs(**{f"{word}-t": "1"}),
    )
    api.log_param(run_id=api.new_run(other), key=f"{word}-elsewhere", value="1")
    both = {"experiment_ids": [experiment], "contains": word}
    assert api.search_keys(**both, kind="metric").keys == (f"{word}/Loss",)
    assert api.search_keys(experiment_ids=[experiment], contains="LOSS").keys == (f"{word}/Loss",)
    assert api.search_keys(**both, kind="param").keys == (f"{word}-p",)
    assert api.search_keys(**both, kind="tag").keys == (f"{word}-t",)
    both["experiment_ids"] = [experiment, other]
    found = api.search_keys(**both, kind="param").keys
    assert found == (f"{word}-elsewhere", f"{word}-p")
    assert api.search_keys(**both, kind="param", max_results=1).keys == found[:1]
    for bad in ({"kind": "nonsense"}, {"max_results": 0}, {"experiment_ids": ["a"]}):
        with pytest.raises(InvalidParameter):
            api.search_keys(**{**both, **bad})
