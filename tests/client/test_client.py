"""The client, on an embedded store and through a server."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from headrace.client.client import Client
from headrace.entities import (
    Dataset,
    DatasetInput,
    LoggedModelInput,
    LoggedModelOutput,
    Metric,
    Param,
    RunStatus,
    RunTag,
    ViewType,
)
from headrace.errors import AlreadyExists, InvalidParameter, NotFound
from headrace.protocol.runs import ImportedRun
from support.server import Server


@pytest.fixture(params=["local", "server"])
def client(
    request: pytest.FixtureRequest, tmp_path: Path, server: Callable[..., Server]
) -> Iterator[Client]:
    uri = str(tmp_path / "store") if request.param == "local" else server().url
    with Client(uri) as one:
        yield one


def test_experiments_live_and_die(client: Client) -> None:
    experiment_id = client.create_experiment("e", tags={"team": 1})
    assert isinstance(experiment_id, str)
    with pytest.raises(AlreadyExists):
        client.create_experiment("e")
    assert client.get_experiment(experiment_id).tags == {"team": "1"}
    assert client.get_experiment(int(experiment_id)).name == "e"  # type: ignore[arg-type]
    client.rename_experiment(experiment_id, "f")
    client.set_experiment_tags(experiment_id, {"a": 1, "b": 2})
    client.delete_experiment_tag(experiment_id, "a")
    found = client.get_experiment_by_name("f")
    assert found is not None
    assert found.tags == {"team": "1", "b": "2"}
    assert client.get_experiment_by_name("e") is None
    client.delete_experiment(experiment_id)
    deleted = client.search_experiments(view_type=ViewType.DELETED_ONLY)
    assert [one.name for one in deleted] == ["f"]
    client.restore_experiment(experiment_id)
    with pytest.raises(NotFound):
        client.get_experiment("12345")
    with pytest.raises(NotFound):
        client.delete_experiment_tag(experiment_id, "missing")


def test_results_come_in_pages(client: Client) -> None:
    experiment_id = client.create_experiment("e")
    for number in range(5):
        client.create_run(experiment_id, run_name=f"r{number}", start_time=1000 + number)
        client.create_experiment(f"page {number}")
    names: list[str] = []
    token = None
    while True:
        page = client.search_runs([experiment_id], max_results=2, page_token=token)
        assert isinstance(page, list)
        names += [run.info.run_name for run in page]
        token = page.token
        if token is None:
            break
    assert names == ["r4", "r3", "r2", "r1", "r0"]
    first = client.search_experiments(max_results=4, filter_string="name LIKE 'page%'")
    rest = client.search_experiments(
        max_results=4, filter_string="name LIKE 'page%'", page_token=first.token
    )
    assert len(first) == 4
    assert len(rest) == 1
    assert rest.token is None
    assert client.search_runs(experiment_id).to_list() == list(client.search_runs([experiment_id]))  # type: ignore[arg-type]


def test_runs_live_and_die(client: Client) -> None:
    run = client.create_run("0", tags={"mlflow.user": "eve", "n": 1}, run_name="x")
    run_id = run.info.run_id
    assert (run.info.user_id, run.info.run_name, run.data.tags["n"]) == ("eve", "x", "1")
    client.update_run(run_id, status="SCHEDULED", name="y")
    assert client.get_run(run_id).info.run_name == "y"
    client.set_terminated(run_id, "FAILED", end_time=run.info.start_time + 5)
    ended = client.get_run(run_id).info
    assert (ended.status, ended.end_time) == (RunStatus.FAILED, run.info.start_time + 5)
    child = client.create_run("0", tags={"mlflow.parentRunId": run_id})
    parent = client.get_parent_run(child.info.run_id)
    assert parent is not None
    assert parent.info.run_id == run_id
    client.delete_run(run_id)
    assert client.get_run(run_id).info.lifecycle_stage == "deleted"
    with pytest.raises(InvalidParameter, match="deleted"):
        client.log_metric(run_id, "m", 1)
    client.restore_run(run_id)
    client.log_metric(run_id, "m", 1)
    with pytest.raises(NotFound):
        client.get_run("0" * 32)


def test_batches_take_entities_dictionaries_and_mlflows_objects(client: Client) -> None:
    class TheirMetric:
        key, value, timestamp, step, model_id = "theirs", 3, 30, 3, None

    run_id = client.create_run("0").info.run_id
    client.log_batch(
        run_id,
        metrics=[Metric("a", 1, 10, 1), {"key": "b", "value": np.float64(2)}, TheirMetric()],  # type: ignore[list-item]
        params=[Param("p", "1")],
        tags=[RunTag("t", "2")],
    )
    client.log_batch(run_id, params={"q": None}, tags={"u": 5})
    client.log_batch(run_id)
    data = client.get_run(run_id).data
    assert data.metrics == {"a": 1.0, "b": 2.0, "theirs": 3.0}
    assert data.params == {"p": "1", "q": "None"}
    assert data.tags["t"] == "2"
    assert data.tags["u"] == "5"
    [point] = client.get_metric_history(run_id, "a")
    assert point == Metric("a", 1.0, 10, 1)
    assert client.get_metric_history(run_id, "missing") == []
    client.set_tag(run_id, "t", 3)
    client.delete_tag(run_id, "u")
    with pytest.raises(NotFound):
        client.delete_tag(run_id, "u")
    with pytest.raises(InvalidParameter):
        client.log_param(run_id, "p", "other")


def test_inputs_and_outputs_are_kept(client: Client) -> None:
    run_id = client.create_run("0").info.run_id
    dataset = Dataset(name="d", digest="1", source_type="local", source="x", schema="{}")
    client.log_inputs(
        run_id,
        [DatasetInput(dataset=dataset, tags=(RunTag("mlflow.data.context", "training"),))],
        [LoggedModelInput(model_id="m-1")],
    )
    client.log_outputs(run_id, [LoggedModelOutput(model_id="m-2", step=3)])
    run = client.get_run(run_id)
    assert run.inputs.dataset_inputs[0].dataset == dataset
    assert run.inputs.model_inputs[0].model_id == "m-1"
    assert run.outputs.model_outputs == (LoggedModelOutput(model_id="m-2", step=3),)
    [summary] = client.search_run_datasets(["0"])
    assert (summary.name, summary.context) == ("d", "training")


def test_whole_runs_are_imported_once(client: Client) -> None:
    points = [
        {"key": "loss", "value": 1 / (step + 1), "timestamp": 1000 + step, "step": step}
        for step in range(1500)
    ]
    runs = [
        {"experiment_id": "0", "run_id": "imported1", "params": {"lr": 0.1}, "metrics": points},
        ImportedRun(experiment_id="0", run_name="second", tags=(RunTag("t", "x"),)),
    ]
    ids = client.import_runs(runs)  # type: ignore[arg-type]
    assert ids[0] == "imported1"
    assert client.get_run(ids[0]).data.params == {"lr": "0.1"}
    assert client.get_run(ids[1]).info.run_name == "second"
    client.import_runs(runs[:1])  # type: ignore[arg-type]
    columns = client.get_metric_columns("imported1", "loss")
    assert columns.steps.tolist() == list(range(1500))
    assert columns.timestamps.dtype == np.int64
    assert columns.values.tolist() == [1 / (step + 1) for step in range(1500)]
    chart = client.get_metric_chart("imported1", "loss", buckets=10)
    assert 1 <= len(chart) <= 10
    assert sum(bucket.count for bucket in chart) == 1500
    assert max(bucket.max or 0 for bucket in chart) == 1.0
    assert client.get_metric_columns("imported1", "none").values.tolist() == []
    assert client.search_keys(["0"]) == ["loss"]
    assert client.search_keys(["0"], "param", contains="L") == ["lr"]
    assert client.import_runs([]) == []


def test_the_trash_can_be_emptied(client: Client) -> None:
    run_id = client.create_run("0").info.run_id
    with pytest.raises(InvalidParameter):
        client.purge_trash(run_ids=[run_id])
    client.delete_run(run_id)
    assert client.purge_trash(dry_run=True).run_ids == (run_id,)
    assert client.get_run(run_id).info.run_id == run_id
    purged = client.purge_trash()
    assert purged.run_ids == (run_id,)
    assert len(purged.artifact_uris) == 1
    with pytest.raises(NotFound):
        client.get_run(run_id)


def test_artifacts_with_awkward_names_come_back(client: Client, tmp_path: Path) -> None:
    run_id = client.create_run("0").info.run_id
    names = ["a b.txt", "100%.txt", "ü/ñ+#?.txt", "q&a=1;x.txt", "%2e.txt"]
    for name in names:
        client.log_text(run_id, name, name)
    listed = [file.path for file in client.list_artifacts(run_id) if not file.is_dir]
    assert sorted(listed) == sorted(name for name in names if "/" not in name)
    (tmp_path / "got").mkdir()
    for name in names:
        path = client.download_artifacts(run_id, name, tmp_path / "got")
        assert Path(path).read_text() == name
    for bad in ("../up.txt", "/etc/x", "a/../../b"):
        with pytest.raises(InvalidParameter):
            client.log_text(run_id, "x", bad)
        with pytest.raises(InvalidParameter):
            client.download_artifacts(run_id, bad)
