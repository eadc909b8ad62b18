"""The fluent API of logged models."""

from __future__ import annotations

import asyncio
import threading

import pytest

import headrace
from headrace.errors import InvalidParameter, NotFound


@pytest.fixture(autouse=True)
def no_active_model() -> None:
    headrace.clear_active_model()


def test_a_model_is_made_filled_and_finalized() -> None:
    assert headrace.last_logged_model() is None
    with headrace.start_run() as run:
        model = headrace.initialize_logged_model("net", params={"depth": 3}, tags={"a": 1})
    assert (model.status, model.source_run_id) == ("PENDING", run.info.run_id)
    assert model.experiment_id == run.info.experiment_id
    assert (model.params, model.tags["a"]) == ({"depth": "3"}, "1")
    assert "mlflow.user" in model.tags
    headrace.log_model_params({"width": 4}, model.model_id)
    headrace.set_logged_model_tags(model.model_id, {"b": 2})
    headrace.delete_logged_model_tag(model.model_id, "a")
    assert headrace.finalize_logged_model(model.model_id, "READY").status == "READY"
    last = headrace.last_logged_model()
    assert last is not None
    assert (last.params, last.tags["b"]) == ({"depth": "3", "width": "4"}, "2")
    assert "a" not in last.tags
    headrace.delete_logged_model(model.model_id)
    with pytest.raises(NotFound):
        headrace.get_logged_model(model.model_id)
    with pytest.raises(InvalidParameter, match="READY or FAILED"):
        headrace.finalize_logged_model(model.model_id, "DONE")


def test_an_external_model_has_a_model_file_and_is_ready() -> None:
    model = headrace.create_external_model("away", model_type="agent")
    assert (model.status, model.model_type) == ("READY", "agent")
    assert model.tags["mlflow.model.isExternal"] == "true"
    files = headrace.Client().list_logged_model_artifacts(model.model_id)
    assert [file.path for file in files] == ["MLmodel"]


def test_models_are_searched() -> None:
    for name in "abc":
        headrace.create_external_model(name, params={"name": name})
    found = headrace.search_logged_models(
        filter_string="params.name != 'b'",
        order_by=[{"field_name": "name"}],
        output_format="list",
    )
    assert [model.name for model in found] == ["a", "c"]
    assert len(headrace.search_logged_models(max_results=2, output_format="list")) == 2
    assert list(headrace.search_logged_models()["name"]) == ["c", "b", "a"]
    with pytest.raises(InvalidParameter, match="output_format"):
        headrace.search_logged_models(output_format="text")  # type: ignore[arg-type]


def test_metrics_are_about_the_active_model() -> None:
    model = headrace.initialize_logged_model("net")
    other = headrace.initialize_logged_model("other")
    with headrace.start_run() as run:
        headrace.log_metric("before", 1)
        with headrace.set_active_model(name="net") as active:
            assert active.model_id == model.model_id == headrace.get_active_model_id()
            headrace.log_metric("one", 1, step=1)
            headrace.log_metrics({"two": 2})
            headrace.log({"three": {"four": 4}}, step=2)
            headrace.log_batch(metrics=[{"key": "five", "value": 5}])
            headrace.log_metric("other", 6, model_id=other.model_id)
            headrace.log_model_params({"p": 1})
        assert headrace.get_active_model_id() is None
        headrace.log_metric("after", 1)
    seen = headrace.get_logged_model(model.model_id)
    assert {one.key: (one.value, one.step) for one in seen.metrics} == {
        "one": (1, 1),
        "two": (2, 0),
        "three/four": (4, 2),
        "five": (5, 0),
    }
    assert {one.run_id for one in seen.metrics} == {run.info.run_id}
    assert seen.params == {"p": "1"}
    assert [one.key for one in headrace.get_logged_model(other.model_id).metrics] == ["other"]
    assert len(headrace.get_run(run.info.run_id).data.metrics) == 7


def test_a_model_that_is_not_there_is_made_active_by_making_it() -> None:
    made = headrace.set_active_model(name="new")
    assert headrace.set_active_model(name="new").model_id == made.model_id
    assert headrace.set_active_model(model_id=made.model_id, name="new").name == "new"
    with pytest.raises(InvalidParameter, match="is called 'new'"):
        headrace.set_active_model(model_id=made.model_id, name="old")
    with pytest.raises(InvalidParameter, match="Invalid model name"):
        headrace.set_active_model(name="it's")
    with pytest.raises(InvalidParameter):
        headrace.set_active_model()
    headrace.clear_active_model()
    with pytest.raises(InvalidParameter, match="No model is active"):
        headrace.log_model_params({"p": 1})


def test_the_active_model_is_the_contexts_and_begins_with_the_environments(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MLFLOW_ACTIVE_MODEL_ID", "m-1")
    seen: list[str | None] = []
    thread = threading.Thread(target=lambda: seen.append(headrace.get_active_model_id()))
    thread.start()
    thread.join()
    model = headrace.initialize_logged_model("net")

    async def task(*, set_it: bool) -> str | None:
        if set_it:
            headrace.set_active_model(model_id=model.model_id)
        await asyncio.sleep(0)
        return headrace.get_active_model_id()

    async def both() -> list[str | None]:
        return list(await asyncio.gather(task(set_it=True), task(set_it=False)))

    assert (seen, asyncio.run(both())) == (["m-1"], [model.model_id, None])
