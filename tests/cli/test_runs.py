"""``headrace runs``, but for export."""

from __future__ import annotations

import math

import pytest

from headrace.client import Client
from headrace.protocol.stops import StopNotice, Stops

from .conftest import Headrace, NewRun


def test_runs_are_listed_newest_first_with_what_tells_them_apart(
    headrace: Headrace, new_run: NewRun
) -> None:
    new_run("first", {"lr": 0.1, "model": "cnn"}, {"loss": 0.5})
    new_run("second", {"lr": 0.2, "model": "cnn"}, {"loss": 0.25})
    header, *rows = headrace("runs", "list").stdout.splitlines()
    assert {"run_id", "run_name", "status", "loss", "lr"} <= set(header.split())
    assert "model" not in header.split()  # the same in both
    assert ["second" in rows[0], "first" in rows[1]] == [True, True]
    assert "0.25" in rows[0]


def test_a_key_that_is_metric_and_param_keeps_its_kind_in_the_header(
    headrace: Headrace, new_run: NewRun
) -> None:
    new_run("one", {"size": 1}, {"size": 2.0})
    header = headrace("runs", "list").stdout.splitlines()[0]
    assert {"metrics.size", "params.size"} <= set(header.split())


def test_a_filter_and_an_order_choose_runs(headrace: Headrace, new_run: NewRun) -> None:
    for number in range(5):
        new_run(f"run {number}", metrics={"loss": float(number)})
    found = headrace.json(
        "runs", "list", "-x", "Default", "-f", "metrics.loss > 1", "-o", "metrics.loss DESC", "-l", "2"
    )  # fmt: skip
    assert [run["metrics"]["loss"] for run in found] == [4.0, 3.0]


def test_json_is_flat_and_spells_numbers_that_json_lacks(
    headrace: Headrace, new_run: NewRun
) -> None:
    run_id = new_run("one", {"lr": 0.1}, {"loss": math.nan, "max": math.inf}, team="a")
    (run,) = headrace.json("runs", "list")
    assert run["run_id"] == run_id
    assert run["params"] == {"lr": "0.1"}
    assert run["metrics"] == {"loss": "NaN", "max": "Infinity"}
    assert run["tags"]["team"] == "a"
    assert isinstance(run["start_time"], int)


def test_columns_can_be_chosen(headrace: Headrace, new_run: NewRun) -> None:
    new_run("one", {"lr": 0.1}, {"val.loss": 0.5}, team="a")
    out = headrace(
        "runs", "list", "--columns", "run_name,params.lr,metrics.val.loss,tags.team"
    ).stdout
    assert [line.split() for line in out.splitlines()] == [
        ["run_name", "lr", "val.loss", "team"],
        ["one", "0.1", "0.5", "a"],
    ]
    headrace("runs", "list", "--columns", "colour", code=2)


def test_deleted_runs_are_seen_by_view_and_come_back(headrace: Headrace, new_run: NewRun) -> None:
    run_id = new_run("one")
    headrace("runs", "delete", run_id)
    assert headrace.json("runs", "list") == []
    assert "No runs" in headrace("runs", "list").stderr
    assert [run["run_id"] for run in headrace.json("runs", "list", "-v", "deleted_only")] == [
        run_id
    ]
    headrace("runs", "restore", "--run-id", run_id)
    assert len(headrace.json("runs", "list")) == 1


def test_runs_are_asked_to_stop(headrace: Headrace, client: Client, new_run: NewRun) -> None:
    ended = new_run("ended")
    run_id = client.create_run("0").info.run_id
    done = headrace("runs", "stop", run_id[:10], "--reason", "it diverges")
    assert done.stdout == f"Run {run_id} was asked to stop.\n"
    pending = client._call(Stops.get_stops, run_id=[run_id]).stop
    assert pending == (StopNotice(run_id=run_id, reason="it diverges"),)
    assert "has ended (FINISHED)" in headrace("runs", "stop", ended, code=None).stderr


def test_the_beginning_of_an_id_names_a_run(headrace: Headrace, new_run: NewRun) -> None:
    run_id = new_run("one", {"lr": 0.1}, {"loss": 0.5}, team="a")
    shown = headrace("runs", "show", run_id[:10]).stdout
    for word in (run_id, "one", "FINISHED", "lr", "loss", "team"):
        assert word in shown
    assert headrace.json("runs", "describe", "--run-id", run_id)["run_id"] == run_id


def test_an_id_that_is_no_runs_is_not_found(headrace: Headrace, new_run: NewRun) -> None:
    new_run("one")
    for given in ("ffff", "0" * 32, "../../etc/passwd", "%"):
        result = headrace("runs", "show", given, code=3)
        assert len(result.stderr.splitlines()) == 1


def test_deleting_several_goes_on_after_one_that_is_not_there(
    headrace: Headrace, new_run: NewRun
) -> None:
    one, two = new_run("one"), new_run("two")
    result = headrace("runs", "delete", one, "0" * 32, two, code=3)
    assert "0" * 32 in result.stderr
    assert headrace.json("runs", "list") == []


def test_compare_shows_only_what_differs(headrace: Headrace, new_run: NewRun) -> None:
    one = new_run("one", {"lr": 0.1, "model": "cnn"}, {"loss": 0.5, "bad": math.nan})
    two = new_run("two", {"lr": 0.2, "model": "cnn"}, {"loss": 0.5, "bad": math.nan})
    compared = headrace.json("runs", "compare", one, two)
    assert compared["runs"] == [one, two]
    rows = {f"{row['kind']}.{row['key']}": row["values"] for row in compared["rows"]}
    assert rows["params.lr"] == ["0.1", "0.2"]
    assert rows["attribute.run_name"] == ["one", "two"]
    assert not {"params.model", "metrics.loss", "metrics.bad", "tags.mlflow.runName"} & set(rows)
    assert "model" not in headrace("runs", "compare", one, two).stdout
    assert "params.model" in headrace("runs", "compare", one, two, "--all").stdout


def test_compare_needs_two(headrace: Headrace, new_run: NewRun) -> None:
    headrace("runs", "compare", new_run("one"), code=2)


def test_create_makes_a_finished_run(headrace: Headrace, client: Client) -> None:
    run_id = headrace(
        "runs", "create", "--experiment-name", "new", "--run-name", "by hand", "-t", "team=a",
        "--description", "from a notebook",
    ).stdout.strip()  # fmt: skip
    run = client.get_run(run_id)
    assert run.info.run_name == "by hand"
    assert run.info.status == "FINISHED"
    assert run.info.end_time is not None
    assert run.data.tags["mlflow.note.content"] == "from a notebook"
    child = headrace("runs", "create", "--parent-run-id", run_id, "-x", "new").stdout.strip()
    assert client.get_run(child).data.tags["mlflow.parentRunId"] == run_id


def test_names_with_markup_or_control_characters_do_no_harm(
    headrace: Headrace, new_run: NewRun
) -> None:
    new_run("[bold]x[/bold] \x1b[31mred\x07")
    out = headrace("runs", "list").stdout
    assert "[bold]x[/bold]" in out
    assert "\x1b" not in out
    assert "\x07" not in out


@pytest.mark.parametrize(
    "arguments",
    [
        ("list", "-f", "metrics.loss >> 3"),
        ("list", "-o", "colour UP"),
        ("list", "-l", "-1"),
        ("show",),
        ("delete",),
        ("create", "-x", "0", "-n", "Default"),
        ("export", "--format", "xml"),
    ],
)
def test_wrong_values_are_usage_errors(headrace: Headrace, arguments: tuple[str, ...]) -> None:
    headrace("db", "upgrade")
    assert "Traceback" not in headrace("runs", *arguments, code=2).stderr


def test_an_error_in_a_filter_points_at_the_character(headrace: Headrace) -> None:
    headrace("db", "upgrade")
    lines = headrace("runs", "list", "-f", "metrics.loss >> 3", code=2).stderr.splitlines()
    assert lines[0].startswith("headrace: ")
    assert lines[-1].strip() == "^"
