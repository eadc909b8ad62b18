"""Runs: their life, their tags and params, what they read and made, and finding them."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import msgspec

from headrace.client.base import ClientBase, RunOperations, finished
from headrace.client.experiments import listed, view
from headrace.client.paging import PagedList
from headrace.client.values import now_ms, pairs
from headrace.entities import (
    DatasetInput,
    LoggedModelInput,
    LoggedModelOutput,
    Run,
    RunStatus,
    ViewType,
)
from headrace.protocol.alerts import Alerts
from headrace.protocol.console import ConsolePage, Consoles
from headrace.protocol.runs import ImportedRun, Runs
from headrace.protocol.stops import Stops

PARENT_RUN_TAG = "mlflow.parentRunId"

_IMPORT_RUNS = 1000
_IMPORT_POINTS = 100_000


class RunCalls(ClientBase):
    """Executions and what they log."""

    def create_run(
        self,
        experiment_id: str,
        start_time: int | None = None,
        tags: Mapping[str, Any] | None = None,
        run_name: str | None = None,
    ) -> Run:
        """Create a run with status RUNNING. It is not made the active run of the fluent API.

        Args:
            experiment_id: Of an active experiment.
            start_time: Milliseconds since the Unix epoch; default now.
            tags: Values are taken as text. ``mlflow.user`` names the run's user.
            run_name: Default: a random one.
        """
        run: Run = self._call(
            Runs.create_run,
            experiment_id=str(experiment_id),
            start_time=now_ms() if start_time is None else start_time,
            tags=pairs(tags),
            run_name=run_name,
            user_id=str((tags or {}).get("mlflow.user", "unknown")),
        ).run
        return run

    def get_run(self, run_id: str) -> Run:
        """A run with params, tags, last metric points, inputs and outputs; deleted ones too.

        Raises:
            NotFound: There is none of that id.
        """
        run: Run = self._call(Runs.get_run, run_id=run_id).run
        return run

    def get_parent_run(self, run_id: str) -> Run | None:
        """The run that a run is nested in; None when it is not nested."""
        parent = self.get_run(run_id).data.tags.get(PARENT_RUN_TAG)
        return None if parent is None else self.get_run(parent)

    def update_run(self, run_id: str, status: str | None = None, name: str | None = None) -> None:
        """Change a run's status or name; None leaves it as it is."""
        self._call(Runs.update_run, run_id=run_id, status=status, run_name=name)

    def set_terminated(
        self, run_id: str, status: str | None = None, end_time: int | None = None
    ) -> None:
        """Set a run's status (default FINISHED) and end time (milliseconds, default now)."""
        self._call(
            Runs.update_run,
            run_id=run_id,
            status=RunStatus.FINISHED if status is None else status,
            end_time=now_ms() if end_time is None else end_time,
        )

    def delete_run(self, run_id: str) -> None:
        """Put a run into the trash."""
        self._call(Runs.delete_run, run_id=run_id)

    def restore_run(self, run_id: str) -> None:
        """Take a run out of the trash."""
        self._call(Runs.restore_run, run_id=run_id)

    def stop_run(self, run_id: str, reason: str = "") -> None:
        """Ask a run to stop; its own process obeys, or not.

        Args:
            run_id: The run.
            reason: For people, at most 1000 characters.

        Raises:
            InvalidState: The run has ended.
        """
        self._call(Stops.stop_run, run_id=run_id, reason=reason)

    def alert(self, run_id: str, title: str, text: str = "", severity: str = "warn") -> None:
        """Tell people something about a run: an event ``run.alert.raised``.

        Args:
            run_id: The run.
            title: One line, 1 to 250 characters.
            text: More, at most 10,000 characters.
            severity: ``info``, ``warn``, ``error`` or ``critical``.
        """
        self._call(Alerts.raise_alert, run_id=run_id, title=title, text=text, severity=severity)

    def search_runs(
        self,
        experiment_ids: Sequence[str],
        filter_string: str = "",
        run_view_type: ViewType | str | int = ViewType.ACTIVE_ONLY,
        max_results: int = 1000,
        order_by: Sequence[str] | None = None,
        page_token: str | None = None,
    ) -> PagedList[Run]:
        """One page of runs, started last first unless ordered.

        Args:
            experiment_ids: Where to look; unknown ids are ignored.
            filter_string: ``metrics.loss < 0.1 AND params.model = 'cnn'``; see docs/search.md.
            run_view_type: Active ones, deleted ones, or all.
            max_results: Size of the page, 1 to 50,000.
            order_by: ``["metrics.loss ASC"]``.
            page_token: ``token`` of the page before.

        Raises:
            InvalidParameter: A filter or order that does not parse; the message points at the place.
        """
        page = self._call(
            Runs.search_runs,
            experiment_ids=listed(experiment_ids),
            filter=filter_string,
            run_view_type=view(run_view_type),
            max_results=max_results,
            order_by=listed(order_by),
            page_token=page_token,
        )
        return PagedList(page.runs, page.next_page_token)

    def log_param(self, run_id: str, key: str, value: Any, synchronous: bool | None = None) -> Any:
        """Log a param, its value as text (at most 6000 characters); returns the value.

        Raises:
            InvalidParameter: The run has the param with another value.
        """
        self._call(Runs.log_param, run_id=run_id, key=key, value=str(value))
        return finished(synchronous) or value

    def set_tag(
        self, run_id: str, key: str, value: Any, synchronous: bool | None = None
    ) -> RunOperations | None:
        """Set a tag, its value as text."""
        self._call(Runs.set_tag, run_id=run_id, key=key, value=str(value))
        return finished(synchronous)

    def delete_tag(self, run_id: str, key: str) -> None:
        """Delete a tag.

        Raises:
            NotFound: The run has no such tag.
        """
        self._call(Runs.delete_tag, run_id=run_id, key=key)

    def log_inputs(
        self,
        run_id: str,
        datasets: Sequence[DatasetInput] | None = None,
        models: Sequence[LoggedModelInput] | None = None,
    ) -> None:
        """Record data sets and models that the run read."""
        self._call(
            Runs.log_inputs,
            run_id=run_id,
            datasets=[msgspec.to_builtins(one) for one in datasets or ()],
            models=[msgspec.to_builtins(one) for one in models or ()],
        )

    def log_outputs(self, run_id: str, models: Sequence[LoggedModelOutput]) -> None:
        """Record models that the run produced."""
        self._call(
            Runs.log_outputs, run_id=run_id, models=[msgspec.to_builtins(one) for one in models]
        )

    def import_runs(self, runs: Iterable[ImportedRun | Mapping[str, Any]]) -> list[str]:
        """Create many whole runs, with params, tags and metric points; their ids, in order.

        Sent in groups of at most 1000 runs and 100,000 points, each all or nothing. Runs without
        a ``run_id`` get one here, so that a group whose answer was lost can be sent again. One run may
        bring 100,000 points; log the rest with `log_batch`.

        Args:
            runs: `ImportedRun`, or dictionaries with its fields.
        """
        ids: list[str] = []
        group: list[dict[str, Any]] = []
        points = 0
        for run in runs:
            fields = dict(msgspec.to_builtins(run))
            fields["run_id"] = fields.get("run_id") or uuid.uuid4().hex
            for key in ("params", "tags"):
                if isinstance(fields.get(key), Mapping):
                    fields[key] = pairs(fields[key])
            count = len(fields.get("metrics", ()))
            if group and (len(group) >= _IMPORT_RUNS or points + count > _IMPORT_POINTS):
                self._call(Runs.import_runs, runs=group)
                group, points = [], 0
            group.append(fields)
            points += count
            ids.append(fields["run_id"])
        if group:
            self._call(Runs.import_runs, runs=group)
        return ids

    def search_keys(
        self,
        experiment_ids: Sequence[str],
        kind: Literal["metric", "param", "tag"] = "metric",
        contains: str = "",
        max_results: int = 1000,
    ) -> list[str]:
        """Which metric, param or tag keys the runs of some experiments have, sorted.

        Args:
            experiment_ids: Where to look.
            kind: What to list.
            contains: Only keys with this in them, in any case.
            max_results: At most so many.
        """
        found = self._call(
            Runs.search_keys,
            experiment_ids=listed(experiment_ids),
            kind=kind,
            contains=contains,
            max_results=max_results,
        )
        return list(found.keys)

    def get_console(
        self,
        run_id: str,
        start: int = 1,
        limit: int = 1000,
        contains: str = "",
        stream: Literal["", "stdout", "stderr"] = "",
        source: str = "",
    ) -> ConsolePage:
        """A stretch of what a run printed.

        Args:
            run_id: Of any run, deleted ones too.
            start: Number of the line to begin at, from 1; the ``next`` of the page before, to go on.
                Negative: so many lines that pass the filters, counted from the end.
            limit: At most so many lines, from 0 to 10,000. There may be fewer though more follow; all
                was read when ``next`` is greater than ``total``.
            contains: Only lines with this in them, in any case.
            stream: Only this one.
            source: Only what this process wrote, such as ``rank-3``.

        Raises:
            NotFound: There is no such run.
            InvalidParameter: ``start`` is 0, or ``limit`` is out of range.
        """
        page: ConsolePage = self._call(
            Consoles.get_console,
            run_id=run_id,
            start=start,
            limit=limit,
            contains=contains,
            stream=stream,
            source=source,
        )
        return page
