"""The operations on the event log, which have no one transaction around them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import msgspec

from headrace.engine.events.feed import Feed
from headrace.engine.events.log import EventLog, checked
from headrace.protocol.cloudevents import encode_page
from headrace.protocol.events import EventPage, ListEvents, TrimEvents, TrimmedEvents

_page = msgspec.json.Decoder(EventPage)


class EventOperations:
    """`headrace.protocol.events.Events` over a log and its feed."""

    def __init__(
        self, log: EventLog, feed: Feed, transact: Callable[..., Any], note: Callable[..., Any]
    ) -> None:
        """Put it together; see `EventLog.trim` for the last two."""
        self._log = log
        self._feed = feed
        self._transact = transact
        self._note = note

    def list_events(self, request: ListEvents, actor: str) -> EventPage:
        """Read, and wait for more when there is nothing."""
        if not request.wait:
            return _page.decode(self.page(request))
        grown = threading.Event()
        leave = self._feed.listen(lambda moves: grown.set() if moves is None else None)
        deadline = time.monotonic() + request.wait
        try:
            while True:
                grown.clear()
                page = _page.decode(self.page(request))
                left = deadline - time.monotonic()
                if page.events or not request.limit or left <= 0:
                    return page
                # What does not pass the filter was looked at, and is not looked at again.
                request = msgspec.structs.replace(request, after=page.next)
                if page.next >= page.last:
                    grown.wait(left)
        finally:
            leave()

    def page(self, request: ListEvents) -> bytes:
        """What there is to read now, as an `EventPage` in JSON.

        Raises:
            Gone: See `EventLog.read`.
            InvalidParameter: See `checked`.
        """
        chosen = checked(request)
        after = request.after
        if after is None and request.since is not None:
            after = self._log.first_since(request.since)
        rows, next, last, oldest = self._log.read(after, request.limit, chosen)
        return encode_page(rows, self._log.source, next=next, last=last, oldest=oldest)

    def trim_events(self, request: TrimEvents, actor: str) -> TrimmedEvents:
        """Remove old events."""
        trimmed, oldest = self._log.trim(
            request,
            self._transact,
            time.time_ns() // 1_000_000,
            lambda connection, before, after: self._note(connection, actor, before, after),
        )
        return TrimmedEvents(trimmed=trimmed, oldest=oldest)
