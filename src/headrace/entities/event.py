"""Events: every change of state, as it is kept in the event log."""

from __future__ import annotations

from typing import Any

from headrace.entities.base import Entity


class Event(Entity, frozen=True, kw_only=True):
    """One change of state.

    Attributes:
        seq: Place in the log; grows with every event.
        time: Milliseconds since the Unix epoch.
        type: Dotted word, noun first: ``run.created``. docs/internals/events.md lists them.
        subject: What changed: ``run/<run_id>``, ``experiment/<experiment_id>``.
        actor: Who did it: a user name, empty when unknown.
        data: What a reader needs to know of it; where something was replaced, ``before`` and ``after``.
    """

    seq: int
    time: int
    type: str
    subject: str
    actor: str
    data: dict[str, Any]
