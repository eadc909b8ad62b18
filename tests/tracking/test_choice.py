"""Choosing a store and an experiment."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import headrace
from headrace.errors import InvalidParameter, InvalidState, NotFound


def test_the_default_is_a_directory_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not headrace.is_tracking_uri_set()
    assert headrace.get_tracking_uri() == f"sqlite:///{tmp_path}/.headrace/headrace.db"
    with headrace.start_run() as run:
        headrace.log_text("x", "x.txt")
    assert (tmp_path / ".headrace" / "headrace.db").is_file()
    assert headrace.get_artifact_uri().startswith((tmp_path / ".headrace" / "artifacts").as_uri())
    headrace.end_run()
    assert run.info.experiment_id == "0"
    (tmp_path / "elsewhere" / ".headrace").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert headrace.get_tracking_uri() == f"sqlite:///{tmp_path}/.headrace/headrace.db"
    assert headrace.get_run(run.info.run_id).info.status == "FINISHED"


def test_the_nearest_directory_upward_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".headrace").mkdir()
    (tmp_path / "a" / "b").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "a" / "b")
    assert headrace.get_tracking_uri() == f"sqlite:///{tmp_path}/.headrace/headrace.db"


@pytest.mark.parametrize("name", ["HEADRACE_TRACKING_URI", "MLFLOW_TRACKING_URI"])
def test_the_environment_chooses(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, str(tmp_path / "env"))
    assert headrace.is_tracking_uri_set()
    assert headrace.get_tracking_uri() == str(tmp_path / "env")
    with headrace.start_run():
        pass
    assert (tmp_path / "env" / "headrace.db").is_file()


def test_what_was_set_comes_before_the_environment_and_reaches_children(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    headrace.set_tracking_uri("relative")
    assert headrace.get_tracking_uri() == str(tmp_path / "relative")
    assert os.environ["HEADRACE_TRACKING_URI"] == str(tmp_path / "relative")
    experiment = headrace.set_experiment("inherited")
    assert os.environ["HEADRACE_EXPERIMENT_ID"] == experiment.experiment_id
    headrace.set_tracking_uri("file:./my%20runs")
    assert headrace.get_tracking_uri() == str(tmp_path / "my runs")
    headrace.set_tracking_uri("")
    assert headrace.get_tracking_uri() == "http://127.0.0.1:9"
    assert "HEADRACE_EXPERIMENT_ID" not in os.environ


def test_each_store_has_its_own_runs(tmp_path: Path) -> None:
    for name in ("one", "two"):
        headrace.set_tracking_uri(tmp_path / name)
        headrace.set_experiment("same name")
        with headrace.start_run(run_name=name):
            pass
        [run] = headrace.search_runs(output_format="list")
        assert run.info.run_name == name
    headrace.set_tracking_uri(f"sqlite:///{tmp_path}/one/headrace.db")
    [run] = headrace.search_runs(experiment_names=["same name"], output_format="list")
    assert run.info.run_name == "one"


def test_a_run_ends_in_the_store_it_was_started_in(tmp_path: Path) -> None:
    headrace.set_tracking_uri(tmp_path / "one")
    with headrace.start_run() as run:
        headrace.set_tracking_uri(tmp_path / "two")
    headrace.set_tracking_uri(tmp_path / "one")
    assert headrace.get_run(run.info.run_id).info.status == "FINISHED"


@pytest.mark.parametrize("uri", ["databricks://x", "mysql://h/d", "http://", "sqlite://"])
def test_a_uri_that_names_no_store_is_refused(uri: str) -> None:
    headrace.set_tracking_uri(uri)
    with pytest.raises(InvalidParameter):
        headrace.start_run()


def test_setting_an_experiment_creates_it_once(tracking_uri: str) -> None:
    headrace.set_tracking_uri(tracking_uri)
    first = headrace.set_experiment("wine")
    again = headrace.set_experiment("wine")
    assert first.experiment_id == again.experiment_id
    assert headrace.set_experiment(experiment_id=first.experiment_id).name == "wine"
    with headrace.start_run() as run:
        pass
    assert run.info.experiment_id == first.experiment_id
    headrace.set_experiment_tag("a", 1)
    headrace.set_experiment_tags({"b": 2, "c": 3})
    headrace.delete_experiment_tag("c")
    assert headrace.get_experiment(first.experiment_id).tags == {"a": "1", "b": "2"}


def test_a_deleted_experiment_is_not_set(tracking_uri: str) -> None:
    headrace.set_tracking_uri(tracking_uri)
    old = headrace.set_experiment("wine")
    headrace.delete_experiment(old.experiment_id)
    with pytest.raises(InvalidState, match="deleted"):
        headrace.set_experiment(experiment_id=old.experiment_id)
    new = headrace.set_experiment("wine")  # the name is free
    assert new.experiment_id != old.experiment_id
    with pytest.raises(NotFound):
        headrace.set_experiment(experiment_id="4711")
    with pytest.raises(InvalidParameter):
        headrace.set_experiment()


def test_experiments_are_created_found_and_listed(tracking_uri: str) -> None:
    headrace.set_tracking_uri(tracking_uri)
    ids = [headrace.create_experiment(f"e{number}", tags={"n": number}) for number in range(3)]
    assert headrace.get_experiment_by_name("missing") is None
    found = headrace.get_experiment_by_name("e1")
    assert found is not None
    assert found.experiment_id == ids[1]
    names = [one.name for one in headrace.search_experiments(order_by=["name ASC"])]
    assert names == ["Default", "e0", "e1", "e2"]
    assert len(headrace.search_experiments(max_results=2)) == 2
    assert [one.name for one in headrace.search_experiments(filter_string="tags.n = '2'")] == ["e2"]
    headrace.delete_experiment(ids[0])
    deleted = headrace.search_experiments(view_type=2)  # MLflow's number for DELETED_ONLY
    assert [one.experiment_id for one in deleted] == ids[:1]
    headrace.restore_experiment(ids[0])
    assert headrace.get_experiment(ids[0]).lifecycle_stage == "active"
