"""Searching runs from the fluent API."""

from __future__ import annotations

import importlib
import sys
from typing import Any

import pytest

import headrace
from headrace.errors import InvalidParameter


@pytest.fixture
def runs(tracking_uri: str) -> list[str]:
    headrace.set_tracking_uri(tracking_uri)
    headrace.set_experiment("sweep")
    ids = []
    for number in range(3):
        with headrace.start_run(run_name=f"r{number}") as run:
            headrace.log_param("number", number)
            if number:
                headrace.log_metric("loss", number / 2)
            ids.append(run.info.run_id)
    return ids


def test_the_frame_has_mlflows_columns(runs: list[str]) -> None:
    pd = importlib.import_module("pandas")
    frame = headrace.search_runs(order_by=["metrics.loss ASC"])
    assert list(frame.columns[:6]) == [
        "run_id", "experiment_id", "status", "artifact_uri", "start_time", "end_time",
    ]  # fmt: skip
    assert {"metrics.loss", "params.number", "tags.mlflow.runName"} <= set(frame.columns)
    assert list(frame["run_id"]) == [runs[1], runs[2], runs[0]]
    assert list(frame["params.number"]) == ["1", "2", "0"]
    assert frame["metrics.loss"].isna().tolist() == [False, False, True]
    assert str(frame["start_time"].dtype).endswith("UTC]")
    assert frame["end_time"].notna().all()
    with headrace.start_run():
        open_ones = headrace.search_runs(filter_string="attributes.status = 'RUNNING'")
        assert open_ones["end_time"].isna().all()
    nothing = headrace.search_runs(filter_string="metrics.loss > 99")
    assert isinstance(nothing, pd.DataFrame)
    assert len(nothing) == 0
    assert "run_id" in nothing.columns


def test_a_list_of_runs_on_request(runs: list[str]) -> None:
    found = headrace.search_runs(
        filter_string="metrics.loss > 0", order_by=["metrics.loss DESC"], output_format="list"
    )
    assert [run.info.run_id for run in found] == [runs[2], runs[1]]
    assert len(headrace.search_runs(max_results=2, output_format="list")) == 2


def test_where_to_look_is_chosen_by_id_name_or_everywhere(runs: list[str]) -> None:
    experiment = headrace.get_experiment_by_name("sweep")
    assert experiment is not None
    other = headrace.set_experiment("other")
    with headrace.start_run():
        pass

    def count(**where: Any) -> int:
        return len(headrace.search_runs(output_format="list", **where))

    assert count() == 1
    assert count(experiment_ids=[experiment.experiment_id]) == 3
    assert count(experiment_names=["sweep", "other", "missing"]) == 4
    assert count(experiment_names=["missing"]) == 0
    assert count(search_all_experiments=True) == 4
    headrace.delete_run(runs[0])
    assert count(experiment_names=["sweep"]) == 2
    assert count(experiment_names=["sweep"], run_view_type=3) == 3
    headrace.restore_run(runs[0])
    with pytest.raises(InvalidParameter):
        count(experiment_ids=[other.experiment_id], experiment_names=["sweep"])


def test_bad_searches_are_refused(runs: list[str]) -> None:
    with pytest.raises(InvalidParameter, match="output_format"):
        headrace.search_runs(output_format="csv")  # type: ignore[arg-type]
    with pytest.raises(InvalidParameter):
        headrace.search_runs(filter_string="metrics.loss <")


def test_without_pandas_there_are_plain_records(
    runs: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)  # as if it were not installed
    records = headrace.search_runs(order_by=["metrics.loss ASC"])
    assert [record["run_id"] for record in records] == [runs[1], runs[2], runs[0]]
    assert records[0]["metrics.loss"] == 0.5
    assert "metrics.loss" not in records[2]
    assert records[0]["start_time"].tzinfo is not None
