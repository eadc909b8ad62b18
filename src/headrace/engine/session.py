"""One transaction's view of the store: the operations, implemented.

The noun files (`experiments`, `runs`, …) each implement their interface as a mixin over
`SessionBase`; `Session` is all of them. A session lives for one operation inside one transaction
that `headrace.engine.engine.Engine` begins and ends; it never commits.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import msgspec
import sqlalchemy as sa

from headrace.engine import schema
from headrace.engine.database import insert, insert_many
from headrace.engine.keys import SessionKeys
from headrace.engine.watch import Signs
from headrace.protocol.operation import Interface

_json = msgspec.json.Encoder()


class SessionBase(Interface):
    """What every operation needs.

    Attributes:
        connection: In a transaction.
        keys: Numbers of metric, param and tag names.
        actor: Who asks: a user name, empty when unknown.
        artifact_root: URI below which experiments without a location of their own keep artifacts.
        signs: Which runs were lately written to be alive.
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
    ) -> None:
        self.connection = connection
        self.keys = keys
        self.actor = actor
        self.artifact_root = artifact_root
        self.signs = signs or Signs()
        self.after: list[Callable[[], None]] = [keys.publish]
        self.now = time.time_ns() // 1_000_000

    def committed(self) -> None:
        """Do what is left to do after the commit."""
        for step in self.after:
            step()

    def insert(self, table: sa.Table) -> Any:
        """An INSERT that knows ``on_conflict_do_nothing`` and ``on_conflict_do_update``."""
        return insert(self.connection, table)

    def emit(self, type: str, subject: str, data: dict[str, Any]) -> None:
        """Append an event to the log, in this transaction.

        Args:
            type: Dotted word, noun first: ``run.created``.
            subject: ``run/<run_id>`` or ``experiment/<experiment_id>``.
            data: JSON object; ``before`` and ``after`` where something was replaced.
        """
        self.emit_many([(type, subject, data)])

    def emit_many(self, events: list[tuple[str, str, dict[str, Any]]]) -> None:
        """Append several events, in order."""
        insert_many(
            self.connection,
            schema.event,
            ("time", "type", "subject", "actor", "data"),
            [
                (self.now, type, subject, self.actor, _json.encode(data).decode())
                for type, subject, data in events
            ],
        )
