"""Asking runs to stop, implemented: table ``run_stop``."""

from __future__ import annotations

import sqlalchemy as sa

from headrace.engine import schema
from headrace.engine.runs import ENDED, RunOperations
from headrace.errors import InvalidParameter, InvalidState
from headrace.protocol.operation import Empty
from headrace.protocol.stops import (
    MAX_ASKED,
    MAX_REASON,
    GetStops,
    PendingStops,
    StopNotice,
    StopRun,
    Stops,
)

_run = schema.run
_stop = schema.run_stop


class StopOperations(RunOperations, Stops):
    """`Stops`; the request is removed where a run is taken up again (`headrace.engine.runs`)."""

    def stop_run(self, request: StopRun) -> Empty:
        return self.request_stop(request)

    def request_stop(self, request: StopRun, rule: str | None = None) -> Empty:
        """`stop_run`, for a rule if one is named."""
        if len(request.reason) > MAX_REASON:
            raise InvalidParameter(
                f"The reason has {len(request.reason)} characters; at most {MAX_REASON} are allowed."
            )
        run = self._active_run(request.run_id, change=True)
        status = self._full_rows([run.uuid])[0].status
        if status in ENDED:
            raise InvalidState(f"Run '{run.uuid}' has ended ({status}); it cannot be stopped.")
        asked = self.connection.execute(
            self.insert(_stop)
            .values(run_id=run.id, time=self.now, reason=request.reason, actor=self.actor)
            .on_conflict_do_nothing(index_elements=[_stop.c.run_id])
            .returning(_stop.c.run_id)
        ).scalar()
        if asked is not None:
            data = {"reason": request.reason} | ({} if rule is None else {"rule": rule})
            self.emit("run.stop.requested", f"run/{run.uuid}", data, run.experiment_id)
        return Empty()

    def get_stops(self, request: GetStops) -> PendingStops:
        if len(request.run_id) > MAX_ASKED:
            raise InvalidParameter(
                f"At most {MAX_ASKED} runs can be asked for at once; got {len(request.run_id)}. Split it."
            )
        rows = self.connection.execute(
            sa.select(_run.c.uuid, _stop.c.reason)
            .join(_stop, _stop.c.run_id == _run.c.id)
            .where(_run.c.uuid.in_(request.run_id))
            .order_by(_run.c.id)
        )
        return PendingStops(stop=tuple(StopNotice(run_id=one, reason=why) for one, why in rows))
