"""Compaction: beside traffic, beside other compactors, and killed at any moment, it changes no answer."""

from __future__ import annotations

import contextlib
import math
import random
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from headrace.engine import Engine, schema
from headrace.engine.metrics.compactor import SEGMENT, Compactor
from headrace.protocol.runs import MetricPoint

from .conftest import MetricStore


def _points(first: int, size: int, keys: int = 1) -> list[MetricPoint]:
    return [
        MetricPoint(key=f"m{step % keys}", value=math.sin(step), timestamp=5 * step, step=step)
        for step in range(first, first + size)
    ]


def _steps(store: MetricStore, run_id: str, key: str = "m0") -> list[int]:
    return [point.step for point in store.history(run_id, key)]


def _count(store: MetricStore, table: str, what: str = "count(*)") -> int:
    with store.engine._database.read() as connection:
        found: int = connection.exec_driver_sql(f"SELECT {what} FROM {table}").scalar_one() or 0
        return found


def _compactor(store: MetricStore) -> Compactor:
    return Compactor(store.engine._database, store.engine.transact, start=False)


def test_in_the_background_few_batches_are_left_alone_and_many_become_segments(
    store: MetricStore,
) -> None:
    few, many = store.run(), store.run()
    for first in range(0, 1500, 100):
        store.log(few, _points(first, 100))
    for first in range(0, 1600, 100):
        store.log(many, _points(first, 100))
    compactor = _compactor(store)
    assert compactor.run_once() == 1
    assert _count(store, "metric_batch") == 15
    assert _count(store, "metric_segment") == 1
    assert _steps(store, few) == list(range(1500))
    assert _steps(store, many) == list(range(1600))


def test_only_runs_written_since_are_looked_at_again(store: MetricStore) -> None:
    compactor = _compactor(store)
    runs = [store.run() for _ in range(3)]
    for _ in range(3):
        compactor.run_once()
    for run_id in runs:
        for first in range(0, 160, 10):
            store.log(run_id, _points(first, 10))
    assert compactor.run_once() == 3
    assert compactor.run_once() == 0
    assert _count(store, "metric_batch") == 3  # one each: too short for segments


def test_short_series_of_a_run_share_one_batch(store: MetricStore) -> None:
    run_id = store.run()
    for first in range(0, 4000, 1000):
        store.log(run_id, _points(first, 1000, keys=100))
    store.engine.compact()
    assert (_count(store, "metric_batch"), _count(store, "metric_segment")) == (1, 0)
    for key in range(100):
        assert _steps(store, run_id, f"m{key}") == list(range(key, 4000, 100))


def test_a_growing_series_has_few_segments_and_is_rewritten_seldom(store: MetricStore) -> None:
    run_id = store.run()
    compactor = _compactor(store)
    total, written, last_id = 150_000, 0, 0
    for first in range(0, total, 1000):
        store.log(run_id, _points(first, 1000))
        if first % 2000 == 1000:
            compactor.run_once(everything=True)
            newest = _count(store, "metric_segment", "max(id)")
            written += _count(store, f"metric_segment WHERE id > {last_id}", "sum(points)")
            last_id = newest
    assert _steps(store, run_id) == list(range(total))
    assert _count(store, "metric_segment") <= 2 * total / SEGMENT + 8
    assert _count(store, "metric_segment", "max(points)") <= SEGMENT
    assert written <= 8 * total


def test_a_large_import_becomes_segments_without_further_writes(store: MetricStore) -> None:
    run = {
        "experiment_id": store.experiment_id,
        "metrics": tuple(
            {"key": "m0", "value": 1.0, "timestamp": step, "step": step} for step in range(40_000)
        ),
    }
    (run_id,) = store.call("import_runs", runs=(run,)).run_ids
    _compactor(store).run_once()
    assert (_count(store, "metric_batch"), _count(store, "metric_segment")) == (0, 1)
    assert _steps(store, run_id) == list(range(40_000))


def test_compactors_of_two_processes_and_writers_run_beside_each_other(
    store: MetricStore, database_url: str
) -> None:
    run_id = store.run()
    other = Engine(database_url, artifact_root="file:///nowhere", compact=False)
    done = threading.Event()

    def compact(engine: Engine) -> int:
        compactor = Compactor(engine._database, engine.transact, start=False)
        changed = 0
        while not done.is_set():
            changed += compactor.run_once(everything=True)
        return changed

    def write(writer: int) -> None:
        for first in range(writer, 6000, 200):
            store.log(run_id, _points(first, 100))

    with ThreadPoolExecutor(5) as pool:
        compactors = [pool.submit(compact, engine) for engine in (store.engine, other)]
        writers = [pool.submit(write, writer) for writer in (0, 100)]
        reads = 0
        while not all(one.done() for one in writers):
            steps = _steps(store, run_id)
            assert steps == sorted(set(steps))
            assert len(steps) >= reads
            reads = len(steps)
        done.set()
        for one in writers:
            one.result()
        assert sum(one.result() for one in compactors) > 0
    other.close()
    assert _steps(store, run_id) == list(range(6000))


def test_a_run_purged_while_it_is_compacted_leaves_nothing_behind(store: MetricStore) -> None:
    run_id = store.run()
    for first in range(0, 2000, 100):
        store.log(run_id, _points(first, 100))
    compactor = _compactor(store)
    (internal,) = compactor._touched(everything=True)
    with store.engine._database.read() as connection:
        change = compactor._plan(connection, internal, everything=True)
    assert change is not None
    store.call("delete_run", run_id=run_id)
    store.call("purge_trash", run_ids=(run_id,))
    assert not compactor._replace(change)
    assert _count(store, "metric_segment") == _count(store, "metric_batch") == 0


_FOREVER = """
import sys
from headrace.engine import Engine
engine = Engine(sys.argv[1], artifact_root="file:///nowhere", compact=False)
print("ready", flush=True)
while True:
    engine.compact()
"""


def test_a_compactor_killed_at_random_loses_and_changes_nothing(
    store: MetricStore, database_url: str
) -> None:
    chance = random.Random(7)
    run_id = store.run()
    size = 0
    for _ in range(6):
        with subprocess.Popen(
            [sys.executable, "-c", _FOREVER, database_url], stdout=subprocess.PIPE, text=True
        ) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            for _ in range(chance.randint(5, 25)):
                store.log(run_id, _points(size, 400, keys=2))
                size += 400
            time.sleep(chance.random() * 0.05)
            process.send_signal(signal.SIGKILL)
        for key in (0, 1):
            assert _steps(store, run_id, f"m{key}") == list(range(key, size, 2))
    assert _count(store, "metric_segment") > 0
    store.engine.compact()
    assert _steps(store, run_id) == list(range(0, size, 2))


def test_the_background_thread_compacts_and_stops(
    store: MetricStore,
) -> None:
    run_id = store.run()
    for first in range(0, 1600, 100):
        store.log(run_id, _points(first, 100))
    database, transact = store.engine._database, store.engine.transact
    with contextlib.closing(Compactor(database, transact, interval_s=0.01)):
        deadline = time.monotonic() + 30
        while not _count(store, "metric_segment") and time.monotonic() < deadline:
            time.sleep(0.02)
    assert _count(store, "metric_segment") == 1
    assert _steps(store, run_id) == list(range(1600))


def test_compaction_makes_the_file_smaller(tmp_path: Path) -> None:
    engine = Engine(f"sqlite:///{tmp_path}/s.db", artifact_root="file:///nowhere", compact=False)
    store = MetricStore(engine)
    run_id = store.run()
    with engine._database.read() as connection:
        empty: int = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
    for first in range(0, 20_000, 20):
        store.log(run_id, _points(first, 20))
    with engine._database.read() as connection:
        before: int = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
    engine.compact()
    with engine._database.read() as connection:
        after: int = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
        free: int = connection.exec_driver_sql("PRAGMA freelist_count").scalar_one()
        assert connection.exec_driver_sql("PRAGMA integrity_check").scalar_one() == "ok"
    engine.close()
    assert after - empty < (before - empty) / 2
    assert free == 0


def test_a_run_that_cannot_be_read_does_not_keep_the_others_waiting(
    store: MetricStore, caplog: pytest.LogCaptureFixture
) -> None:
    bad, good = store.run(), store.run()
    for step in range(0, 1600, 100):
        store.log(bad, _points(step, 100))
        store.log(good, _points(step, 100))
    first = sa.func.min(schema.run.c.id)
    with store.engine._database.write() as connection:
        connection.execute(
            sa.update(schema.metric_batch)
            .where(schema.metric_batch.c.run_id == sa.select(first).scalar_subquery())
            .values(data=b"\x09")
        )
    assert _compactor(store).run_once() == 1
    assert "Compaction of a run" in caplog.text
    assert _count(store, "metric_batch") == 16
    assert _count(store, "metric_segment") == 1
    assert _steps(store, good) == list(range(1600))


def test_what_a_purge_frees_is_given_back_many_pages_at_a_time(tmp_path: Path) -> None:
    engine = Engine(f"sqlite:///{tmp_path}/s.db", artifact_root="file:///nowhere", compact=False)
    store = MetricStore(engine)
    run_id = store.run()
    params = [{"key": f"p{i}", "value": "x" * 90_000} for i in range(100)]
    store.call("log_batch", run_id=run_id, params=params)
    store.call("delete_run", run_id=run_id)
    store.call("purge_trash", run_ids=[run_id])
    steps = []

    def transact(work: Any) -> Any:
        steps.append(engine.transact(work))
        return steps[-1]

    free = _count(store, "pragma_freelist_count", "freelist_count")
    assert Compactor(engine._database, transact, start=False).run_once() == 0
    assert set(steps) == {256}
    assert free - sum(steps) <= 1024
    engine.close()
