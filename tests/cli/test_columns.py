"""Which columns a table of runs gets."""

from __future__ import annotations

import pytest

from headrace.cli.columns import Page, choose, mentioned, table
from headrace.client import Client
from headrace.entities import Run

from .conftest import NewRun


@pytest.fixture
def runs(client: Client, new_run: NewRun) -> list[Run]:
    for number in range(3):
        new_run(
            f"run {number}",
            {"lr": number, "same": "x"},
            {"loss": number / 2, f"only_{number}": 1.0},
        )
    return list(client.search_runs(["0"]))


def test_a_wide_page_has_all_that_differs_common_keys_first(runs: list[Run]) -> None:
    columns, skipped = choose(runs, Page(1000))
    assert skipped == 0
    assert columns[:2] == ["run_id", "run_name"]
    assert columns[5:7] == ["metrics.loss", "params.lr"]
    assert "params.same" not in columns


def test_a_narrow_page_says_how_much_it_leaves_out(runs: list[Run]) -> None:
    columns, skipped = choose(runs, Page(32))
    assert [column for column in columns if "." in column] == []
    assert skipped == 7


def test_what_the_user_asked_about_comes_first(runs: list[Run]) -> None:
    asked = mentioned("params.same = 'x' and tag.`a key` != 'y'", ["metric.only_2 DESC"])
    assert asked == ["metrics.only_2", "params.same", "tags.a key"]
    assert choose(runs, Page(1000), asked)[0][5:8] == asked


def test_one_run_alone_shows_all_its_params(runs: list[Run]) -> None:
    assert "params.same" in choose(runs[:1], Page(1000))[0]


def test_a_page_for_people_shortens_what_is_long_and_fits(client: Client, new_run: NewRun) -> None:
    new_run("x" * 300, {"note": "y" * 300}, {"loss": 0.5})
    runs = list(client.search_runs(["0"]))
    page = Page(80)
    columns, _ = choose(runs, page)
    headers, (row,) = table(runs, columns, page)
    widths = [max(len(header), len(str(one))) for header, one in zip(headers, row, strict=True)]
    assert sum(widths) + 2 * len(widths) <= 80
    assert row[headers.index("run_name")] == "x" * 19 + "…"
    assert row[0] == runs[0].info.run_id[:8]


def test_a_page_for_programs_shortens_nothing(client: Client, new_run: NewRun) -> None:
    run_id = new_run("x" * 300)
    _, (row,) = table(list(client.search_runs(["0"])), ["run_id", "run_name"], Page(80, whole=True))
    assert row == [run_id, "x" * 300]
