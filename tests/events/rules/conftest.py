"""The evaluator over a real store, with a clock that tests move."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from headrace.engine import Engine
from headrace.engine.events.feed import Move
from headrace.engine.rules.records import Pending
from headrace.events.rules.watcher import Watcher
from headrace.protocol.ingest import ConsoleLine, WriteConsole
from headrace.protocol.rules import Firing
from support.api import Api, point
from support.batches import Journal

#: The evaluator's clock ticks once a second.
_TICK = 1.001


class Rules:
    """A store, its operations, and an evaluator that looks when it is told to.

    Attributes:
        api: The operations.
        later: Seconds by which its clocks are ahead of the machine's.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self.later = 0.0
        self.engine = Engine(url, artifact_root="mlflow-artifacts:", actor="tester", compact=False)
        self.api = Api(self.engine)
        self.journal = Journal()
        self._moved: set[Move] = set()
        self._watcher: Watcher | None = None

    @property
    def watcher(self) -> Watcher:
        """The evaluator; it begins when it is asked for first."""
        if self._watcher is None:
            self._watcher = Watcher(
                self.engine,
                wall=lambda: time.time() + self.later,
                steady=lambda: time.monotonic() + self.later,
            )
        return self._watcher

    def restart(self, *, killed: bool = False) -> None:
        """Another evaluator takes over."""
        if self._watcher is not None and not killed:
            self._watcher.close()
        self._watcher = None
        _ = self.watcher

    def rule(self, name: str, when: dict[str, Any], **fields: Any) -> None:
        """Make a rule, and see that the evaluator knows it."""
        self.api.create_rule(spec={"name": name, "when": when, **fields})
        self.look()

    def log(
        self, run_id: str, key: str, values: Sequence[float], begin: int = 0, every: int = 1
    ) -> None:
        """Log points of steps that follow each other, a millisecond apart or `every` so many."""
        now = self.now
        points = [point(key, one, begin + n, now + n * every) for n, one in enumerate(values)]
        self.api.log_batch(run_id=run_id, metrics=points)
        self._moved.add(Move(run_id, 0, "metrics"))

    def print(self, run_id: str, *lines: str, stream: str = "stdout") -> None:
        """Print lines in a run."""
        printed = tuple(ConsoleLine(self.now, one) for one in lines)
        step = WriteConsole(run_id=run_id, stream=stream, lines=printed)
        self.engine.ingest(self.journal.batch(steps=[step]))
        self._moved.add(Move(run_id, 0, "console"))

    @property
    def now(self) -> int:
        """Milliseconds since the Unix epoch."""
        return int((time.time() + self.later) * 1000)

    def pass_time(self, seconds: float, every: float = 5.0) -> None:
        """Let time pass, with a look every few seconds."""
        while seconds > 0:
            self.later += min(seconds, every) - _TICK  # which the look adds
            seconds -= every
            self.look()

    def look(self) -> list[Pending]:
        """Look now."""
        moved, self._moved = self._moved, set()
        watcher = self.watcher
        self.later += _TICK
        return watcher.look(moved)

    def firings(self, rule: str) -> list[Firing]:
        """Of a rule, the first first."""
        return list(reversed(self.api.list_firings(rule=rule).firings))

    def states(self, rule: str) -> list[str]:
        """How the firings of a rule stand, the first first."""
        return [
            "momentary" if one.momentary else "firing" if one.resolved_time is None else "resolved"
            for one in self.firings(rule)
        ]

    def events(self, rule: str) -> list[tuple[str, dict[str, Any]]]:
        """Events of a rule after its creation, as (type, data)."""
        found = self.api.list_events(subject=(f"rule/{rule}",)).events
        return [(one.type, one.data) for one in found if one.type != "rule.created"]


@pytest.fixture
def rules(database_url: str) -> Iterator[Rules]:
    """An empty store, on SQLite and on PostgreSQL, and its evaluator."""
    found = Rules(database_url)
    yield found
    found.engine.close()
