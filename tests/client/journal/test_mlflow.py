"""A plain MLflow server: the journal arrives there in the words of its own protocol."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from headrace.client import Client
from headrace.client.journal.journals import Journal
from headrace.entities import KeyValue, RunStatus
from headrace.protocol.ingest import (
    ConsoleLine,
    LogArtifacts,
    LogParams,
    RaiseAlert,
    SetTags,
    StartRun,
    StoredFile,
    UpdateRun,
    WriteConsole,
)
from support.logged import log_points, steps_of
from support.proxy import Proxy
from support.server import Server

RUN = "0123456789abcdef0123456789abcdef"


def native(path: str) -> bool:
    return path.startswith("/api/headrace/")


@pytest.fixture
def plain(
    server: Callable[..., Server], proxy: Callable[..., Proxy]
) -> Iterator[tuple[Proxy, Client]]:
    """A server without headrace's own operations, and what its store holds."""
    upstream = server()
    between = proxy(upstream.url, lambda method, path, body: 404 if native(path) else None)
    with Client(upstream.url) as client:
        yield between, client


def log(journal: Journal) -> None:
    journal.step(StartRun(run_id=RUN, run_name="n", experiment_name="e", start_time=5))
    log_points(journal, RUN, "m", range(2500))
    params = tuple(KeyValue(f"p{number}", "v") for number in range(150))
    journal.step(LogParams(run_id=RUN, params=params))
    journal.step(SetTags(run_id=RUN, tags=(KeyValue("t", "1"),)))
    lines = (ConsoleLine(1, "first"), ConsoleLine(2, "second"))
    journal.step(WriteConsole(run_id=RUN, stream="stdout", lines=lines))
    journal.step(RaiseAlert(run_id=RUN, title="first"))
    journal.step(RaiseAlert(run_id=RUN, title="last", severity="error"))
    journal.step(LogArtifacts(run_id=RUN, artifacts=(StoredFile(path="x"),)))
    journal.stage(RUN, "a/b.txt", b"text")
    journal.step(UpdateRun(run_id=RUN, status=RunStatus.FINISHED, end_time=9))


def check(client: Client) -> str:
    experiment = client.get_experiment_by_name("e")
    assert experiment is not None
    (run,) = client.search_runs([experiment.experiment_id])
    assert steps_of(client, run.info.run_id, "m") == list(range(2500))
    assert len(run.data.params) == 150
    assert run.data.tags["t"] == "1"
    assert run.data.tags["headrace.run_id"] == RUN
    assert run.data.tags["headrace.alert.last"] == "error: last"
    assert (run.info.run_name, run.info.status, run.info.end_time) == ("n", "FINISHED", 9)
    return run.info.run_id


def test_everything_arrives(journal: Callable[[str], Journal], plain: tuple[Proxy, Client]) -> None:
    between, client = plain
    one = journal(between.url)
    assert one.probe(30) is False
    log(one)
    assert one.flush(60)
    run_id = check(client)
    assert {file.path for file in client.list_artifacts(run_id)} == {"a", "headrace"}
    path = client.download_artifacts(run_id, "headrace/console.log")
    with open(path) as file:  # noqa: PTH123 - a path as text
        assert file.read() == "first\nsecond\n"


def test_lost_answers_make_no_second_run(
    journal: Callable[[str], Journal], plain: tuple[Proxy, Client]
) -> None:
    between, client = plain
    lost = {"runs/create": 2, "log-batch": 2, "runs/update": 1, "experiments/create": 1}

    def rule(method: str, path: str, body: bytes) -> int | str | None:
        if native(path):
            return 404
        for name in lost:
            if path.endswith(name) and lost[name]:
                lost[name] -= 1
                return "drop"
        return None

    between.rule = rule
    one = journal(between.url)
    log(one)
    assert one.flush(60)
    check(client)


def test_one_bad_param_does_not_cost_the_others(
    journal: Callable[[str], Journal], plain: tuple[Proxy, Client]
) -> None:
    between, client = plain
    one = journal(between.url)
    log(one)
    params = tuple(KeyValue(f"p{number}", "v" if number != 3 else "w") for number in range(60))
    one.step(LogParams(run_id=RUN, params=(*params, KeyValue("q", "1"))))
    assert one.flush(60)
    (found,) = one.rejections(RUN)
    assert found.what == "param p3"
    assert (
        client.search_runs(
            [client.get_experiment_by_name("e").experiment_id]  # type: ignore[union-attr]
        )[0].data.params["q"]
        == "1"
    )


def test_something_that_is_no_tracking_server_gets_nothing(
    journal: Callable[[str], Journal], server: Callable[..., Server], proxy: Callable[..., Proxy]
) -> None:
    between = proxy(server().url, lambda *_: 404)
    one = journal(between.url)
    log(one)
    assert one.probe(30) is None
    assert not one.flush(None)
    between.rule = None
    assert one.flush(60)
    assert one.native is True
