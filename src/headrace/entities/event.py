"""Events: every change of state, as it is kept in the event log."""

from __future__ import annotations

import datetime
from typing import Any

from headrace.entities.base import Entity


class Event(Entity, frozen=True, kw_only=True):
    """One change of state.

    Attributes:
        seq: Place in the log; grows with every event. Who has read it reads on after it.
        time: Milliseconds since the Unix epoch.
        type: Dotted word, noun first: ``run.created``. docs/events.md lists them.
        subject: What changed: ``run/<run_id>``, ``experiment/<experiment_id>``.
        actor: Who did it: a user name, empty when unknown.
        experiment_id: The experiment that the change belongs to, empty when to none.
        source: Which log it is from: ``urn:headrace:<uuid>``.
        data: What a reader needs to know of it; where something was replaced, ``before`` and ``after``.
    """

    seq: int
    time: int
    type: str
    subject: str
    actor: str = ""
    experiment_id: str = ""
    source: str = ""
    data: dict[str, Any]

    @property
    def id(self) -> str:
        """The last part of the subject: of an event of a run, the run's id."""
        return self.subject.partition("/")[2]

    @property
    def at(self) -> datetime.datetime:
        """When it happened, with UTC as its time zone."""
        return datetime.datetime.fromtimestamp(self.time / 1000, datetime.UTC)
