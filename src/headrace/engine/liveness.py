"""Signs of life of runs, and marking those lost that give none.

A run that ever gave a sign of life has a row in ``heartbeat`` while it runs: when it was seen last, and
how long it may be silent. When it is silent for longer its status becomes `LOST`, and the row's silence 0,
so that nobody looks at it again. A sign of life brings it back. A run whose client knows no signs of life
has no row and is never lost.

Rows are locked in the order run, heartbeat; who looks for lost runs waits for nobody.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from headrace.engine import schema
from headrace.engine.session import SessionBase
from headrace.entities import RunStatus

if TYPE_CHECKING:
    from headrace.engine.runs import RunRow

#: What ``run.status`` is for a lost run. It leaves the store as RUNNING with ``lost``.
LOST = "LOST"
#: Milliseconds that a run may be silent: bounds of what is taken.
_SHORTEST, _LONGEST = 1_000, 366 * 86_400_000
#: A run that was seen so far in the future, in milliseconds, was seen by a clock that was set back since.
_FUTURE = 60_000
#: Runs that one transaction marks.
_MOST = 1000

_run = schema.run
_experiment = schema.experiment
_heartbeat = schema.heartbeat


class LivenessOperations(SessionBase):
    """What ingest and the engine's watch do about table ``heartbeat``."""

    def note_alive(self, runs: Sequence[RunRow], silence: int) -> None:
        """Write that runs are alive, if that was not written just now; lost ones run again.

        Call it late in a transaction: on PostgreSQL it holds the rows that it writes against others who
        write the same.

        Args:
            runs: Active ones. Those that have ended are left as they are.
            silence: Milliseconds without a sign of life after which they count as lost.
        """
        silence = min(max(silence, _SHORTEST), _LONGEST)
        due = sorted({run.id for run in runs if self.signs.due(run.id, silence)})
        if not due:
            return
        running = sa.select(_run.c.id, sa.literal(self.now), sa.literal(silence)).where(
            _run.c.id.in_(due), _run.c.status.in_((RunStatus.RUNNING.value, LOST))
        )
        statement = self.insert(_heartbeat).from_select(
            ("run_id", "seen_time", "silence"), running.order_by(_run.c.id)
        )
        self.connection.execute(
            statement.on_conflict_do_update(
                index_elements=[_heartbeat.c.run_id],
                set_={
                    "seen_time": statement.excluded.seen_time,
                    "silence": statement.excluded.silence,
                },
            )
        )
        # Only now: who marks runs as lost holds their heartbeats, so this sees what became of them.
        recovered = self.connection.execute(
            sa.update(_run)
            .where(_run.c.id.in_(due), _run.c.status == LOST)
            .values(status=RunStatus.RUNNING.value)
            .returning(_run.c.uuid, _run.c.experiment_id)
        ).all()
        self.emit_many(
            [
                (
                    "run.recovered",
                    f"run/{uuid}",
                    {"before": {"status": LOST}, "after": {"status": RunStatus.RUNNING.value}},
                    experiment_id,
                )
                for uuid, experiment_id in sorted(map(tuple, recovered))
            ]
        )
        self.after.append(lambda: self.signs.wrote(due))

    def any_silent(self, heard: int) -> bool:
        """Whether `mark_lost` would find something to do."""
        some = self._silent(heard, sa.literal_column("1")).limit(1)
        future: sa.Select[Any] = sa.select(sa.literal_column("1")).where(self._future()).limit(1)
        return any(
            self.connection.execute(statement).first() is not None for statement in (some, future)
        )

    def mark_lost(self, heard: int) -> int:
        """Mark runs as lost that have been silent for too long; how many.

        Args:
            heard: Only runs that may be silent for at most so many milliseconds.
        """
        self.connection.execute(
            sa.update(_heartbeat).where(self._future()).values(seen_time=self.now)
        )
        rows = self.connection.execute(
            self._silent(
                heard, _run.c.id, _run.c.uuid, _run.c.experiment_id, _run.c.status, _heartbeat.c.seen_time, _heartbeat.c.silence
            )
            .order_by(_run.c.id)
            .limit(_MOST)
            # What another transaction holds is alive, or being dealt with.
            .with_for_update(of=[_run, _heartbeat], key_share=True, skip_locked=True)
        ).all()  # fmt: skip
        lost = [row for row in rows if row.status == RunStatus.RUNNING]
        ids = [row.id for row in lost]
        ended = [row.id for row in rows if row.status != RunStatus.RUNNING]
        if ended:  # signs of life that were on their way when the run ended
            self.connection.execute(sa.delete(_heartbeat).where(_heartbeat.c.run_id.in_(ended)))
        if lost:
            self.connection.execute(sa.update(_run).where(_run.c.id.in_(ids)).values(status=LOST))
            self.connection.execute(
                sa.update(_heartbeat).where(_heartbeat.c.run_id.in_(ids)).values(silence=0)
            )
            self.emit_many(
                [
                    (
                        "run.lost",
                        f"run/{row.uuid}",
                        {
                            "before": {"status": RunStatus.RUNNING.value},
                            "after": {"status": LOST},
                            "seen_time": row.seen_time,
                            "silence": row.silence,
                        },
                        row.experiment_id,
                    )
                    for row in lost
                ]
            )
            self.after.append(lambda: self.signs.forget(ids))
        return len(lost)

    def _silent(self, heard: int, *columns: Any) -> sa.Select[Any]:
        """Heartbeats that are overdue, of runs that are not in the trash."""
        return (
            sa.select(*columns)
            .select_from(_heartbeat)
            .join(_run, _run.c.id == _heartbeat.c.run_id)
            .join(_experiment, _experiment.c.id == _run.c.experiment_id)
            .where(
                _heartbeat.c.silence > 0,
                _heartbeat.c.silence <= heard,
                _heartbeat.c.seen_time < self.now - _heartbeat.c.silence,
                _run.c.deleted_time.is_(None),
                _experiment.c.deleted_time.is_(None),
            )
        )

    def _future(self) -> sa.ColumnElement[bool]:
        return _heartbeat.c.seen_time > self.now + _FUTURE


def end_signs(session: SessionBase, run_id: int) -> None:
    """Forget the signs of life of a run whose status is set by somebody.

    Args:
        session: In a write transaction that holds the run against others who change it.
        run_id: The run's number.
    """
    session.connection.execute(sa.delete(_heartbeat).where(_heartbeat.c.run_id == run_id))
    # Now for what follows in this transaction; later for what others did meanwhile.
    session.signs.forget((run_id,))
    session.after.append(lambda: session.signs.forget((run_id,)))
