"""What the job does now and then beside delivering."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Sequence

from headrace.engine import Engine
from headrace.engine.operations import Session
from headrace.engine.webhooks.upkeep import (
    cancel_deleted,
    forget_done,
    forget_webhooks,
    park_overdue,
)
from headrace.events.webhooks.hooks import Listed
from headrace.events.webhooks.notes import emit_parked
from headrace.events.webhooks.retries import Schedule

#: Seconds between two looks for what is to be cancelled or parked.
EVERY_S = 10.0
#: Seconds between two looks for what need not be kept any more.
_FORGET_S = 3600.0
#: Days that done deliveries are kept unless somebody says otherwise.
KEEP_DAYS = 30.0


class Upkeep:
    """Runs in one thread at a time."""

    def __init__(self, engine: Engine, schedule: Schedule, keep_days: float) -> None:
        """For a store."""
        self._engine = engine
        self._schedule = schedule
        self._keep_ms = round(keep_days * 86_400_000)
        self._forget_at = 0.0

    def run(self, failing: Sequence[Listed], stopping: Callable[[], bool]) -> None:
        """Do what is to be done.

        Args:
            failing: Webhooks whose targets have failed for as long as anything is tried.
            stopping: Whether to break off.
        """
        while not stopping() and self._engine.within(_cancel):
            pass
        for webhook in failing:
            park = functools.partial(self._park, webhook)
            while not stopping() and self._engine.within(park):
                pass
        if time.monotonic() >= self._forget_at:
            self._forget_at = time.monotonic() + _FORGET_S
            self._forget(stopping)

    def _park(self, webhook: Listed, session: Session) -> int:
        total = self._schedule.total
        found = park_overdue(
            session.connection,
            webhook.id,
            session.now - round(total * 1000),
            session.now,
            f"Not tried any more: the target has failed for {total / 3600:g} hours.",
        )
        emit_parked(session, [(webhook, one) for one in found])
        return len(found)

    def _forget(self, stopping: Callable[[], bool]) -> None:
        before = time.time_ns() // 1_000_000 - self._keep_ms
        place: int | None = 0
        while place is not None and not stopping():
            place = self._engine.within(functools.partial(_forget, before, place))
        self._engine.within(lambda session: forget_webhooks(session.connection, before))


def _cancel(session: Session) -> int:
    return cancel_deleted(session.connection, session.now)


def _forget(before: int, place: int, session: Session) -> int | None:
    return forget_done(session.connection, before, place)
