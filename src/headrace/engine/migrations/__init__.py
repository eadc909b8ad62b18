"""The schema's versions.

An empty database gets the newest schema when it is first opened. A database of another version is
refused, with the command that helps; it is never changed without being told to
(``headrace db upgrade``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import sqlalchemy as sa

from headrace.engine.database import Database
from headrace.errors import SchemaMismatch

if TYPE_CHECKING:
    from alembic.config import Config

#: The version that this code works with: the newest file in ``versions/``.
HEAD = "0008"

_VERSION_TABLE = "alembic_version"
#: Any number, as long as every process takes the same one.
_POSTGRES_LOCK = 7_276_001


class SchemaState(msgspec.Struct, frozen=True):
    """A database's schema: its version (None: empty) and the version of this code."""

    version: str | None
    head: str

    @property
    def current(self) -> bool:
        """True when this code can work with the database."""
        return self.version == self.head


def state(database: Database) -> SchemaState:
    """The schema version of a database.

    Raises:
        SchemaMismatch: It holds tables of something else.
    """
    with database.read() as connection:
        return SchemaState(_version(connection), HEAD)


def prepare(database: Database) -> None:
    """Create the schema of an empty database; refuse one of another version.

    Any number of processes may do this at once.

    Raises:
        SchemaMismatch: The database was made by another version of headrace, or by something else.
    """
    found = state(database)
    if found.version is None:
        upgrade(database)
        found = state(database)
    if not found.current:
        raise SchemaMismatch(_mismatch(found))


def upgrade(database: Database, version: str = "head") -> None:
    """Bring the schema up to a version; what is there already stays."""
    _run(database, "upgrade", version)


def downgrade(database: Database, version: str) -> None:
    """Take the schema back to a version; data that it cannot hold is lost."""
    _run(database, "downgrade", version)


def _run(database: Database, command: str, version: str) -> None:
    # Alembic takes 0.3 s to import and most openings do not need it.
    from alembic import command as commands
    from alembic.util.exc import CommandError

    # One transaction, so that a migration is done whole or not at all; the lock (on SQLite the
    # transaction itself, which begins IMMEDIATE) lets one process at a time decide what is to do.
    with database.write() as connection:
        if not database.is_sqlite:
            connection.execute(
                sa.text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _POSTGRES_LOCK}
            )
        _version(connection)
        try:
            getattr(commands, command)(_config(connection), version)
        except CommandError as error:
            raise SchemaMismatch(
                f"Cannot {command} the schema to '{version}': {error}. "
                "Use the version of headrace that made this database."
            ) from None


def _config(connection: sa.Connection) -> Config:
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", "headrace.engine:migrations")
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    return config


def _version(connection: sa.Connection) -> str | None:
    tables = set(sa.inspect(connection).get_table_names())
    if _VERSION_TABLE not in tables:
        if tables:
            raise SchemaMismatch(
                f"The database holds tables that are not headrace's ({', '.join(sorted(tables)[:3])}, …). "
                "Give headrace a database of its own."
            )
        return None
    if "experiments" in tables and "latest_metrics" in tables:
        raise SchemaMismatch("The database is MLflow's own. Give headrace a database of its own.")
    row: Any = connection.execute(sa.text(f"SELECT version_num FROM {_VERSION_TABLE}")).scalar()
    return str(row) if row is not None else None


def _mismatch(found: SchemaState) -> str:
    if found.version is not None and found.version < found.head:
        return (
            f"The database has schema {found.version}, this headrace works with {found.head}. "
            "Back the database up, then run: headrace db upgrade"
        )
    return (
        f"The database has schema {found.version}, which is newer than this headrace's {found.head}. "
        "Upgrade headrace, or take the database back with the newer version: headrace db downgrade "
        f"{found.head}"
    )
