"""Reading the event log, and trimming it.

Reads cost what they answer: a filter that has an index (subject, experiment) goes by it, any other looks
through a stretch of numbers at a time and says how far it came.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import sqlalchemy as sa

from headrace.engine import schema
from headrace.engine.database import Database, execute_driver
from headrace.engine.events.numbering import Ends, ends
from headrace.errors import Gone, InvalidParameter
from headrace.protocol.cloudevents import Row, source_of
from headrace.protocol.event_filter import EventFilter, event_filter
from headrace.protocol.events import MAX_EVENTS, MAX_WAIT, ListEvents, TrimEvents

_SELECT = "SELECT seq, time, type, subject, actor, experiment_id, data FROM event"
#: Numbers that a filter without an index looks through with one statement.
_STRETCH = 20_000
#: Seconds that such a filter looks at most before it answers with what it has.
_PATIENCE = 0.25
#: Events that one transaction trims.
_TRIMMED = 5_000
#: Bytes of a row beside its texts, about: its numbers and its places in the indexes.
_ROW = 120


class Stretch(NamedTuple):
    """What was read of the log.

    Attributes:
        rows: Events that pass the filter, in order.
        next: Number up to which everything was looked at.
        last: Greatest number that may be read now.
        oldest: Least number that is kept.
    """

    rows: list[Row]
    next: int
    last: int
    oldest: int


class EventLog:
    """The event log of one database. Thread-safe."""

    def __init__(self, database: Database) -> None:
        """A view of a database whose schema is current; nothing is read yet."""
        self._database = database
        self._source: str | None = None

    @property
    def source(self) -> str:
        """The ``source`` of its CloudEvents: ``urn:headrace:<uuid>``."""
        if self._source is None:
            with self._database.read() as connection:
                found = connection.execute(sa.select(schema.event_log.c.id)).scalar_one()
            self._source = source_of(found)
        return self._source

    def end(self) -> int:
        """Greatest number that may be read now."""
        with self._reading() as connection:
            return ends(connection).horizon

    def read(self, after: int | None, limit: int, chosen: EventFilter | None = None) -> Stretch:
        """Read on from a number.

        Args:
            after: Number of the last event that was read; None: before the oldest that is kept.
            limit: Events at most; 0 reads none, and `Stretch.last` says where the log ends.
            chosen: Only these.

        Raises:
            Gone: Some events after `after` were trimmed, or no event has so great a number.
        """
        with self._reading() as connection:
            end = ends(connection)
            trimmed = _trimmed(connection)
            begin = trimmed if after is None else after
            _check_cursor(begin, trimmed, end)
            if limit == 0:
                return Stretch([], begin, max(end.horizon, begin), trimmed + 1)
            rows, next = _look(connection, begin, end.horizon, limit, chosen)
            # Each statement saw another state: what was trimmed meanwhile is missing between the rows.
            trimmed = _trimmed(connection)
        if begin < trimmed:
            if after is None:
                return self.read(None, limit, chosen)
            _check_cursor(begin, trimmed, end)
        return Stretch(rows, next, max(end.horizon, next), trimmed + 1)

    def first_since(self, moment: int) -> int:
        """The number after which no event from `moment` on is missed.

        Args:
            moment: Milliseconds since the Unix epoch.
        """
        with self._reading() as connection:
            end = ends(connection)
            found = connection.execute(
                sa.select(sa.func.min(schema.event.c.seq)).where(schema.event.c.time >= moment)
            ).scalar()
            return max(
                _trimmed(connection), end.horizon if found is None else min(found - 1, end.horizon)
            )

    def one(self, seq: int) -> Row | None:
        """The event of a number; None when there is none."""
        with self._reading() as connection:
            rows = _select(connection, " WHERE seq = ?", (seq,))
        return rows[0] if rows else None

    def trim(
        self, request: TrimEvents, transact: Callable[..., Any], now: int, note: Callable[..., Any]
    ) -> tuple[int, int]:
        """Remove the oldest events; how many went, and the least number that is left.

        Args:
            request: What goes.
            transact: `headrace.engine.Engine.transact`.
            now: Milliseconds since the Unix epoch.
            note: ``note(connection, before, after)``: writes the event that tells of it.

        Raises:
            InvalidParameter: Neither an age nor a size is given.
        """
        if request.older_than_ms is None and request.keep_bytes is None:
            raise InvalidParameter(
                "Give older_than_ms, keep_bytes, or both: what is to be trimmed?"
            )
        with self._reading() as connection:
            horizon = ends(connection).horizon
            trimmed = _trimmed(connection)
            cut = min(
                max(self._aged(connection, request, now), self._over(connection, request)), horizon
            )
            count = execute_driver(
                connection, _marked(connection, "SELECT count(*) FROM event WHERE seq <= ?"), (cut,)
            )[0][0]
        if request.dry_run or cut <= trimmed:
            return count, max(cut, trimmed) + 1
        before, gone, place = trimmed + 1, 0, trimmed
        while place < cut:

            def work(connection: sa.Connection, after: int = place) -> tuple[tuple[int, int], Any]:
                edge = execute_driver(
                    connection,
                    _marked(connection, "SELECT seq FROM event WHERE seq > ? AND seq <= ? ORDER BY seq LIMIT 1 OFFSET ?"),
                    (after, cut, _TRIMMED - 1),
                )  # fmt: skip
                part = edge[0][0] if edge else cut
                deleted = connection.execute(
                    sa.delete(schema.event).where(schema.event.c.seq <= part)
                ).rowcount
                connection.execute(
                    sa.update(schema.event_log)
                    .where(schema.event_log.c.trimmed < part)
                    .values(trimmed=part)
                )
                if part == cut:
                    return (part, deleted), note(connection, before, cut + 1)
                return (part, deleted), _nothing

            part, deleted = transact(work)
            place, gone = part, gone + deleted
        return gone, cut + 1

    def _aged(self, connection: sa.Connection, request: TrimEvents, now: int) -> int:
        if request.older_than_ms is None:
            return 0
        # The newest event that is too old, unless a clock jumped: then the oldest that is not keeps all
        # that is after it.
        oldest_kept = connection.execute(
            sa.select(sa.func.min(schema.event.c.seq)).where(
                schema.event.c.time > now - request.older_than_ms
            )
        ).scalar()
        newest: int | None = connection.execute(sa.select(sa.func.max(schema.event.c.seq))).scalar()
        return (newest or 0) if oldest_kept is None else oldest_kept - 1

    def _over(self, connection: sa.Connection, request: TrimEvents) -> int:
        if request.keep_bytes is None:
            return 0
        size = sum(
            (sa.func.length(column) for column in (
                schema.event.c.type, schema.event.c.subject, schema.event.c.actor, schema.event.c.data
            )),
            start=sa.literal(_ROW),
        )  # fmt: skip
        running = sa.select(
            schema.event.c.seq,
            sa.func.sum(size).over(order_by=schema.event.c.seq.desc()).label("total"),
        ).subquery()
        found = connection.execute(
            sa.select(sa.func.max(running.c.seq)).where(running.c.total > request.keep_bytes)
        ).scalar()
        return found or 0

    def _reading(self) -> Any:
        # On PostgreSQL each statement must see what was committed until it began; on SQLite one
        # snapshot serves.
        return self._database.read() if self._database.is_sqlite else self._database.unlocked()


def checked(request: ListEvents) -> EventFilter | None:
    """The filter of a request; None when it chooses everything.

    Raises:
        InvalidParameter: A type that there is not, or a limit or wait out of range.
    """
    if not 0 <= request.limit <= MAX_EVENTS:
        raise InvalidParameter(f"limit must be from 0 to {MAX_EVENTS}, got {request.limit}.")
    if not 0 <= request.wait <= MAX_WAIT:
        raise InvalidParameter(f"wait must be from 0 to {MAX_WAIT:g} seconds, got {request.wait}.")
    if request.after is not None and request.after < 0:
        raise InvalidParameter(f"after must not be negative, got {request.after}.")
    chosen = event_filter(
        types=request.type,
        subjects=request.subject,
        experiment_ids=request.experiment_id,
        actors=request.actor,
        since=request.since,
        until=request.until,
    )
    return None if chosen.everything else chosen


def _nothing() -> None:
    """What is left to do after a transaction that is its own witness."""


def _trimmed(connection: sa.Connection) -> int:
    found: int = execute_driver(connection, "SELECT trimmed FROM event_log", ())[0][0]
    return found


def _check_cursor(after: int, trimmed: int, end: Ends) -> None:
    if after < trimmed:
        raise Gone(
            f"Events up to {trimmed} were removed from the log, and the last one read was {after}: the oldest "
            f"that is kept is {trimmed + 1}. Read on with after={trimmed}, knowing that those between are missed."
        )
    if after > end.last:
        raise Gone(
            f"No event has a number as great as after={after}: the log ends with {end.last}, and the oldest "
            f"that is kept is {trimmed + 1}. Is this another store, or one that was restored from a backup? "
            f"Read on with after={end.last} or less."
        )


def _look(
    connection: sa.Connection, after: int, horizon: int, limit: int, chosen: EventFilter | None
) -> tuple[list[Row], int]:
    """Rows between two numbers, and how far was looked."""
    if after >= horizon:
        return [], after
    if chosen is None:
        rows = _select(
            connection, " WHERE seq > ? AND seq <= ? ORDER BY seq LIMIT ?", (after, horizon, limit)
        )
        return rows, rows[-1].seq if len(rows) == limit else horizon
    where, values = _where(chosen)
    narrow = bool(chosen.subjects or chosen.experiments) and not chosen.prefixes
    found: list[Row] = []
    give_up = time.monotonic() + _PATIENCE
    while after < horizon:
        upto = horizon if narrow else min(horizon, after + _STRETCH)
        rows = _select(
            connection,
            f" WHERE seq > ? AND seq <= ? AND {where} ORDER BY seq LIMIT ?",
            (after, upto, *values, limit - len(found)),
        )
        found += rows
        if len(found) == limit:
            return found, found[-1].seq
        after = upto
        if time.monotonic() > give_up:
            break
    return found, after


def _select(connection: sa.Connection, rest: str, values: Sequence[Any]) -> list[Row]:
    return list(
        map(
            Row._make,
            execute_driver(connection, _marked(connection, _SELECT + rest), tuple(values)),
        )
    )


def _marked(connection: sa.Connection, statement: str) -> str:
    return statement if connection.dialect.name == "sqlite" else statement.replace("?", "%s")


def _where(chosen: EventFilter) -> tuple[str, list[Any]]:
    """A filter as SQL, with ``?`` for its values."""
    conditions: list[str] = []
    values: list[Any] = []

    def among(column: str, these: Sequence[Any]) -> str:
        values.extend(these)
        return f"{column} IN ({', '.join('?' * len(these))})"

    if chosen.types is not None:
        conditions.append(among("type", sorted(chosen.types)))
    if chosen.subjects or chosen.prefixes:
        some = [among("subject", sorted(chosen.subjects))] if chosen.subjects else []
        for prefix in chosen.prefixes:
            some.append("substr(subject, 1, ?) = ?")
            values.extend((len(prefix), prefix))
        conditions.append(_either(some))
    if chosen.experiments:
        conditions.append(among("experiment_id", sorted(chosen.experiments)))
    if chosen.actors:
        conditions.append(among("actor", sorted(chosen.actors)))
    if chosen.since is not None:
        conditions.append("time >= ?")
        values.append(chosen.since)
    if chosen.until is not None:
        conditions.append("time < ?")
        values.append(chosen.until)
    return " AND ".join(conditions), values


def _either(conditions: Sequence[str]) -> str:
    """Conditions joined by OR, as a tree: SQLite takes no chain of a thousand."""
    if len(conditions) <= 2:
        return f"({' OR '.join(conditions)})"
    half = len(conditions) // 2
    return f"({_either(conditions[:half])} OR {_either(conditions[half:])})"
