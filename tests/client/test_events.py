"""Following the event log from Python."""

from __future__ import annotations

import asyncio
import datetime
import itertools
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from headrace import Client
from headrace.errors import Gone, InvalidParameter, Unavailable
from support.server import Server


@pytest.fixture(params=["local", "remote"])
def client(
    request: pytest.FixtureRequest, tmp_path: Path, server: Callable[..., Server]
) -> Iterator[Client]:
    uri = str(tmp_path / "mine") if request.param == "local" else server().url
    with Client(uri) as client:
        yield client


def new_run(client: Client) -> str:
    return str(client.create_run("0").info.run_id)


def test_what_happens_from_now_on_is_followed(client: Client) -> None:
    new_run(client)
    with client.events(["run.*"]) as stream:
        run_id = new_run(client)
        later = threading.Timer(0.2, client.set_tag, (run_id, "a", "1"))
        later.start()
        created, tagged = itertools.islice(stream, 2)
        later.join()
    assert (created.type, created.id, created.experiment_id) == ("run.created", run_id, "0")
    assert (tagged.type, tagged.data["after"]) == ("run.tags.set", {"a": "1"})
    assert tagged.seq == stream.position
    assert abs(tagged.at - datetime.datetime.now(datetime.UTC)) < datetime.timedelta(minutes=1)


def test_the_past_is_read_from_a_place_and_ends(client: Client) -> None:
    runs = [new_run(client) for _ in range(5)]
    everything = list(client.events(after="oldest", follow=False))
    assert [event.id for event in everything if event.type == "run.created"] == runs
    middle = everything[2]
    rest = client.events(after=middle.seq, follow=False)
    assert [event.seq for event in rest] == [event.seq for event in everything[3:]]
    assert rest.position == everything[-1].seq
    since = client.events("run.created", since=middle.at, follow=False)
    assert [event.seq for event in since] == [e.seq for e in everything if e.time >= middle.time]


def test_asyncio_follows_too(client: Client) -> None:
    first = new_run(client)

    async def follow() -> list[str]:
        seen = []
        async with client.aevents("run.created", after="oldest") as stream:
            async for event in stream:
                seen.append(event.id)
                if len(seen) == 2:
                    break
                await asyncio.to_thread(new_run, client)
        return seen

    seen = asyncio.run(asyncio.wait_for(follow(), 30))
    assert seen[0] == first
    assert len(seen) == 2


def test_what_cannot_be_followed_is_said(client: Client) -> None:
    with pytest.raises(InvalidParameter, match=r"Did you mean run\.failed"):
        client.events("run.faild")
    with pytest.raises(InvalidParameter, match="'oldest' or 'now'"):
        client.events(after="yesterday")
    with pytest.raises(Gone, match="the log ends with"):
        next(client.events(after=10**6))
    new_run(client)
    assert client.trim_events(older_than_ms=0).trimmed == 1
    with pytest.raises(Gone, match="the oldest that is kept is 2"):
        next(client.events(after=0))


def test_a_closed_client_ends_its_streams(client: Client) -> None:
    stream = client.events()
    client.close()
    with pytest.raises(Unavailable, match="closed"):
        next(stream)


def test_a_server_that_goes_away_is_waited_for(
    tmp_path: Path, server: Callable[..., Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEADRACE_HTTP_REQUEST_MAX_RETRIES", "0")
    first = server(tmp_path / "s")
    with Client(first.url) as client:
        new_run(client)
        stream = client.events("run.created", after=0)
        next(stream)
        first.kill()
        seen: list[str] = []
        reading = threading.Thread(target=lambda: seen.append(next(stream).id))
        reading.start()
        time.sleep(0.5)  # so that it finds nobody; nothing depends on it
        server(tmp_path / "s", "--port", first.url.rpartition(":")[2])
        run_id = new_run(client)
        reading.join(30)
    assert seen == [run_id]
