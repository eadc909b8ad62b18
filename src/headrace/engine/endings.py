"""What else happens when a run ends, or is taken up again."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from headrace.engine import schema
from headrace.engine.session import SessionBase

if TYPE_CHECKING:
    from headrace.engine.runs import RunRow

#: Metrics that the event names.
_MOST = 1000

_summary = schema.metric_summary
_stop = schema.run_stop
_SELECT_LAST = (
    sa.select(
        schema.key.c.name,
        _summary.c.last_rank,
        _summary.c.last_value,
        _summary.c.last_step,
        _summary.c.min_value,
        _summary.c.max_value,
        _summary.c.count,
        sa.func.count().over().label("metrics"),
    )
    .join(schema.key, schema.key.c.id == _summary.c.key_id)
    .where(_summary.c.run_id == sa.bindparam("run_id"))
    .order_by(_summary.c.key_id)
    .limit(_MOST)
)


def emit_last_metrics(session: SessionBase, run: RunRow) -> None:
    """Tell which metrics a run ends with; nothing is told of a run that has none."""
    rows = session.connection.execute(_SELECT_LAST, {"run_id": run.id}).all()
    if not rows:
        return
    metrics = {
        row.name: {
            "value": "NaN" if row.last_rank == schema.RANK_NAN else _plain(row.last_value),
            "step": row.last_step,
            "min": _plain(row.min_value),
            "max": _plain(row.max_value),
            "count": row.count,
        }
        for row in rows
    }
    data: dict[str, Any] = {"metrics": metrics}
    if rows[0].metrics > _MOST:
        data["count"] = rows[0].metrics
    session.emit("metric.last", f"run/{run.uuid}", data, run.experiment_id)


def withdraw_stop(session: SessionBase, run_id: int) -> None:
    """Forget that a run, by its number, was asked to stop."""
    session.connection.execute(sa.delete(_stop).where(_stop.c.run_id == run_id))


def _plain(value: float | None) -> float | str | None:
    """A value as JSON can say it."""
    if value is None or math.isfinite(value):
        return value
    return "Infinity" if value > 0 else "-Infinity"
