"""Reading the event log while it is changed, and with filters at their limits."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from headrace.engine import Engine
from headrace.engine.events.log import checked
from headrace.errors import Gone
from headrace.protocol.events import ListEvents, TrimEvents


@pytest.fixture
def engine(database_url: str, tmp_path: Path) -> Iterator[Engine]:
    engine = Engine(database_url, artifact_root=tmp_path.as_uri(), compact=False)
    engine.within(
        lambda session: session.emit_many(
            [("run.deleted", f"run/{number}", {}, None) for number in range(30)]
        )
    )
    yield engine
    engine.close()


@pytest.mark.parametrize("after", [5, None])
def test_a_reader_does_not_miss_silently_what_is_trimmed_while_it_reads(
    after: int | None, engine: Engine
) -> None:
    before = engine.log.read(None, 100).rows
    trimmed: list[int] = []

    def trim(_connection: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
        if statement.startswith("SELECT seq, time") and not trimmed:
            trimmed.append(0)
            trimmed[0] = engine.trim_events(TrimEvents(keep_bytes=1400)).oldest

    sa.event.listen(engine._database._reads, "before_cursor_execute", trim)
    try:
        found = engine.log.read(after, 100)
    except Gone as gone:
        assert after is not None
        assert f"the oldest that is kept is {trimmed[0]}" in str(gone)
    else:
        # SQLite reads one snapshot.
        numbers = [row.seq for row in found.rows]
        first = found.oldest if after is None else after + 1
        assert numbers[: len(before) - first + 1] == list(range(first, len(before) + 1))


def test_as_many_subjects_as_are_allowed_can_be_asked_for(engine: Engine) -> None:
    for star in ("", "*"):
        subjects = (*(f"experiment/{number}{star}" for number in range(999)), f"run/7{star}")
        found = engine.log.read(0, 100, checked(ListEvents(subject=subjects)))
        assert [row.subject for row in found.rows] == ["run/7"]
