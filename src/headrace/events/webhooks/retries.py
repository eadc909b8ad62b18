"""When to try again, and when to give up."""

from __future__ import annotations

import random

import msgspec

#: Seconds before the second, third, … attempt; the last for all that follow.
DELAYS = (5.0, 30.0, 120.0, 600.0, 1800.0, 3600.0, 7200.0)
#: Seconds after which a delivery that fails is parked.
TOTAL = 24 * 3600.0
#: By so much a delay is longer or shorter, so that what failed together does not come back together.
_JITTER = 0.1
#: However soon a target wants to be asked again, it waits for this place of the delays at most.
_SOONEST = 2


class Schedule(msgspec.Struct, frozen=True, kw_only=True):
    """How what failed is tried again.

    Attributes:
        delays: Seconds before each further attempt; the last one for all that follow.
        total: Seconds since it was queued after which a delivery that fails is parked.
    """

    delays: tuple[float, ...] = DELAYS
    total: float = TOTAL

    def next_time(
        self, tries: int, queued_time: int, now: int, retry_after: float | None
    ) -> int | None:
        """When to try again, milliseconds since the Unix epoch; None: no more.

        Args:
            tries: How often it was tried since it was queued, the one that just failed included.
            queued_time: When it was queued, milliseconds since the Unix epoch.
            now: Milliseconds since the Unix epoch.
            retry_after: Seconds that the target asked for. It is heeded between the third delay (or an
                earlier one, while those are in use) and the last.
        """
        place = min(tries, len(self.delays)) - 1
        delay = self.delays[place] * random.uniform(1 - _JITTER, 1 + _JITTER)
        if retry_after is not None:
            delay = min(max(retry_after, self.delays[min(place, _SOONEST)]), self.delays[-1])
        then = now + round(delay * 1000)
        return None if then > queued_time + self.total * 1000 else then
