"""The record of what this user saved himself."""

from __future__ import annotations

import multiprocessing
import stat
from pathlib import Path

import pytest

from headrace.models import produced
from headrace.models.produced import is_produced, remember


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the record lies."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path / "state" / "headrace" / "produced"


def test_what_was_remembered_is_known_and_nothing_else(state: Path) -> None:
    assert not is_produced("sha256:aa")
    assert remember("sha256:aa")
    assert is_produced("sha256:aa")
    assert not is_produced("sha256:aaa")
    assert not is_produced("sha256:a")
    assert stat.S_IMODE(state.stat().st_mode) == 0o700
    assert {stat.S_IMODE(file.stat().st_mode) for file in state.iterdir()} == {0o600}


def test_a_line_without_the_key_counts_for_nothing(state: Path) -> None:
    remember("sha256:aa")
    record = (state / "models").read_text()
    (state / "models").write_text(record.replace("sha256:aa", "sha256:bb"))
    assert not is_produced("sha256:bb")
    (state / "models").write_text(f"1 sha256:bb {'0' * 64}\n")
    assert not is_produced("sha256:bb")


def test_a_key_that_others_could_read_is_given_up(state: Path) -> None:
    remember("sha256:aa")
    (state / "key").chmod(0o644)
    assert not is_produced("sha256:aa")
    assert remember("sha256:bb")
    assert is_produced("sha256:bb")
    assert not is_produced("sha256:aa")
    assert stat.S_IMODE((state / "key").stat().st_mode) == 0o600


def test_a_link_in_the_place_of_the_key_or_the_record_is_not_followed(
    state: Path, tmp_path: Path
) -> None:
    remember("sha256:aa")
    victim = tmp_path / "victim"
    victim.write_text("")
    (state / "models").unlink()
    (state / "models").symlink_to(victim)
    assert not remember("sha256:bb")
    assert victim.read_text() == ""


def test_an_old_record_with_a_line_cut_off_goes_on(state: Path) -> None:
    remember("sha256:aa")
    with (state / "models").open("ab") as record:
        record.write(b"1700000000 sha256:cut 01")
    remember("sha256:bb")
    assert is_produced("sha256:aa")
    assert is_produced("sha256:bb")


def test_the_record_stays_small_and_forgets_the_oldest(
    state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(produced, "MOST", 10)
    for number in range(50):
        remember(f"sha256:{number:02}")
    assert (state / "models").stat().st_size < 4_000
    assert is_produced("sha256:49")
    assert not is_produced("sha256:00")


def test_saving_does_not_fail_where_there_is_no_place_for_a_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file"))
    assert remember("sha256:aa") is False
    assert is_produced("sha256:aa") is False


def _remember_some(number: int) -> None:
    for one in range(50):
        remember(f"sha256:{number}-{one}")


def test_many_processes_lose_nothing_and_agree_on_the_key() -> None:
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=_remember_some, args=(number,)) for number in range(6)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert [worker.exitcode for worker in workers] == [0] * 6
    assert all(is_produced(f"sha256:{number}-{one}") for number in range(6) for one in range(50))


def test_someone_elses_home_is_another_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    remember("sha256:aa")
    monkeypatch.delenv("XDG_STATE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "other"))
    assert not is_produced("sha256:aa")
