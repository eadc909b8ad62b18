"""Numbers of events: given by writers that do not wait for each other, and safe to read in order.

On SQLite there is one writer at a time, so numbers become visible in their order. On PostgreSQL a
transaction that drew number 7 may commit after one that drew 8. There a writer holds a shared advisory lock
from before it draws its first number until after its commit is visible; the lock's key is a number below
all that it will draw. So every number up to the least key that is held is decided: it is there, or
it never will be. That is the *horizon*, and nobody reads beyond it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import sqlalchemy as sa

from headrace.engine.database import execute_driver, execute_sqlite, insert_many
from headrace.engine.schema import event

#: Advisory locks of writers have this in the upper 16 bits of their key, and a number below.
_CLASS = 0x4852
_BITS = 48
_SEQUENCE = "event_seq_seq"

_COLUMNS = ("time", "type", "subject", "actor", "data", "experiment_id")

# The sort makes it certain: the lock is held before the first number is drawn (PostgreSQL evaluates the
# default of `seq` above the sort, and the sort has read all of its input by then), and the numbers follow
# the order of the arrays.
_EMIT = f"""
WITH held AS MATERIALIZED (
  SELECT pg_advisory_xact_lock_shared(
    ({_CLASS}::bigint << {_BITS}) | CASE WHEN is_called THEN last_value ELSE last_value - 1 END
  )::text AS done FROM {_SEQUENCE}
)
INSERT INTO event ({", ".join(_COLUMNS)})
SELECT {", ".join(f"one.{name}" for name in _COLUMNS)}
FROM held
CROSS JOIN unnest(%s::bigint[], %s::text[], %s::text[], %s::text[], %s::text[], %s::bigint[])
  WITH ORDINALITY AS one ({", ".join(_COLUMNS)}, place)
WHERE held.done IS NOT NULL
ORDER BY one.place
"""

_INSERT = f"INSERT INTO event ({', '.join(_COLUMNS)}) VALUES (?, ?, ?, ?, ?, ?)"

# Reading the end of the sequence comes first: every number up to it was drawn under a lock that is
# still seen below, or whose transaction has ended and is visible to the next statement.
_LAST = f"SELECT CASE WHEN is_called THEN last_value ELSE last_value - 1 END FROM {_SEQUENCE}"
_LEAST_HELD = f"""
SELECT min(((classid::bigint << 32) | objid::bigint) & ((1::bigint << {_BITS}) - 1))
FROM pg_locks
WHERE locktype = 'advisory' AND granted AND objsubid = 1
  AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
  AND classid::bigint >> 16 = {_CLASS}
"""


#: An event to be written: time, type, subject, actor, data as JSON, number of the experiment.
Row = tuple[int, str, str, str, str, int | None]


class Ends(NamedTuple):
    """How far the log goes.

    Attributes:
        horizon: Greatest number that may be read: every lesser one is decided.
        last: Greatest number that was given to an event, though it may not be decided.
    """

    horizon: int
    last: int


def append(connection: sa.Connection, rows: Sequence[Row]) -> None:
    """Write events in the transaction of the change that they tell of."""
    if not rows:
        return
    if connection.dialect.name != "sqlite":
        execute_driver(connection, _EMIT, tuple(map(list, zip(*rows, strict=True))))
    elif len(rows) == 1:
        execute_sqlite(connection, _INSERT, rows[0])
    else:
        insert_many(connection, event, _COLUMNS, rows)


def ends(connection: sa.Connection) -> Ends:
    """How far the log goes now.

    Args:
        connection: On PostgreSQL outside a transaction, so that the next statement sees all that was
            committed until now.
    """
    if connection.dialect.name == "sqlite":
        rows = execute_driver(
            connection, "SELECT seq FROM sqlite_sequence WHERE name = 'event'", ()
        )
        last = rows[0][0] if rows else 0
        return Ends(last, last)
    last = execute_driver(connection, _LAST, ())[0][0]
    held = execute_driver(connection, _LEAST_HELD, ())[0][0]
    return Ends(last if held is None else min(last, held), last)
