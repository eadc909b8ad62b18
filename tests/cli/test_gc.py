"""``headrace gc``."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

import pytest

from headrace.client import Client

from .conftest import Headrace, NewRun


def folder(client: Client, run_id: str) -> Path:
    return Path(urlsplit(client.get_run(run_id).info.artifact_uri).path)


@pytest.fixture
def trashed(client: Client, new_run: NewRun) -> str:
    """A deleted run with an artifact."""
    run_id = new_run("trashed", {"lr": 1}, {"loss": 0.5})
    client.log_text(run_id, "hello", "deep/notes.txt")
    client.delete_run(run_id)
    return run_id


def test_what_is_long_enough_in_the_trash_goes_with_its_files(
    headrace: Headrace, client: Client, new_run: NewRun, trashed: str
) -> None:
    kept = new_run("kept")
    client.log_text(kept, "hello", "notes.txt")
    gone = folder(client, trashed)
    assert "Removed 0 runs" in headrace("gc").stdout  # deleted just now
    assert gone.is_dir()
    assert "Removed 1 run and 0 experiments" in headrace("gc", "--older-than", "0s").stdout
    assert not gone.parent.exists()
    headrace("runs", "show", trashed, code=3)
    assert (folder(client, kept) / "notes.txt").read_text() == "hello"


def test_a_dry_run_says_what_would_go_and_leaves_it(
    headrace: Headrace, client: Client, trashed: str
) -> None:
    found = headrace.json("gc", "--older-than", "0s", "--dry-run")
    assert found["run_ids"] == [trashed]
    assert trashed in headrace("gc", "--older-than", "0s", "-n").stdout
    assert folder(client, trashed).is_dir()


def test_ids_choose_and_need_no_age(headrace: Headrace, client: Client, new_run: NewRun) -> None:
    one, two, three = new_run("one"), new_run("two"), new_run("three")
    headrace("runs", "delete", one, two, three)
    assert headrace.json("gc", "--run-ids", f"{one},{two}")["run_ids"] == [one, two]
    left = [run["run_id"] for run in headrace.json("runs", "list", "-v", "all")]
    assert left == [three]


def test_what_is_not_in_the_trash_is_refused(headrace: Headrace, new_run: NewRun) -> None:
    active = new_run("active")
    headrace("gc", "--run-ids", active, code=2)
    headrace("gc", "--run-ids", "0" * 32, code=3)
    headrace("gc", "--older-than", "soon", code=2)
    assert len(headrace.json("runs", "list")) == 1


def test_an_experiment_goes_with_all_its_runs_however_many(
    headrace: Headrace, client: Client
) -> None:
    experiment_id = client.create_experiment("many")
    client.import_runs([{"experiment_id": experiment_id} for _ in range(450)])
    client.delete_experiment(experiment_id)
    report = headrace.json("gc", "--experiment-ids", experiment_id)
    assert len(report["run_ids"]) == 450
    assert report["experiment_ids"] == [experiment_id]
    headrace("experiments", "show", experiment_id, code=3)


def test_a_location_that_a_user_chose_keeps_what_is_not_of_the_runs(
    headrace: Headrace, client: Client, new_run: NewRun, tmp_path: Path
) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    (shared / "precious.txt").write_text("mine")
    experiment_id = client.create_experiment("shared", artifact_location=shared.as_uri())
    run_id = new_run("one", experiment_id=experiment_id)
    client.log_text(run_id, "hello", "notes.txt")
    client.delete_experiment(experiment_id)
    headrace("gc", "--older-than", "0s")
    assert [path.name for path in shared.iterdir()] == ["precious.txt"]


def test_a_chosen_location_stays_even_if_it_is_named_like_its_experiment(
    headrace: Headrace, client: Client, tmp_path: Path
) -> None:
    precious = tmp_path / "data" / "1" / "precious.txt"
    precious.parent.mkdir(parents=True)
    precious.write_text("mine")
    location = precious.parent.as_uri()
    assert client.create_experiment("chosen", artifact_location=location) == "1"
    client.delete_experiment("1")
    assert headrace.json("gc", "--older-than", "0s")["experiment_ids"] == ["1"]
    assert precious.read_text() == "mine"


@pytest.mark.parametrize("through", ["directory", "server"])
def test_an_imported_run_cannot_name_a_folder_that_is_not_its_own(
    server, tmp_path: Path, through: str
) -> None:
    precious = tmp_path / "home" / "thesis" / "artifacts" / "precious.txt"
    precious.parent.mkdir(parents=True)
    precious.write_text("mine")
    location = (tmp_path / "home").as_uri()
    url = server(tmp_path / "store").url
    client = Client(url)
    experiment_id = client.create_experiment("hostile", artifact_location=location)
    client.import_runs([{"experiment_id": experiment_id, "run_id": "thesis"}])
    client.delete_run("thesis")
    headrace = Headrace(url if through == "server" else str(tmp_path / "store"))
    result = headrace("gc", "--older-than", "0s", code=1)
    assert f"{location}/thesis" in result.stderr
    assert precious.read_text() == "mine"


def test_a_local_folder_does_not_go_on_the_word_of_a_server(server, tmp_path: Path) -> None:
    headrace = Headrace(server(tmp_path / "store").url)
    client = Client(headrace.uri)
    location = (tmp_path / "elsewhere").as_uri()
    experiment_id = client.create_experiment("local", artifact_location=location)
    run_id = client.create_run(experiment_id).info.run_id
    client.log_text(run_id, "hello", "notes.txt")
    client.delete_run(run_id)
    result = headrace("gc", "--older-than", "0s", code=1)
    assert f"{location}/{run_id}/artifacts" in result.stderr
    assert (tmp_path / "elsewhere" / run_id / "artifacts" / "notes.txt").is_file()


def test_artifacts_that_a_server_keeps_elsewhere_are_found_when_named(
    server, tmp_path: Path
) -> None:
    elsewhere = tmp_path / "elsewhere"
    client = Client(server(tmp_path / "store", "--artifacts", str(elsewhere)).url)
    run_id = client.create_run("0").info.run_id
    client.log_text(run_id, "hello", "notes.txt")
    client.delete_run(run_id)
    headrace = Headrace(str(tmp_path / "store"))
    headrace("gc", "--older-than", "0s", "--artifacts", str(elsewhere))
    assert list((elsewhere / "0").iterdir()) == []


@pytest.mark.parametrize("location", ["nosuchscheme://bucket/x", "file://host/x"])
def test_files_that_cannot_be_deleted_are_named(
    headrace: Headrace, client: Client, new_run: NewRun, location: str
) -> None:
    experiment_id = client.create_experiment("odd", artifact_location=location)
    run_id = new_run("one", experiment_id=experiment_id)
    client.delete_run(run_id)
    result = headrace("gc", "--run-ids", run_id, code=1)
    assert f"{location}/{run_id}" in result.stderr


def test_it_works_through_a_server(server, tmp_path: Path) -> None:
    headrace = Headrace(server(tmp_path / "store").url)
    client = Client(headrace.uri)
    run_id = client.create_run("0", run_name="one").info.run_id
    client.log_text(run_id, "hello", "notes.txt")
    kept = tmp_path / "store" / "artifacts" / "0"
    assert [path.name for path in kept.iterdir()] == [run_id]
    client.delete_run(run_id)
    assert headrace.json("gc", "--older-than", "0s")["run_ids"] == [run_id]
    assert not kept.exists() or list(kept.iterdir()) == []


def test_logged_models_go_with_their_files(
    headrace: Headrace, client: Client, tmp_path: Path
) -> None:
    file = tmp_path / "MLmodel"
    file.write_text("flavors: {}")
    chosen = client.create_experiment("chosen", (tmp_path / "chosen").as_uri())
    models = [client.create_logged_model(where, "m") for where in ("0", "0", chosen)]
    for model in models:
        client.log_model_artifact(model.model_id, file)
    one, two, three = (Path(urlsplit(model.artifact_location).path) for model in models)
    ids = [model.model_id for model in models]
    headrace("gc", "--logged-model-ids", ids[0], code=2)  # not in the trash
    for model_id in (ids[0], ids[2]):
        client.delete_logged_model(model_id)
    dry = headrace("gc", "-n", "--older-than", "0s").stdout
    assert "Would remove 0 runs, 2 logged models and 0 experiments." in dry
    assert f"logged model {ids[0]}" in dry
    found = headrace.json("gc", "--logged-model-ids", f"{ids[0]},{ids[2]}")
    assert found["logged_model_ids"] == [ids[0], ids[2]]
    assert (one.exists(), two.exists(), three.exists()) == (False, True, False)
    client.delete_experiment("0")
    gone = headrace.json("gc", "--experiment-ids", "0")
    assert (gone["logged_model_ids"], gone["artifacts_left"]) == ([ids[1]], [])
    assert not two.exists()
