"""Shipping to a tracking server that is not headrace's: batches in the words of MLflow's protocol.

Such a server makes run ids itself and keeps no positions, so both are kept in ``mlflow.json`` in the
journal. What was sent just before this process or the connection died is sent again: a server keeps one
of several equal points, params and tags, and a run is found again by its tag ``headrace.run_id``.
"""

from __future__ import annotations

import logging
import os
from array import array
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from headrace.entities import KeyValue, RunStatus, ViewType
from headrace.errors import AlreadyExists, BadRequest, InvalidParameter, InvalidState, NotFound
from headrace.protocol import runs
from headrace.protocol.experiments import (
    CreateExperiment,
    Experiments,
    GetExperimentByName,
    SearchExperiments,
)
from headrace.protocol.ingest import (
    AnyStep,
    Batch,
    Ingested,
    LogArtifacts,
    LogInputs,
    LogOutputs,
    LogParams,
    LogPoints,
    RaiseAlert,
    Rejection,
    SetTags,
    StartRun,
    UpdateRun,
    WriteConsole,
)
from headrace.protocol.limits import (
    MAX_METRICS_PER_BATCH,
    MAX_PARAMS_PER_BATCH,
    MAX_TAGS_PER_BATCH,
)
from headrace.protocol.runs import MetricPoint, Runs

if TYPE_CHECKING:
    from headrace.client.journal.destination import Destination

_log = logging.getLogger("headrace")

#: On the server, the run id that the client chose.
RUN_ID_TAG = "headrace.run_id"
#: Such a server has no alerts: there this is the last one of a run.
ALERT_TAG = "headrace.alert.last"
_STATE = "mlflow.json"
#: So many refusals, and nobody looks for single items any more: it is the run that is wrong.
_MANY = 10
_REFUSED = (InvalidParameter, BadRequest, NotFound, InvalidState, AlreadyExists)
_ENDED = (RunStatus.FINISHED, RunStatus.FAILED, RunStatus.KILLED)


class _State(msgspec.Struct):
    """What the server does not keep: how far it is, its run ids by ours, bytes of console by file."""

    position: int = 0
    runs: dict[str, str] = {}
    console: dict[str, int] = {}


class MlflowRoute:
    """The way of one journal into a plain MLflow server."""

    def __init__(self, destination: Destination, folder: Path | None) -> None:
        """Go on where an earlier one was.

        Args:
            destination: The server.
            folder: The journal; None if it has none, then nothing is remembered.
        """
        self._destination = destination
        self._folder = folder
        self._state = _State()
        self._looked = False
        if folder is not None:
            try:
                text = (folder / _STATE).read_bytes()
                self._state = msgspec.json.decode(text, type=_State)
            except (OSError, msgspec.DecodeError):
                pass  # the first time; or what is sent again does no harm

    def reached(self, position: int) -> int:
        return max(position, self._state.position)

    def run_id(self, run_id: str) -> str:
        return self._state.runs.get(run_id, run_id)

    def ingest(self, batch: Batch) -> Ingested:
        """Send a batch as many requests."""
        reached = self._state.position
        if batch.start == batch.end or batch.end <= reached:
            return Ingested(position=batch.end)
        if batch.start < reached:
            return Ingested(position=reached)
        rejected: list[Rejection] = []
        for step in batch.operations:
            if isinstance(step, StartRun):
                self._attempt(rejected, step.run_id, "start_run", lambda s=step: self._start(s))  # type: ignore[misc]
        for run_id, points in _points(batch).items():
            self._log(run_id, "metrics", points, MAX_METRICS_PER_BATCH, rejected)
        for step in batch.operations:
            if not isinstance(step, StartRun):
                self._carry_out(step, rejected)
        self._state.position = batch.end
        self._save()
        return Ingested(position=batch.end, rejected=tuple(rejected))

    def _ask(self, method: Any, request: Any) -> Any:
        return self._destination.ask(method, request)

    # Runs.

    def _start(self, step: StartRun) -> None:
        if step.run_id in self._state.runs:
            return
        experiment_id = step.experiment_id or self._experiment(step.experiment_name)
        # Its answer may have been lost.
        found = self._find(step.run_id, (experiment_id,))
        if found is None:
            tags = (*step.tags, KeyValue(RUN_ID_TAG, step.run_id))
            request = runs.CreateRun(
                experiment_id=experiment_id,
                user_id=step.user_id,
                run_name=step.run_name,
                start_time=step.start_time,
                tags=tags,
            )
            found = self._ask(Runs.create_run, request).run.info.run_id
        self._state.runs[step.run_id] = found
        self._save()

    def _experiment(self, name: str) -> str:
        if not name:
            return "0"
        request = GetExperimentByName(experiment_name=name)
        try:
            found = self._ask(Experiments.get_experiment_by_name, request)
            return str(found.experiment.experiment_id)
        except NotFound:
            pass
        try:
            made = self._ask(Experiments.create_experiment, CreateExperiment(name=name))
            return str(made.experiment_id)
        except AlreadyExists:  # by somebody else, just now
            found = self._ask(Experiments.get_experiment_by_name, request)
            return str(found.experiment.experiment_id)

    def _find(self, run_id: str, experiment_ids: Sequence[str]) -> str | None:
        page = self._ask(
            Runs.search_runs,
            runs.SearchRuns(
                experiment_ids=tuple(experiment_ids),
                filter=f"tags.`{RUN_ID_TAG}` = '{run_id}'",
                run_view_type=ViewType.ALL,
                max_results=1,
            ),
        )
        return page.runs[0].info.run_id if page.runs else None

    def _look(self, run_id: str) -> bool:
        """Look for a run that another process of the same user started."""
        if run_id in self._state.runs:
            return False
        page = self._ask(Experiments.search_experiments, SearchExperiments(max_results=1000))
        found = self._find(run_id, [one.experiment_id for one in page.experiments])
        if found is None or found == run_id:
            return False
        self._state.runs[run_id] = found
        self._save()
        return True

    # What they log.

    def _carry_out(self, step: AnyStep, rejected: list[Rejection]) -> None:
        run_id = step.run_id
        match step:
            case LogParams():
                self._log(run_id, "params", step.params, MAX_PARAMS_PER_BATCH, rejected)
            case SetTags():
                self._log(run_id, "tags", step.tags, MAX_TAGS_PER_BATCH, rejected)
            case LogPoints():
                self._log(run_id, "metrics", step.metrics, MAX_METRICS_PER_BATCH, rejected)
            case LogInputs():
                self._one(
                    rejected,
                    step,
                    Runs.log_inputs,
                    lambda one: runs.LogInputs(
                        run_id=one, datasets=step.datasets, models=step.models
                    ),
                )
            case LogOutputs():
                self._one(
                    rejected,
                    step,
                    Runs.log_outputs,
                    lambda one: runs.LogOutputs(run_id=one, models=step.models),
                )
            case UpdateRun():
                if step.status in _ENDED:
                    self._upload_console(run_id)
                self._one(
                    rejected,
                    step,
                    Runs.update_run,
                    lambda one: runs.UpdateRun(
                        run_id=one,
                        status=step.status,
                        end_time=step.end_time,
                        run_name=step.run_name,
                    ),
                )
            case WriteConsole():
                self._write_console(step)
            case RaiseAlert():
                tag = KeyValue(ALERT_TAG, f"{step.severity}: {step.title}")
                self._log(run_id, "tags", (tag,), MAX_TAGS_PER_BATCH, rejected)
            case LogArtifacts():
                pass  # such a server keeps no events

    def _one(
        self,
        rejected: list[Rejection],
        step: AnyStep,
        method: Any,
        request: Callable[[str], Any],
    ) -> None:
        kind = str(step.__struct_config__.tag)
        self._attempt(
            rejected,
            step.run_id,
            kind,
            lambda: self._ask(method, request(self.run_id(step.run_id))),
        )

    def _attempt(
        self, rejected: list[Rejection], run_id: str, what: str, call: Callable[[], Any]
    ) -> None:
        try:
            try:
                call()
            except NotFound:
                if what == "start_run" or not self._look(run_id):
                    raise
                call()
        except _REFUSED as error:
            rejected.append(Rejection(run_id=run_id, what=what, message=error.message))

    def _log(
        self, run_id: str, what: str, items: Sequence[Any], most: int, rejected: list[Rejection]
    ) -> None:
        for start in range(0, len(items), most):
            part = tuple(items[start : start + most])
            found: list[Rejection] = []
            self._attempt(found, run_id, what, lambda p=part: self._log_batch(run_id, what, p))  # type: ignore[misc]
            if found and len(part) > 1 and len(rejected) < _MANY:
                # One bad item, and the server takes none, or some: everything again, a few at a time.
                self._log(run_id, what, part, max(len(part) // 10, 1), rejected)
            elif found:
                name = what if len(part) > 1 else f"{what[:-1]} {part[0].key}"
                rejected.append(Rejection(run_id=run_id, what=name, message=found[0].message))

    def _log_batch(self, run_id: str, what: str, items: tuple[Any, ...]) -> None:
        self._ask(Runs.log_batch, runs.LogBatch(run_id=self.run_id(run_id), **{what: items}))

    # Console output: such a server has no place for it but a file.

    def _write_console(self, step: WriteConsole) -> None:
        if self._folder is None or not step.lines:
            return
        name = f"{step.run_id}/console{'-' if step.source else ''}{_plain(step.source)}.log"
        file = self._folder / "console" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        data = "".join(f"{line.text}\n" for line in step.lines).encode("utf-8", "replace")
        with file.open("ab") as stream:
            # What was written after the position was saved last comes again now.
            stream.truncate(self._state.console.get(name, 0))
            stream.write(data)
        self._state.console[name] = self._state.console.get(name, 0) + len(data)

    def _upload_console(self, run_id: str) -> None:
        if self._folder is None or not any(
            name.startswith(f"{run_id}/") for name in self._state.console
        ):
            return
        from headrace.client.artifacts import artifacts_at
        from headrace.client.transfer import upload

        try:
            info = self._ask(Runs.get_run, runs.GetRun(run_id=self.run_id(run_id))).run.info
            store = artifacts_at(info.artifact_uri, self._destination.store)
            for file in sorted((self._folder / "console" / run_id).iterdir()):
                upload(store, file, f"headrace/{file.name}")
        except (*_REFUSED, OSError) as error:  # the run matters more
            _log.warning("The console output of run %s was not uploaded: %s", run_id, error)

    def _save(self) -> None:
        if self._folder is None:
            return
        new = self._folder / f"{_STATE}.new"
        with new.open("wb") as stream:
            stream.write(msgspec.json.encode(self._state))
            stream.flush()
            os.fsync(stream.fileno())
        new.replace(self._folder / _STATE)


def _plain(source: str) -> str:
    return "".join(one if one.isalnum() or one in "-_." else "_" for one in source)


def _points(batch: Batch) -> dict[str, list[MetricPoint]]:
    """The points of a batch by run."""
    found: dict[str, list[MetricPoint]] = defaultdict(list)
    for number, step, time, value in _rows(batch):
        series = batch.series[number] if number < len(batch.series) else None
        if series is not None:
            found[series.run_id].append(
                MetricPoint(key=series.key, value=value, timestamp=time, step=step)
            )
    return found


def _rows(batch: Batch) -> Iterator[tuple[int, int, int, float]]:
    return zip(
        array("I", batch.numbers),
        array("q", batch.steps),
        array("q", batch.timestamps),
        array("d", batch.values),
        strict=True,
    )
