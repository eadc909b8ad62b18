"""Reading the event log: declarations.

The log is numbered. Whoever has read up to N reads on with ``after=N``, and misses nothing, on any store
and with any number of writers: no event with a number up to the greatest that was shown appears later.
"""

from __future__ import annotations

from typing import Any

from headrace.protocol.limits import Int64, Millis
from headrace.protocol.operation import (
    NATIVE_PREFIXES,
    Interface,
    Request,
    Response,
    operation,
)

MAX_EVENTS = 10_000
#: Longest wait of a long poll, seconds.
MAX_WAIT = 60.0


class ListEvents(Request, frozen=True, kw_only=True):
    """Which events to read. What is not given does not restrict; several values of one field mean *or*.

    Attributes:
        after: Number of the last event that was read. Not given: the oldest that is kept.
        limit: At most so many, from 0 to 10,000. With 0 the answer only says where the log ends.
        type: Types, with ``*`` for any text: ``run.failed``, ``run.*``, ``*.deleted``.
        subject: Subjects, such as ``run/<run_id>``; one that ends with ``*`` is a prefix.
        experiment_id: Experiments that the changes belong to.
        actor: Who made the changes.
        since: Not before this time, milliseconds since the Unix epoch.
        until: Before this time, milliseconds since the Unix epoch.
        wait: When there is nothing to read, wait for so many seconds, 60 at most.
        signals: In a stream: tell too, now and then, which runs got metric points or console output.
    """

    after: Int64 | None = None
    limit: Int64 = 1000
    type: tuple[str, ...] = ()
    subject: tuple[str, ...] = ()
    experiment_id: tuple[str, ...] = ()
    actor: tuple[str, ...] = ()
    since: Millis | None = None
    until: Millis | None = None
    wait: float = 0.0
    signals: bool = False


class CloudEvent(Response, frozen=True, kw_only=True):
    """One change of state, as a CloudEvents 1.0 document (https://cloudevents.io).

    Attributes:
        specversion: ``1.0``.
        id: Its number in the log, as text.
        source: Which log: ``urn:headrace:<uuid>``.
        type: What happened: ``run.finished``.
        subject: To what: ``run/<run_id>``.
        time: When, RFC 3339 in UTC.
        datacontenttype: ``application/json``.
        actor: Who did it; not there when unknown.
        workspace: ``default``.
        experimentid: The experiment that the change belongs to; not there when to none.
        data: docs/events.md says what each type holds.
    """

    specversion: str
    id: str
    source: str
    type: str
    subject: str
    time: str
    datacontenttype: str
    actor: str = ""
    workspace: str = ""
    experimentid: str = ""
    data: dict[str, Any]


class EventPage(Response, frozen=True, kw_only=True):
    """A stretch of the log.

    Attributes:
        events: In the order of their numbers. There may be fewer than asked for, even none, though more
            follow: a filter looks only so far at once.
        next: Where to go on: the ``after`` of the next request.
        last: Number of the last event that there is. Everything was read when ``next`` is not less.
        oldest: Least number that is kept; 1 while nothing was trimmed.
    """

    events: tuple[CloudEvent, ...] = ()
    next: int
    last: int
    oldest: int


class TrimEvents(Request, frozen=True, kw_only=True):
    """What to remove from the beginning of the log. What is not given does not matter.

    Attributes:
        older_than_ms: Events of at least this age, in milliseconds.
        keep_bytes: The oldest, until the rest takes at most so many bytes.
        dry_run: Change nothing; the answer says what would go.
    """

    older_than_ms: Millis | None = None
    keep_bytes: Millis | None = None
    dry_run: bool = False


class TrimmedEvents(Response, frozen=True, kw_only=True):
    """How many events went, and the least number that is left."""

    trimmed: int
    oldest: int


class Events(Interface):
    """The event log."""

    @operation(
        "GET",
        "/events",
        permission="event:read",
        reads=True,
        prefixes=NATIVE_PREFIXES,
        statuses=(410,),
    )
    def list_events(self, request: ListEvents) -> EventPage:
        """Read events from a number on, and wait for more.

        Over HTTP, with ``Accept: text/event-stream``, the answer is a stream that goes on: each event has
        its number as id, so that ``Last-Event-ID`` resumes. Without ``after`` a stream begins with what
        happens from now on.

        Raises:
            Gone: ``after`` is before what is kept, or beyond the end of the log; the message has the
                oldest number.
            InvalidParameter: A type that there is not, or a limit or wait that is out of range.
        """
        raise NotImplementedError

    @operation("POST", "/events/trim", permission="event:purge", prefixes=NATIVE_PREFIXES)
    def trim_events(self, request: TrimEvents) -> TrimmedEvents:
        """Remove old events for good. Who reads from before then is told so (`Gone`).

        Raises:
            InvalidParameter: Neither an age nor a size is given.
        """
        raise NotImplementedError
