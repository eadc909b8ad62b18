"""Where a reader of the event log is, and what it asks for next: the part that needs no network."""

from __future__ import annotations

import logging
import random
from collections import deque

import msgspec

from headrace.entities import Event
from headrace.errors import InvalidParameter, StoreClosed
from headrace.protocol.cloudevents import event_of
from headrace.protocol.events import EventPage, ListEvents

_log = logging.getLogger("headrace")

#: Events of one request.
PAGE = 2_000
#: Seconds that one request waits for more.
_WAIT_S = 20.0
#: Seconds between two tries while the store is away: doubling up to the second.
_PAUSE_S = (0.2, 10.0)

#: Where to begin: after an event's number, ``"oldest"`` that is kept, or with what happens from ``"now"`` on.
After = int | str


class Cursor:
    """A place in the log, and a choice of events.

    Attributes:
        from_now: It is not known yet where *now* is.
        ready: Events that were read and not handed out.
    """

    def __init__(self, request: ListEvents, after: After, follow: bool) -> None:
        if isinstance(after, str) and after not in ("oldest", "now"):
            raise InvalidParameter(
                f"after must be the number of an event, 'oldest' or 'now', got {after!r}."
            )
        self._request = request
        self._follow = follow
        self._after = after if isinstance(after, int) else None
        self.from_now = after == "now"
        self._last = -1
        self._tries = 0
        self.ready: deque[Event] = deque()

    @property
    def position(self) -> int | None:
        """Number up to which everything was handed out; None while nothing was read."""
        if self.ready:
            return self.ready[0].seq - 1
        return self._after

    def ask(self) -> ListEvents | None:
        """The next request; None when there is no more to ask for."""
        if self.from_now:
            return ListEvents(limit=0)
        if not self._follow and 0 <= self._last <= (self._after or 0):
            return None
        return msgspec.structs.replace(
            self._request,
            after=self._after,
            since=self._request.since,
            limit=PAGE,
            wait=_WAIT_S if self._follow else 0.0,
        )

    def take(self, page: EventPage) -> None:
        """Note an answer."""
        if self._tries > 2:
            _log.warning("The event log answers again; nothing was missed.")
        self._tries = 0
        if self.from_now:
            self.from_now = False
            self._after = page.last
            return
        self._after, self._last = page.next, page.last
        self.ready.extend(map(event_of, page.events))

    def failed(self, error: Exception) -> float:
        """Seconds to wait before asking again; raises the error where nobody follows, or waiting is no use."""
        if not self._follow or isinstance(error, StoreClosed):
            raise error
        self._tries += 1
        if self._tries == 3:
            _log.warning("The event log cannot be read now, trying again: %s", error)
        least, most = _PAUSE_S
        pause: float = min(least * 2.0 ** (self._tries - 1), most)
        return random.uniform(0.5, 1.0) * pause
