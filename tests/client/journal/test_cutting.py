"""What the drain sends is what was written, whatever the pieces."""

from __future__ import annotations

import itertools
import struct
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headrace.client.journal.cutting import Cut, Cutter
from headrace.client.journal.format import Kind, record
from headrace.client.journal.journals import Journal
from headrace.entities import KeyValue
from headrace.protocol.ingest import Batch, LogArtifacts, LogParams, RaiseAlert, StoredFile
from support.logged import log_points

RUN = "r" * 32


@pytest.fixture
def journal(monkeypatch: pytest.MonkeyPatch) -> Iterator[Journal]:
    monkeypatch.setenv("HEADRACE_OFFLINE", "1")
    one = Journal("http://nowhere.invalid")
    yield one
    one.close()


def cuts(journal: Journal) -> Iterator[Cut]:
    for segment in journal.writer.segments:
        cutter = Cutter(segment.number, segment.read)
        while cutter.at < segment.position:
            yield cutter.cut(segment.position, whole=False)
            assert cutter.damage is None


def points_of(batch: Batch) -> list[tuple[str, int, int, float]]:
    count = len(batch.numbers) // 4
    numbers = struct.unpack(f"<{count}I", batch.numbers)
    steps = struct.unpack(f"<{count}q", batch.steps)
    times = struct.unpack(f"<{count}q", batch.timestamps)
    values = struct.unpack(f"<{count}d", batch.values)
    keys = [batch.series[number].key for number in numbers]
    return list(zip(keys, steps, times, values, strict=True))


def test_points_come_in_full_batches_over_segments(journal: Journal) -> None:
    log_points(journal, RUN, "a", range(150_000))
    found = list(cuts(journal))
    assert [one for cut in found for one in points_of(cut.batch(journal.writer.id))] == [
        ("a", step, step, float(step)) for step in range(150_000)
    ]
    assert max(cut.points for cut in found) == 65_536
    assert all(one.end <= other.start for one, other in itertools.pairwise(found))


def test_a_definition_between_points_does_not_end_a_batch(journal: Journal) -> None:
    for number in range(50):
        log_points(journal, RUN, f"m{number}", range(number))
    (cut,) = cuts(journal)
    assert cut.points == sum(range(50))


def test_many_series_are_numbered_anew_for_a_small_batch(journal: Journal) -> None:
    for number in range(300):
        log_points(journal, RUN, f"m{number}", [1])
    cutter = Cutter(1, journal.writer.segments[0].read)
    cutter.cut(journal.writer.segments[0].position, whole=False)
    log_points(journal, RUN, "m7", [5])
    log_points(journal, RUN, "m299", [6])
    cut = cutter.cut(journal.writer.segments[0].position, whole=False)
    batch = cut.batch(journal.writer.id)
    assert [one.key for one in batch.series] == ["m7", "m299"]
    assert points_of(batch) == [("m7", 5, 5, 5.0), ("m299", 6, 6, 6.0)]


@pytest.mark.parametrize("kind", [Kind.SERIES, Kind.ARTIFACT])
def test_a_record_that_says_nothing_sensible_holds_nothing_up(journal: Journal, kind: Kind) -> None:
    log_points(journal, RUN, "a", range(3))
    journal.writer.segments[0].write(record(kind, msgspec.msgpack.encode((1, 23, 4))))
    log_points(journal, RUN, "a", range(3, 5))
    found = list(cuts(journal))
    assert sum(one.points for one in found) == 5
    assert sum(one.unreadable is not None for one in found) == (kind == Kind.ARTIFACT)


@settings(
    max_examples=50,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    st.lists(
        st.one_of(
            st.tuples(st.sampled_from("abc"), st.integers(1, 40)),
            st.tuples(st.just("param"), st.integers(0, 200)),
        ),
        min_size=1,
        max_size=12,
    )
)
def test_halves_hold_together_what_the_whole_held(
    tmp_path_factory: pytest.TempPathFactory, what: list[tuple[str, int]]
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HEADRACE_OFFLINE", "1")
        folder: Path = tmp_path_factory.mktemp("j")
        patch.setenv("HEADRACE_JOURNAL_DIR", str(folder))
        journal = Journal("http://nowhere.invalid")
    try:
        for kind, size in what:
            if kind == "param":
                params = (KeyValue(kind, "x" * size),)
                journal.step(LogParams(run_id=RUN, params=params))
            else:
                log_points(journal, RUN, kind, range(size))
        (cut,) = cuts(journal)
        whole = cut.batch("w")
        parts = [cut]
        while any(one.points + one.steps > 1 for one in parts):
            parts = [
                half
                for one in parts
                for half in (one.split() if one.points + one.steps > 1 else (one,))
            ]
        assert parts[0].start == whole.start
        assert parts[-1].end == whole.end
        assert all(one.end == other.start for one, other in itertools.pairwise(parts))
        batches = [one.batch("w") for one in parts]
        assert [p for one in batches for p in points_of(one)] == points_of(whole)
        assert [s for one in batches for s in one.operations] == list(whole.operations)
    finally:
        journal.close()


def test_what_a_journal_tells_of_a_run_comes_as_it_was_written(journal: Journal) -> None:
    steps = (
        RaiseAlert(run_id=RUN, title="spike", text="5 σ", severity="error", time=7),
        LogArtifacts(run_id=RUN, artifacts=(StoredFile(path="a/b", size=3),), count=9),
    )
    for step in steps:
        journal.step(step)
    (cut,) = cuts(journal)
    assert cut.batch(journal.writer.id).operations == steps


def test_steps_of_the_first_version_are_still_read() -> None:
    """The bytes as they were first written: fields that came later have their defaults."""
    found = msgspec.msgpack.encode({"kind": "raise_alert", "run_id": RUN, "title": "spike"})
    read = msgspec.msgpack.decode(found, type=RaiseAlert)
    assert read == RaiseAlert(run_id=RUN, title="spike", text="", severity="warn", time=None)
    found = msgspec.msgpack.encode(
        {"kind": "log_artifacts", "run_id": RUN, "artifacts": [{"path": "a"}]}
    )
    assert msgspec.msgpack.decode(found, type=LogArtifacts) == LogArtifacts(
        run_id=RUN, artifacts=(StoredFile(path="a"),)
    )
