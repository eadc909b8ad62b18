"""``headrace experiments``."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest

from headrace.client import Client

from .conftest import Headrace, NewRun


def test_a_created_experiment_is_listed_with_its_tags(headrace: Headrace) -> None:
    assert headrace("experiments", "create", "wine", "--tag", "team=red").stdout == "1\n"
    listed = headrace("experiments", "list").stdout
    assert "wine" in listed
    assert "team=red" in listed
    names = [one["name"] for one in headrace.json("experiments", "list")]
    assert names == ["wine", "Default"]


def test_experiments_can_be_filtered_ordered_and_limited(headrace: Headrace) -> None:
    for name in ("b", "a", "c"):
        headrace("experiments", "create", name)
    ordered = headrace.json("experiments", "list", "-o", "name ASC", "-f", "name != 'Default'")
    assert [one["name"] for one in ordered] == ["a", "b", "c"]
    assert len(headrace.json("experiments", "list", "--limit", "2")) == 2


def test_show_takes_an_id_or_a_name(headrace: Headrace) -> None:
    headrace("experiments", "create", "wine")
    by_id = headrace.json("experiments", "show", "1")
    assert by_id["name"] == "wine"
    assert by_id == headrace.json("experiments", "show", "wine")
    assert by_id == headrace.json("experiments", "get", "--experiment-id", "1")
    assert by_id == headrace.json("experiments", "get", "-n", "wine")


def test_a_name_of_digits_is_reached_by_the_option(headrace: Headrace) -> None:
    headrace("experiments", "create", "2024")
    headrace("experiments", "show", "2024", code=3)
    assert headrace.json("experiments", "show", "-n", "2024")["experiment_id"] == "1"


def test_rename_delete_and_restore(headrace: Headrace) -> None:
    headrace("experiments", "create", "wine")
    headrace("experiments", "rename", "wine", "beer")
    headrace("experiments", "delete", "beer")
    assert [one["name"] for one in headrace.json("experiments", "list")] == ["Default"]
    deleted = headrace.json("experiments", "list", "--view", "deleted_only")
    assert [one["name"] for one in deleted] == ["beer"]
    headrace("experiments", "restore", "1")
    assert headrace.json("experiments", "show", "beer")["lifecycle_stage"] == "active"


def test_a_name_cannot_command_the_terminal(headrace: Headrace, client: Client) -> None:
    number = client.create_experiment("red \x1b[31m\x07")
    for command in ("show", "delete", "restore"):
        said = headrace("experiments", command, number)
        assert "\x1b" not in said.output
        assert "red" in said.output
    said = headrace("artifacts", "ls", "runs:/\x1b[31m", code=3)
    assert "\x1b" not in said.output


def test_mlflows_spelling_of_the_same(headrace: Headrace) -> None:
    headrace("experiments", "create", "--experiment-name", "wine")
    headrace("experiments", "rename", "--experiment-id", "1", "--new-name", "beer")
    headrace("experiments", "delete", "-x", "1")
    headrace("experiments", "restore", "-x", "1")
    assert "beer" in headrace("experiments", "search", "--view", "all").stdout


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("show", "nothing"), 3),
        (("show", "77"), 3),
        (("show",), 2),
        (("show", "Default", "-x", "0"), 2),
        (("create", ""), 2),
        (("create",), 2),
        (("create", "Default"), 1),
        (("create", "x", "--tag", "nonsense"), 2),
        (("rename", "Default"), 2),
        (("delete", "nothing"), 3),
        (("restore", "Default"), 3),
        (("list", "--view", "some"), 2),
        (("list", "--filter", "name ~~ 'x'"), 2),
    ],
)
def test_what_is_wrong_is_said_on_stderr_with_its_code(
    headrace: Headrace, arguments: tuple[str, ...], code: int
) -> None:
    headrace("db", "upgrade")
    result = headrace("experiments", *arguments, code=code)
    assert result.stdout == ""
    assert result.stderr
    assert "Traceback" not in result.stderr


def test_csv_has_a_row_for_every_active_run(
    headrace: Headrace, client: Client, new_run: NewRun, tmp_path: Path
) -> None:
    new_run("one", {"lr": 0.1}, {"loss": 0.5})
    client.delete_run(new_run("two"))
    rows = list(csv.DictReader(io.StringIO(headrace("experiments", "csv", "-x", "0").stdout)))
    assert [(row["run_name"], row["params.lr"], row["metrics.loss"]) for row in rows] == [
        ("one", "0.1", "0.5")
    ]
    headrace("experiments", "csv", "-x", "0", "-o", str(tmp_path / "runs.csv"))
    assert (tmp_path / "runs.csv").read_text().count("\n") == 2
