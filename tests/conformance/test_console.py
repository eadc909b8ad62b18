"""What a run printed is kept, read from any place, and searched, on every store."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from headrace.client import Client
from headrace.engine import schema
from headrace.errors import InvalidParameter, NotFound
from headrace.protocol.console import ConsolePage, ConsoleText
from support.api import Api
from support.backend import Backend
from support.journal import Journal


@pytest.fixture
def journal(backend: Backend) -> Journal:
    return Journal(backend.store)


@pytest.fixture
def printed(api: Api, journal: Journal) -> str:
    """A run that printed 30 lines: every third on stderr, the second half by another process."""
    run_id = api.new_run()
    for number in range(1, 31):
        journal.print(
            run_id,
            f"Line {number}",
            times=[1000 + number],
            stream="stdout" if number % 3 else "stderr",
            source="" if number <= 15 else "rank-1",
        )
    return run_id


def numbers(page: ConsolePage) -> list[int]:
    return [line.number for line in page.lines]


def test_a_run_that_printed_nothing_has_no_lines(api: Api) -> None:
    page = api.get_console(run_id=api.new_run())
    assert page == ConsolePage(next=1, total=0)


def test_lines_come_back_as_they_were_printed(api: Api, printed: str) -> None:
    page = api.get_console(run_id=printed)
    assert (page.next, page.total) == (31, 30)
    assert numbers(page) == list(range(1, 31))
    assert page.lines[1] == ConsoleText(number=2, time=1002, stream="stdout", text="Line 2")
    assert page.lines[17] == ConsoleText(
        number=18, time=1018, stream="stderr", source="rank-1", text="Line 18"
    )


def test_pages_begin_where_they_are_asked_to(api: Api, printed: str) -> None:
    page = api.get_console(run_id=printed, start=7, limit=4)
    assert (numbers(page), page.next) == ([7, 8, 9, 10], 11)
    assert numbers(api.get_console(run_id=printed, start=29)) == [29, 30]
    for start in (31, 2**63 - 1):
        page = api.get_console(run_id=printed, start=start)
        assert (numbers(page), page.next, page.total) == ([], 31, 30)
    page = api.get_console(run_id=printed, limit=0)
    assert (numbers(page), page.next, page.total) == ([], 1, 30)


def test_a_negative_start_counts_from_the_end(api: Api, printed: str) -> None:
    assert numbers(api.get_console(run_id=printed, start=-3)) == [28, 29, 30]
    page = api.get_console(run_id=printed, start=-3, limit=2)
    assert (numbers(page), page.next) == ([28, 29], 30)
    assert len(api.get_console(run_id=printed, start=-(2**63)).lines) == 30


def test_lines_are_searched(api: Api, printed: str) -> None:
    def found(**asked: object) -> list[int]:
        page = api.get_console(run_id=printed, **asked)
        assert page.next == 31 or len(page.lines) == asked["limit"]
        return numbers(page)

    assert found(contains="lINE 2") == [2, *range(20, 30)]
    assert found(contains="nothing") == []
    assert found(stream="stderr") == list(range(3, 31, 3))
    assert found(source="rank-1") == list(range(16, 31))
    assert found(source="rank-1", stream="stderr", contains="2") == [21, 24, 27]
    assert found(stream="stderr", start=-2) == [27, 30]
    assert found(stream="stderr", start=-4, limit=2) == [21, 24]
    assert found(contains="Line 2", limit=2) == [2, 20]
    assert found(contains="nothing", start=-5) == []
    assert found(source="rank-7") == []


def test_an_unfinished_line_is_replaced_and_ends(api: Api, journal: Journal) -> None:
    run_id = api.new_run()
    journal.print(run_id, "begin", unfinished=" 10%")
    journal.print(run_id, unfinished=" 20%")
    journal.print(run_id, unfinished="loading", stream="stderr", source="rank-1")
    page = api.get_console(run_id=run_id)
    assert [(one.text, one.stream, one.source, one.number) for one in page.unfinished] == [
        (" 20%", "stdout", "", 0),
        ("loading", "stderr", "rank-1", 0),
    ]
    assert page.unfinished[0].time >= api.run(run_id).info.start_time
    assert (page.total, page.next) == (1, 2)
    page = api.get_console(run_id=run_id, stream="stdout", contains="%")
    assert [one.text for one in page.unfinished] == [" 20%"]
    journal.print(run_id, "100%")
    page = api.get_console(run_id=run_id)
    assert [one.text for one in page.lines] == ["begin", "100%"]
    assert [one.text for one in page.unfinished] == ["loading"]


def test_a_page_says_whether_more_is_to_come(api: Api, journal: Journal) -> None:
    run_id = api.new_run()
    journal.print(run_id, "a")
    assert not api.get_console(run_id=run_id).ended
    api.update_run(run_id=run_id, status="FAILED")
    assert api.get_console(run_id=run_id).ended
    journal.print(run_id, "late")
    assert [line.text for line in api.get_console(run_id=run_id).lines] == ["a", "late"]


def test_what_cannot_be_read_is_refused(api: Api, printed: str) -> None:
    with pytest.raises(NotFound, match="nowhere"):
        api.get_console(run_id="nowhere")
    for wrong in ({"start": 0}, {"limit": -1}, {"limit": 10_001}):
        with pytest.raises(InvalidParameter):
            api.get_console(run_id=printed, **wrong)


def test_a_deleted_run_can_be_read_and_a_purged_one_leaves_nothing(
    api: Api, backend: Backend, journal: Journal, printed: str
) -> None:
    journal.print(printed, unfinished="half")
    tables = (schema.console_chunk, schema.console_open)

    def rows() -> int:
        number = sa.select(schema.run.c.id).where(schema.run.c.uuid == printed).scalar_subquery()
        return sum(
            len(backend.rows(sa.select(table).where(table.c.run_id == number))) for table in tables
        )

    before = [len(backend.rows(sa.select(table))) for table in tables]
    assert rows() == 2
    api.delete_run(run_id=printed)
    assert api.get_console(run_id=printed).total == 30
    api.purge_trash(run_ids=[printed])
    assert [len(backend.rows(sa.select(table))) for table in tables] == [n - 1 for n in before]


def test_the_client_reads_it(backend: Backend, printed: str) -> None:
    with Client(getattr(backend.store, "uri", backend.url)) as client:
        page = client.get_console(printed, start=-1, stream="stdout")
    assert [line.text for line in page.lines] == ["Line 29"]
