"""Following the event log: ``for event in client.events(types=["run.*"])``.

`EventStream` and `headrace.client.async_events.AsyncEventStream` read the log in pages and wait at its end by
long polls. Where they are is one number, and it moves when an event is handed out; so a request that failed
is simply asked again, and nothing is lost or handed out twice.
"""

from __future__ import annotations

import contextlib
import datetime
import time
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Self

from headrace.client.base import ClientBase
from headrace.client.event_cursor import After, Cursor
from headrace.client.experiments import listed
from headrace.entities import Event
from headrace.errors import Unavailable
from headrace.protocol.event_filter import event_filter
from headrace.protocol.events import EventPage, Events, ListEvents, TrimmedEvents
from headrace.protocol.operation import operation_of
from headrace.protocol.store import Store

if TYPE_CHECKING:
    from headrace.client.async_events import AsyncEventStream

_LIST = operation_of(Events.list_events)


class EventStream:
    """Events in the order of their numbers; an iterator. Not thread-safe.

    Raises, while it is read:
        Gone: What comes next was removed from the log, or the store is another one.
        Unavailable: The store cannot be reached, and the stream does not follow; or the client was closed.
    """

    def __init__(self, store: Store, cursor: Cursor) -> None:
        self._store = store
        self._cursor = cursor
        self._closed = False

    def begin(self) -> None:
        """Find where *now* is, so that what happens before the first event is asked for is not missed."""
        if self._cursor.from_now:
            with contextlib.suppress(Unavailable):  # who follows gets it when the store is back
                self._read(self._cursor.ask())

    @property
    def position(self) -> int | None:
        """Number up to which everything was handed out: the ``after`` with which to go on another day."""
        return self._cursor.position

    def __iter__(self) -> Iterator[Event]:
        return self

    def __next__(self) -> Event:
        while not self._cursor.ready:
            request = None if self._closed else self._cursor.ask()
            if request is None:
                raise StopIteration
            try:
                self._read(request)
            except Unavailable as error:
                time.sleep(self._cursor.failed(error))
        return self._cursor.ready.popleft()

    def close(self) -> None:
        """Read no more."""
        self._closed = True

    def _read(self, request: ListEvents | None) -> None:
        page: EventPage = self._store.call(_LIST, request)
        self._cursor.take(page)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class EventCalls(ClientBase):
    """The event log."""

    def events(
        self,
        types: Sequence[str] | str | None = None,
        *,
        after: After = "now",
        subjects: Sequence[str] | str | None = None,
        experiment_ids: Sequence[str] | str | None = None,
        actors: Sequence[str] | str | None = None,
        since: int | datetime.datetime | None = None,
        until: int | datetime.datetime | None = None,
        follow: bool = True,
    ) -> EventStream:
        """Follow the event log. What is not given does not restrict.

        Args:
            types: Types with ``*`` for any text: ``run.failed``, ``run.*``.
            after: Number of the last event that was read; ``"oldest"``: all that is kept; ``"now"``: what
                happens from now on.
            subjects: Such as ``run/<run_id>``; one that ends with ``*`` is a prefix.
            experiment_ids: Experiments that the changes belong to.
            actors: Who made the changes.
            since: Not before this moment (milliseconds since the Unix epoch, or a datetime); with it
                ``after`` is ``"oldest"`` unless it is a number.
            until: Before this moment.
            follow: Wait for more at the end of the log, however long, also while the store is away. Else
                stop there.

        Raises:
            InvalidParameter: A type that there is not, or another value that is none.
        """
        stream = EventStream(
            self._store,
            self._cursor(types, after, subjects, experiment_ids, actors, since, until, follow),
        )
        stream.begin()
        return stream

    def aevents(
        self,
        types: Sequence[str] | str | None = None,
        *,
        after: After = "now",
        subjects: Sequence[str] | str | None = None,
        experiment_ids: Sequence[str] | str | None = None,
        actors: Sequence[str] | str | None = None,
        since: int | datetime.datetime | None = None,
        until: int | datetime.datetime | None = None,
        follow: bool = True,
    ) -> AsyncEventStream:
        """Follow the event log in asyncio; arguments and errors as for `events`, but *now* is when the first
        event is asked for."""
        from headrace.client.async_events import (
            AsyncEventStream,  # loads HTTP, which others may not need
        )

        return AsyncEventStream(
            self._store,
            self._cursor(types, after, subjects, experiment_ids, actors, since, until, follow),
        )

    def end_of_events(self) -> EventPage:
        """Where the log ends and begins: `last` and `oldest` of the answer, which has no events."""
        page: EventPage = self._call(Events.list_events, limit=0)
        return page

    def trim_events(
        self,
        older_than_ms: int | None = None,
        keep_bytes: int | None = None,
        dry_run: bool = False,
    ) -> TrimmedEvents:
        """Remove the oldest events for good.

        Args:
            older_than_ms: Those of at least this age, in milliseconds.
            keep_bytes: The oldest, until the rest takes at most so many bytes.
            dry_run: Change nothing, and say what would go.

        Raises:
            InvalidParameter: Neither an age nor a size is given.
        """
        trimmed: TrimmedEvents = self._call(
            Events.trim_events, older_than_ms=older_than_ms, keep_bytes=keep_bytes, dry_run=dry_run
        )
        return trimmed

    def _cursor(
        self,
        types: Sequence[str] | str | None,
        after: After,
        subjects: Sequence[str] | str | None,
        experiment_ids: Sequence[str] | str | None,
        actors: Sequence[str] | str | None,
        since: int | datetime.datetime | None,
        until: int | datetime.datetime | None,
        follow: bool,
    ) -> Cursor:
        request = _LIST.build(
            type=listed(types),
            subject=listed(subjects),
            experiment_id=listed(experiment_ids),
            actor=listed(actors),
            since=_moment(since),
            until=_moment(until),
        )
        assert isinstance(request, ListEvents)
        event_filter(
            types=request.type, subjects=request.subject, experiment_ids=request.experiment_id
        )
        if since is not None and after == "now":
            after = "oldest"
        return Cursor(request, after, follow)


def _moment(given: int | datetime.datetime | None) -> int | None:
    if isinstance(given, datetime.datetime):
        return round(given.timestamp() * 1000)
    return given
