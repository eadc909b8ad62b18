"""How console output is stored."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.engine import Engine, schema
from headrace.engine.console import CHUNK, MAX_LINE, Line, decode, encode
from headrace.errors import SchemaMismatch
from headrace.protocol.ingest import ConsoleLine, WriteConsole
from support.api import Api
from support.journal import Journal

_TEXT = st.text(st.characters(exclude_characters="\n", exclude_categories=("Cs",)), max_size=30)
_LINES = st.lists(
    st.builds(
        Line,
        st.integers(0, 2**63 - 1),
        st.sampled_from(["stdout", "stderr"]),
        st.sampled_from(["", "rank-0", "rank-1", "ρ"]),
        _TEXT,
    ),
    min_size=1,
    max_size=40,
)


@given(lines=_LINES)
@settings(max_examples=100, deadline=None)
def test_a_chunk_gives_back_what_was_put_in(lines: list[Line]) -> None:
    assert decode(encode(lines)) == lines


def test_chunks_of_version_1_are_read_for_ever() -> None:
    data = bytes.fromhex(
        "013900000028b52ffd2039c90100949292a0a67374646f757492a672616e6b2d31a67374646572729292000292"
        "010193cf0000018bcfe5680005fdab65706f636820310a0ac3bc"
    )
    assert decode(data) == [
        Line(1_700_000_000_000, "stdout", "", "epoch 1"),
        Line(1_700_000_000_005, "stdout", "", ""),
        Line(1_700_000_000_002, "stderr", "rank-1", "ü"),
    ]


def test_a_chunk_of_a_later_version_is_refused() -> None:
    with pytest.raises(SchemaMismatch, match="version 2"):
        decode(b"\x02" + encode([Line(0, "stdout", "", "")])[1:])


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    engine = Engine(database_url, artifact_root="file:///nowhere", compact=False)
    yield engine
    engine.close()


def chunks(engine: Engine) -> list[tuple[int, int]]:
    """First line and number of lines of each chunk."""
    table = schema.console_chunk
    with engine._database.read() as connection:
        rows = connection.execute(sa.select(table.c.first, table.c.lines).order_by(table.c.first))
        return [tuple(row) for row in rows]


def texts(engine: Engine, run_id: str, start: int = 1) -> list[str]:
    found: list[str] = []
    while True:
        page = Api(engine).get_console(run_id=run_id, start=start, limit=10_000)
        assert [line.number for line in page.lines] == list(range(start, page.next))
        found += [line.text for line in page.lines]
        start = page.next
        if start > page.total:
            return found


def test_lines_that_come_one_by_one_do_not_pile_up(engine: Engine) -> None:
    run_id = Api(engine).new_run()
    journal = Journal(engine)
    for number in range(50):
        journal.print(run_id, f"line {number}")
    assert chunks(engine) == [(1, 50)]
    assert texts(engine, run_id) == [f"line {number}" for number in range(50)]


def test_much_output_is_cut_into_chunks_that_are_not_rewritten(engine: Engine) -> None:
    run_id = Api(engine).new_run()
    journal = Journal(engine)
    lines = [f"{number:07} " + "x" * 92 for number in range(5000)]
    journal.print(run_id, *lines[:10])
    journal.print(run_id, *lines[10:4900])
    first = chunks(engine)
    assert all(CHUNK <= count * 101 < CHUNK + 200 for _first, count in first[:-1])
    journal.print(run_id, *lines[4900:])
    assert chunks(engine)[: len(first) - 1] == first[:-1]
    assert texts(engine, run_id) == lines
    assert texts(engine, run_id, start=4321) == lines[4320:]


def test_long_lines_are_cut_and_say_so(engine: Engine) -> None:
    run_id = Api(engine).new_run()
    Journal(engine).print(run_id, "a" * MAX_LINE, "b" * (MAX_LINE + 7), unfinished="c" * 20_000)
    page = Api(engine).get_console(run_id=run_id)
    assert page.lines[0].text == "a" * MAX_LINE
    assert page.lines[1].text == "b" * MAX_LINE + "… [7 more characters]"
    assert page.unfinished[0].text.endswith(f"… [{20_000 - MAX_LINE} more characters]")


def test_text_that_no_store_holds_is_made_such(engine: Engine) -> None:
    run_id = Api(engine).new_run()
    journal = Journal(engine)
    lines = (ConsoleLine(1, "a\x00b"), ConsoleLine(2, "one\ntwo"), ConsoleLine(3, "x\ud800y"))
    journal.ship(
        WriteConsole(
            run_id=run_id, stream="stderr", lines=lines, unfinished="p\x00q\nr", source="\x00"
        )
    )
    page = Api(engine).get_console(run_id=run_id)
    assert [line.text for line in page.lines] == ["a\ufffdb", "one", "two", "x?y"]
    assert [line.text for line in page.unfinished] == ["p\ufffdq r"]
    assert page.lines[0].source == "\ufffd"


@pytest.mark.parametrize(
    ("stream", "source", "message"),
    [("stdin", "", "Invalid stream"), ("stdout", "s" * 251, "251 characters")],
)
def test_what_is_no_stream_or_source_is_rejected_alone(
    engine: Engine, stream: str, source: str, message: str
) -> None:
    run_id = Api(engine).new_run()
    bad = WriteConsole(run_id=run_id, stream=stream, source=source, lines=(ConsoleLine(1, "a"),))
    good = WriteConsole(run_id=run_id, stream="stdout", lines=(ConsoleLine(1, "b"),))
    (rejection,) = Journal(engine).ship(bad, good).rejected
    assert (rejection.run_id, rejection.what) == (run_id, "write_console")
    assert message in rejection.message
    assert texts(engine, run_id) == ["b"]


def test_processes_that_print_into_one_run_at_once_lose_nothing(
    engine: Engine, database_url: str
) -> None:
    run_id = Api(engine).new_run()
    other = Engine(database_url, artifact_root="file:///nowhere", compact=False)

    def write(rank: int) -> None:
        journal = Journal((engine, other)[rank % 2])
        for number in range(15):
            journal.print(run_id, f"{number} " + "x" * 1000, source=f"rank-{rank}", unfinished="…")

    with contextlib.closing(other), ThreadPoolExecutor(6) as pool:
        for done in [pool.submit(write, rank) for rank in range(6)]:
            done.result(120)
    page = Api(engine).get_console(run_id=run_id, limit=10_000)
    assert page.total == len(page.lines) == 90
    assert len(page.unfinished) == 6
    for rank in range(6):
        found = [line.text for line in page.lines if line.source == f"rank-{rank}"]
        assert [text.split()[0] for text in found] == [str(number) for number in range(15)]


def test_an_answer_is_bounded_and_says_where_to_go_on(engine: Engine) -> None:
    run_id = Api(engine).new_run()
    journal = Journal(engine)
    lines = ["x" * MAX_LINE] * 600 + ["needle"] + ["y" * MAX_LINE] * 100
    for start in range(0, len(lines), 100):
        journal.print(run_id, *lines[start : start + 100])
    page = Api(engine).get_console(run_id=run_id, limit=10_000)
    assert 500 < len(page.lines) < 600
    page = Api(engine).get_console(run_id=run_id, contains="needle")
    assert (page.lines, page.total) == ((), 701)
    assert 1 < page.next <= 601
    page = Api(engine).get_console(run_id=run_id, contains="needle", start=page.next)
    assert [line.number for line in page.lines] == [601]
