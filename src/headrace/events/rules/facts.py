"""What is known of runs, so that not every event asks the database."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from headrace.engine import Engine
from headrace.engine.rules.compiled import CompiledRule
from headrace.engine.rules.observations import RunFacts
from headrace.engine.rules.reading import WantedFacts

_MOST = 20_000


class Facts:
    """Facts of runs by public id. Not thread-safe."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._known: dict[str, RunFacts] = {}
        self._tags: frozenset[str] = frozenset()
        self._params: frozenset[str] = frozenset()

    def wanted_by(self, rules: Iterable[CompiledRule]) -> None:
        """Know the tags and params that these rules ask for."""
        tags: set[str] = set()
        params: set[str] = set()
        for rule in rules:
            tags.update(rule.spec.scope.tags)
            params.update(rule.spec.scope.params)
        wanted = (frozenset(tags), frozenset(params))
        if wanted != (self._tags, self._params):
            self._tags, self._params = wanted
            self._known.clear()

    def of(self, run_ids: Iterable[str], *, anew: bool = False) -> Mapping[str, RunFacts]:
        """Facts of those runs that are there.

        Args:
            run_ids: Public ids.
            anew: Believe nothing that is known: the runs changed.
        """
        ids = set(run_ids)
        missing = [one for one in ids if anew or one not in self._known]
        if missing:
            if len(self._known) > _MOST:
                self._known.clear()
                missing = list(ids)
            found = self._engine.ask("run_facts", WantedFacts(missing, self._tags, self._params))
            for one in missing:
                self._known.pop(one, None)
            self._known.update(found)
        return {one: self._known[one] for one in ids if one in self._known}

    def forget(self, experiment: int) -> set[str]:
        """Believe nothing any more that is known of an experiment's runs; their public ids."""
        found = {one for one, run in self._known.items() if run.experiment_id == experiment}
        for one in found:
            del self._known[one]
        return found

    def known(self, run_id: str) -> RunFacts | None:
        """What is known of a run, if anything is."""
        return self._known.get(run_id)

    def alive(self) -> list[RunFacts]:
        """The runs known that have not ended."""
        return [run for run in self._known.values() if run.alive]
