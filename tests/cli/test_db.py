"""``headrace db``."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from click.testing import CliRunner

from headrace.cli import main
from headrace.engine.migrations import HEAD

from .conftest import Headrace


def test_upgrade_makes_the_schema_and_check_is_content(database_url: str) -> None:
    headrace = Headrace(database_url)
    assert HEAD in headrace("db", "upgrade").stdout
    assert "Nothing to do" in headrace("db", "upgrade").stdout
    found = headrace.json("db", "check")
    assert found["version"] == found["head"] == HEAD
    assert found["problems"] == []
    assert "All is well" in headrace("db", "check").stdout


def test_downgrade_asks_and_check_then_complains(database_url: str) -> None:
    headrace = Headrace(database_url)
    headrace("db", "upgrade")
    headrace("db", "downgrade", "base", input="n\n", code=1)
    assert headrace.json("db", "check")["version"] == HEAD
    headrace("db", "downgrade", "base", "--yes")
    assert headrace.json("db", "check", code=1)["version"] is None
    assert HEAD in headrace("db", "upgrade").stdout


def test_the_database_may_be_given_as_mlflow_takes_it(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'x.db'}"
    result = CliRunner().invoke(main, ["db", "upgrade", url])
    assert result.exit_code == 0, result.output
    assert (tmp_path / "x.db").is_file()


def test_an_unknown_version_is_refused(headrace: Headrace) -> None:
    headrace("db", "upgrade")
    result = headrace("db", "downgrade", "9999", "--yes", code=1)
    assert "9999" in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert headrace.json("db", "check")["version"] == HEAD


def test_check_does_not_make_a_database(headrace: Headrace, store: str) -> None:
    headrace("db", "check", code=3)
    assert not Path(store).exists()


def test_a_newer_schema_and_somebody_elses_tables_are_problems(tmp_path: Path) -> None:
    newer = Headrace(f"sqlite:///{tmp_path / 'newer.db'}")
    newer("db", "upgrade")
    with sqlite3.connect(tmp_path / "newer.db") as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.close()
    assert "9999" in newer.json("db", "check", code=1)["problems"][0]
    assert "9999" in newer("runs", "list", code=1).stderr

    with sqlite3.connect(tmp_path / "other.db") as connection:
        connection.execute("CREATE TABLE something (x)")
    connection.close()
    other = Headrace(f"sqlite:///{tmp_path / 'other.db'}")
    assert "something" in other.json("db", "check", code=1)["problems"][0]


def test_a_damaged_file_is_a_problem(headrace: Headrace, store: str) -> None:
    headrace("experiments", "create", "one")
    path = Path(store) / "headrace.db"
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    body = bytearray(path.read_bytes())
    body[8192 : 8192 + 4096 * 8] = b"\xff" * 4096 * 8
    path.write_bytes(body)
    result = headrace("db", "check", code=None)
    assert result.exit_code in (1, 4)
    assert "Traceback" not in result.output


def test_a_server_is_no_database() -> None:
    assert "server" in Headrace("http://127.0.0.1:9")("db", "check", code=2).stderr


@pytest.mark.parametrize("uri", ["sqlite:///", "mysql://x/y"])
def test_what_is_no_database_is_a_usage_error(uri: str) -> None:
    Headrace(uri)("db", "upgrade", code=2)
