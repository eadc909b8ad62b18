"""The writer under threads, forks, signal handlers and exceptions that they raise: each call is there once."""

from __future__ import annotations

import os
import struct
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from headrace.client.journal import writer as writing
from headrace.client.journal.directory import claim
from headrace.client.journal.format import SLOT, Kind, read_header
from headrace.client.journal.reader import Damage, Points, records, segments
from headrace.client.journal.writer import Writer
from headrace.entities import KeyValue
from headrace.errors import InvalidParameter
from headrace.protocol.ingest import SetTags
from support.training import Training

RUN = "a" * 32

#: Segments of 4 KiB: calls meet a full one all the time.
_SMALL = """
from headrace.client.journal import writer
writer._FIRST = writer._LARGEST = 4096
"""


def journaled(directory: Path) -> Counter[tuple[str, int, float]]:
    """Every point in the journals of a directory as (key, step, value)."""
    found: Counter[tuple[str, int, float]] = Counter()
    for folder in directory.iterdir():
        for number, path in segments(folder):
            data = path.read_bytes()
            if not data.strip(b"\0"):
                continue  # its process was interrupted when it made it
            assert read_header(data)[1] == number
            series: dict[int, str] = {}
            for one in records(lambda a, b, d=data: d[a:b], SLOT, len(data), whole=True):
                assert not isinstance(one, Damage), (path, one)
                if isinstance(one, Points):
                    for step, _, value, key, _ in struct.iter_unpack("<qqdII", one.data):
                        found[series[key], step, value] += 1
                elif one.kind == Kind.SERIES:
                    at, _, key_text = msgspec.msgpack.decode(one.data)
                    series[at] = key_text
    return found


def every(key: str, count: int) -> set[tuple[str, int, float]]:
    return {(key, step, float(step)) for step in range(count)}


@pytest.fixture
def journals(journals_dir: Path) -> Path:
    journals_dir.mkdir()
    return journals_dir


_THREADS = """
def work(number):
    for step in range(50_000):
        headrace.log_metric(f"m{number}", float(step), step=step, run_id=run_id)
with headrace.start_run() as run:
    run_id = run.info.run_id
    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
"""


@pytest.mark.parametrize("size", ["", _SMALL])
def test_eight_threads_lose_nothing(journals: Path, size: str) -> None:
    code = _THREADS if not size else size + _THREADS.replace("50_000", "5_000")
    Training(code, journals, OFFLINE="1").wait()
    found = journaled(journals)
    assert set(found.values()) == {1}
    count = 5_000 if size else 50_000
    assert set(found) == set().union(*(every(f"m{number}", count) for number in range(8)))


_FORKS = (
    _SMALL
    + """
over = threading.Event()
steps = [0] * 3
def work(number):
    while not over.is_set():
        headrace.log_metric(f"m{number}", float(steps[number]), step=steps[number], run_id=run_id)
        steps[number] += 1
with headrace.start_run() as run:
    run_id = run.info.run_id
    threads = [threading.Thread(target=work, args=(number,)) for number in range(3)]
    [thread.start() for thread in threads]
    for child in range(30):
        pid = os.fork()
        if not pid:
            for step in range(300):
                headrace.log_metric(f"c{child}", float(step), step=step)
            os._exit(0)
        assert os.waitpid(pid, 0)[1] == 0
    over.set()
    [thread.join() for thread in threads]
print(json.dumps(steps))
"""
)


def test_children_of_a_process_that_logs_have_journals_of_their_own(journals: Path) -> None:
    steps = Training(_FORKS, journals, OFFLINE="1").wait()
    found = journaled(journals)
    assert set(found.values()) == {1}
    wanted = [every(f"m{number}", count) for number, count in enumerate(steps)]
    wanted += [every(f"c{child}", 300) for child in range(30)]
    assert set(found) == set().union(*wanted)
    assert len(list(journals.iterdir())) == 31


_HANDLER = (
    _SMALL
    + """
handled = depth = 0
def handler(*_):
    global handled, depth
    depth += 1
    if depth < 4:  # another signal may interrupt this handler too
        signal.setitimer(signal.ITIMER_REAL, 0.0002)
    mine, handled = handled, handled + 1
    headrace.log({"h": float(mine)}, step=mine)
    headrace.set_tag("h", mine)
    depth -= 1
    signal.setitimer(signal.ITIMER_REAL, 0.0002)
signal.signal(signal.SIGALRM, handler)
n = 0
with headrace.start_run() as run:
    signal.setitimer(signal.ITIMER_REAL, 0.0002)
    while handled < 3000:
        headrace.log_metric("m", float(n), step=n)
        n += 1
    signal.signal(signal.SIGALRM, signal.SIG_IGN)
print(json.dumps([n, handled]))
"""
)


def test_a_signal_handler_may_log_at_any_point_of_a_logging_call(journals: Path) -> None:
    count, handled = Training(_HANDLER, journals, OFFLINE="1").wait()
    found = journaled(journals)
    assert set(found.values()) == {1}
    assert set(found) == every("m", count) | every("h", handled)


_INTERRUPTS = (
    _SMALL
    + """
armed, interrupts, n = False, 0, 0
def handler(*_):
    global armed, interrupts
    if armed:
        armed = False
        interrupts += 1
        raise KeyboardInterrupt
signal.signal(signal.SIGALRM, handler)
returned = bytearray(10_000_000)
run = headrace.start_run()
signal.setitimer(signal.ITIMER_REAL, 0.0002, 0.0002)
while interrupts < 3000:
    try:
        armed = True
        if n % 100 == 50:
            headrace.set_tag("t", "x" * 500)
        headrace.log_metric("m", float(n), step=n)
        returned[n] = 1
        armed = False
    except KeyboardInterrupt:
        pass
    n += 1
signal.setitimer(signal.ITIMER_REAL, 0)
headrace.end_run()
missing = [step for step in range(n) if not returned[step]]
print(json.dumps([n, interrupts, missing]))
"""
)


def test_thousands_of_interrupts_cost_none_of_the_calls_that_returned(journals: Path) -> None:
    count, interrupts, interrupted = Training(_INTERRUPTS, journals, OFFLINE="1").wait()
    assert len(interrupted) <= interrupts
    found = journaled(journals)
    assert set(found.values()) == {1}
    missing = every("m", count) - set(found)
    assert {step for _, step, _ in missing} <= set(interrupted)
    assert set(found) <= every("m", count)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch, journals: Path) -> Iterator[Writer]:
    """A writer with segments of 4 KiB."""
    monkeypatch.setattr(writing, "_FIRST", 4096)
    monkeypatch.setattr(writing, "_LARGEST", 4096)
    one = Writer("store")
    yield one
    one.close(0)


def test_a_segment_is_read_while_it_is_written(small: Writer) -> None:
    """A reader that asks for the position first finds whole records, in order, and nothing else."""
    over = threading.Event()

    def write() -> None:
        for number in range(20_000):
            small.step(SetTags(run_id=RUN, tags=(KeyValue("n", str(number)),)))
        over.set()

    thread = threading.Thread(target=write)
    thread.start()
    found: list[int] = []
    done: set[int] = set()
    ended = False
    while not ended:
        ended = over.is_set()
        numbers: list[int] = []
        for segment in sorted(small.segments, key=lambda one: one.number):
            sealed = segment.sealed
            if segment.number in done:
                continue
            for one in records(segment.read, SLOT, segment.position, whole=False):
                assert not isinstance(one, Damage), one
                if one.kind == Kind.STEP:
                    numbers.append(int(msgspec.msgpack.decode(one.data)["tags"][0]["value"]))
            if sealed:
                done.add(segment.number)
                found += numbers
                numbers = []
                small.discard(segment)
            else:
                break
    thread.join()
    assert found + numbers == list(range(20_000))


def test_a_record_that_is_larger_than_segments_has_its_own(small: Writer) -> None:
    texts = ["x" * size for size in (0, 100, 4000, 5000, 100_000, 10)]
    for text in texts:
        small.step(SetTags(run_id=RUN, tags=(KeyValue("t", text),)))
    found = [
        msgspec.msgpack.decode(one.data)["tags"][0]["value"]
        for segment in small.segments
        for one in records(segment.read, SLOT, segment.position, whole=False)
        if not isinstance(one, Damage | Points) and one.kind == Kind.STEP
    ]
    assert found == texts


def test_what_no_journal_can_hold_is_refused(small: Writer) -> None:
    with pytest.raises(InvalidParameter, match="too much to log at once"):
        small.step(SetTags(run_id=RUN, tags=(KeyValue("t", "x" * (33 << 20)),)))
    with pytest.raises(InvalidParameter, match="surrogate"):
        small.step(SetTags(run_id=RUN, tags=(KeyValue("t", "\ud800"),)))
    for key in ("", "a\nb", "x" * 251, "\x00", 3):
        with pytest.raises(InvalidParameter):
            small.define(small.lane(RUN), key)  # type: ignore[arg-type]


def test_a_journal_is_held_while_its_writer_lives(small: Writer) -> None:
    assert small.folder is not None
    assert claim(small.folder) is None
    small.step(SetTags(run_id=RUN))
    assert not small.close(0)
    lock = claim(small.folder)
    assert lock is not None
    os.close(lock)
