"""Console output for the evaluator: the new lines of runs that printed something."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from headrace.engine import Engine
from headrace.engine.rules.evaluator import Evaluator
from headrace.engine.rules.observations import Printed, RunFacts
from headrace.errors import HeadraceError
from headrace.protocol.console import GetConsole

#: Lines that are shown to the evaluator at once.
_LINES = 1000
#: Lines of a run that one look reads at most; the others come with the next.
_MOST = 20_000


class Output:
    """Reads lines of runs. Not thread-safe."""

    def __init__(self, engine: Engine, evaluator: Evaluator) -> None:
        self._engine = engine
        self._evaluator = evaluator
        #: Where runs are read from on that were there before the rules that ask.
        self._begin: dict[str, int] = {}
        self._unread: dict[str, RunFacts] = {}

    def look(self, runs: Sequence[RunFacts], now: int) -> Iterator[Printed]:
        """New lines of runs, and of those of which not all was read the last time."""
        self._unread |= {run.run_id: run for run in runs}
        waiting, self._unread = self._unread, {}
        for run in waiting.values():
            start = self._start(run)
            if start is None:
                continue
            upto = start + _MOST
            while True:
                try:
                    page = self._engine.get_console(
                        GetConsole(run_id=run.run_id, start=start, limit=_LINES)
                    )
                except HeadraceError:
                    break  # purged meanwhile
                if page.lines:
                    lines = [
                        (one.number or 0, one.stream, one.source, one.text) for one in page.lines
                    ]
                    yield Printed(now, run, lines)
                start = page.next
                if start > page.total:
                    break
                if start >= upto:
                    self._unread[run.run_id] = run
                    break

    def _start(self, run: RunFacts) -> int | None:
        """Number of the first line that some rule wants; None when none does."""
        starts = []
        for rule in self._evaluator.logs_of(run):
            state = self._evaluator.state_of(rule, run)
            for leaf in rule.logs:
                states = {} if state is None else state.leaves.get(leaf.place, {})
                place = leaf.place_in(states, run.run_id)
                if place is not None:
                    starts.append(place + 1)
                elif rule.created <= run.start_time:
                    starts.append(1)
                else:
                    starts.append(self._end(run.run_id))
        return min(starts, default=None)

    def _end(self, run_id: str) -> int:
        if run_id not in self._begin:
            if len(self._begin) > 10_000:
                self._begin.clear()
            self._begin[run_id] = self._engine.ask("console_end", run_id) + 1
        return self._begin[run_id]
