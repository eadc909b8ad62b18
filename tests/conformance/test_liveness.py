"""A run that says it is alive, and then says it no more, is lost, on every store."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
import sqlalchemy as sa

from headrace.engine import Engine, schema
from headrace.engine.database import parse_url
from support.api import Api
from support.backend import Backend
from support.journal import Journal

_run = schema.run
_heartbeat = schema.heartbeat


@pytest.fixture
def journal(backend: Backend) -> Journal:
    return Journal(backend.store)


def number_of(run_id: str) -> sa.ScalarSelect[Any]:
    return sa.select(_run.c.id).where(_run.c.uuid == run_id).scalar_subquery()


def fall_silent(backend: Backend, run_id: str, millis: int = 100_000) -> None:
    """As if the last sign of life had been given earlier, and somebody looked now."""
    engine = sa.create_engine(parse_url(backend.url), poolclass=sa.NullPool)
    with engine.begin() as connection:
        connection.execute(
            sa.update(_heartbeat)
            .where(_heartbeat.c.run_id == number_of(run_id))
            .values(seen_time=_heartbeat.c.seen_time - millis)
        )
    look(backend)


def look(backend: Backend) -> None:
    Engine(backend.url, artifact_root="file:///nowhere", actor="", compact=False).close()


def changes(backend: Backend, run_id: str) -> list[tuple[str, Any]]:
    """Events of the run's status: type, and what else they say."""
    event = schema.event
    rows = backend.rows(
        sa.select(event.c.type, event.c.data)
        .where(event.c.subject == f"run/{run_id}", event.c.type != "run.created")
        .order_by(event.c.seq)
    )
    return [(row.type, json.loads(row.data)) for row in rows]


def found(api: Api, run_id: str, filter: str) -> bool:
    experiment = api.run(run_id).info.experiment_id
    page = api.search_runs(experiment_ids=[experiment], filter=filter)
    return [run.info.run_id for run in page.runs] == [run_id]


def test_a_silent_run_is_lost_and_runs_again_when_it_speaks(
    api: Api, backend: Backend, journal: Journal
) -> None:
    run_id = api.new_run()
    journal.say_alive(run_id)
    look(backend)
    info = api.run(run_id).info
    assert (info.status, info.lost) == ("RUNNING", False)
    assert info.seen_time >= info.start_time
    seen = info.seen_time
    fall_silent(backend, run_id)
    info = api.run(run_id).info
    assert (info.status, info.lost) == ("RUNNING", True)
    assert info.seen_time == seen - 100_000
    # Through another process: this one has just written a sign of life, and need not so soon again.
    with contextlib.closing(
        Engine(backend.url, artifact_root="file:///nowhere", compact=False)
    ) as other:
        Journal(other).say_alive(run_id)
    info = api.run(run_id).info
    assert (info.status, info.lost) == ("RUNNING", False)
    assert info.seen_time >= seen
    running, lost = {"status": "RUNNING"}, {"status": "LOST"}
    assert changes(backend, run_id) == [
        (
            "run.lost",
            {"before": running, "after": lost, "seen_time": seen - 100_000, "silence": 90_000},
        ),
        ("run.recovered", {"before": lost, "after": running}),
    ]


def test_searches_tell_lost_runs_from_running_ones(
    api: Api, backend: Backend, journal: Journal
) -> None:
    run_id = api.new_run()
    journal.say_alive(run_id)
    fall_silent(backend, run_id)
    experiment = api.run(run_id).info.experiment_id
    (run,) = api.search_runs(experiment_ids=[experiment]).runs
    assert (run.info.status, run.info.lost) == ("RUNNING", True)
    for filter, expected in {
        "attributes.status = 'LOST'": True,
        "status != 'LOST'": False,
        "status = 'RUNNING'": False,
        "status != 'RUNNING'": True,
        "status IN ('LOST', 'FAILED')": True,
        "status NOT IN ('LOST')": False,
        "status LIKE 'LO%'": True,
    }.items():
        assert found(api, run_id, filter) is expected, filter


@pytest.mark.parametrize("lost", [False, True])
def test_a_run_that_has_ended_has_no_signs_of_life_and_is_not_lost(
    api: Api, backend: Backend, journal: Journal, lost: bool
) -> None:
    run_id = api.new_run()
    journal.say_alive(run_id)
    if lost:
        fall_silent(backend, run_id)
    answer = api.update_run(run_id=run_id, status="FINISHED", end_time=5)
    assert (answer.run_info.status, answer.run_info.lost) == ("FINISHED", False)
    journal.say_alive(run_id)  # it was on its way
    fall_silent(backend, run_id)
    info = api.run(run_id).info
    assert (info.status, info.lost, info.seen_time) == ("FINISHED", False, None)
    before = {"status": "LOST" if lost else "RUNNING", "end_time": None}
    assert changes(backend, run_id)[-1] == (
        "run.finished",
        {"before": before, "after": {"status": "FINISHED", "end_time": 5}},
    )


@pytest.mark.parametrize("lost", [False, True])
def test_a_run_taken_up_by_a_client_without_signs_of_life_is_not_lost(
    api: Api, backend: Backend, journal: Journal, lost: bool
) -> None:
    run_id = api.new_run()
    journal.say_alive(run_id)
    if lost:
        fall_silent(backend, run_id)
    api.update_run(run_id=run_id, status="RUNNING")
    fall_silent(backend, run_id)
    info = api.run(run_id).info
    assert (info.status, info.lost, info.seen_time) == ("RUNNING", False, None)
    expected = ["run.lost", "run.recovered"] if lost else []
    assert [type for type, _ in changes(backend, run_id)] == expected


def test_a_run_that_ended_and_goes_on_is_watched_again(
    api: Api, backend: Backend, journal: Journal
) -> None:
    run_id = api.new_run()
    journal.say_alive(run_id)
    api.update_run(run_id=run_id, status="FAILED")
    api.update_run(run_id=run_id, status="RUNNING")
    journal.say_alive(run_id)
    fall_silent(backend, run_id)
    assert api.run(run_id).info.lost


def test_a_run_that_never_spoke_is_never_lost(api: Api, backend: Backend) -> None:
    run_id = api.new_run(start_time=0)
    look(backend)
    assert not api.run(run_id).info.lost


def test_runs_in_the_trash_are_not_looked_at_until_they_are_restored(
    api: Api, backend: Backend, journal: Journal
) -> None:
    run_id, other = api.new_run(), api.new_run()
    journal.say_alive(run_id, other)
    experiment = api.run(other).info.experiment_id
    api.delete_run(run_id=run_id)
    api.delete_experiment(experiment_id=experiment)
    for one in (run_id, other):
        fall_silent(backend, one)
        assert not api.run(one).info.lost
    api.restore_run(run_id=run_id)
    api.restore_experiment(experiment_id=experiment)
    look(backend)
    assert api.run(run_id).info.lost
    assert api.run(other).info.lost


def test_a_purged_run_leaves_no_sign_of_life(api: Api, backend: Backend, journal: Journal) -> None:
    run_id = api.new_run()
    journal.say_alive(run_id)
    count = sa.select(sa.func.count()).select_from(_heartbeat)
    (before,) = backend.rows(count)
    api.delete_run(run_id=run_id)
    api.purge_trash(run_ids=[run_id])
    assert backend.rows(count)[0][0] == before[0] - 1
