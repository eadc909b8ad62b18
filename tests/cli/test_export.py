"""``headrace runs export``."""

from __future__ import annotations

import csv
import json
import math
import os
import stat
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from .conftest import Headrace, NewRun


@pytest.fixture(autouse=True)
def _two_runs(new_run: NewRun) -> None:
    new_run("one", {"lr": 0.1, "note": 'a "quoted", text\nin two lines'}, {"loss": 0.5})
    new_run("two", {"model": "cnn"}, {"loss": math.nan, "f1": 1.0}, team="grün")


def test_csv_has_every_column_that_any_run_has(headrace: Headrace, tmp_path: Path) -> None:
    path = tmp_path / "runs.csv"
    assert "Wrote 2 runs" in headrace("runs", "export", "-O", str(path)).stdout
    with path.open(encoding="utf-8", newline="") as file:
        two, one = csv.DictReader(file)
    assert list(one)[:3] == ["run_id", "experiment_id", "run_name"]
    assert {"metrics.loss", "metrics.f1", "params.lr", "params.model", "tags.team"} <= set(one)
    assert one["params.note"] == 'a "quoted", text\nin two lines'
    assert one["metrics.f1"] == ""
    assert math.isnan(float(two["metrics.loss"]))
    assert two["tags.team"] == "grün"
    assert one["start_time"].endswith("+00:00")


def test_csv_goes_to_the_standard_output(headrace: Headrace) -> None:
    assert headrace("runs", "export").stdout.startswith("run_id,")


def test_parquet_keeps_types(headrace: Headrace, tmp_path: Path) -> None:
    path = tmp_path / "runs.parquet"
    headrace("runs", "export", "-O", str(path), "-o", "attributes.run_name ASC")
    table = pq.read_table(path)
    assert table.column("run_name").to_pylist() == ["one", "two"]
    assert table.column("metrics.f1").to_pylist() == [None, 1.0]
    assert math.isnan(table.column("metrics.loss").to_pylist()[1])
    assert str(table.schema.field("start_time").type) == "timestamp[ms, tz=UTC]"
    assert table.column("params.lr").to_pylist() == ["0.1", None]


def test_json_and_json_lines_hold_the_same(headrace: Headrace, tmp_path: Path) -> None:
    headrace("runs", "export", "-O", str(tmp_path / "runs.json"))
    headrace("runs", "export", "-O", str(tmp_path / "runs.jsonl"))
    whole = json.loads((tmp_path / "runs.json").read_text())
    lines = [json.loads(line) for line in (tmp_path / "runs.jsonl").read_text().splitlines()]
    assert whole == lines == headrace.json("runs", "list")


@pytest.mark.parametrize("ending", ["csv", "json", "jsonl", "parquet"])
def test_nothing_found_is_an_empty_table(headrace: Headrace, tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"none.{ending}"
    headrace("runs", "export", "-f", "metrics.loss > 9", "-O", str(path))
    if ending == "parquet":
        assert pq.read_table(path).num_rows == 0
    elif ending == "csv":
        assert path.read_text().count("\n") == 1
    else:
        assert path.read_text() in ("[]\n", "")


def test_runs_can_be_named(headrace: Headrace) -> None:
    run_id = headrace.json("runs", "list")[0]["run_id"]
    lines = headrace("runs", "export", run_id, "--format", "jsonl").stdout.splitlines()
    assert [json.loads(line)["run_id"] for line in lines] == [run_id]
    headrace("runs", "export", run_id, "-f", "metrics.loss > 1", code=2)


def test_the_file_replaces_an_older_one_and_has_usual_rights(
    headrace: Headrace, tmp_path: Path
) -> None:
    path = tmp_path / "runs.csv"
    path.write_text("old")
    headrace("runs", "export", "-O", str(path))
    assert path.read_text().startswith("run_id")
    mask = os.umask(0)
    os.umask(mask)
    assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~mask
    assert sorted(one.name for one in tmp_path.iterdir()) == ["runs.csv", "store"]


def test_what_cannot_be_written_is_said(headrace: Headrace, tmp_path: Path) -> None:
    missing = str(tmp_path / "no" / "folder.csv")
    assert missing in headrace("runs", "export", "-O", missing, code=1).stderr
    assert "--format" in headrace("runs", "export", "-O", str(tmp_path / "x.txt"), code=2).stderr
    assert "--output" in headrace("runs", "export", "--format", "parquet", code=2).stderr
