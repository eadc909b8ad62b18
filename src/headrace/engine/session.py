"""One transaction's view of the store: the operations, implemented.

The noun files (`experiments`, `runs`, …) each implement their interface as a mixin over
`SessionBase`; `Session` is all of them. A session lives for one operation inside one transaction
that `headrace.engine.engine.Engine` begins and ends; it never commits.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec
import sqlalchemy as sa

from headrace.engine.database import insert
from headrace.engine.events.feed import Feed
from headrace.engine.events.numbering import Row, append
from headrace.engine.keys import SessionKeys
from headrace.engine.watch import Signs
from headrace.protocol.catalogue import EVENT_TYPES
from headrace.protocol.operation import Interface

if TYPE_CHECKING:
    from headrace.engine.webhooks.guard import Guard

_json = msgspec.json.Encoder()
#: Things of one kind that an event names, and characters of a value in it.
_MOST_NAMED, _LONGEST_VALUE = 1000, 10_000


class SessionBase(Interface):
    """What every operation needs.

    Attributes:
        connection: In a transaction.
        keys: Numbers of metric, param and tag names.
        actor: Who asks: a user name, empty when unknown.
        artifact_root: URI below which experiments without a location of their own keep artifacts.
        signs: Which runs were lately written to be alive.
        feed: Tells those who wait what was committed.
        webhook_guard: Keeps the secrets of webhooks, and judges their targets.
        served: Whether others reach the store through this process, and so see what it can read.
        after: What to do once the transaction has committed.
        now: Milliseconds since the Unix epoch, one reading for the whole transaction.
    """

    def __init__(
        self,
        connection: sa.Connection,
        keys: SessionKeys,
        *,
        actor: str,
        artifact_root: str,
        signs: Signs | None = None,
        feed: Feed | None = None,
        webhook_guard: Guard | None = None,
        served: bool = False,
    ) -> None:
        self.connection = connection
        self.keys = keys
        self.actor = actor
        self.artifact_root = artifact_root
        self.signs = signs or Signs()
        self.feed = feed
        self.webhook_guard = webhook_guard
        self.served = served
        self.after: list[Callable[[], None]] = [keys.publish]
        self.now = time.time_ns() // 1_000_000
        #: What `headrace.engine.events.feed.Feed` is told after the commit.
        self.feed_events = False
        self._events: list[Row] = []
        self.feed_moves: dict[tuple[str, str], int] = {}

    def committed(self) -> None:
        """Do what is left to do after the commit."""
        for step in self.after:
            step()
        if self.feed is not None and (self.feed_events or self.feed_moves):
            self.feed.committed(self.feed_events, self.feed_moves)

    def insert(self, table: sa.Table) -> Any:
        """An INSERT that knows ``on_conflict_do_nothing`` and ``on_conflict_do_update``."""
        return insert(self.connection, table)

    def emit(
        self, type: str, subject: str, data: dict[str, Any], experiment: int | None = None
    ) -> None:
        """Append an event to the log, in this transaction: `write_events` does so at its end.

        Args:
            type: One of `headrace.protocol.catalogue.EVENT_TYPES`.
            subject: What changed: ``run/<run_id>``, ``experiment/<experiment_id>``.
            data: JSON object; ``before`` and ``after`` where something was replaced.
            experiment: Number of the experiment that the change belongs to.
        """
        self.emit_many([(type, subject, data, experiment)])

    def emit_many(self, events: Sequence[tuple[str, str, dict[str, Any], int | None]]) -> None:
        """Append several events, in order; each as `emit` has it."""
        if not events:
            return
        for event in events:
            if event[0] not in EVENT_TYPES:
                raise KeyError(f"{event[0]} is in no catalogue; add it to protocol/catalogue.py.")
        self._events += [
            (self.now, type, subject, self.actor, _json.encode(data).decode(), experiment)
            for type, subject, data, experiment in events
        ]

    def write_events(self) -> None:
        """Write what was emitted; call last in the transaction.

        Last, because on PostgreSQL readers wait for a transaction from here to its commit; and all at
        once, which is one statement.
        """
        if self._events:
            append(self.connection, self._events)
            self.feed_events = True
            self._events = []

    def moved(self, run_uuid: str, experiment: int, what: str) -> None:
        """Note that a run got what is no event: listeners are told once the transaction has committed.

        Args:
            run_uuid: The run's public id.
            experiment: Its experiment's number.
            what: ``metrics`` or ``console``.
        """
        self.feed_moves[run_uuid, what] = experiment


def shortened(values: Mapping[str, str]) -> Mapping[str, str]:
    """Values of tags or params as an event has them: the first 10,000 characters, and an ellipsis if more.

    A tag that grows with each change, such as MLflow's history of models, would fill the log with its past.
    """
    if all(len(value) <= _LONGEST_VALUE for value in values.values()):
        return values
    return {
        key: value if len(value) <= _LONGEST_VALUE else f"{value[:_LONGEST_VALUE]}…"
        for key, value in values.items()
    }


def bounded(field: str, things: Collection[Any] | Mapping[str, Any]) -> dict[str, Any]:
    """Data of an event that names things: the first thousand of them, and how many there are if more."""
    if len(things) <= _MOST_NAMED:
        return {field: things}
    if isinstance(things, Mapping):
        some: Any = dict(itertools.islice(things.items(), _MOST_NAMED))
    else:
        some = list(itertools.islice(things, _MOST_NAMED))
    return {field: some, "count": len(things)}
