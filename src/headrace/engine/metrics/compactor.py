"""The compactor: turns batches into segments, beside the traffic.

It reads rows, makes better rows of them outside any write transaction, and then, in one short write
transaction, deletes exactly the rows that it read and inserts the new ones. When a row is gone by then
(another process compacted, or the run was purged) the transaction is rolled back and nothing happened.
So a reader sees the old rows or the new ones, never both or neither, and a crash leaves the old ones.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import sqlalchemy as sa

from headrace.engine import schema
from headrace.engine.database import Database
from headrace.engine.metrics import columns, ordering
from headrace.engine.metrics.columns import Points
from headrace.errors import Unavailable

_log = logging.getLogger(__name__)

#: Runs work in a write transaction: `headrace.engine.engine.Engine.transact`.
Transact = Callable[[Callable[[sa.Connection], tuple[Any, Callable[[], None]]]], Any]

#: A segment holds at most so many points.
SEGMENT = 65_536
#: A series gets a segment from so many points on; what is less stays with other series in a batch.
_SERIES_FROM = 1024
#: ... or from so many, when the run has so many series that its batches would become large.
_SMALL_SERIES_FROM = columns.LINE
_LARGE = 524_288
#: In the background a run is looked at from so many batches, or so many points in batches, on.
_BATCHES_FROM = 16
_POINTS_FROM = 32_768
#: Points that one pass over a run takes up: bounds memory.
_PASS = 1_048_576
#: The same while the batches are small: keeps the write transaction to some 20 ms.
_PASS_OF_SMALL = 262_144
#: Batches that may be read at start-up to find runs by their points.
_SMALL_TABLE = 100_000
#: Pages that one transaction gives back to the file system.
_VACUUM_PAGES = 256

_batch = schema.metric_batch
_segment = schema.metric_segment


class _Overtaken(Exception):
    """A row that was to be replaced is gone: someone else was first."""


class _Segment(NamedTuple):
    """A segment that exists: its id and how many points it has."""

    id: int
    points: int


class _Change(NamedTuple):
    """What a pass over a run found out: rows to delete and rows to insert."""

    batches: list[int]
    segments: list[int]
    new_batches: list[dict[str, Any]]
    new_segments: list[dict[str, Any]]


class Compactor:
    """Compacts one database. Any number may work on the same database, in any processes."""

    def __init__(
        self,
        database: Database,
        transact: Transact,
        *,
        start: bool = True,
        interval_s: float = 5.0,
    ) -> None:
        """
        Args:
            database: To read from.
            transact: Runs work in a write transaction and returns when it is durable.
            start: Compact in a background thread until `close`.
            interval_s: Seconds that thread rests before each look for work.
        """
        self._database = database
        self._transact = transact
        self._interval_s = interval_s
        self._stop = threading.Event()
        # Ids of batches up to which the last two looks have seen; see `_touched`.
        self._seen: int | None = None
        self._seen_before: int | None = None
        self._thread: threading.Thread | None = None
        if start:
            self._thread = threading.Thread(
                target=self._run, name="headrace-compactor", daemon=True
            )
            self._thread.start()

    def close(self) -> None:
        """Stop the background thread; a pass that has begun is finished first."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()

    def run_once(self, everything: bool = False) -> int:
        """Compact what is worth it.

        Args:
            everything: Compact every run that has more than one batch or a long series in one, and give
                all free pages back.

        Returns:
            How many passes over runs changed something.

        Raises:
            Unavailable: The database cannot answer; the next call looks at all runs.
        """
        done = 0
        for run_id in self._touched(everything):
            try:
                while not self._stop.is_set() and self._pass(run_id, everything):
                    done += 1
            except Unavailable:
                # Begin again, or the runs that are left would not be looked at any more.
                self._seen = self._seen_before = None
                raise
            except Exception:  # whatever is wrong with one run, the others need not wait for it
                if everything:
                    raise
                _log.exception("Compaction of a run (number %d) failed; it stays as it is.", run_id)
        if self._database.is_sqlite:  # a purge frees pages too
            self._give_back(everything)
        return done

    def _run(self) -> None:
        while not self._stop.wait(self._interval_s):
            try:
                self.run_once()
            except Unavailable as error:
                _log.info("Compaction is put off: %s", error.message)
            except Exception:  # noqa: BLE001 - the thread must outlive whatever is wrong at one moment
                _log.exception("Compaction failed; it will be tried again.")

    def _touched(self, everything: bool) -> list[int]:
        """Runs to look at.

        At first all that have many batches, or many points where the table is small enough to sum up.
        Later those that got a batch since the look before the
        last: not since the last, because on PostgreSQL a lower id may be committed later.
        """
        count = sa.func.count()
        statement = sa.select(_batch.c.run_id).group_by(_batch.c.run_id)
        with self._database.read() as connection:
            newest = connection.execute(sa.select(sa.func.max(_batch.c.id))).scalar() or 0
            if everything:
                worth = (count >= 2) | (sa.func.sum(_batch.c.points) >= _SERIES_FROM)
                return list(connection.execute(statement.having(worth)).scalars())
            if self._seen_before is not None:
                new = sa.select(_batch.c.run_id).where(_batch.c.id > self._seen_before)
                statement = statement.where(_batch.c.run_id.in_(new))
            if self._seen_before is not None or newest < _SMALL_TABLE:
                many_points = sa.func.sum(_batch.c.points) >= _POINTS_FROM
                statement = statement.having((count >= _BATCHES_FROM) | many_points)
            else:
                statement = statement.having(count >= _BATCHES_FROM)  # by the index alone
            found = list(connection.execute(statement).scalars())
        self._seen_before, self._seen = self._seen, newest
        return found

    def _pass(self, run_id: int, everything: bool) -> bool:
        """Compact some of a run's batches; True when that may be worth doing again."""
        with self._database.read() as connection:
            change = self._plan(connection, run_id, everything)
        return change is not None and self._replace(change)

    def _replace(self, change: _Change) -> bool:
        """Put new rows in the place of old ones; False when someone else was first."""
        try:
            self._transact(lambda connection: _apply(connection, change))
        except _Overtaken:
            return False
        except sa.exc.IntegrityError:  # the run was purged meanwhile
            return False
        return True

    def _plan(self, connection: sa.Connection, run_id: int, everything: bool) -> _Change | None:
        pending = connection.execute(
            sa.select(_batch.c.id, _batch.c.points).where(_batch.c.run_id == run_id)
        ).all()
        chosen = _worthwhile([(row.id, row.points) for row in pending], everything)
        if not chosen:
            return None
        series: dict[int, list[Points]] = {}
        for start in range(0, len(chosen), 500):
            statement = sa.select(_batch.c.data).where(_batch.c.id.in_(chosen[start : start + 500]))
            for data in connection.execute(statement).scalars():
                block = columns.decode(data)
                assert block is not None
                for key, points in block.series():
                    series.setdefault(key, []).append(points)
        merged = {key: ordering.by_time(ordering.joined(parts)) for key, parts in series.items()}
        total = sum(points.size for points in merged.values())
        least = _SMALL_SERIES_FROM if total >= _LARGE else _SERIES_FROM
        long = sorted(key for key, points in merged.items() if points.size >= least)
        if len(chosen) == 1 and not long:
            return None
        change = _Change(chosen, [], [], [])
        rest = sorted(merged.keys() - set(long))
        if rest:
            points = ordering.joined([merged[key] for key in rest])
            counts = [merged[key].size for key in rest]
            change.new_batches.append(
                {
                    "run_id": run_id,
                    "points": points.size,
                    "data": columns.encode(rest, counts, *points),
                }
            )
        trailing = _segments(connection, run_id, long)
        for key in long:
            old = _to_extend(trailing.get(key, []), merged[key].size)
            change.segments.extend(one.id for one in old)
            parts = [merged[key]]
            for one in old:
                block = columns.decode(
                    connection.execute(
                        sa.select(_segment.c.data).where(_segment.c.id == one.id)
                    ).scalar_one()
                )
                assert block is not None
                parts.append(block.points)
            change.new_segments.extend(_rows(run_id, key, ordering.by_time(ordering.joined(parts))))
        return change

    def _give_back(self, everything: bool) -> None:
        """Return free pages to the file system, a little at a time so that no writer waits long.

        Some are kept: the next batches fill them without growing the file.
        """
        while not self._stop.is_set():
            with self._database.read() as connection:
                free = connection.exec_driver_sql("PRAGMA freelist_count").scalar_one()
                pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
            if free <= (0 if everything else max(1024, pages // 10)):
                return
            before = self._transact(lambda connection: (_vacuum(connection), _nothing))
            if before <= 0:
                return  # a file made without incremental vacuum
            self._stop.wait(0 if everything else 0.02)


def _worthwhile(pending: Sequence[tuple[int, int]], everything: bool) -> list[int]:
    """Which of a run's batches, given as (id, points), to compact now.

    Small ones first; a batch much larger than all smaller ones together waits until they have grown, so
    that a point is rewritten a logarithmic number of times.
    """
    chosen: list[int] = []
    points = 0
    for id, size in sorted(pending, key=lambda one: one[1]):
        most = _PASS if size >= SEGMENT else _PASS_OF_SMALL
        grown = everything or size <= 4 * max(points, 4096)
        if chosen and (points + size > most or not grown):
            break
        chosen.append(id)
        points += size
    enough = len(chosen) >= (2 if everything else _BATCHES_FROM) or points >= (
        _SERIES_FROM if everything else _POINTS_FROM
    )
    return sorted(chosen) if enough else []


def _segments(
    connection: sa.Connection, run_id: int, keys: Sequence[int]
) -> dict[int, list[_Segment]]:
    """The segments of some series, newest first."""
    found: dict[int, list[_Segment]] = {}
    for start in range(0, len(keys), 500):
        rows = connection.execute(
            sa.select(_segment.c.key_id, _segment.c.id, _segment.c.points)
            .where(_segment.c.run_id == run_id, _segment.c.key_id.in_(keys[start : start + 500]))
            .order_by(_segment.c.id.desc())
        )
        for row in rows:
            found.setdefault(row.key_id, []).append(_Segment(row.id, row.points))
    return found


def _to_extend(segments: Sequence[_Segment], points: int) -> list[_Segment]:
    """The newest segments to merge with so many points: while none is over twice what is gathered."""
    chosen: list[_Segment] = []
    for one in segments:
        if one.points > 2 * points or one.points + points > SEGMENT:
            break
        chosen.append(one)
        points += one.points
    return chosen


def _rows(run_id: int, key: int, points: Points) -> list[dict[str, Any]]:
    """Segments of points that are in the order of `by_time`."""
    rows = []
    for start in range(0, points.size, SEGMENT):
        part = points.take(slice(start, start + SEGMENT))
        lines = ordering.overview(part)
        rows.append(
            {
                "run_id": run_id,
                "key_id": key,
                "points": part.size,
                "min_step": int(lines.min_step.min()),
                "max_step": int(lines.max_step.max()),
                "min_time": int(part.times[0]),
                "max_time": int(part.times[-1]),
                "overview": columns.encode_overview(lines),
                "data": columns.encode_series(key, part),
            }
        )
    return rows


def _apply(connection: sa.Connection, change: _Change) -> tuple[None, Callable[[], None]]:
    for table, ids in ((_batch, change.batches), (_segment, change.segments)):
        for start in range(0, len(ids), 500):
            part = ids[start : start + 500]
            gone = connection.execute(sa.delete(table).where(table.c.id.in_(part))).rowcount
            if gone != len(part):
                raise _Overtaken
    if change.new_batches:
        connection.execute(_batch.insert(), change.new_batches)
    if change.new_segments:
        connection.execute(_segment.insert(), change.new_segments)
    return None, _nothing


def _vacuum(connection: sa.Connection) -> int:
    """Give some free pages back; how many that were."""
    before: int = connection.exec_driver_sql("PRAGMA freelist_count").scalar_one()
    cursor = connection.connection.cursor()
    try:
        # The pragma frees a page per step, and Python's driver takes only the first one.
        for _ in range(min(before, _VACUUM_PAGES)):
            cursor.execute("PRAGMA incremental_vacuum(1)")
    finally:
        cursor.close()
    after: int = connection.exec_driver_sql("PRAGMA freelist_count").scalar_one()
    return before - after


def _nothing() -> None:
    """What there is to do after the commit."""
