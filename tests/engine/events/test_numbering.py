"""A reader that saw N never later finds an N-1 that it has not seen."""

from __future__ import annotations

import contextlib
import random
import threading
import time
from collections.abc import Iterator

import pytest
import sqlalchemy as sa

from headrace.engine import Engine, schema
from headrace.engine.events import numbering


class Undone(Exception):
    """A transaction that is rolled back on purpose."""


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    engine = Engine(database_url, artifact_root="file:///nowhere", compact=False)
    yield engine
    engine.close()


def write(engine: Engine, subject: str, count: int, *, hold: float = 0, undo: bool = False) -> None:
    """One transaction that writes events, dawdles, and ends one way or the other."""

    def work(connection: sa.Connection) -> tuple[None, object]:
        for place in range(count):
            row = (1, "run.created", f"{subject}/{place}", "", "{}", None)
            numbering.append(connection, [row])
            if hold:
                time.sleep(hold * random.random())
        if undo:
            raise Undone
        return None, engine.feed.committed(True, {}) or (lambda: None)

    with contextlib.suppress(Undone):
        engine.transact(work)  # type: ignore[arg-type]


def test_readers_miss_nothing_and_see_nothing_twice_while_many_write(engine: Engine) -> None:
    writers, each = 8, 40
    done = threading.Event()
    seen: list[list[str]] = [[] for _ in range(3)]

    def writing(number: int) -> None:
        chance = random.Random(number)
        for turn in range(each):
            undo = chance.random() < 0.2
            subject = f"{'undone' if undo else 'run'}/{number}-{turn}"
            write(engine, subject, chance.randint(1, 4), hold=0.004, undo=undo)

    def reading(mine: list[str], limit: int) -> None:
        after = 0
        while True:
            last_look = done.is_set()
            found = engine.log.read(after, limit)
            assert [row.seq for row in found.rows] == sorted({row.seq for row in found.rows})
            assert all(after < row.seq <= found.next for row in found.rows)
            mine += [row.subject for row in found.rows]
            after = found.next
            if last_look and after >= found.last:
                return

    threads = [threading.Thread(target=writing, args=(number,)) for number in range(writers)]
    readers = [
        threading.Thread(target=reading, args=(mine, limit))
        for mine, limit in zip(seen, (1, 7, 1000), strict=True)
    ]
    for thread in threads + readers:
        thread.start()
    for thread in threads:
        thread.join()
    done.set()
    for thread in readers:
        thread.join()
    with engine._database.read() as connection:
        kept = list(
            connection.execute(
                sa.select(schema.event.c.subject).order_by(schema.event.c.seq)
            ).scalars()
        )
    assert len(kept) > writers * each
    assert not any(subject.startswith("undone") for subject in kept)
    assert seen == [kept, kept, kept]


def test_what_an_open_transaction_may_still_write_before_is_waited_for(
    request: pytest.FixtureRequest,
) -> None:
    with request.getfixturevalue("postgres").database() as url:
        engine = Engine(url, artifact_root="file:///nowhere", compact=False)
        try:
            with engine._database.write() as slow:
                numbering.append(slow, [(1, "run.created", "slow", "", "{}", None)])
                write(engine, "fast", 1)
                assert engine.log.read(0, 10).rows == []
            found = engine.log.read(0, 10)
            assert [row.subject for row in found.rows] == ["slow", "fast/0"]
        finally:
            engine.close()
