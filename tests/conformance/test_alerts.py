"""Alerts, and what is told of artifacts: by request and by journal."""

from __future__ import annotations

from typing import Any

import pytest

from headrace.errors import InvalidParameter, NotFound
from headrace.protocol.ingest import LogArtifacts, RaiseAlert, StoredFile
from support.api import Api, unique
from support.backend import Backend
from support.batches import Journal


def test_an_alert_is_an_event(api: Api, backend: Backend) -> None:
    run_id = api.new_run()
    api.raise_alert(run_id=run_id, title="loss spike", text="5 σ", severity="error", time=7)
    step = RaiseAlert(run_id=run_id, title="again", time=8)
    batch = Journal().batch(steps=[step])
    for _ in range(2):  # a batch that comes twice
        assert backend.store.ingest(batch).rejected == ()
    assert backend.events(f"run/{run_id}")[1:] == [
        (
            "run.alert.raised",
            {"title": "loss spike", "text": "5 σ", "severity": "error", "raised_time": 7},
        ),
        (
            "run.alert.raised",
            {"title": "again", "text": "", "severity": "warn", "raised_time": 8},
        ),
    ]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"title": "x" * 251}, "251 characters"),
        ({"title": "x", "text": "y" * 10_001}, "10001 characters"),
        ({"title": "x", "severity": "fatal"}, "'fatal'.*info, warn, error, critical"),
    ],
)
def test_an_alert_that_cannot_be_one_is_refused(
    api: Api, backend: Backend, fields: dict[str, Any], message: str
) -> None:
    run_id = api.new_run()
    with pytest.raises(InvalidParameter, match=message):
        api.raise_alert(run_id=run_id, **fields)
    answer = backend.store.ingest(Journal().batch(steps=[RaiseAlert(run_id=run_id, **fields)]))
    assert [one.what for one in answer.rejected] == ["raise_alert"]
    assert [kind for kind, _ in backend.events(f"run/{run_id}")[1:]] == ["run.logging.rejected"]


def test_an_alert_of_no_run_is_refused(api: Api) -> None:
    with pytest.raises(NotFound):
        api.raise_alert(run_id=unique("none"), title="x")
    run_id = api.new_run()
    api.delete_run(run_id=run_id)
    with pytest.raises(InvalidParameter, match="deleted"):
        api.raise_alert(run_id=run_id, title="x")


def test_stored_files_are_one_event(api: Api, backend: Backend) -> None:
    run_id = api.new_run()
    api.log_artifacts(run_id=run_id, artifacts=[{"path": "a/b", "size": 3}, {"path": "c"}])
    api.log_artifacts(run_id=run_id, artifacts=[{"path": "a"}], deleted=True)
    many = tuple(StoredFile(path=f"f{number}", size=number) for number in range(150))
    step = LogArtifacts(run_id=run_id, artifacts=many, count=5000)
    backend.store.ingest(Journal().batch(steps=[step]))
    events = backend.events(f"run/{run_id}")[1:]
    assert events[:2] == [
        (
            "run.artifacts.logged",
            {"artifacts": [{"path": "a/b", "size": 3}, {"path": "c"}], "count": 2},
        ),
        ("run.artifacts.deleted", {"artifacts": [{"path": "a"}], "count": 1}),
    ]
    kind, data = events[2]
    assert (kind, data["count"], len(data["artifacts"])) == ("run.artifacts.logged", 5000, 100)
    assert data["artifacts"][99] == {"path": "f99", "size": 99}


def test_no_file_and_no_such_path_are_refused(api: Api) -> None:
    run_id = api.new_run()
    with pytest.raises(InvalidParameter, match="artifacts"):
        api.log_artifacts(run_id=run_id, artifacts=[])
    with pytest.raises(InvalidParameter, match="5000 characters"):
        api.log_artifacts(run_id=run_id, artifacts=[{"path": "x" * 5000}])
