"""No room for the journal, or no right to write it: training goes on, and what was dropped is counted."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from headrace.client import Client
from support.server import Server
from support.training import Training, check, points

Start = Callable[..., Server]

_TRAIN = """
with headrace.start_run() as run:
    for n in range(3000):
        call(n)
print(json.dumps(run.info.run_id))
"""


def test_a_full_disk_costs_nothing_that_fits_into_memory(
    server: Start, small_disk: Path, tmp_path: Path
) -> None:
    (small_disk / "journals").mkdir()
    (small_disk / "ballast").write_bytes(bytes(1900 << 10))
    running = server(tmp_path / "store")
    training = Training(_TRAIN, small_disk / "journals", TRACKING_URI=running.url)
    run_id = training.wait()
    check(Client(running.url), run_id, 3000, unsure=0)
    assert training.errors().count("The journal cannot be written") == 1
    assert "dropped" not in training.errors()


@pytest.mark.parametrize("place", ["/proc/headrace", "/dev/null/journals"])
def test_a_directory_that_cannot_be_written_costs_nothing(
    server: Start, tmp_path: Path, place: str
) -> None:
    running = server(tmp_path / "store")
    training = Training(_TRAIN, tmp_path / "cwd", JOURNAL_DIR=place, TRACKING_URI=running.url)
    run_id = training.wait()
    check(Client(running.url), run_id, 3000, unsure=0)
    assert training.errors().count("The journal cannot be written") == 1


#: Logs more than fits, while nothing takes it away.
_TOO_MUCH = """
run = headrace.start_run()
for n in range(200_000):
    headrace.log_metric("loss", float(n), step=n)
for n in range(10):
    headrace.set_tag(f"t{n}", "x")
from headrace.client.journal.journals import journal_for
writer = journal_for(headrace.get_tracking_uri()).writer
kept = 0
from headrace.client.journal.reader import Points, records
for one in writer.segments:
    for found in records(one.read, 32, one.position, whole=False):
        kept += len(found.data) // 32 if isinstance(found, Points) else 0
print(json.dumps([kept, writer.dropped_points, writer.dropped_records]))
"""


def test_what_finds_no_room_anywhere_is_counted_exactly(small_disk: Path) -> None:
    (small_disk / "journals").mkdir()
    training = Training(
        _TOO_MUCH, small_disk / "journals", OFFLINE="1", JOURNAL_MEMORY=str(1 << 20)
    )
    kept, dropped, others = training.wait()
    assert kept + dropped == 200_000
    assert kept > 60_000  # some on the disk, some in memory
    assert others in (10, 11)  # the end of the run comes after
    errors = training.errors()
    assert errors.count("The journal cannot be written") == 1
    assert f"{dropped:,} metric points and 1" in errors


_ROOM_AGAIN = """
run = headrace.start_run()
accepted = 0
for n in range(60_000):
    headrace.log_metric("loss", float(n), step=n)
headrace.flush(60)
os.unlink(sys.argv[1])
for n in range(60_000, 200_000):
    headrace.log_metric("loss", float(n), step=n)
headrace.end_run()
print(json.dumps(run.info.run_id))
"""


def test_a_disk_with_room_again_is_used_again(
    server: Start, small_disk: Path, tmp_path: Path
) -> None:
    (small_disk / "journals").mkdir()
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(1500 << 10))
    running = server(tmp_path / "store")
    training = Training(
        _ROOM_AGAIN, small_disk / "journals", str(ballast), TRACKING_URI=running.url
    )
    run_id = training.wait()
    with Client(running.url) as client:
        assert points(client, run_id, "loss") == [(n, float(n)) for n in range(200_000)]


#: A clock that jumps by hours, forth and back.
_JUMPS = """
real, real_ns, jumps = time.time, time.time_ns, random.Random(1)
jump = lambda: jumps.choice([0, 0, 7200, -7200, 86400 * 400])
time.time = lambda: real() + jump()
time.time_ns = lambda: real_ns() + jump() * 10**9
with headrace.start_run() as run:
    for n in range(3000):
        call(n)
print(json.dumps(run.info.run_id))
"""


def test_a_clock_that_jumps_costs_nothing(database_url: str, server: Start, journals: Path) -> None:
    running = server(database_url)
    run_id = Training(_JUMPS, journals, TRACKING_URI=running.url, HEARTBEAT_SECONDS="0.2").wait()
    client = Client(running.url)
    check(client, run_id, 3000, unsure=0)
    run = client.get_run(run_id)
    assert (run.info.status, run.info.lost) == ("FINISHED", False)
