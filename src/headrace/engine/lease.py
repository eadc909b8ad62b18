"""Leases: what only one process per database may do at a time, such as delivering webhooks.

A lease ends with the process that holds it, however that ends: on PostgreSQL it is an advisory lock of a
connection, on SQLite a lock on a file beside the database. Who holds one may lose it without noticing
for a moment (a cut connection), so what is done under it must bear being done twice.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import zlib
from typing import Any

import sqlalchemy as sa

from headrace.engine.database import Database
from headrace.errors import HeadraceError

#: First of the two numbers of the advisory locks (the event log's have one long number).
_CLASS = 0x48524C


class Lease:
    """One lease, from one process's side. Not thread-safe: use it from one thread."""

    def __init__(self, database: Database, name: str) -> None:
        """Name a lease; it is not taken yet."""
        self._database = database
        self._name = name
        self._file: int | None = None
        self._stack = contextlib.ExitStack()
        self._connection: sa.Connection | None = None

    def hold(self) -> bool:
        """Take the lease, or make sure that it is still held; whether it is. Never waits for another."""
        try:
            return self._hold_file() if self._database.is_sqlite else self._hold_connection()
        except (HeadraceError, sa.exc.DBAPIError, OSError):
            self.release()
            return False

    def release(self) -> None:
        """Give it up; another process may take it at once."""
        if self._file is not None:
            os.close(self._file)  # which unlocks it
            self._file = None
        self._connection = None
        stack, self._stack = self._stack, contextlib.ExitStack()
        with contextlib.suppress(HeadraceError, sa.exc.DBAPIError):
            stack.close()

    def _hold_file(self) -> bool:
        if self._file is None:
            path = f"{self._database.url.database}-{self._name}.lease"
            file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                os.close(file)
                return False
            self._file = file
        return True

    def _hold_connection(self) -> bool:
        if self._connection is not None:
            self._connection.exec_driver_sql("SELECT 1")
            return True
        connection = self._stack.enter_context(self._database.unlocked())
        connection.detach()  # closing it must end the lock, not put it back into the pool
        taken: Any = connection.execute(
            sa.text("SELECT pg_try_advisory_lock(:class, :name)"),
            {"class": _CLASS, "name": zlib.crc32(self._name.encode()) & 0x7FFF_FFFF},
        ).scalar()
        if not taken:
            self.release()
            return False
        self._connection = connection
        return True
