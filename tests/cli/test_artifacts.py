"""``headrace artifacts``, as a person types it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from headrace.cli import main
from headrace.client import Client
from support.server import Server

Run = Callable[..., Result]


@pytest.fixture(params=["local", "server"])
def uri(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "local":
        return str(tmp_path / "store")
    server: Callable[..., Server] = request.getfixturevalue("server")
    return server().url


@pytest.fixture
def run_id(uri: str) -> str:
    client = Client(uri)
    run = client.create_run(client.create_experiment("files"))
    return run.info.run_id


@pytest.fixture
def headrace(uri: str) -> Run:
    def run(*arguments: str) -> Result:
        return CliRunner().invoke(main, ["artifacts", *arguments, "--store", uri])

    return run


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    source = tmp_path / "source"
    (source / "sub").mkdir(parents=True)
    (source / "a [b].txt").write_text("hello")
    (source / "sub/c.txt").write_text("deep")
    return source


def test_put_ls_get(
    headrace: Run, run_id: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert headrace("put", run_id, str(folder / "a [b].txt"), "in").exit_code == 0
    put = headrace("put", run_id, str(folder), "in")
    assert (put.exit_code, put.output.startswith("2 files in ")) == (0, True)
    listed = headrace("ls", run_id, "--json")
    assert json.loads(listed.stdout) == [{"path": "in", "is_dir": True, "file_size": None}]
    table = headrace("ls", f"runs:/{run_id}/in")
    assert "a [b].txt" in table.stdout
    assert "sub/" in table.stdout
    deep = json.loads(headrace("ls", run_id, "in", "-r", "--json").stdout)
    assert [row["path"] for row in deep] == ["in/a [b].txt", "in/sub/c.txt"]
    got = headrace("get", run_id, "in/sub/c.txt", str(tmp_path))
    assert got.stdout == f"{tmp_path / 'c.txt'}\n"
    assert (tmp_path / "c.txt").read_text() == "deep"
    whole = headrace("get", f"runs:/{run_id}/in", str(tmp_path / "whole"))
    assert whole.exit_code == 0, whole.output
    assert (tmp_path / "whole/sub/c.txt").read_text() == "deep"
    monkeypatch.chdir(tmp_path)
    assert headrace("get", run_id, "in").exit_code == 0
    assert (tmp_path / "in/a [b].txt").read_text() == "hello"


def test_what_is_not_there_ends_with_3(headrace: Run, run_id: str, tmp_path: Path) -> None:
    for arguments in (
        ("ls", "f" * 32),
        ("ls", run_id, "nope"),
        ("get", run_id, "nope", str(tmp_path)),
        ("get", "runs:/" + "f" * 32 + "/x", str(tmp_path)),
    ):
        result = headrace(*arguments)
        assert (result.exit_code, result.stdout) == (3, ""), arguments
        assert result.stderr.startswith("headrace: ")


def test_a_run_without_files_lists_nothing_and_ends_with_0(headrace: Run, run_id: str) -> None:
    result = headrace("ls", run_id, "--json")
    assert (result.exit_code, json.loads(result.stdout)) == (0, [])


def test_a_wrong_command_line_ends_with_2(headrace: Run, run_id: str, folder: Path) -> None:
    for arguments in (
        ("put", run_id, str(folder / "nope")),
        ("put", run_id, str(folder), "../out"),
        ("ls", run_id, "/etc"),
        ("ls", "ftp://host/x"),
        ("ls", "runs:/"),
    ):
        result = headrace(*arguments)
        assert result.exit_code == 2, (arguments, result.output)


def test_any_artifact_folder_can_be_named_by_its_uri(
    headrace: Run, folder: Path, tmp_path: Path
) -> None:
    rows = json.loads(headrace("ls", folder.as_uri(), "--json").stdout)
    assert [row["path"] for row in rows] == ["a [b].txt", "sub"]
    assert headrace("get", str(folder), "sub/c.txt", str(tmp_path / "got")).exit_code == 0
    assert (tmp_path / "got").read_text() == "deep"
