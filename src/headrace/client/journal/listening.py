"""Hearing that runs are to stop: in answers to what is sent, and by asking when nothing is."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence

from headrace.client.journal.destination import Destination
from headrace.errors import EndpointNotFound, MethodNotAllowed, NotFound
from headrace.protocol.ingest import Batch, Ingested
from headrace.protocol.stops import MAX_ASKED, GetStops, PendingStops, StopNotice, Stops

#: Seconds after which the store is asked, if nothing was sent of the runs.
_SOON = 2.0
#: So many times as long as an answer took pass at least until the next question.
_PATIENCE = 100.0


class Listener:
    """What a store says of the runs of this process. Used by the drain's thread.

    Attributes:
        on_stop: Called when the store says that a run is to stop, as often as it does.
    """

    def __init__(self, destination: Destination, longest: float) -> None:
        """Begin.

        Args:
            destination: The store.
            longest: Seconds between two questions at most, however slowly it answers.
        """
        self.on_stop: list[Callable[[StopNotice], None]] = []
        self._destination = destination
        self._longest = max(longest, _SOON)
        self._every = _SOON
        self._heard = 0.0
        self._knows = True  # an older server does not know the question

    def answered(self, batch: Batch, answer: Ingested, runs: Iterable[str]) -> None:
        """A batch was answered; ``runs`` are those that stop notices are wanted for."""
        self._tell(answer.stop)
        named = {*batch.alive, *(one.run_id for one in batch.series)}
        if named.issuperset(tuple(runs)):
            self._heard = time.monotonic()

    def listen(self, runs: Sequence[str]) -> None:
        """Ask about runs, if it is time to.

        Raises:
            HeadraceError: The store is away.
        """
        begun = time.monotonic()
        if not (runs and self._knows and self._destination.native):
            return
        if begun - self._heard < self._every:
            return
        for start in range(0, len(runs), MAX_ASKED):
            request = GetStops(run_id=tuple(runs[start : start + MAX_ASKED]))
            try:
                answer: PendingStops = self._destination.ask(Stops.get_stops, request)
            except (EndpointNotFound, MethodNotAllowed, NotFound):
                self._knows = False
                return
            self._tell(answer.stop)
        self._heard = time.monotonic()
        # Who has much to do is asked less often, though not less than signs of life come.
        self._every = min(max(_SOON, _PATIENCE * (self._heard - begun)), self._longest)

    def _tell(self, notices: Iterable[StopNotice]) -> None:
        for notice in notices:
            for listener in tuple(self.on_stop):
                listener(notice)
