"""What dead processes left arrives, whole up to where it is damaged, and once."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from headrace.client import Client
from headrace.client.journal.format import header
from headrace.client.journal.journals import Journal
from support.logged import log_points, steps_of, until

RUN = "0123456789abcdef0123456789abcdef"
Begin = Callable[[str], Journal]
Died = Callable[..., Path]

LOGGED = f"""
journal.step(StartRun(run_id="{RUN}", run_name="n"))
log_points(journal, "{RUN}", "m", range(60_000))
"""


def test_a_living_process_ships_what_a_dead_one_left(
    journal: Begin, died: Died, store: str, client: Client
) -> None:
    folder = died(store, LOGGED + f'journal.stage("{RUN}", "a.txt", b"text")\n')
    assert len(list(folder.glob("*.journal"))) > 1
    journal(store)
    until(lambda: not folder.exists())
    assert steps_of(client, RUN, "m") == list(range(60_000))
    assert [file.path for file in client.list_artifacts(RUN)] == ["a.txt"]


def test_two_that_find_the_same_journal_do_no_harm(
    journal: Begin, died: Died, store: str, client: Client
) -> None:
    folders = [died(store, LOGGED.replace(RUN, f"{number:032x}")) for number in range(1, 4)]
    journal(store)
    journal(store)
    until(lambda: not any(folder.exists() for folder in folders))
    for number in range(1, 4):
        assert steps_of(client, f"{number:032x}", "m") == list(range(60_000))


def test_a_journal_for_another_store_is_left(
    journal: Begin, died: Died, store: str, tmp_path: Path
) -> None:
    other = died(str(tmp_path / "other"), LOGGED)
    ours = died(store, LOGGED)
    journal(store)
    until(lambda: not ours.exists())
    assert list(other.glob("*.journal"))


@pytest.mark.parametrize("place", ["first", "middle", "last"])
def test_what_is_before_damage_and_in_other_segments_arrives(
    journal: Begin,
    died: Died,
    store: str,
    client: Client,
    caplog: pytest.LogCaptureFixture,
    place: str,
) -> None:
    folder = died(store, LOGGED)
    second = sorted(folder.glob("*.journal"))[1]
    size = second.stat().st_size
    at = {"first": 3, "middle": size // 64 * 32 + 9, "last": size - 1}[place]
    with second.open("r+b") as file:
        file.seek(at)
        byte = file.read(1)[0]
        file.seek(at)
        file.write(bytes((byte ^ 4,)))
    one = journal(store)
    until(lambda: not list(folder.glob("*.journal")))
    assert one.flush(60)
    assert "is damaged at byte" in caplog.text
    assert f"{second.parent / 'damaged' / second.name}" in caplog.text
    assert [file.name for file in (folder / "damaged").iterdir()] == [second.name]
    steps = steps_of(client, RUN, "m")
    gone = sorted(set(range(60_000)) - set(steps))
    assert gone == list(range(gone[0], gone[-1] + 1))
    assert steps[-1] == 59_999
    if place == "last":
        assert len(gone) == 1


def test_records_of_a_run_whose_beginning_is_lost_are_reported(
    journal: Begin, died: Died, store: str, caplog: pytest.LogCaptureFixture
) -> None:
    folder = died(store, LOGGED)
    first = sorted(folder.glob("*.journal"))[0]
    with first.open("r+b") as file:
        file.write(b"\1" * 64)
    one = journal(store)
    until(lambda: not list(folder.glob("*.journal")))
    assert one.flush(60)
    assert f"Run {RUN}: metrics was not recorded" in caplog.text


def test_a_journal_of_a_newer_version_is_left_as_it_is(
    journal: Begin, died: Died, store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = died(store, LOGGED)
    monkeypatch.setattr("headrace.client.journal.format.VERSION", 2)
    newer = header(1, 0)
    monkeypatch.undo()
    monkeypatch.setenv("HEADRACE_JOURNAL_DIR", str(folder.parent))
    with sorted(folder.glob("*.journal"))[0].open("r+b") as file:
        file.write(newer)
    one = journal(store)
    other = died(store, LOGGED.replace(RUN, "f" * 32))
    one.close(30)
    second = journal(store)
    until(lambda: not other.exists())
    assert second.flush(60)
    assert list(folder.glob("*.journal"))


def test_children_of_every_kind_leave_nothing_unsent(store: str, client: Client) -> None:
    code = f"""
import multiprocessing, os, sys
from headrace.client.journal.journals import journal_for
from headrace.protocol.ingest import StartRun
from support.logged import log_points

def work(number):
    journal = journal_for(sys.argv[1])
    log_points(journal, "{RUN}", f"child-{{number}}", range(100))

if __name__ == "__main__":
    journal = journal_for(sys.argv[1])
    journal.step(StartRun(run_id="{RUN}"))
    log_points(journal, "{RUN}", "parent", range(100))
    assert journal.flush(60)
    for number, kind in enumerate(("fork", "spawn")):
        child = multiprocessing.get_context(kind).Process(target=work, args=(number,))
        child.start()
        child.join()
        assert child.exitcode == 0
    pid = os.fork()
    if not pid:
        work(2)
        os._exit(0)
    os.waitpid(pid, 0)
    log_points(journal, "{RUN}", "parent", range(100, 200))
"""
    file = Path(store).parent / "program.py"
    file.write_text(code)
    done = subprocess.run(
        [sys.executable, "-W", "ignore", str(file), store],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    # What takes longer than a second says so.
    said = [line for line in done.stderr.splitlines() if "sending" not in line]
    assert (done.returncode, said) == (0, [])
    assert steps_of(client, RUN, "parent") == list(range(200))
    for number in range(3):
        assert steps_of(client, RUN, f"child-{number}") == list(range(100)), number
    assert list(Path(os.environ["HEADRACE_JOURNAL_DIR"]).iterdir()) == []


def test_a_process_says_at_its_end_what_it_could_not_send(died: Died, tmp_path: Path) -> None:
    code = f"""
import sys
from headrace.client.journal.journals import journal_for
from headrace.protocol.ingest import StartRun
from support.logged import log_points
journal = journal_for("http://127.0.0.1:9")
journal.step(StartRun(run_id="{RUN}"))
log_points(journal, "{RUN}", "m", range(10))
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={
            **os.environ,
            "PYTHONPATH": str(Path(__file__).parents[2]),
            "HEADRACE_FLUSH_TIMEOUT": "1.5",
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    (folder,) = (tmp_path / "journals").iterdir()
    assert done.returncode == 0
    assert "headrace: sending 11 records to http://127.0.0.1:9 (Ctrl-C" in done.stderr
    assert f"headrace: 11 records for http://127.0.0.1:9 wait in {folder}" in done.stderr
    assert f"headrace sync {folder}" in done.stderr


def test_a_journal_of_this_process_is_not_taken_for_a_dead_one(
    journal: Begin, store: str, client: Client
) -> None:
    one, other = journal(store), journal(store)
    log_points(one, RUN, "m", [1])
    assert other.flush(60)
    assert one.flush(60)
    assert one.writer.folder is not None
    assert one.writer.folder.exists()
