"""Publishing the event log to a broker, in order, at least once: the part that knows no broker.

The place in the log is read back from the broker: what it holds is what was published. So there is no
state to lose, a bridge may be killed at any moment, and one on another machine takes over. After any
failure the place is read anew, and publishing goes on from there.
"""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import Callable, Sequence
from typing import Protocol

from headrace.errors import Conflict, Gone, Unavailable
from headrace.protocol.events import CloudEvent, EventPage, ListEvents

_log = logging.getLogger(__name__)

#: Events of one read, and so of one `Publisher.publish`.
_PAGE = 2_000
#: Seconds that one read waits for more; `Bridge.stop` takes as long.
_WAIT_S = 1.0
#: Seconds between two tries while the store or the broker is away: doubling up to the second.
_PAUSE_S = (0.1, 10.0)
#: The same for somebody else who publishes too, and is faster.
_YIELD_S = (0.002, 0.5)

#: Reads the log as `headrace.protocol.events.Events.list_events` does; raises what that raises.
Read = Callable[[ListEvents], EventPage]


class Publisher(Protocol):
    """Where events go. Used by one thread at a time.

    Every method raises

    - `Unavailable` when the broker cannot be reached or cannot answer now: the bridge closes the
      publisher, waits, and opens it again;
    - `Conflict` when somebody else published meanwhile: the bridge asks for the place again, goes on from
      there, and says so;
    - any other error of `headrace.errors` when trying again would not help: the bridge ends with it.
    """

    def open(self) -> None:
        """Connect, and see to it that there is a place to publish to."""

    def last_published(self) -> int | None:
        """Number of the last event that the broker holds; None when it holds none."""

    def publish(self, events: Sequence[CloudEvent]) -> None:
        """Publish events in this order, and return when the broker has confirmed all of them.

        There may be none.

        When it raises, the broker must hold none, some or all of them, the first ones first: it must
        not hold one without those before it.
        """

    def close(self) -> None:
        """Disconnect, whatever state it is in. It may be opened again."""


class Bridge:
    """Publishes the log as long as it runs.

    Attributes:
        position: Number up to which everything is published, None while it is not known.
    """

    def __init__(
        self,
        read: Read,
        publisher: Publisher,
        *,
        after: int | None = None,
        skip_trimmed: bool = False,
    ) -> None:
        """Make a bridge; nothing is read yet.

        Args:
            read: Reads the log.
            publisher: Where it goes; the bridge opens and closes it.
            after: Publish nothing up to this number. What the broker has is not published again either way.
            skip_trimmed: Go on, with a warning, where events were removed from the log before they were
                published. Else that is an error.
        """
        self._read = read
        self._publisher = publisher
        self._after = after
        self._skip_trimmed = skip_trimmed
        self._stop = threading.Event()
        self._failures = 0
        self._collisions = 0
        self._shared = False
        self.position: int | None = None

    def stop(self) -> None:
        """Have `run` return when what is under way is confirmed. For signal handlers and other threads."""
        self._stop.set()

    def run(self, *, once: bool = False) -> None:
        """Publish until it is stopped, however often the store or the broker goes away.

        Args:
            once: Return at the end of the log.

        Raises:
            Gone: What comes next was removed from the log, or the broker holds the events of another one.
            HeadraceError: What else `read` and the publisher raise and what is not healed by waiting.
        """
        while not self._stop.is_set():
            try:
                self._publish_on(once)
                return
            except Unavailable as error:
                self._failed(error)
            finally:
                self._publisher.close()

    def _publish_on(self, once: bool) -> None:
        self._publisher.open()
        self.position = self._place()
        while not self._stop.is_set():
            page = self._page(0.0 if once else _WAIT_S)
            try:
                self._publisher.publish(page.events)
            except Conflict as error:
                self._collided(error)
                continue
            self.position = page.next
            self._worked()
            if once and page.next >= page.last:
                return

    def _place(self) -> int | None:
        known = [one for one in (self._publisher.last_published(), self._after) if one is not None]
        return max(known, default=None)

    def _page(self, wait: float) -> EventPage:
        while True:
            try:
                return self._read(ListEvents(after=self.position, limit=_PAGE, wait=wait))
            except Gone:
                oldest = self._read(ListEvents(limit=0)).oldest
                after = self.position
                if after is None:
                    continue  # trimmed between two looks
                if after + 1 >= oldest:
                    raise  # another log, or an older copy of this one
                self._skip(after, oldest)

    def _skip(self, after: int, oldest: int) -> None:
        missed = oldest - 1 - after
        what = f"{missed} events, {after + 1} to {oldest - 1}, were removed from the log before they were published"
        if not self._skip_trimmed:
            raise Gone(
                f"{what}. Go on with {oldest} by --skip-trimmed (Bridge(skip_trimmed=True)); keep events for "
                "longer, or trim after they are published, so that it does not happen again."
            )
        _log.warning("%s. Going on with %d.", what, oldest)
        self.position = oldest - 1

    def _worked(self) -> None:
        if self._failures:
            _log.warning("The bridge works again, at number %s; nothing was missed.", self.position)
        self._failures = 0

    def _failed(self, error: Unavailable) -> None:
        self._failures += 1
        if self._failures == 1:
            _log.warning("The bridge waits, and tries again: %s", error)
        least, most = _PAUSE_S
        self._stop.wait(random.uniform(0.5, 1.0) * _doubled(least, self._failures, most))

    def _collided(self, error: Conflict) -> None:
        if not self._shared:
            self._shared = True
            _log.warning("%s Going on after what is there. This is said once.", error)
        before, self.position = self.position, self._place()
        # Who comes no further leaves it to the others for a moment.
        self._collisions = self._collisions + 1 if self.position == before else 0
        if self._collisions:
            least, most = _YIELD_S
            self._stop.wait(random.uniform(0.0, _doubled(least, self._collisions, most)))


def _doubled(least: float, tries: int, most: float) -> float:
    # Not without end: 2.0 ** 1024 is too large a number.
    doubled: float = min(least * 2.0 ** min(tries - 1, 20), most)
    return doubled
