"""Asking a run to stop: declarations.

Whoever logs to the run learns of it: in the answer to what it sends (`headrace.protocol.ingest.Ingested`),
and, while it logs nothing, by asking `Stops.get_stops` now and then.
"""

from __future__ import annotations

from headrace.protocol.limits import Required
from headrace.protocol.operation import (
    NATIVE_PREFIXES,
    Empty,
    Interface,
    Request,
    Response,
    operation,
)

#: Characters of a reason.
MAX_REASON = 1000
#: Runs that `Stops.get_stops` takes at once.
MAX_ASKED = 100


class StopRun(Request, frozen=True, kw_only=True):
    """``reason`` is for people, at most 1000 characters."""

    run_id: Required
    reason: str = ""


class GetStops(Request, frozen=True, kw_only=True):
    """``run_id``: the runs to look at, at most 100; those that are not there are ignored."""

    run_id: tuple[str, ...]


class StopNotice(Response, frozen=True, kw_only=True):
    """A run that was asked to stop, and not taken up again since."""

    run_id: str
    reason: str = ""


class PendingStops(Response, frozen=True, kw_only=True):
    """Those of the runs that were asked to stop."""

    stop: tuple[StopNotice, ...] = ()


class Stops(Interface):
    """Requests to stop."""

    @operation("POST", "/runs/stop", permission="run:edit", prefixes=NATIVE_PREFIXES)
    def stop_run(self, request: StopRun) -> Empty:
        """Ask a run to stop.

        The request stands until the run is taken up again; when it ends too, so that every process that logs
        to it hears of it. Nothing happens when one stands already. It is for the processes to obey.

        Raises:
            NotFound: There is no such run.
            InvalidState: It has ended.
            InvalidParameter: It is deleted, or the reason is too long.
        """
        raise NotImplementedError

    @operation("GET", "/runs/stops", permission="run:read", prefixes=NATIVE_PREFIXES, reads=True)
    def get_stops(self, request: GetStops) -> PendingStops:
        """Which of some runs were asked to stop.

        Raises:
            InvalidParameter: Over 100 runs.
        """
        raise NotImplementedError
