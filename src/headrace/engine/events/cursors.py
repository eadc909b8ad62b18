"""Places in the event log that readers keep in the database, moved in the transaction of what they do."""

from __future__ import annotations

import sqlalchemy as sa

from headrace.engine.database import insert
from headrace.engine.schema import event_cursor


def cursor(connection: sa.Connection, name: str) -> int | None:
    """Number of the last event that a reader is done with; None when it never read.

    Args:
        connection: In a transaction.
        name: The reader's, such as ``webhooks``.
    """
    found: int | None = connection.execute(
        sa.select(event_cursor.c.seq).where(event_cursor.c.name == name)
    ).scalar()
    return found


def move_cursor(connection: sa.Connection, name: str, seq: int) -> None:
    """Note that a reader is done with all events up to a number.

    Args:
        connection: In the write transaction of what the reader did.
        name: The reader's.
        seq: The number.
    """
    statement = insert(connection, event_cursor).values(name=name, seq=seq)
    connection.execute(
        statement.on_conflict_do_update(
            index_elements=[event_cursor.c.name], set_={"seq": statement.excluded.seq}
        )
    )
