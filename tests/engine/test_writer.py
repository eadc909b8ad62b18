"""Group commit: what fails, fails alone; what is acknowledged, is there."""

from __future__ import annotations

import threading
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from headrace.engine.database import Database
from headrace.engine.writer import GroupWriter
from headrace.errors import Unavailable


@pytest.fixture
def database(tmp_path: Path) -> Any:
    database = Database(f"sqlite:///{tmp_path}/w.db")
    with database.write() as connection:
        connection.execute(sa.text("CREATE TABLE t (x INTEGER UNIQUE)"))
    yield database
    database.close()


def put(x: int) -> Any:
    def work(connection: sa.Connection) -> Any:
        connection.execute(sa.text("INSERT INTO t VALUES (:x)"), {"x": x})
        return x, lambda: None

    return work


def rows(database: Database) -> set[int]:
    with database.read() as connection:
        return set(connection.execute(sa.text("SELECT x FROM t")).scalars())


def test_work_that_fails_is_undone_alone(database: Database) -> None:
    writer = GroupWriter(database)
    gate = threading.Event()

    def hold(_connection: sa.Connection) -> Any:
        gate.wait(10)  # so that the rest gathers into one group
        return None, lambda: None

    def half(connection: sa.Connection) -> Any:
        put(7)(connection)
        raise ValueError("half done")

    futures: list[Future[Any]] = [writer.submit(hold)]
    futures += [
        writer.submit(put(1)),
        writer.submit(half),
        writer.submit(put(1)),
        writer.submit(put(2)),
    ]
    gate.set()
    assert futures[1].result(10) == 1
    with pytest.raises(ValueError, match="half done"):
        futures[2].result(10)
    with pytest.raises(sa.exc.IntegrityError):
        futures[3].result(10)
    assert futures[4].result(10) == 2
    assert rows(database) == {1, 2}
    writer.close()


def test_closing_finishes_what_was_accepted(database: Database) -> None:
    writer = GroupWriter(database)
    futures = [writer.submit(put(x)) for x in range(500)]
    writer.close()
    assert [future.result(0) for future in futures] == list(range(500))
    assert rows(database) == set(range(500))
    with pytest.raises(Unavailable):
        writer.submit(put(1000))


def test_a_full_database_refuses_and_recovers(database: Database) -> None:
    writer = GroupWriter(database)

    def fill(connection: sa.Connection) -> Any:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
        connection.exec_driver_sql(f"PRAGMA max_page_count={pages + 2}")
        return None, lambda: None

    def much(connection: sa.Connection) -> Any:
        connection.execute(sa.text("CREATE TABLE big (b BLOB)"))
        connection.execute(sa.text("INSERT INTO big VALUES (zeroblob(1000000))"))
        return None, lambda: None

    def unfill(connection: sa.Connection) -> Any:
        connection.exec_driver_sql("PRAGMA max_page_count=1000000")
        return None, lambda: None

    writer.submit(put(1)).result(10)
    writer.submit(fill).result(10)
    with pytest.raises(Unavailable, match="full"):
        writer.submit(much).result(10)
    writer.submit(put(2)).result(10)
    writer.submit(unfill).result(10)
    writer.submit(much).result(10)
    assert rows(database) == {1, 2}
    writer.close()


def test_many_threads_share_the_writer(database: Database) -> None:
    writer = GroupWriter(database)

    def client(base: int) -> None:
        for x in range(base, base + 50):
            writer.submit(put(x)).result(30)

    threads = [threading.Thread(target=client, args=(base * 50,)) for base in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert rows(database) == set(range(800))
    writer.close()
