"""Journals that were cut or changed on the disk: what was logged before arrives, and the damage is told."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

from headrace.client import Client
from headrace.client.journal.format import SLOT
from headrace.client.journal.reader import Damage, Payload, Points, records
from support.server import Server
from support.training import Training, points, sync

JOURNALS = 60

#: Children that each write a journal of their own, offline.
_WRITE = """
def work(number):
    with headrace.start_run(run_id=f"{number:032x}", shared=True):
        for n in range(60):
            headrace.log_metric("loss", float(n), step=n)
            headrace.set_tag(f"t{n}", "x" * n)
    headrace.flush()
    from headrace.client.journal.journals import _journals
    _journals.finish_all()
spawned(int(sys.argv[1]), work)
"""


def _contents(data: bytes, stop: int) -> tuple[bool, int, int]:
    """Of a segment up to a byte: whether the run begins in it, and how many points and tags."""
    found_points = steps = 0
    for one in records(lambda start, end: data[start:end], SLOT, len(data), whole=True):
        assert not isinstance(one, Damage)
        if isinstance(one, Points):
            found_points += min(len(one.data), max(stop - one.start, 0)) // SLOT
        elif isinstance(one, Payload) and one.end <= stop:
            steps += one.kind == 3
    return steps > 0, found_points, steps


def test_damage_anywhere_costs_nothing_that_was_logged_before(
    database_url: str, server: Callable[..., Server], journals: Path, chance: random.Random
) -> None:
    running = server(database_url)
    Training(_WRITE, journals, str(JOURNALS), OFFLINE="1", TRACKING_URI=running.url).wait()
    wanted: dict[str, tuple[bool, int, int]] = {}
    damaged = 0
    for folder in sorted(journals.iterdir()):
        (path,) = folder.glob("*.journal")
        data = path.read_bytes()
        run_id = next(
            f"{number:032x}" for number in range(JOURNALS) if f"{number:032x}".encode() in data
        )
        at = chance.randrange(SLOT, len(data))
        how = chance.choice(["bit", "byte", "cut", "zeros"])
        changed = bytearray(data)
        if how == "bit":
            changed[at] ^= 1 << chance.randrange(8)
        elif how == "byte":
            changed[at] ^= chance.randrange(1, 256)
        elif how == "cut":
            del changed[at:]
        else:
            at = max(at // 4096 * 4096, SLOT)
            changed[at : at + 4096] = bytes(len(changed[at : at + 4096]))
        first = next((n for n, (a, b) in enumerate(zip(data, changed, strict=False)) if a != b), at)
        path.write_bytes(changed)
        wanted[run_id] = _contents(data, first)
        read = list(records(lambda a, b, d=bytes(changed): d[a:b], SLOT, len(changed), whole=True))
        damaged += bool(read) and isinstance(read[-1], Damage)
    assert damaged > JOURNALS // 3
    answer = sync(journals, expected=1)
    assert answer["damaged"] == damaged
    assert answer["errors"].count("damaged") >= damaged
    with Client(database_url) as client:
        runs = {run.info.run_id: run for run in client.search_runs(["0"], max_results=1000)}
        assert set(runs) == {run_id for run_id, (begun, _, _) in wanted.items() if begun}
        for run_id, run in runs.items():
            _, count, steps = wanted[run_id]
            held = points(client, run_id, "loss") if "loss" in run.data.metrics else []
            assert held == [(n, float(n)) for n in range(count)]
            tags = {key: value for key, value in run.data.tags.items() if key[0] == "t"}
            # The first step begins the run, the last one ends it.
            assert tags == {f"t{n}": "x" * n for n in range(min(steps - 1, 60))}
    # What is damaged is kept, and is not in the way.
    assert sync(journals)["damaged"] == 0
