"""Who logs to a run that was asked to stop hears of it, from every store, until it is taken up again."""

from __future__ import annotations

import pytest

from headrace.entities import RunStatus
from headrace.errors import InvalidParameter, InvalidState, NotFound
from headrace.protocol.ingest import UpdateRun
from headrace.protocol.stops import StopNotice
from support.api import Api, unique
from support.backend import Backend
from support.batches import Journal, line


def asked(api: Api, *run_ids: str) -> list[str]:
    """Those of the runs whose request to stop stands."""
    return [one.run_id for one in api.get_stops(run_id=run_ids).stop]


def test_a_run_is_asked_once(api: Api, backend: Backend) -> None:
    run_id = api.new_run()
    api.stop_run(run_id=run_id, reason="it diverges")
    api.stop_run(run_id=run_id, reason="again")
    assert api.get_stops(run_id=[run_id]).stop == (StopNotice(run_id=run_id, reason="it diverges"),)
    assert backend.events(f"run/{run_id}")[1:] == [
        ("run.stop.requested", {"reason": "it diverges"})
    ]


def test_every_answer_to_its_journal_says_so(api: Api, backend: Backend) -> None:
    run_id, other = api.new_run(), api.new_run()
    journal = Journal()
    points = [*line(run_id, "a", range(3)), *line(other, "a", range(3))]
    assert backend.store.ingest(journal.batch(points)).stop == ()
    api.stop_run(run_id=run_id, reason="enough")
    notice = (StopNotice(run_id=run_id, reason="enough"),)
    for _ in range(2):
        assert backend.store.ingest(journal.batch(points)).stop == notice
    assert backend.store.ingest(journal.batch(line(other, "a", range(3)))).stop == ()
    assert backend.store.ingest(journal.batch(alive=(other, run_id))).stop == notice
    ends = UpdateRun(run_id=run_id, status=RunStatus.KILLED, end_time=9)
    assert backend.store.ingest(journal.batch(points, [ends])).stop == ()
    # Another who logs to the run.
    assert backend.store.ingest(Journal().batch(points)).stop == notice


@pytest.mark.parametrize("status", ["FINISHED", "FAILED", "KILLED"])
def test_a_run_that_ended_is_not_asked_until_it_runs_again(api: Api, status: str) -> None:
    run_id = api.new_run()
    api.stop_run(run_id=run_id)
    api.update_run(run_id=run_id, status=status)
    assert asked(api, run_id) == [run_id], "others may be logging to it"
    with pytest.raises(InvalidState, match=status):
        api.stop_run(run_id=run_id)
    api.update_run(run_id=run_id, status="RUNNING")
    assert asked(api, run_id) == []
    api.stop_run(run_id=run_id)
    assert asked(api, run_id) == [run_id]


def test_a_run_that_is_taken_up_again_goes_on(api: Api) -> None:
    run_id = api.new_run()
    api.stop_run(run_id=run_id)
    api.update_run(run_id=run_id, run_name="other")
    assert asked(api, run_id) == [run_id]
    api.update_run(run_id=run_id, status="RUNNING")
    assert asked(api, run_id) == []


def test_a_scheduled_run_hears_of_it_when_it_begins(api: Api) -> None:
    run_id = api.new_run()
    api.update_run(run_id=run_id, status="SCHEDULED")
    api.stop_run(run_id=run_id)
    api.update_run(run_id=run_id, status="RUNNING")
    assert asked(api, run_id) == [run_id]


def test_what_cannot_be_stopped_is_refused(api: Api, backend: Backend) -> None:
    with pytest.raises(NotFound):
        api.stop_run(run_id=unique("none"))
    run_id = api.new_run()
    with pytest.raises(InvalidParameter, match="1001 characters"):
        api.stop_run(run_id=run_id, reason="x" * 1001)
    api.delete_run(run_id=run_id)
    with pytest.raises(InvalidParameter, match="deleted"):
        api.stop_run(run_id=run_id)
    with pytest.raises(InvalidParameter, match="At most 100"):
        api.get_stops(run_id=[run_id] * 101)
    assert asked(api, run_id, unique("none")) == []
    assert [kind for kind, _ in backend.events(f"run/{run_id}")] == ["run.created", "run.deleted"]
