"""The server dies again and again while events flow to a target: each arrives, in the order of its subject."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from typing import Any

import httpx

from headrace.engine import Engine
from headrace.protocol.catalogue import EVENT_TYPES
from support.hook_target import HookTarget
from support.server import Server

Start = Callable[..., Server]
DEATHS, EVENTS, SUBJECTS = 8, 2400, 40
_SETTINGS = {"HEADRACE_WEBHOOK_ALLOWED_TARGETS": "127.0.0.1"}


def _ordered(ids: list[int]) -> bool:
    return ids == sorted(ids)


def test_a_server_killed_while_it_delivers_loses_and_reorders_nothing(
    database_url: str, server: Start, chance: random.Random
) -> None:
    target = HookTarget()
    try:
        _kill_while_delivering(database_url, server, chance, target)
    finally:
        target.close()


def _kill_while_delivering(
    database_url: str, server: Start, chance: random.Random, target: HookTarget
) -> None:
    running = server(database_url, environment=_SETTINGS)
    made = httpx.post(
        f"{running.url}/api/headrace/v1/webhooks",
        json={"name": "count", "url": target.url, "types": ["run.renamed"]},
        timeout=60,
    )
    assert made.status_code == 200, made.text
    assert "run.renamed" in EVENT_TYPES

    over = threading.Event()
    writing = threading.Thread(target=_write, args=(database_url, over))
    writing.start()
    try:
        for _ in range(DEATHS):
            seen = len(target.received)
            # It dies only once it delivers, or it might never get so far.
            target.wait(seen + 1 + chance.randrange(60))
            time.sleep(chance.random() * 0.05)
            running.kill()
            running = server(database_url, environment=_SETTINGS)
    finally:
        over.set()
        writing.join()
    numbers = _numbers(database_url)
    assert len(numbers) >= EVENTS
    target.until(lambda received: len({one.id for one in received}) >= len(numbers))
    running.stop()

    first: dict[str, Any] = {}
    for one in target.received:
        first.setdefault(one.id, one.event)
    assert sorted(int(event["id"]) for event in first.values()) == numbers
    by_subject: dict[str, list[int]] = {}
    for event in first.values():
        by_subject.setdefault(event["subject"], []).append(int(event["id"]))
    assert len(by_subject) == SUBJECTS
    assert all(map(_ordered, by_subject.values()))
    repeated = len(target.received) - len(first)
    print("sent again:", repeated)
    assert repeated < len(first) / 2, "what was noted is not sent again"


def _write(database_url: str, over: threading.Event) -> None:
    """Write events until there are enough and it is over, from this process."""
    engine = Engine(database_url, artifact_root="file:///nowhere", compact=False, actor="")
    number = 0
    while number < EVENTS or not over.is_set():
        rows = [
            ("run.renamed", f"run/{(number + n) % SUBJECTS}", {"n": number + n}, None)
            for n in range(12)
        ]
        engine.within(lambda session, rows=rows: session.emit_many(rows))
        number += len(rows)
        time.sleep(0.02 if number < EVENTS else 0.3)
    engine.close()


def _numbers(database_url: str) -> list[int]:
    engine = Engine(database_url, artifact_root="file:///nowhere", compact=False)
    numbers: list[int] = []
    from headrace.protocol.events import ListEvents

    after = 0
    while True:
        page = engine.list_events(ListEvents(after=after, limit=1000, type=("run.renamed",)))
        numbers += [int(event.id) for event in page.events]
        after = page.next
        if after >= page.last:
            break
    engine.close()
    return numbers
