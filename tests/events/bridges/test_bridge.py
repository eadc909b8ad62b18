"""The part of a bridge that knows no broker, with the publisher that the documentation shows."""

from __future__ import annotations

import itertools
import re
import threading
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.client.stores import open_store
from headrace.errors import Gone, PermissionDenied, Unavailable
from headrace.events.bridges.attributes import header_attributes
from headrace.events.bridges.bridge import Bridge
from headrace.events.bridges.nats_stream import takes
from headrace.protocol.events import CloudEvent, EventPage, ListEvents, TrimEvents
from headrace.protocol.store import Store
from support.bridge import fill

_DOCUMENT = Path(__file__).parents[3] / "docs" / "bridges.md"


def documented(name: str) -> Any:
    """A class that docs/bridges.md defines."""
    code = next(
        block
        for block in re.findall(r"```python\n(.*?)```", _DOCUMENT.read_text(), re.DOTALL)
        if f"class {name}" in block
    )
    assert code.count("\n") < 60
    names: dict[str, Any] = {}
    exec(compile(code, str(_DOCUMENT), "exec"), names)
    return names[name]


@pytest.fixture
def log(database_url: str) -> Any:
    """A store with 5,000 events."""
    assert fill(database_url, 5_000) == 5_000
    opened = open_store(database_url)
    yield opened
    opened.close()


def written(path: Path) -> list[int]:
    """The numbers of the events in a file."""
    return [int(msgspec.json.decode(line)["id"]) for line in path.read_bytes().splitlines()]


def test_the_documented_publisher_gets_everything_and_goes_on_where_it_was(
    log: Store, tmp_path: Path
) -> None:
    path = tmp_path / "events.jsonl"
    for _ in range(2):
        bridge = Bridge(log.list_events, documented("FilePublisher")(str(path)))
        bridge.run(once=True)
    assert written(path) == list(range(1, 5_001))
    assert bridge.position == 5_000


def test_after_a_crash_in_the_middle_the_place_is_what_the_broker_has(
    log: Store, tmp_path: Path
) -> None:
    path = tmp_path / "events.jsonl"
    Bridge(log.list_events, documented("FilePublisher")(str(path))).run(once=True)
    path.write_bytes(path.read_bytes()[:100_000])  # ends within a line
    Bridge(log.list_events, documented("FilePublisher")(str(path))).run(once=True)
    assert written(path) == list(range(1, 5_001))


def test_store_and_broker_may_fail_at_any_time(
    log: Store, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "events.jsonl"
    turn = itertools.count()

    def read(request: ListEvents) -> EventPage:
        if next(turn) % 2:
            raise Unavailable("the store is away")
        return log.list_events(request)

    class Flaky(documented("FilePublisher")):  # type: ignore[misc]
        def publish(self, events: Any) -> None:
            super().publish(events[: len(events) // 2])
            if next(turn) % 3:
                raise Unavailable("the broker is away")
            super().publish(events[len(events) // 2 :])

    Bridge(read, Flaky(str(path))).run(once=True)
    assert written(path) == list(range(1, 5_001))
    assert "The bridge works again" in caplog.text


def test_an_error_that_waiting_does_not_heal_ends_it(log: Store, tmp_path: Path) -> None:
    class Closed(documented("FilePublisher")):  # type: ignore[misc]
        def open(self) -> None:
            raise PermissionDenied("no")

    with pytest.raises(PermissionDenied):
        Bridge(log.list_events, Closed(str(tmp_path / "events.jsonl"))).run()


def test_it_follows_until_it_is_stopped(log: Store, tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    bridge = Bridge(log.list_events, documented("FilePublisher")(str(path)), after=4_990)
    thread = threading.Thread(target=bridge.run)
    thread.start()
    while bridge.position != 5_000:
        thread.join(0.01)
    bridge.stop()
    thread.join()
    assert written(path) == list(range(4_991, 5_001))


def test_a_log_that_is_another_one_is_gone_even_where_trimmed_events_are_skipped(
    log: Store, tmp_path: Path
) -> None:
    log.trim_events(TrimEvents(keep_bytes=0))
    path = tmp_path / "events.jsonl"
    bridge = Bridge(
        log.list_events, documented("FilePublisher")(str(path)), after=9_000, skip_trimmed=True
    )
    with pytest.raises(Gone, match="Is this another store"):
        bridge.run(once=True)


@given(st.text(max_size=60))
def test_attributes_survive_a_header_and_cannot_break_out_of_it(text: str) -> None:
    event = CloudEvent(
        specversion="1.0", id="7", source="urn:headrace:x", type="run.created", subject=text,
        time="2026-01-01T00:00:00.000Z", datacontenttype="application/json", actor=text, data={},
    )  # fmt: skip
    found = header_attributes(event)
    assert found["ce-id"] == "7"
    for name in ("ce-subject", "ce-actor"):
        value = found.get(name, "")
        assert all("!" <= one <= "~" and one != '"' for one in value)
        assert unquote(value) == text


@pytest.mark.parametrize(
    ("pattern", "taken"),
    [
        (">", True),
        ("headrace.>", True),
        ("headrace.events.>", True),
        ("*.events.>", True),
        ("headrace.*.>", True),
        ("headrace.events.*", False),
        ("headrace.events.run.>", False),
        ("headrace.events", False),
        ("headrace.*.*.*", False),
        ("other.>", False),
    ],
)
def test_a_stream_takes_our_subjects_or_it_does_not(pattern: str, taken: bool) -> None:
    assert takes(pattern, "headrace.events.>") is taken
