"""What makes a page cheap at a million runs: SQLite begins at the index that has the order."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from headrace.engine import Engine
from headrace.engine.database import Database
from headrace.engine.keys import KeyCache, SessionKeys
from headrace.engine.operations import Session
from headrace.engine.search import selection
from headrace.protocol.runs import SearchRuns
from support.searched import Searched


@pytest.fixture
def database(tmp_path: Path) -> Database:
    url = f"sqlite:///{tmp_path / 'headrace.db'}"
    engine = Engine(url, artifact_root="file:///artifacts", compact=False)
    store = Searched(engine)
    runs = {
        f"r{number}": {"start_time": number, "metrics": {"a": [number], "b": [-number]}}
        for number in range(10)
    }
    store.add(store.experiment("runs"), runs)
    engine.close()
    return Database(url)


def plan(database: Database, filter: str, *order_by: str) -> str:
    """How SQLite carries out the first statement that reads runs."""
    statements: list[tuple[str, Any]] = []

    def note(_conn: Any, _cursor: Any, statement: str, parameters: Any, *_rest: Any) -> None:
        if "run.uuid" in statement:
            statements.append((statement, parameters))

    with database.read() as connection:
        sa.event.listen(connection, "before_cursor_execute", note)
        keys = SessionKeys(connection, KeyCache())
        session = Session(connection, keys, actor="", artifact_root="file:///artifacts")
        request = SearchRuns(experiment_ids=("1",), filter=filter, order_by=order_by, max_results=2)
        assert session.search_runs(request).runs
        statement, parameters = statements[0]
        rows = connection.exec_driver_sql("EXPLAIN QUERY PLAN " + statement, parameters)
        return "\n".join(row[-1] for row in rows)


@pytest.mark.parametrize(
    ("filter", "order_by", "begins"),
    [
        ("", [], "SEARCH run USING INDEX ix_run_experiment_start (experiment_id=?)"),
        ("metrics.a > 1", [], "SEARCH run USING INDEX ix_run_experiment_start (experiment_id=?)"),
        (
            "",
            ["metrics.a DESC"],
            "COVERING INDEX ix_metric_summary_order (experiment_id=? AND key_id=? AND last_rank=?)",
        ),
        (
            "metrics.a > 1 AND metrics.b < 0 AND NOT params.x = 'y'",
            ["metrics.a"],
            "COVERING INDEX ix_metric_summary_order (experiment_id=? AND key_id=? AND last_rank=? AND last_value>?)",
        ),
    ],
)
def test_a_page_begins_at_the_index_that_has_its_order(
    database: Database,
    monkeypatch: pytest.MonkeyPatch,
    filter: str,
    order_by: list[str],
    begins: str,
) -> None:
    monkeypatch.setattr(selection, "FEW", 0)
    found = plan(database, filter, *order_by)
    database.close()
    assert begins in found.splitlines()[0]
    assert "TEMP B-TREE FOR ORDER BY" not in found  # of the right part only
    assert "SCAN" not in found


def test_a_search_begins_at_the_few_runs_that_pass(database: Database) -> None:
    found = plan(database, "metrics.a > 7", "params.x")
    database.close()
    assert "ix_metric_summary_order" in found.splitlines()[0]
    assert "last_value>?" in found.splitlines()[0]
