"""Schema versions: made on first opening, refused when they do not match."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

from headrace.engine import Engine, migrations, schema
from headrace.engine.database import Database
from headrace.errors import InvalidParameter, SchemaMismatch


def test_head_is_the_newest_migration(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path}/h.db")
    with database.read() as connection:
        script = ScriptDirectory.from_config(migrations._config(connection))
    assert script.get_current_head() == migrations.HEAD
    database.close()


def test_migrations_make_exactly_the_declared_schema(database_url: str) -> None:
    database = Database(database_url)
    migrations.upgrade(database)
    with database.read() as connection:
        differences = compare_metadata(MigrationContext.configure(connection), schema.metadata)
        # Autogenerate does not look at descending columns, so it may see such an index as different.
        assert [d for d in differences if "ix_run_experiment_start" not in str(d)] == []
    database.close()


def test_down_and_up_again(database_url: str) -> None:
    database = Database(database_url)
    migrations.prepare(database)
    migrations.downgrade(database, "base")
    with database.read() as connection:
        assert set(sa.inspect(connection).get_table_names()) <= {"alembic_version"}
    migrations.upgrade(database)
    assert migrations.state(database).current
    database.close()


@pytest.mark.parametrize(
    ("version", "remedy"), [("0000", "headrace db upgrade"), ("9999", "downgrade")]
)
def test_another_version_is_refused_with_the_remedy(
    database_url: str, version: str, remedy: str
) -> None:
    Engine(database_url, artifact_root="mlflow-artifacts:").close()
    database = Database(database_url)
    with database.write() as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = :v"), {"v": version})
    database.close()
    with pytest.raises(SchemaMismatch, match=remedy):
        Engine(database_url, artifact_root="mlflow-artifacts:")


def test_a_database_of_something_else_is_left_alone(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path}/other.db")
    with database.write() as connection:
        connection.execute(sa.text("CREATE TABLE cats (name TEXT)"))
    database.close()
    with pytest.raises(SchemaMismatch, match="cats"):
        Engine(f"sqlite:///{tmp_path}/other.db", artifact_root="mlflow-artifacts:")


@pytest.mark.parametrize("url", ["mysql://localhost/x", "nonsense", "sqlite://", "redis://h"])
def test_urls_that_are_no_store_are_refused(url: str) -> None:
    with pytest.raises(InvalidParameter):
        Database(url)


def test_processes_may_open_an_empty_database_at_once(database_url: str) -> None:
    code = (
        "import sys; from headrace.engine import Engine;"
        "Engine(sys.argv[1], artifact_root='mlflow-artifacts:').close()"
    )
    processes = [
        subprocess.Popen([sys.executable, "-c", code, database_url], stderr=subprocess.PIPE)
        for _ in range(4)
    ]
    for process in processes:
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 0, errors.decode()
