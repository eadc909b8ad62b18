"""Purging on PostgreSQL, beside a writer that uses the same data set."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa

from headrace.engine import Engine
from support.api import Api
from support.postgres import Postgres

DATASET = {"name": "d", "digest": "1", "source_type": "local", "source": "{}"}


@pytest.fixture
def database(postgres: Postgres) -> Iterator[str]:
    with postgres.database() as url:
        yield url


@pytest.mark.parametrize("before", ["SELECT dataset.id", "INSERT INTO run_dataset"])
def test_a_data_set_that_a_purge_removes_while_it_is_logged_is_there_afterwards(
    database: str, before: str
) -> None:
    engine = Engine(database, artifact_root="mlflow-artifacts:", compact=False)
    api = Api(engine)
    experiment = api.new_experiment()
    old, new = api.new_run(experiment), api.new_run(experiment)
    api.log_inputs(run_id=old, datasets=[{"dataset": DATASET}])
    api.delete_run(run_id=old)
    reached, purging = threading.Event(), threading.Event()

    def pause(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if before in statement and not reached.is_set():
            reached.set()
            purging.wait(60)

    sa.event.listen(sa.Engine, "before_cursor_execute", pause)
    try:
        with ThreadPoolExecutor(2) as pool:
            logged = pool.submit(api.log_inputs, run_id=new, datasets=[{"dataset": DATASET}])
            assert reached.wait(60)
            purged = pool.submit(api.purge_trash, run_ids=[old])
            _until_done_or_waiting(database, purged)
            purging.set()
            logged.result(60)
            assert purged.result(60).run_ids == (old,)
    finally:
        purging.set()
        sa.event.remove(sa.Engine, "before_cursor_execute", pause)
    assert [one.dataset.name for one in api.run(new).inputs.dataset_inputs] == ["d"]
    engine.close()


def test_a_purge_leaves_a_data_set_that_somebody_is_logging(database: str) -> None:
    engine = Engine(database, artifact_root="mlflow-artifacts:", compact=False)
    api = Api(engine)
    experiment = api.new_experiment()
    old, new = api.new_run(experiment), api.new_run(experiment)
    api.log_inputs(run_id=old, datasets=[{"dataset": DATASET}])
    api.delete_run(run_id=old)
    with psycopg.connect(database) as other, ThreadPoolExecutor(1) as pool:
        other.execute(
            "INSERT INTO run_dataset (run_id, dataset_id, tags) "
            "SELECT run.id, dataset.id, '[]' FROM run, dataset WHERE run.uuid = %s",
            (new,),
        )
        purged = pool.submit(api.purge_trash, run_ids=[old])
        _until_done_or_waiting(database, purged)
        other.commit()
        assert purged.result(60).run_ids == (old,)
    assert [one.dataset.name for one in api.run(new).inputs.dataset_inputs] == ["d"]
    engine.close()


def _until_done_or_waiting(database: str, future: Any) -> None:
    """Return when the call is done, or waits for a lock of another transaction."""
    with psycopg.connect(database, autocommit=True) as connection:
        while not future.done():
            waiting = connection.execute(
                "SELECT count(*) FROM pg_stat_activity "
                "WHERE datname = current_database() AND wait_event_type = 'Lock'"
            ).fetchone()
            if waiting and waiting[0]:
                return
