"""A store to fill and search in few words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from headrace.engine import Engine
from headrace.protocol.experiments import CreateExperiment, Experiments, SearchExperiments
from headrace.protocol.operation import operation_of
from headrace.protocol.runs import Runs, SearchRuns

_IMPORT = operation_of(Runs.import_runs)
_SEARCH = operation_of(Runs.search_runs)
_SEARCH_EXPERIMENTS = operation_of(Experiments.search_experiments)


class Searched:
    """An engine with short words for filling and searching it."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    def experiment(self, name: str, **fields: Any) -> str:
        """Make an experiment; its id."""
        request = CreateExperiment(name=name, **fields)
        created = self.engine.call(operation_of(Experiments.create_experiment), request)
        return str(created.experiment_id)

    def add(self, experiment: str, runs: Mapping[str, Mapping[str, Any]]) -> None:
        """Add runs by id; ``metrics`` is the values of each metric at steps 0, 1, 2 …"""
        imported = []
        for run_id, given in runs.items():
            fields = {key: value for key, value in given.items() if value is not None}
            fields["metrics"] = [
                {"key": key, "value": value, "timestamp": step, "step": step}
                for key, values in fields.get("metrics", {}).items()
                for step, value in enumerate(values)
            ]
            for name in ("params", "tags"):
                fields[name] = [
                    {"key": key, "value": value} for key, value in fields.get(name, {}).items()
                ]
            imported.append(
                {"experiment_id": experiment, "run_id": run_id, "start_time": 0, **fields}
            )
        self.engine.call(_IMPORT, _IMPORT.build(runs=imported))

    def page(
        self, experiments: Sequence[str], filter: str = "", *order_by: str, **more: Any
    ) -> Any:
        """One page, as the engine answers it."""
        request = SearchRuns(
            experiment_ids=tuple(experiments), filter=filter, order_by=order_by, **more
        )
        return self.engine.call(_SEARCH, request)

    def find(self, experiment: str, filter: str = "", *order_by: str, **more: Any) -> list[str]:
        """Ids of the runs of the first page."""
        return [run.info.run_id for run in self.page([experiment], filter, *order_by, **more).runs]

    def walk(
        self,
        experiments: Sequence[str],
        filter: str,
        order_by: Sequence[str],
        size: int,
        **more: Any,
    ) -> list[str]:
        """Ids of the runs of all pages of a size."""
        found: list[str] = []
        token = ""
        while True:
            page = self.page(
                experiments, filter, *order_by, max_results=size, page_token=token, **more
            )
            found += [run.info.run_id for run in page.runs]
            assert len(page.runs) == size or not page.next_page_token
            token = page.next_page_token
            if not token:
                return found

    def experiments(self, filter: str = "", *order_by: str, **more: Any) -> list[str]:
        """Names of the experiments of the first page."""
        request = SearchExperiments(
            filter=filter, order_by=order_by, **{"max_results": 1000, **more}
        )
        page = self.engine.call(_SEARCH_EXPERIMENTS, request)
        return [experiment.name for experiment in page.experiments]
