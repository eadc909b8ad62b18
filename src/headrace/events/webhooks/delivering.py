"""Sending what is queued: one asyncio loop for all webhooks, a lane for each.

A lane takes from the database as many subjects as it can soon send, and sends the deliveries of each one after the
other; subjects go side by side. A subject stays with its lane until what became of its deliveries is in the
database, so it is never taken twice. What fails goes back to the database with the time of its next attempt
and takes no memory until then.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Protocol

from headrace.engine.webhooks.queue import (
    DELIVERED,
    PARKED,
    PENDING,
    Pending,
    Result,
    Settled,
)
from headrace.errors import HeadraceError
from headrace.events.outgoing import Outcome, Outgoing
from headrace.events.webhooks.hooks import Listed
from headrace.events.webhooks.retries import Schedule

_log = logging.getLogger(__name__)

#: Messages on their way to one webhook at a time.
IN_FLIGHT = 64
#: The same over all webhooks, as long as each has two.
_ALL_IN_FLIGHT = 512
#: Deliveries in memory over all webhooks, as long as each has a few.
_LOADED = 8192
#: Subjects that a lane takes at a time, and deliveries of each; the same where there are few subjects.
_SUBJECTS, _EACH = 256, 16
_FEW_SUBJECTS, _OF_FEW = 16, 256
#: Bytes of events that a lane takes at a time, about.
_BYTES = 1 << 20
#: After so many failures one after the other a target is asked by one message at a time, with pauses
#: that grow to the longest, seconds.
_PATIENCE, _LONGEST_PAUSE = 64, 60.0

#: A subject with deliveries of it, in order.
Work = tuple[str, list[Pending]]


class Post(Protocol):
    """Who sends; see `headrace.events.targets.Sender`."""

    async def send(self, outgoing: Outgoing) -> Outcome:
        """Send a message; never raises for what network or target do."""


class Report(Protocol):
    """Takes what became of deliveries, and returns at once."""

    def __call__(self, lane: Lane, result: Result, settled: Settled | None) -> None:
        """Note a result.

        Args:
            lane: Whose; its `release` is called with the subject of `settled` once that is in the database.
            result: Of one attempt.
            settled: Where it was the last of its subject for now.
        """


class Lanes:
    """All lanes. Everything runs on one event loop."""

    def __init__(
        self,
        post: Post,
        take: Callable[[int, set[str], int, int], Awaitable[list[Work]]],
        report: Report,
        schedule: Schedule,
    ) -> None:
        """Make it, with no lane.

        Args:
            post: Sends.
            take: ``take(webhook, held, subjects, each)`` answers what is due.
            report: Takes results.
            schedule: When to try again.
        """
        self.post = post
        self.take = take
        self.report = report
        self.schedule = schedule
        self._lanes: dict[int, Lane] = {}
        self.tasks: set[asyncio.Task[None]] = set()
        self._ending = asyncio.Event()

    def use(self, webhooks: list[Listed]) -> None:
        """Send to these webhooks from now on, as they are now."""
        for gone in set(self._lanes) - {one.id for one in webhooks}:
            self._lanes[gone].close()
            if not self._lanes[gone].busy:
                del self._lanes[gone]
        for one in webhooks:
            lane = self._lanes.get(one.id)
            if lane is None:
                self._lanes[one.id] = Lane(self, one)
            else:
                lane.open(one)

    def wake(self, numbers: frozenset[int] | list[int]) -> None:
        """These webhooks may have something to send."""
        for number in numbers:
            lane = self._lanes.get(number)
            if lane is not None:
                lane.wake()

    def failing(self, seconds: float) -> list[Listed]:
        """Webhooks whose targets have done nothing but fail for so long."""
        limit = time.monotonic() - seconds
        return [
            lane.webhook
            for lane in self._lanes.values()
            if lane.failing_since is not None and lane.failing_since <= limit and not lane.closed
        ]

    @property
    def share(self) -> int:
        """Messages that one lane may have on their way."""
        return min(IN_FLIGHT, max(2, _ALL_IN_FLIGHT // max(1, self._busy)))

    @property
    def page(self) -> int:
        """Subjects that one lane may take."""
        return min(_SUBJECTS, max(8, _LOADED // max(1, self._busy) // 2))

    @property
    def _busy(self) -> int:
        return sum(lane.busy for lane in self._lanes.values())

    def run(self, work: Coroutine[Any, Any, None]) -> None:
        """Run something on the side."""
        task = asyncio.get_running_loop().create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def rest(self, seconds: float) -> None:
        """Sleep, unless it ends."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._ending.wait(), seconds)

    async def close(self, patience: float) -> None:
        """Start nothing more; wait so many seconds for what is under way, then break it off."""
        self._ending.set()
        for lane in self._lanes.values():
            lane.close()
        if self.tasks:
            _done, left = await asyncio.wait(self.tasks, timeout=patience)
            for task in left:
                task.cancel()
            await asyncio.gather(*left, return_exceptions=True)


class Lane:
    """Deliveries to one webhook.

    Attributes:
        webhook: As it is now.
        closed: It begins nothing more. It is kept while something is under way: opened again it knows that.
        failing_since: When failures began that no success followed, by the monotonic clock.
    """

    def __init__(self, lanes: Lanes, webhook: Listed) -> None:
        self.webhook = webhook
        self.failing_since: float | None = None
        self._lanes = lanes
        self._ready: deque[Work] = deque()
        self._held: set[str] = set()
        self._sending = 0
        self._failures = 0
        self._paused = False
        self._taking = False
        self._more = False  # there may be more in the database
        self._few = False  # there were few subjects when it looked last
        self.closed = False

    @property
    def busy(self) -> bool:
        """Whether it has anything in memory."""
        return bool(self._held)

    def wake(self) -> None:
        """Look into the database: there may be something to send."""
        self._more = True
        self._go()

    def close(self) -> None:
        """Begin nothing more. What was not begun stays in the database as it is."""
        self.closed = True
        self._drop_ready()

    def open(self, webhook: Listed) -> None:
        """Send to the webhook as it is now."""
        self.webhook = webhook
        if self.closed:
            self.closed = False
            self._failures, self.failing_since = 0, None
            self.wake()

    def _drop_ready(self) -> None:
        self._held.difference_update(subject for subject, _ in self._ready)
        self._ready.clear()

    def release(self, subject: str) -> None:
        """What became of the subject's deliveries is in the database: it may be taken again."""
        self._held.discard(subject)
        self._more = True
        self._go()

    def _go(self) -> None:
        if self.closed:
            return
        limit = 1 if self._failures >= _PATIENCE else self._lanes.share
        while self._ready and self._sending < limit and not self._paused:
            self._sending += 1
            self._lanes.run(self._send_all(*self._ready.popleft()))
        if self._more and not self._taking and len(self._ready) <= limit:
            self._taking = True
            self._lanes.run(self._take())

    async def _take(self) -> None:
        self._more = False
        try:
            page, each = self._lanes.page, _EACH
            if self._few:
                page, each = min(page, _FEW_SUBJECTS), _OF_FEW
            work = await self._lanes.take(self.webhook.id, self._held, page, each)
            self._more |= len(work) == page
            self._few = len(work) < _FEW_SUBJECTS
            size = 0
            for subject, deliveries in work:
                if size >= _BYTES:
                    self._more = True
                    break
                self._held.add(subject)
                self._ready.append((subject, deliveries))
                size += sum(len(one.event) for one in deliveries)
        except HeadraceError as error:
            _log.warning("Deliveries cannot be read: %s", error.message)
            await self._lanes.rest(1)
            self._more = True
        finally:
            self._taking = False
            if self.closed:
                self._drop_ready()
        self._go()

    async def _send_all(self, subject: str, deliveries: list[Pending]) -> None:
        try:
            for place, delivery in enumerate(deliveries):
                result = await self._send(delivery)
                settled = None
                if result.state == PENDING or place + 1 == len(deliveries) or self.closed:
                    settled = Settled(self.webhook.id, subject, result.next_time)
                self._lanes.report(self, result, settled)
                if settled is not None:
                    break
        finally:
            self._sending -= 1
        await self._pause()
        self._go()

    async def _send(self, delivery: Pending) -> Result:
        began = time.time()
        outcome = await self._attempt(delivery, began)
        now = time.time_ns() // 1_000_000
        state, next_time = DELIVERED, None
        if outcome.delivered:
            self._failures, self.failing_since = 0, None
        else:
            self._failures += 1
            self.failing_since = self.failing_since or time.monotonic()
            state = PARKED
            if not outcome.final:
                next_time = self._lanes.schedule.next_time(
                    delivery.tries + 1, delivery.queued_time, now, outcome.retry_after
                )
                state = PENDING if next_time is not None else PARKED
        return Result(
            delivery=delivery,
            state=state,
            next_time=next_time,
            done_time=None if state == PENDING else now,
            time=int(began * 1000),
            status=outcome.status,
            latency_ms=round(outcome.latency_ms, 3),
            body=kept(outcome.body),
            error=kept(outcome.error),
        )

    async def _attempt(self, delivery: Pending, began: float) -> Outcome:
        webhook = self.webhook
        if webhook.hook is None:
            return Outcome(error=webhook.problem)
        return await attempt(self._lanes.post, webhook.hook, delivery, began)

    async def _pause(self) -> None:
        """Leave a target alone that does nothing but fail."""
        beyond = self._failures - _PATIENCE
        if beyond >= 0 and not self._paused and not self.closed:
            self._paused = True
            try:
                await self._lanes.rest(min(2.0 ** min(beyond, 10), _LONGEST_PAUSE))
            finally:
                self._paused = False


async def attempt(post: Post, hook: Any, delivery: Pending, began: float) -> Outcome:
    """Build a message and send it once.

    Args:
        post: Sends.
        hook: The webhook's.
        delivery: What is sent.
        began: Seconds since the Unix epoch.
    """
    try:
        from headrace.events import formats  # takes a while: when something is sent

        outgoing = formats.build(hook, delivery.event.encode(), delivery.uuid, began)
    except HeadraceError as error:
        return Outcome(error=error.message, final=True)
    except Exception as error:  # noqa: BLE001 - one message that cannot be built must not stop the others
        _log.exception("A message for webhook %s cannot be built.", hook.webhook_id)
        return Outcome(error=f"The message cannot be built: {type(error).__name__}.", final=True)
    return await post.send(outgoing)


def kept(text: str) -> str:
    """A text as the database can keep it."""
    return (
        text.replace("\x00", "\N{REPLACEMENT CHARACTER}").encode(errors="replace").decode()[:4096]
    )
