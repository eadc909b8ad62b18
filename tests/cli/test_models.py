"""``headrace models``."""

from __future__ import annotations

import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
from sklearn.linear_model import LinearRegression

from headrace.client import Client
from headrace.models import infer_signature, save_model
from headrace.models.hashing import folder_digest
from headrace.models.produced import is_produced

from .conftest import Headrace

X = np.array([[0.0, 1.0], [1.0, 0.0], [2.0, 2.0]])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A saved model."""
    return saved(tmp_path / "saved", 1.0)


def saved(folder: Path, slope: float, columns: int = 2) -> Path:
    x = np.tile(X[:, :1], columns)
    model = LinearRegression().fit(x, slope * X[:, 0])
    save_model(model, folder, signature=infer_signature(x, model.predict(x)), pip_requirements=["scikit-learn==1.0"])  # fmt: skip
    return folder


def test_a_folder_is_logged_registered_shown_and_downloaded(
    headrace: Headrace, client: Client, folder: Path, tmp_path: Path
) -> None:
    run = client.create_run("0", run_name="trainer").info.run_id
    client.log_metric(run, "rmse", 0.25)
    uri, version = headrace(
        "models", "log", str(folder), "-n", "slope", "-r", run, "--register", "lines"
    ).stdout.split()
    assert version == "models:/lines/1"
    assert "models:/lines/2" in headrace("models", "register", uri, "lines").stdout
    client.set_registered_model_alias("lines", "champion", "2")
    listed = headrace("models", "list").stdout
    assert "lines" in listed
    assert "champion=2" in listed
    versions = headrace.json("models", "list", "lines")
    assert [one["version"] for one in versions] == ["2", "1"]
    card = headrace("models", "show", "models:/lines@champion").stdout
    for text in (
        "# lines, version 2",
        "champion",
        "trainer",
        "rmse",
        "0.25",
        "Tensor",
        "scikit-learn",
    ):
        assert text in card
    shown = headrace.json("models", "show", uri)
    assert shown["logged_model"]["info"]["name"] == "slope"
    assert shown["run_id"] == run
    done = headrace("models", "download", "models:/lines/1", str(tmp_path / "got"))
    assert "as recorded" in done.stdout
    assert (tmp_path / "got" / "MLmodel").exists()
    headrace("models", "download", "models:/lines/1", str(tmp_path / "got"), code=2)


def test_a_strangers_model_does_not_become_ones_own_by_being_logged(
    headrace: Headrace, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "theirs"))
    save_model(LinearRegression().fit([[1.0]], [1.0]), tmp_path / "m", flavor="sklearn",
        serialization_format="pickle", pip_requirements=[])  # fmt: skip
    for state, place in (("theirs", "a"), ("mine", "b")):
        monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / state))
        uri = headrace("models", "log", str(tmp_path / "m")).stdout.strip()
        headrace("models", "download", uri, str(tmp_path / place))
        assert is_produced(folder_digest(tmp_path / place).hash) is (state == "theirs")


def test_an_alias_moves_with_history_and_back(headrace: Headrace, folder: Path) -> None:
    for _ in range(2):
        headrace("models", "log", str(folder), "--register", "lines")
    headrace("models", "alias", "lines", "champion", "1")
    headrace("models", "alias", "lines", "champion", "2")
    assert headrace("models", "alias", "lines", "champion").stdout == "2\n"
    assert "2 -> 1" in headrace("models", "alias", "lines", "champion", "--back").stdout
    moves = headrace.json("models", "history", "lines", "champion")
    assert [(one.get("before"), one.get("after")) for one in moves] == [
        ("2", "1"),
        ("1", "2"),
        (None, "1"),
    ]
    assert "champion" in headrace("models", "history", "lines").stdout
    headrace("models", "alias", "lines", "champion", "--delete")
    gone = headrace("models", "alias", "lines", "champion", code=3)
    assert "has no alias 'champion'" in gone.stderr
    headrace("models", "show", "models:/lines@champion", code=3)
    headrace("models", "alias", "lines", "champion", "1", "--back", code=2)


def test_a_guard_is_set_shown_obeyed_and_removed(
    headrace: Headrace, client: Client, folder: Path
) -> None:
    headrace("models", "log", str(folder), "--register", "lines")
    said = headrace("models", "guard", "lines", "champion", "--check", "rmse").stdout
    assert said == "lines@champion moves to a version when the check rmse is passed.\n"
    refused = headrace("models", "alias", "lines", "champion", "1", code=5)
    assert "rmse" in refused.stderr
    assert "rmse" in headrace("models", "guard", "lines").stdout
    client.set_model_version_tag("lines", "1", "headrace.check.rmse", "passed")
    headrace("models", "alias", "lines", "champion", "1")
    headrace("models", "guard", "lines", "champion", "--delete")
    assert headrace.json("models", "guard", "lines") == []
    headrace("models", "guard", "lines", "--check", "rmse", code=2)


def test_a_diff_names_what_a_caller_would_notice(
    headrace: Headrace, folder: Path, tmp_path: Path
) -> None:
    headrace("models", "log", str(folder), "--register", "lines")
    headrace("models", "log", str(saved(tmp_path / "b", 2.0)), "--register", "lines")
    headrace("models", "log", str(saved(tmp_path / "c", 2.0, columns=3)), "--register", "lines")
    same = headrace("models", "diff", "models:/lines/1", "models:/lines/2")
    assert "signature" not in same.stdout
    found = headrace.json("models", "diff", "models:/lines/1", "models:/lines/3", code=1)
    assert "(-1, 2)" in str(found["signature"])
    assert "(-1, 3)" in str(found["signature"])
    assert (
        "inputs" in headrace("models", "diff", "models:/lines/1", "models:/lines/3", code=1).stdout
    )


def test_models_are_deleted_by_what_they_are_called(
    headrace: Headrace, client: Client, folder: Path
) -> None:
    for _ in range(2):
        headrace("models", "log", str(folder), "--register", "lines")
    (uri, _) = headrace("models", "log", str(folder), "--register", "lines").stdout.split()
    headrace("models", "delete", "models:/lines/2", "-y")
    assert [one.version for one in client.search_model_versions("name = 'lines'")] == ["3", "1"]
    headrace("models", "delete", "models:/lines@champion", "-y", code=2)
    headrace("models", "delete", uri)
    headrace("models", "delete", "lines", input="n\n", code=1)
    headrace("models", "delete", "lines", "-y")
    headrace("models", "delete", "lines", "-y", code=3)


def test_mistakes_end_with_the_right_code(headrace: Headrace, folder: Path, tmp_path: Path) -> None:
    headrace("models", "log", str(folder))
    headrace("models", "show", "models:/nothing/1", code=3)
    headrace("models", "show", "models:/", code=2)
    headrace("models", "list", "nothing", code=3)
    (tmp_path / "empty").mkdir()
    refused = headrace("models", "log", str(tmp_path / "empty"), code=2)
    assert "MLmodel" in refused.stderr


def test_programs_read_json(headrace: Headrace, folder: Path, tmp_path: Path) -> None:
    headrace("models", "log", str(folder), "--register", "lines")
    headrace("models", "guard", "lines", "champion", "--check", "rmse", "--approvals", "2")
    waits = headrace.json("models", "approve", "lines", "champion", "1")
    assert (waits["moved"], waits["checks"]) == (False, ["rmse"])
    headrace("models", "alias", "lines", "other", "1")
    assert headrace.json("models", "alias", "lines", "other")["version"] == "1"
    got = headrace.json("models", "download", "models:/lines@other", str(tmp_path / "got"))
    assert got["digest"] == got["recorded_digest"]
    assert headrace.json("models", "scan", "models:/lines/1")["path"] == "models:/lines/1"


def test_a_name_without_an_address_is_no_model(headrace: Headrace, folder: Path, tmp_path: Path) -> None:  # fmt: skip
    headrace("models", "log", str(folder), "--register", "lines")
    assert "models:/lines/latest" in headrace("models", "show", "lines", code=3).stderr
    headrace("models", "diff", str(folder), str(tmp_path / "nothing"), code=3)
    (tmp_path / "file").write_text("")
    headrace("models", "download", "models:/lines/1", str(tmp_path / "file"), code=2)


def test_an_archive_is_logged_as_its_folder_is_and_one_that_leads_out_is_refused(
    headrace: Headrace, folder: Path, tmp_path: Path
) -> None:
    archive = shutil.make_archive(str(tmp_path / "model"), "zip", folder)
    uri = headrace("models", "log", archive).stdout.strip()
    assert headrace.json("models", "show", uri)["model"]["flavors"]["sklearn"]
    with zipfile.ZipFile(archive, "a") as file:
        file.writestr("../outside", "x")
    assert "outside" in headrace("models", "log", archive, code=5).stderr
    assert not (tmp_path / "outside").exists()
