"""``headrace sync``: from any folder, any number of times, in any order, to the same result."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from headrace.cli import main
from headrace.client import Client
from headrace.client.journal.journals import Journal
from headrace.entities import RunStatus
from headrace.protocol.ingest import StartRun, UpdateRun
from support.logged import log_points, steps_of, until

RUN = "0123456789abcdef0123456789abcdef"
Offline = Callable[..., Journal]


def sync(*arguments: object, code: int = 0) -> Result:
    result = CliRunner().invoke(main, ["sync", *map(str, arguments)], prog_name="headrace")
    assert result.exit_code == code, (result.output, result.exception)
    return result


def summary(*arguments: object, code: int = 0) -> Any:
    return json.loads(sync(*arguments, "--json", code=code).stdout)


@pytest.fixture
def offline(store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Offline:
    """Begins journals that ship nothing by themselves, in a directory each."""
    monkeypatch.setenv("HEADRACE_OFFLINE", "1")

    def begin(name: str = "journals") -> Journal:
        monkeypatch.setenv("HEADRACE_JOURNAL_DIR", str(tmp_path / name))
        return Journal(store)

    return begin


def logged(journal: Journal, run_id: str = RUN, steps: range = range(20_000)) -> Path:
    journal.step(StartRun(run_id=run_id, run_name="n"))
    log_points(journal, run_id, "m", steps)
    journal.stage(run_id, f"{steps[0]}.txt", b"text")
    journal.step(UpdateRun(run_id=run_id, status=RunStatus.FINISHED, end_time=1))
    journal.close()
    assert journal.writer.folder is not None
    return journal.writer.folder


def test_everything_is_shipped_and_removed(offline: Offline, client: Client) -> None:
    folder = logged(offline())
    assert summary() == {
        "journals": 1, "runs": [RUN], "points": 20_000, "records": 2, "artifacts": 1,
        "rejected": 0, "damaged": 0, "live": [], "left": {},
    }  # fmt: skip
    assert not folder.exists()
    assert steps_of(client, RUN, "m") == list(range(20_000))
    assert client.get_run(RUN).info.status == "FINISHED"
    assert [file.path for file in client.list_artifacts(RUN)] == ["0.txt"]
    assert "Nothing to ship" in sync().stdout


@pytest.mark.parametrize("order", list(itertools.permutations(range(3)))[::2])
def test_any_order_and_number_of_times_give_the_same(
    offline: Offline, client: Client, tmp_path: Path, order: tuple[int, ...]
) -> None:
    for number in range(3):
        logged(offline(f"machine-{number}"), steps=range(number * 10, number * 10 + 15))
        shutil.copytree(tmp_path / f"machine-{number}", tmp_path / f"copy-{number}")
    places = [tmp_path / f"machine-{number}" for number in order]
    copies = [tmp_path / f"copy-{number}" for number in order]
    sync(places[0], "--keep")
    sync(*copies[1:])
    sync(*reversed(places))
    sync(copies[0], places[0])
    assert steps_of(client, RUN, "m") == list(range(35))
    assert len(client.search_runs(["0"])) == 1
    assert not any(list(place.rglob("*.journal")) for place in (*places, *copies))


def test_a_copy_of_a_journal_that_goes_on_brings_the_rest_later(
    offline: Offline, client: Client, tmp_path: Path
) -> None:
    journal = offline()
    copy = tmp_path / "copy"
    journal.step(StartRun(run_id=RUN))
    until_now = 0
    for stop in (1_000, 3_000, 30_000, 60_000):
        log_points(journal, RUN, "m", range(until_now, stop))
        until_now = stop
        assert journal.writer.folder is not None
        shutil.copytree(journal.writer.folder.parent, copy, dirs_exist_ok=True)
        sync(copy)
        assert steps_of(client, RUN, "m") == list(range(stop))
        assert client.get_run(RUN).info.status == "RUNNING"
    journal.close()


def test_a_copy_with_a_piece_missing_waits_for_a_better_one(
    offline: Offline, client: Client, tmp_path: Path
) -> None:
    journal = offline()
    copy = tmp_path / "copy"
    journal.step(StartRun(run_id=RUN))
    log_points(journal, RUN, "m", range(5_000))
    assert journal.writer.folder is not None
    copy.mkdir()
    shutil.copy(journal.writer.folder / "000001.journal", copy)
    log_points(journal, RUN, "m", range(5_000, 20_000))
    shutil.copy(journal.writer.folder / "000002.journal", copy)
    assert "incomplete copy" in sync(copy, code=1).stderr
    assert steps_of(client, RUN, "m") == list(range(5_000))
    journal.close()
    shutil.copytree(journal.writer.folder, copy, dirs_exist_ok=True)
    sync(copy)
    assert steps_of(client, RUN, "m") == list(range(20_000))


def test_a_journal_of_a_living_process_is_skipped(offline: Offline, client: Client) -> None:
    journal = offline()
    log_points(journal, RUN, "m", [1])
    found = summary()
    assert found["live"] == [str(journal.writer.folder)]
    assert found["journals"] == 0
    journal.close()


def test_another_store_can_be_named(offline: Offline, store: str, tmp_path: Path) -> None:
    folder = logged(offline(), steps=range(10))
    sync(folder, "--store", tmp_path / "other", "--keep")
    with Client(tmp_path / "other") as other:
        assert steps_of(other, RUN, "m") == list(range(10))
    assert not Path(store).exists()
    sync(folder)
    with Client(store) as client:
        assert steps_of(client, RUN, "m") == list(range(10))
    assert not folder.exists()


def test_a_store_that_is_away_keeps_the_journals(
    offline: Offline, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEADRACE_HTTP_REQUEST_BACKOFF_FACTOR", "0.001")
    folder = logged(offline(), steps=range(10))
    found = summary("--store", "http://127.0.0.1:9", code=1)
    assert list(found["left"]) == [str(folder)]
    assert list(folder.glob("*.journal"))


def test_a_read_only_folder_is_shipped_and_stays(
    offline: Offline, client: Client, tmp_path: Path
) -> None:
    folder = logged(offline(), steps=range(10))
    (folder / "lock").unlink()
    for one in (folder, *folder.rglob("*")):
        one.chmod(0o555 if one.is_dir() else 0o444)
    try:
        sync(folder, "--keep")
        sync(folder, "--keep")
    finally:
        folder.chmod(0o755)
        (folder / "staged").chmod(0o755)
    assert steps_of(client, RUN, "m") == list(range(10))
    assert list(folder.glob("*.journal"))


def test_what_cannot_be_read_is_counted_once(offline: Offline, client: Client) -> None:
    folder = logged(offline())
    with sorted(folder.glob("*.journal"))[1].open("r+b") as file:
        file.seek(10_000)
        file.write(b"x")
    assert summary(code=1)["damaged"] == 1
    assert summary()["damaged"] == 0
    assert len(list((folder / "damaged").iterdir())) == 1
    assert steps_of(client, RUN, "m")


def test_a_journal_without_a_readable_beginning_is_put_aside(offline: Offline) -> None:
    folder = logged(offline(), steps=range(10))
    (file,) = folder.glob("*.journal")
    file.write_bytes(b"\1" + file.read_bytes()[1:])
    result = sync(code=1)
    assert "damaged from its beginning" in result.stderr
    assert (folder / "damaged" / file.name).exists()
    sync()


def test_follow_ships_what_appears_until_it_is_interrupted(
    offline: Offline, client: Client, tmp_path: Path
) -> None:
    (tmp_path / "journals").mkdir()
    process = subprocess.Popen(
        [sys.executable, "-m", "headrace", "sync", str(tmp_path / "journals"), "--follow"],
        env={**os.environ},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        for number in range(2):
            folder = logged(offline(), steps=range(number * 10, number * 10 + 10))
            until(lambda folder=folder: not folder.exists())
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    finally:
        process.kill()
        process.wait()
    assert (process.returncode, err) == (0, "")
    assert "2 journals, 1 run, 20 metric points" in out
    assert steps_of(client, RUN, "m") == list(range(20))
