"""When runs count as lost, where clocks jump and processes stop; and that watching costs little."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import sqlalchemy as sa

from headrace.engine import Engine, schema
from headrace.engine.watch import FOREVER_MS, Signs, Watch
from support.api import Api
from support.journal import Journal

_heartbeat = schema.heartbeat


def opened(url: str, *, served: bool = False, compact: bool = False) -> Engine:
    return Engine(url, artifact_root="file:///nowhere", compact=compact, served=served)


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    engine = opened(database_url)
    yield engine
    engine.close()


def seen(engine: Engine) -> list[int]:
    with engine._database.read() as connection:
        return list(connection.execute(sa.select(_heartbeat.c.seen_time)).scalars())


def shift(engine: Engine, millis: int) -> None:
    """As if every sign of life had been given so much later."""
    statement = sa.update(_heartbeat).values(seen_time=_heartbeat.c.seen_time + millis)
    engine.transact(lambda connection: (connection.execute(statement), lambda: None))


class Clocks:
    """The clock on the wall and the steady one, which tests turn."""

    def __init__(self) -> None:
        self.wall = 1000.0
        self.steady = 50.0

    def watch(self, *, served: bool) -> tuple[Watch, list[int]]:
        """A watch by these clocks, and what it was told."""
        told: list[int] = []
        watch = Watch(
            lambda heard: told.append(heard) or 0,  # type: ignore[func-returns-value]
            start=False,
            served=served,
            wall=lambda: self.wall,
            steady=lambda: self.steady,
        )
        return watch, told

    def pass_(self, seconds: float, jump: float = 0.0) -> None:
        self.steady += seconds
        self.wall += seconds + jump


def test_a_store_opened_by_its_only_user_believes_what_is_written() -> None:
    clocks = Clocks()
    watch, told = clocks.watch(served=False)
    clocks.pass_(10)
    watch.look()
    assert told == [FOREVER_MS, FOREVER_MS]


def test_a_server_gives_runs_as_long_to_speak_as_they_may_be_silent() -> None:
    clocks = Clocks()
    watch, told = clocks.watch(served=True)
    for _ in range(3):
        clocks.pass_(10)
        watch.look()
    assert told == [10_000, 20_000, 30_000]


@pytest.mark.parametrize("jump", [3600.0, -3600.0, 1.5])
def test_a_clock_that_jumps_makes_the_watch_begin_anew(jump: float) -> None:
    clocks = Clocks()
    watch, told = clocks.watch(served=False)
    clocks.pass_(10, jump)
    watch.look()
    clocks.pass_(10)
    watch.look()
    clocks.pass_(10, jump=0.01)  # it is only being adjusted
    watch.look()
    assert told == [FOREVER_MS, 0, 10_000, 20_000]


def test_a_process_that_was_stopped_could_not_hear_anybody() -> None:
    clocks = Clocks()
    watch, told = clocks.watch(served=False)
    clocks.pass_(300)
    watch.look()
    clocks.pass_(12)
    watch.look()
    assert told == [FOREVER_MS, 0, 12_000]


def test_a_database_that_cannot_answer_could_not_hear_anybody() -> None:
    broken = [True]
    told = []

    def look(heard: int) -> int:
        if broken[0]:
            raise OSError("gone")
        told.append(heard)
        return 0

    watch = Watch(look, start=False)
    broken[0] = False
    watch.look()
    assert told[0] < 60_000


def test_a_server_that_was_away_does_not_lose_the_runs_that_could_not_reach_it(
    database_url: str,
) -> None:
    with contextlib.closing(opened(database_url)) as engine:
        api = Api(engine)
        run_id = api.new_run()
        Journal(engine).say_alive(run_id)
        shift(engine, -3_600_000)
    with contextlib.closing(opened(database_url, served=True)) as engine:
        assert engine._watch.look() == 0
        assert not Api(engine).run(run_id).info.lost
    with contextlib.closing(opened(database_url)) as engine:
        assert Api(engine).run(run_id).info.lost


def test_the_background_thread_finds_a_silent_run(engine: Engine, database_url: str) -> None:
    api = Api(engine)
    run_id = api.new_run()
    Journal(engine).say_alive(run_id, silence=1000)
    deadline = time.monotonic() + 30
    with contextlib.closing(Watch(engine._look, interval_s=0.05)):
        while not api.run(run_id).info.lost and time.monotonic() < deadline:
            time.sleep(0.05)
    assert api.run(run_id).info.lost
    before = set(threading.enumerate())
    with contextlib.closing(opened(database_url, compact=True)):
        assert "headrace-watch" in {thread.name for thread in set(threading.enumerate()) - before}
    assert set(threading.enumerate()) <= before


def test_a_sign_seen_in_the_future_counts_from_now_on(engine: Engine) -> None:
    Journal(engine).say_alive(Api(engine).new_run())
    shift(engine, 86_400_000)
    before = time.time_ns() // 1_000_000
    assert engine._watch.look() == 0
    assert before <= seen(engine)[0] <= time.time_ns() // 1_000_000


def test_signs_of_life_are_written_only_now_and_then(engine: Engine, database_url: str) -> None:
    run_id = Api(engine).new_run()
    journal = Journal(engine)
    journal.say_alive(run_id)
    shift(engine, -30_000)
    (written,) = seen(engine)
    journal.say_alive(run_id)
    assert seen(engine) == [written]
    with contextlib.closing(opened(database_url)) as other:  # it does not know, and writes again
        Journal(other).say_alive(run_id)
        assert seen(engine)[0] > written
    shift(engine, -30_000)
    journal.say_alive(run_id, silence=1000)
    deadline = time.monotonic() + 30
    while seen(engine)[0] <= written and time.monotonic() < deadline:
        journal.say_alive(run_id, silence=1000)
    assert seen(engine)[0] > written


def test_a_lost_run_that_speaks_soon_is_heard_at_once(engine: Engine) -> None:
    api = Api(engine)
    run_id = api.new_run()
    journal = Journal(engine)
    journal.say_alive(run_id)
    shift(engine, -100_000)
    assert engine._watch.look() == 1
    assert engine._watch.look() == 0
    journal.say_alive(run_id)
    assert not api.run(run_id).info.lost


def test_silences_out_of_range_are_brought_into_it(engine: Engine) -> None:
    api = Api(engine)
    runs = [api.new_run() for _ in range(3)]
    for run_id, silence in zip(runs, (1, 500, 2**63 - 1), strict=True):
        Journal(engine).say_alive(run_id, silence=silence)
    shift(engine, -3_600_000)
    assert engine._watch.look() == 2
    assert [api.run(one).info.lost for one in runs] == [True, True, False]


def test_many_runs_are_lost_at_once(engine: Engine) -> None:
    api = Api(engine)
    experiment = api.new_experiment()
    runs = [{"experiment_id": experiment, "status": "RUNNING"} for _ in range(1000)]
    made = [*api.import_runs(runs=runs).run_ids, api.new_run(experiment), api.new_run(experiment)]
    Journal(engine).say_alive(*made)
    shift(engine, -100_000)
    assert [engine._watch.look() for _ in range(3)] == [1000, 2, 0]


def test_runs_that_speak_while_others_look_are_not_lost(database_url: str) -> None:
    with (
        contextlib.closing(opened(database_url)) as one,
        contextlib.closing(opened(database_url)) as two,
    ):
        api = Api(one)
        runs = [api.new_run() for _ in range(4)]
        done = threading.Event()

        def speak(engine: Engine, ids: list[str]) -> None:
            journal = Journal(engine)
            for number in range(60):
                engine._signs.forget(range(1000))  # so that each one is written
                journal.say_alive(*ids, silence=60_000)
                if number % 20 == 19:
                    Api(engine).update_run(run_id=ids[0], status="RUNNING")
            journal.say_alive(*ids, silence=60_000)

        def look(engine: Engine) -> int:
            found = 0
            while not done.is_set():
                shift(engine, -61_000)
                found += engine._watch.look()
            return found

        with ThreadPoolExecutor(4) as pool:
            speakers = [pool.submit(speak, one, runs), pool.submit(speak, two, runs[::-1])]
            looks = [pool.submit(look, engine) for engine in (one, two)]
            try:
                for speaker in speakers:
                    speaker.result(120)
            finally:
                done.set()
            assert sum(found.result(120) for found in looks) > 0
        for engine in (one, two):
            engine._signs.forget(range(1000))
        Journal(one).say_alive(*runs, silence=60_000)
        assert not any(api.run(run_id).info.lost for run_id in runs)


def test_what_is_remembered_about_signs_is_bounded() -> None:
    signs = Signs()
    for first in range(0, 200_000, 10_000):
        signs.wrote(range(first, first + 10_000))
    assert len(signs._written) < 80_000
    assert signs.due(1, 90_000)
    assert not signs.due(199_999, 90_000)
