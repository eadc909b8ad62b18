"""One database: connections, transactions, and what differs between SQLite and PostgreSQL.

Reads see one snapshot and never wait for writes: WAL on SQLite, REPEATABLE READ on PostgreSQL.
Writes on SQLite begin IMMEDIATE and are fsynced (``synchronous=FULL``) before they are acknowledged.
"""

from __future__ import annotations

import contextlib
import functools
import math
import sqlite3
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.pool import QueuePool

from headrace.engine.forks import forks
from headrace.errors import InvalidParameter, SchemaMismatch, StoreClosed, Unavailable

#: Reads that may run at once, and on PostgreSQL writes.
CONNECTIONS = 16
_SQLITE_BUSY_MS = 30_000
#: A PostgreSQL connection that was not used for so long is tried before it is used.
_IDLE_SECONDS = 5.0


class Database:
    """Connections to one database.

    Thread-safe. ``read()`` and ``write()`` each give a connection inside a transaction.
    """

    def __init__(self, url: str) -> None:
        self.url = parse_url(url)
        self._closed = False
        self.is_sqlite = self.url.get_backend_name() == "sqlite"
        if self.is_sqlite:
            self._reads, self._writes = self._open_sqlite(self.url)
        else:
            self._reads = self._writes = self._open_postgres(self.url)

    @staticmethod
    def _open_sqlite(url: sa.URL) -> tuple[sa.Engine, sa.Engine]:
        path = url.database
        if not path or path == ":memory:":
            raise InvalidParameter(
                "A SQLite store needs a file: give sqlite:///path/to/headrace.db, or a directory."
            )
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        engines = []
        for size, begin in ((CONNECTIONS, "BEGIN"), (1, "BEGIN IMMEDIATE")):
            engine = sa.create_engine(
                url,
                poolclass=QueuePool,
                pool_size=size,
                max_overflow=0,
                pool_timeout=60,
                connect_args={"check_same_thread": False, "timeout": _SQLITE_BUSY_MS / 1000},
            )

            def connect(connection: Any, _record: Any) -> None:
                forks.add(connection)
                connection.isolation_level = None  # transactions are begun below, not by the driver
                cursor = connection.cursor()
                _enter_wal(cursor)
                for pragma in (
                    "synchronous=FULL",
                    "foreign_keys=ON",
                    "case_sensitive_like=ON",
                    "cache_size=-65536",
                    "mmap_size=1073741824",
                    "temp_store=MEMORY",
                    "journal_size_limit=67108864",
                ):
                    cursor.execute(f"PRAGMA {pragma}")
                cursor.close()

            def begin_(connection: sa.Connection, statement: str = begin) -> None:
                connection.exec_driver_sql(statement)

            def closed(connection: Any, _record: Any) -> None:
                forks.remove(connection)

            sa.event.listen(engine, "connect", connect)
            sa.event.listen(engine, "close", closed)
            sa.event.listen(engine, "begin", begin_)
            engines.append(engine)
        return engines[0], engines[1]

    @staticmethod
    def _open_postgres(url: sa.URL) -> sa.Engine:
        engine = sa.create_engine(
            url,
            pool_size=CONNECTIONS,
            max_overflow=0,
            pool_timeout=60,
            # Said, because a server's default may be another: a write that waited for a lock must see
            # what the other one did.
            isolation_level="READ COMMITTED",
        )

        # A connection that was just used is alive; asking it each time (pool_pre_ping) costs a round
        # trip per request. One that lay idle may have been cut meanwhile.
        def returned(_connection: Any, record: Any) -> None:
            record.info["returned"] = time.monotonic()

        def taken(connection: Any, record: Any, _proxy: Any) -> None:
            if time.monotonic() - record.info.get("returned", math.inf) > _IDLE_SECONDS:
                try:
                    engine.dialect.do_ping(connection)
                except engine.dialect.loaded_dbapi.Error:
                    raise sa.exc.DisconnectionError from None  # the pool makes a new one

        sa.event.listen(engine, "checkin", returned)
        sa.event.listen(engine, "checkout", taken)
        return engine

    @contextlib.contextmanager
    def read(self) -> Iterator[sa.Connection]:
        """A connection in a read transaction that sees one snapshot."""
        with self._use(), self._open(self._reads).connect() as connection:
            if not self.is_sqlite:
                connection = connection.execution_options(
                    isolation_level="REPEATABLE READ", postgresql_readonly=True
                )
            with connection.begin():
                yield connection

    @contextlib.contextmanager
    def write(self) -> Iterator[sa.Connection]:
        """A connection in a write transaction; committed and on disk when the block ends."""
        with self._use(), self._open(self._writes).begin() as connection:
            yield connection

    @contextlib.contextmanager
    def unlocked(self) -> Iterator[sa.Connection]:
        """A connection outside any transaction, for maintenance such as giving pages back."""
        with self._use(), self._open(self._writes).connect() as connection:
            yield connection.execution_options(isolation_level="AUTOCOMMIT")

    def close(self) -> None:
        """Close all connections. Whoever asks for another gets `Unavailable`."""
        self._closed = True
        self._reads.dispose()
        self._writes.dispose()

    @contextlib.contextmanager
    def _use(self) -> Iterator[None]:
        with translated(), forks.transaction() if self.is_sqlite else contextlib.nullcontext():
            yield

    def _open(self, engine: sa.Engine) -> sa.Engine:
        # SQLAlchemy would connect anew, and nobody would close that connection.
        if self._closed:
            raise StoreClosed("The store is closed; open it again.")
        return engine


def parse_url(url: str) -> sa.URL:
    """The database that a store URI names.

    Args:
        url: ``sqlite:///path`` or ``postgresql://user:password@host/name`` (``postgres://`` and
            ``postgresql+driver://`` are taken as the same).

    Raises:
        InvalidParameter: Neither.
    """
    try:
        parsed = sa.make_url(url)
        backend = parsed.get_backend_name()
    except (sa.exc.ArgumentError, ValueError):
        raise InvalidParameter(
            f"'{url}' is not a store: give a directory, sqlite:///path or postgresql://host/name."
        ) from None
    if backend == "sqlite":
        return parsed.set(drivername="sqlite")
    if backend in ("postgresql", "postgres"):
        return parsed.set(drivername="postgresql+psycopg")
    raise InvalidParameter(
        f"No store of kind '{backend}': use sqlite:///path or postgresql://host/name."
    )


def _enter_wal(cursor: Any) -> None:
    """Switch a SQLite file to write-ahead logging.

    The switch needs the file alone for a moment and does not wait for it by itself, so that of two
    processes that open a new file at once one would fail.
    """
    cursor.execute("PRAGMA auto_vacuum=INCREMENTAL")  # before the first table, or it has no effect
    deadline = time.monotonic() + _SQLITE_BUSY_MS / 1000
    while True:
        try:
            cursor.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.01)


@contextlib.contextmanager
def translated() -> Iterator[None]:
    """Database failures as the errors of this house, without SQL text in the message."""
    try:
        yield
    except sa.exc.TimeoutError:
        raise Unavailable("Every database connection is busy; try again.") from None
    except (sa.exc.OperationalError, sa.exc.InterfaceError) as error:
        raise Unavailable(
            f"The database cannot answer now: {_reason(error)}. Try again."
        ) from error
    except sa.exc.DatabaseError as error:
        if type(error) is not sa.exc.DatabaseError:
            raise  # a constraint or a value: the caller knows what it means
        raise SchemaMismatch(
            f"The database cannot be read: {_reason(error)}. Give the path of a headrace store, or "
            "restore a backup of this one."
        ) from error


def _reason(error: sa.exc.DBAPIError) -> str:
    return next(iter(str(error.orig).strip().splitlines()), "no reason given")


def execute_sqlite(
    connection: sa.Connection, statement: str, values: Sequence[Any] = ()
) -> list[Any]:
    """Run one statement of the hot path on SQLite; the rows it returns, as tuples.

    It goes through the driver's own connection, because SQLAlchemy's bookkeeping takes longer than the
    statement. Errors are those of SQLAlchemy all the same.
    """
    driver = cast(sqlite3.Connection, connection.connection.driver_connection)
    try:
        return driver.execute(statement, values).fetchall()
    except sqlite3.Error as error:
        raise sa.exc.DBAPIError.instance(
            statement, None, error, sqlite3.Error, dialect=connection.dialect
        ) from error


def execute_driver(connection: sa.Connection, statement: str, values: tuple[Any, ...]) -> list[Any]:
    """Run one statement of the hot path, in the placeholders of the driver; the rows it returns."""
    if connection.dialect.name == "sqlite":
        return execute_sqlite(connection, statement, values)
    result = connection.exec_driver_sql(statement, values)
    return list(result) if result.returns_rows else []


def insert_many(
    connection: sa.Connection,
    table: sa.Table,
    columns: Sequence[str],
    rows: Sequence[Sequence[Any]],
) -> None:
    """Insert rows given as tuples: thousands of them, without SQLAlchemy's look at each."""
    if rows:
        connection.exec_driver_sql(
            _insert_statement(table.name, tuple(columns), connection.dialect.paramstyle), list(rows)
        )


@functools.cache
def _insert_statement(table: str, columns: tuple[str, ...], paramstyle: str) -> str:
    mark = "?" if paramstyle == "qmark" else "%s"
    names = ", ".join(f'"{column}"' for column in columns)
    return f'INSERT INTO "{table}" ({names}) VALUES ({", ".join([mark] * len(columns))})'


def select_many(
    connection: sa.Connection,
    table: sa.Table,
    columns: Sequence[str],
    key: str,
    values: Sequence[int],
) -> list[Any]:
    """Columns of the rows whose integer `key` is one of `values`, as the driver's own tuples.

    For thousands of rows at a time, where SQLAlchemy's row objects would cost more than the query.
    """
    names = ", ".join(f'"{column}"' for column in columns)
    statement = f'SELECT {names} FROM "{table.name}" WHERE "{key}" '
    if connection.dialect.name == "sqlite":
        numbers = ", ".join(map(str, map(int, values)))
        return execute_sqlite(connection, f"{statement} IN ({numbers})")
    cursor = connection.exec_driver_sql(f"{statement} = ANY(%s)", (list(values),)).cursor
    return list(cursor.fetchall())


def insert(connection: sa.Connection, table: sa.Table) -> Any:
    """An INSERT that knows ``on_conflict_do_nothing`` and ``on_conflict_do_update``."""
    if connection.dialect.name == "sqlite":
        return sqlite.insert(table)
    return postgresql.insert(table)
