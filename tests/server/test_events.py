"""The event log over HTTP: pages, long polls, streams."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from cloudevents.core.bindings.http import HTTPMessage, from_structured_event
from cloudevents.core.formats.json import JSONFormat

from headrace.protocol.catalogue import EVENT_TYPES, document
from support.front import Front
from support.postgres import Postgres
from support.sse import EVENTS, events, messages

STREAM = {"Accept": "text/event-stream"}


@contextlib.contextmanager
def stream(front: Front, last_id: int | None = None, **query: Any) -> Iterator[httpx.Response]:
    """An open stream."""
    headers = STREAM if last_id is None else {**STREAM, "Last-Event-ID": str(last_id)}
    with front.http.stream("GET", EVENTS, params=query, headers=headers) as response:
        assert response.status_code == 200, response.read()
        yield response


def page(front: Front, **query: Any) -> dict[str, Any]:
    response = front.http.get(EVENTS, params=query)
    assert response.status_code == 200, response.text
    found: dict[str, Any] = response.json()
    return found


def end(front: Front) -> int:
    number: int = page(front, limit=0)["last"]
    return number


def new_run(front: Front) -> str:
    response = front.post("runs/create", experiment_id="0")
    run_id: str = response.json()["run"]["info"]["run_id"]
    return run_id


def tag(front: Front, run_id: str, key: str, value: str = "x") -> None:
    assert front.post("runs/set-tag", run_id=run_id, key=key, value=value).status_code == 200


def test_events_are_cloudevents_to_the_official_sdk(front: Front) -> None:
    run_id = new_run(front)
    found = page(front, subject=f"run/{run_id}")["events"]
    assert [one["type"] for one in found] == ["run.created"]
    body = json.dumps(found[0]).encode()
    message = HTTPMessage({"content-type": "application/cloudevents+json"}, body)
    event = from_structured_event(message, JSONFormat())
    assert event.get_type() == "run.created"
    assert event.get_subject() == f"run/{run_id}"
    assert event.get_source().startswith("urn:headrace:")
    assert abs(event.get_time().timestamp() - time.time()) < 60
    assert event.get_extension("workspace") == "default"
    assert event.get_data()["experiment_id"] == "0"


def test_pages_go_on_where_the_last_one_ended(front: Front) -> None:
    start = end(front)
    run_id = new_run(front)
    for number in range(7):
        tag(front, run_id, f"k{number}")
    seen, after = [], start
    while True:
        found = page(front, after=after, limit=3)
        seen += [int(one["id"]) for one in found["events"]]
        after = found["next"]
        if after >= found["last"]:
            break
    assert seen == list(range(start + 1, start + 9))


def test_filters_choose_and_the_cursor_moves_past_what_they_leave_out(front: Front) -> None:
    start = end(front)
    one, other = new_run(front), new_run(front)
    tag(front, one, "a")
    tag(front, other, "b")
    front.post("runs/update", run_id=one, status="FAILED")
    query: list[tuple[dict[str, Any], list[str]]] = [
        ({"type": "run.failed"}, [one]),
        ({"type": ["run.failed", "run.created"]}, [one, other, one]),
        ({"type": "*.set", "subject": f"run/{other}"}, [other]),
        ({"subject": f"run/{one[:8]}*", "type": "run.tags.*"}, [one]),
        ({"experiment_id": "0", "type": "run.created"}, [one, other]),
        ({"experiment_id": "77"}, []),
        ({"actor": "nobody"}, []),
        ({"since": 4_000_000_000_000}, []),
        ({"until": 1_000}, []),
    ]
    for fields, runs in query:
        found = page(front, after=start, **fields)
        assert [one["subject"] for one in found["events"]] == [f"run/{run}" for run in runs], fields
        assert found["next"] == found["last"], fields


@pytest.mark.parametrize(
    ("query", "status", "word"),
    [
        ({"after": 10**9}, 410, "the oldest that is kept is"),
        ({"after": -1}, 400, "after"),
        ({"after": "x"}, 400, "after"),
        ({"limit": 10_001}, 400, "limit"),
        ({"wait": 61}, 400, "wait"),
        ({"wait": "nan"}, 400, "wait"),
        ({"type": "run.crated"}, 400, "Did you mean run.created"),
        ({"type": "run.[a-z]"}, 400, "docs/events.md"),
        ({"type": ""}, 400, "docs/events.md"),
        ({"subject": "run/*/x"}, 400, "subject"),
        ({"experiment_id": "one"}, 400, "experiment id"),
        ({"since": "yesterday"}, 400, "since"),
    ],
)
@pytest.mark.parametrize("headers", [{}, STREAM])
def test_what_cannot_be_read_is_refused_with_the_remedy(
    front: Front, query: dict[str, Any], status: int, word: str, headers: dict[str, str]
) -> None:
    response = front.http.get(EVENTS, params=query, headers=headers)
    assert response.status_code == status
    assert word in response.json()["message"]


def test_a_long_poll_answers_when_something_it_wants_happens(front: Front) -> None:
    run_id = new_run(front)
    after = end(front)
    answers: list[dict[str, Any]] = []
    asked = {"after": after, "wait": 30, "type": "run.tag.deleted"}
    waiting = threading.Thread(target=lambda: answers.append(page(front, **asked)))
    waiting.start()
    tag(front, run_id, "a")  # not what it waits for
    assert front.post("runs/delete-tag", run_id=run_id, key="a").status_code == 200
    waiting.join(30)
    assert [one["type"] for one in answers[0]["events"]] == ["run.tag.deleted"]


def test_a_long_poll_that_gets_nothing_says_how_far_it_looked(front: Front) -> None:
    run_id = new_run(front)
    found = page(front, after=0, wait=0.2, type="run.purged", subject=f"run/{run_id}")
    assert found["events"] == []
    assert found["next"] == found["last"] == end(front)


def test_a_stream_tells_what_happens_and_resumes_by_the_last_id(front: Front) -> None:
    run_id = new_run(front)
    start = end(front)
    with stream(front, subject=f"run/{run_id}") as response:
        blocks = messages(response)
        next(blocks)  # retry
        assert next(blocks).id == start  # where it begins
        for number in range(3):
            tag(front, run_id, f"k{number}")
        told = list(itertools.islice((one for one in blocks if one.data), 2))
    tag(front, run_id, "later")
    last = told[-1].id
    with stream(front, last_id=last, subject=f"run/{run_id}") as response:
        rest = list(itertools.islice(events(response), 2))
    keys = [list(one.data["data"]["after"]) for one in told]
    keys += [list(one["data"]["after"]) for one in rest]
    assert keys == [["k0"], ["k1"], ["k2"], ["later"]]


def test_a_stream_from_an_old_number_misses_nothing_while_more_happens(front: Front) -> None:
    start = end(front)
    run_id = new_run(front)

    def make() -> None:
        with httpx.Client(base_url=front.server.url, trust_env=False) as http:
            for number in range(300):
                fields = {"run_id": run_id, "key": f"n{number}", "value": "x"}
                http.post("/api/2.0/mlflow/runs/set-tag", json=fields).raise_for_status()

    making = threading.Thread(target=make)
    making.start()
    for wanted in (10, 60, 110, 300):  # begins further and further back from the end
        with stream(front, after=start, type="run.tags.set") as response:
            seen = list(itertools.islice(events(response), wanted))
        told = [next(iter(one["data"]["after"])) for one in seen]
        assert told == [f"n{number}" for number in range(wanted)]
    making.join()


def test_runs_that_get_points_are_signalled_without_a_number(front: Front) -> None:
    run_id = new_run(front)
    with stream(front, signals=True, subject=f"run/{run_id}") as response:
        blocks = messages(response)
        next(blocks)
        for step in range(20):
            front.post("runs/log-metric", run_id=run_id, key="m", value=1, timestamp=1, step=step)
        told = next(one for one in blocks if one.event == "moved")
    assert told.id is None
    assert told.data == {"runs": [{"run_id": run_id, "experiment_id": "0", "what": "metrics"}]}


def test_a_listener_that_does_not_read_is_dropped_and_told_why(
    started: Callable[..., Front],
) -> None:
    front = started("--no-access-log")
    run_id = new_run(front)
    with socket.socket() as lazy:
        lazy.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        lazy.connect(("127.0.0.1", httpx.URL(front.server.url).port))
        lazy.sendall(
            f"GET {EVENTS}?after=0 HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n".encode()
        )
        lazy.recv(100)
        before = _resident(front.server.process.pid)
        for turn in range(25):  # events of almost a megabyte each
            tags = [{"key": f"k{turn}-{number}", "value": "x" * 9_000} for number in range(100)]
            assert front.post("runs/log-batch", run_id=run_id, tags=tags).status_code == 200
        assert _resident(front.server.process.pid) - before < 100 << 20
        lazy.settimeout(30)
        got = bytearray()
        while piece := lazy.recv(1 << 20):
            got += piece
            if b"event: end" in got[-300:]:
                break
    last = max(int(line[4:]) for line in got.split(b"\n") if line.startswith(b"id: "))
    assert b"do not read as fast" in got
    with stream(front, last_id=last) as response:
        rest = next(events(response))
    assert int(rest["id"]) == last + 1


def test_a_stopping_server_ends_streams_and_polls_at_once(started: Callable[..., Front]) -> None:
    for options in ((), ("--workers", "2")):
        front = started(*options)
        new_run(front)
        answers: list[dict[str, Any]] = []
        last = end(front)
        poll = threading.Thread(
            target=lambda f=front, a=answers, n=last: a.append(page(f, wait=60, after=n))
        )
        with stream(front) as response:
            blocks = messages(response)
            next(blocks)
            next(blocks)
            poll.start()
            time.sleep(0.3)
            stopping = time.monotonic()
            front.server.stop()
            assert next(one for one in blocks if one.event == "end").data["reason"]
        poll.join(10)
        # Far from the 30 s that requests under way are given.
        assert time.monotonic() - stopping < 15
        assert answers[0]["events"] == []


def test_streams_go_on_when_the_log_can_be_read_again(
    postgres: Postgres, started: Callable[..., Front]
) -> None:
    with postgres.database() as url, psycopg.connect(url, autocommit=True) as behind:
        front = started(store=url)
        run_id = new_run(front)
        with stream(front) as response:
            heard = messages(response)
            next(heard)
            next(heard)
            behind.execute("ALTER TABLE event_log RENAME TO event_log_away")
            tag(front, run_id, "key")
            deadline = time.monotonic() + 30
            while "cannot be read" not in front.server.output() and time.monotonic() < deadline:
                time.sleep(0.02)
            behind.execute("ALTER TABLE event_log_away RENAME TO event_log")
            told = next(one for one in heard if one.data is not None)
        assert told.data["type"] == "run.tags.set"
        front.server.kill()  # its log has a traceback, as it should


@pytest.mark.parametrize("after", [None, 0])
def test_a_stopping_server_does_not_wait_for_a_listener_that_does_not_read(
    after: int | None, started: Callable[..., Front]
) -> None:
    front = started("--no-access-log")
    run_id = new_run(front)
    with socket.socket() as lazy:
        lazy.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        lazy.connect(("127.0.0.1", httpx.URL(front.server.url).port))

        def listen() -> None:
            query = "" if after is None else f"?after={after}"
            lazy.sendall(
                f"GET {EVENTS}{query} HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n".encode()
            )
            lazy.recv(100)

        if after is None:
            listen()
        for number in range(20):  # 8 MB, and as much again for those who read
            tags = [{"key": f"k{one}", "value": f"{number}" + "x" * 4_000} for one in range(100)]
            assert front.post("runs/log-batch", run_id=run_id, tags=tags).status_code == 200
        if after is not None:
            listen()  # it never gets to where it could join
        front.server.stop()


def test_workers_and_other_processes_are_heard(
    started: Callable[..., Front], database_url: str
) -> None:
    workers = ("--workers", "2") if database_url.startswith("postgresql") else ()
    front, other = (started(*workers, store=database_url) for _ in range(2))
    with stream(front) as response:
        blocks = messages(response)
        next(blocks)
        next(blocks)
        made = [new_run((front, other)[number % 2]) for number in range(10)]
        heard = [next(one for one in blocks if one.data) for _ in made]
    assert sorted(one.data["subject"][4:] for one in heard) == sorted(made)
    assert [one.id for one in heard] == sorted(one.id or 0 for one in heard)


def test_trimming_tells_those_who_come_too_late(started: Callable[..., Front]) -> None:
    front = started()
    run_id = new_run(front)
    for number in range(4):
        tag(front, run_id, f"k{number}")
    answer = front.http.post(f"{EVENTS}/trim", json={"older_than_ms": 0})
    assert answer.json() == {"trimmed": 5, "oldest": 6}
    late = front.http.get(EVENTS, params={"after": 2})
    assert late.status_code == 410
    assert "the oldest that is kept is 6" in late.json()["message"]
    assert [one["type"] for one in page(front)["events"]] == ["events.trimmed"]
    nothing = front.http.post(f"{EVENTS}/trim", json={})
    assert (nothing.status_code, "older_than_ms" in nothing.text) == (400, True)


def test_the_document_of_types_is_that_of_the_catalogue() -> None:
    page = Path(__file__).parents[2] / "docs" / "events.md"
    assert document() in page.read_text(encoding="utf-8")
    assert all(one.meaning and one.subject for one in EVENT_TYPES.values())


def _resident(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")
