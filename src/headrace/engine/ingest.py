"""The way of journals into the store, implemented: each stretch once, and what is wrong left out."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import msgspec
import sqlalchemy as sa

from headrace.engine import schema
from headrace.engine.alerts import AlertOperations
from headrace.engine.batch import Prepared, prepare
from headrace.engine.console import ConsoleOperations
from headrace.engine.database import execute_driver
from headrace.engine.inputs import InputOperations
from headrace.engine.liveness import LivenessOperations
from headrace.engine.metrics.arriving import RunPoints
from headrace.engine.metrics.ingest import record, record_columns
from headrace.engine.rejected import REFUSALS, Rejected, accepted, check_text
from headrace.engine.runs import RunRow, check_active, checked_pairs, name_of_new
from headrace.engine.session import bounded
from headrace.entities import KeyValue
from headrace.errors import AlreadyExists, InvalidParameter, NotFound
from headrace.protocol import runs
from headrace.protocol.experiments import CreateExperiment
from headrace.protocol.ingest import (
    AnyStep,
    Batch,
    Ingest,
    Ingested,
    LogArtifacts,
    LogInputs,
    LogOutputs,
    LogParams,
    LogPoints,
    RaiseAlert,
    SetTags,
    StartRun,
    UpdateRun,
    WriteConsole,
)
from headrace.protocol.limits import check_run_id
from headrace.protocol.stops import StopNotice

_DEFAULT_EXPERIMENT = "0"
_LOOKED_UP = 500
_CHANGES = (SetTags, UpdateRun, WriteConsole)

_run = schema.run
_experiment = schema.experiment
_writer = schema.writer
_stop = schema.run_stop

# Built once, like the other statements that every batch needs.
_MOVE = (
    "INSERT INTO writer (id, position, updated_time) VALUES (?, ?, ?) "
    "ON CONFLICT (id) DO UPDATE SET position = excluded.position, updated_time = excluded.updated_time "
    "WHERE writer.position <= ? RETURNING position"
)
_FIND_RUNS = (
    sa.select(
        _run.c.id,
        _run.c.uuid,
        _run.c.experiment_id,
        _run.c.deleted_time,
        _experiment.c.deleted_time,
        _stop.c.reason,
    )
    .join(_experiment, _experiment.c.id == _run.c.experiment_id)
    # Nearly always empty: a look into its index costs less than any statement.
    .outerjoin(_stop, _stop.c.run_id == _run.c.id)
    .where(_run.c.uuid.in_(sa.bindparam("ids", expanding=True)))
    .order_by(_run.c.id)  # everybody locks in this order
)
_HOLD_RUNS = _FIND_RUNS.with_for_update(read=True, key_share=True, of=_run)
_CHANGE_RUNS = _FIND_RUNS.with_for_update(key_share=True, of=_run)


class IngestOperations(
    InputOperations, AlertOperations, LivenessOperations, ConsoleOperations, Ingest
):
    """`Ingest` over table ``writer`` and what the other operations write."""

    def start_run(self, request: StartRun) -> runs.RunResponse:
        check_run_id(request.run_id)
        if not self._find_runs([request.run_id], change=False):
            experiment = self._experiment_for(request)
            tags = checked_pairs(request.tags, "tag")
            self._insert(request, experiment.id, name_of_new(request.run_name, tags), tags)
        return runs.RunResponse(run=self._load(request.run_id))

    def ingest(self, request: Batch) -> Ingested:
        return self.ingest_prepared(prepare(request))

    def ingest_prepared(self, prepared: Prepared) -> Ingested:
        """Apply a batch that `prepare` checked."""
        batch = prepared.batch
        if batch.start < batch.end:
            held = self._move(batch)
            if held is not None:
                return Ingested(position=batch.end if batch.end <= held else held)
        rejected = Rejected(prepared.rejected)
        found = self._runs_of(prepared)
        for step in batch.operations:
            if isinstance(step, StartRun) and step.run_id not in found:
                self._start_run(step, found, rejected)
        self._record(prepared.points, found, rejected)
        steps = (step for step in batch.operations if not isinstance(step, StartRun))
        for run_id, group in _grouped(steps):
            self._carry_out(run_id, group, found, rejected)
        alive = [found[one] for one in dict.fromkeys(batch.alive) if one in found]
        alive = [run for run in alive if _active(run)]
        if alive:
            self.note_alive(alive, batch.silence)
        for run_id, items in rejected.by_run().items():
            run = found.get(run_id)
            experiment = None if run is None else run.experiment_id
            self.emit(
                "run.logging.rejected", f"run/{run_id}", bounded("rejected", items), experiment
            )
        position = batch.end if batch.start < batch.end else self._position(batch.writer)
        stop = _stops(found, batch) if any(run.stop is not None for run in found.values()) else ()
        return Ingested(position=position, rejected=tuple(rejected.all), stop=stop)

    def _position(self, writer: str) -> int:
        """How far a writer's journal was applied."""
        held = self.connection.execute(
            sa.select(_writer.c.position).where(_writer.c.id == writer)
        ).scalar()
        return held or 0

    def _move(self, batch: Batch) -> int | None:
        """Move the writer's position to the batch's end, and hold it.

        Returns:
            None when it was moved; else where it is, and the batch is not to be applied now.
        """
        sqlite = self.connection.dialect.name == "sqlite"
        statement = _MOVE if sqlite else _MOVE.replace("?", "%s")
        values = (batch.writer, batch.end, self.now, batch.start)
        if execute_driver(self.connection, statement, values):
            return None
        held: int = self.connection.execute(
            sa.select(_writer.c.position).where(_writer.c.id == batch.writer)
        ).scalar_one()
        return held

    def _runs_of(self, prepared: Prepared) -> dict[str, RunRow]:
        """The runs that the batch names and the store has, by id, held as their writing needs it."""
        batch = prepared.batch
        ids = {points.run_id for points in prepared.points}
        ids.update(batch.alive)
        ids.update(step.run_id for step in batch.operations)
        wanted = sorted(one for one in ids if _is_run_id(one))
        found: dict[str, RunRow] = {}
        # All of these hold the run in the end. Who did so only after writing points could lock out, and
        # be locked out by, one who writes tags and points.
        change = any(isinstance(one, _CHANGES) for one in batch.operations)
        for start in range(0, len(wanted), _LOOKED_UP):
            for row in self._find_runs(wanted[start : start + _LOOKED_UP], change=change):
                found[row.uuid] = row
        return found

    def _find_runs(self, ids: Sequence[str], *, change: bool) -> list[RunRow]:
        """Rows of runs, deleted ones too, held against a purge; against other changes too if asked."""
        statement = _CHANGE_RUNS if change else _HOLD_RUNS
        return [RunRow(*row) for row in self.connection.execute(statement, {"ids": ids})]

    def _start_run(self, step: StartRun, found: dict[str, RunRow], rejected: Rejected) -> None:
        """Create a run. A bad tag or name is left out: without the run, all it logs would be lost."""
        try:
            check_run_id(step.run_id)
            check_text(step.user_id)
            experiment = self._experiment_for(step)
        except REFUSALS as error:
            rejected.add(step.run_id, "start_run", error)
            return
        tags = accepted(step.run_id, step.tags, "tag", rejected)
        try:
            check_text(step.run_name)
            name = name_of_new(step.run_name, tags)
        except InvalidParameter as error:
            rejected.add(step.run_id, "run_name", error)
            name = name_of_new("", tags)
        number = self._insert(step, experiment.id, name, tags)
        if number is None:  # somebody else created it since we looked
            found[step.run_id] = self._find_runs([step.run_id], change=True)[0]
        else:
            found[step.run_id] = RunRow(number, step.run_id, experiment.id, None, None)

    def _insert(
        self, step: StartRun, experiment_id: int, name: str, tags: dict[str, str]
    ) -> int | None:
        start_time = self.now if step.start_time is None else step.start_time
        return self._insert_run(step.run_id, experiment_id, name, step.user_id, start_time, tags)

    def _experiment_for(self, step: StartRun) -> Any:
        if step.experiment_id or not step.experiment_name:
            return self._active_experiment(step.experiment_id or _DEFAULT_EXPERIMENT)
        check_text(step.experiment_name)
        while True:
            number = self.connection.execute(
                sa.select(_experiment.c.id).where(
                    _experiment.c.name == step.experiment_name,
                    _experiment.c.deleted_time.is_(None),
                )
            ).scalar()
            if number is None:
                try:
                    request = CreateExperiment(name=step.experiment_name)
                    number = self.create_experiment(request).experiment_id
                except AlreadyExists:
                    continue  # made by somebody else since we looked
            try:
                return self._active_experiment(str(number))
            except REFUSALS:
                continue  # deleted by somebody else since we looked

    def _record(
        self, points: Iterable[RunPoints], found: dict[str, RunRow], rejected: Rejected
    ) -> None:
        columns = []
        for one in points:
            try:
                run = _usable(found, one.run_id)
            except REFUSALS as error:
                rejected.add(one.run_id, "metrics", error)
            else:
                columns.append((run.id, run.experiment_id, one))
        if columns:
            record_columns(self, columns)

    def _carry_out(
        self,
        run_id: str,
        steps: Sequence[AnyStep],
        found: dict[str, RunRow],
        rejected: Rejected,
    ) -> None:
        """Carry out steps of one kind on one run."""
        try:
            run = _usable(found, run_id)
        except REFUSALS as error:
            rejected.add(run_id, _whole(steps[0]), error)
            return
        if isinstance(steps[0], LogParams):
            pairs = (pair for step in steps for pair in step.params)  # type: ignore[union-attr]
            for part in _without_changes(pairs):
                params = accepted(run.uuid, part, "param", rejected)
                for key, refusal in self._add_params(run, params).items() if params else ():
                    rejected.add(run.uuid, f"param {key}", refusal)
            return
        if isinstance(steps[0], SetTags):
            pairs = (pair for step in steps for pair in step.tags)  # type: ignore[union-attr]
            for part in _without_changes(pairs):
                tags = accepted(run.uuid, part, "tag", rejected)
                if tags:
                    self._set_tags(run, tags)
            return
        for step in _joined_lines(steps):
            if isinstance(step, LogPoints):
                self._log_points(run, step, rejected)
                continue
            try:
                self._carry_out_one(run, step)
            except REFUSALS as error:
                rejected.add(run.uuid, _kind(step), error)

    def _carry_out_one(self, run: RunRow, step: AnyStep) -> None:
        """A step that is carried out whole or, when it raises, not at all: it checks before it writes."""
        match step:
            case WriteConsole():
                self.write_console(run, step)
            case UpdateRun():
                check_text(step)
                self.update_run(
                    runs.UpdateRun(
                        run_id=run.uuid,
                        status=step.status,
                        end_time=step.end_time,
                        run_name=step.run_name,
                    )
                )
            case LogInputs():
                check_text(step)
                self.log_inputs(
                    runs.LogInputs(run_id=run.uuid, datasets=step.datasets, models=step.models)
                )
            case LogOutputs():
                check_text(step)
                self.log_outputs(runs.LogOutputs(run_id=run.uuid, models=step.models))
            case RaiseAlert():
                check_text(step)
                self.emit_alert(run, step)
            case LogArtifacts():
                check_text(step)
                self.emit_artifacts(run, step)

    def _log_points(self, run: RunRow, step: LogPoints, rejected: Rejected) -> None:
        points = []
        for point in step.metrics:
            try:
                check_text(point)
                self._check_points((point,))
            except InvalidParameter as error:
                rejected.add(run.uuid, f"metric {point.key}", error)
            else:
                points.append(point)
        record(self, run.id, run.uuid, run.experiment_id, points)


def _stops(found: dict[str, RunRow], batch: Batch) -> tuple[StopNotice, ...]:
    """The runs that were asked to stop, but for those whose status the batch itself set."""
    ended = {
        step.run_id
        for step in batch.operations
        if isinstance(step, UpdateRun) and step.status is not None
    }
    return tuple(
        StopNotice(run_id=run.uuid, reason=run.stop)
        for run in found.values()
        if run.stop is not None and run.uuid not in ended
    )


def _kind(step: AnyStep) -> str:
    return str(step.__struct_config__.tag)


def _kind_and_run(step: AnyStep) -> tuple[str, str]:
    return _kind(step), step.run_id


def _grouped(steps: Iterable[AnyStep]) -> Iterator[tuple[str, list[AnyStep]]]:
    """The run and the steps that can be carried out together, of one kind on one run.

    Params and tags do not see each other, so those of a stretch without other steps are gathered: a run that
    logs them in turn would else cost several statements for each of them.
    """
    for commute, stretch in itertools.groupby(
        steps, lambda step: isinstance(step, LogParams | SetTags)
    ):
        if commute:
            gathered: dict[tuple[str, str], list[AnyStep]] = {}
            for step in stretch:
                gathered.setdefault(_kind_and_run(step), []).append(step)
            groups: Iterable[tuple[tuple[str, str], Iterable[AnyStep]]] = gathered.items()
        else:
            groups = itertools.groupby(stretch, _kind_and_run)
        for (_, run_id), group in groups:
            yield run_id, list(group)


def _whole(step: AnyStep) -> str:
    """What is rejected when nothing of a step can be applied."""
    return {"log_params": "params", "set_tags": "tags", "log_points": "metrics"}.get(
        _kind(step), _kind(step)
    )


def _is_run_id(text: str) -> bool:
    try:
        check_run_id(text)
    except InvalidParameter:
        return False
    return True


def _active(run: RunRow) -> bool:
    return run.deleted_time is None and run.experiment_deleted_time is None


def _usable(found: dict[str, RunRow], run_id: str) -> RunRow:
    """A run that may be written to.

    Raises:
        InvalidParameter: No run id, or a deleted run.
        NotFound: There is none.
    """
    run = found.get(run_id)
    if run is None:
        check_run_id(run_id)
        raise NotFound(f"Run '{run_id}' not found; check the run id.")
    check_active(run)
    return run


def _without_changes(pairs: Iterable[KeyValue]) -> Iterator[list[KeyValue]]:
    """Pairs in stretches as long as possible in which no key has two values."""
    part: dict[str, KeyValue] = {}
    for pair in pairs:
        if part.get(pair.key, pair).value != pair.value:
            yield list(part.values())
            part = {}
        part[pair.key] = pair
    if part:
        yield list(part.values())


def _joined_lines(steps: Iterable[AnyStep]) -> Iterator[AnyStep]:
    """Steps of one kind; of those that write lines, neighbours of one stream and source as one."""
    for _, group in itertools.groupby(steps, _stream):
        same = list(group)
        last = same[-1]
        if isinstance(last, WriteConsole):
            lines = (line for step in same for line in step.lines)  # type: ignore[union-attr]
            yield msgspec.structs.replace(last, lines=tuple(lines))
        else:
            yield from same


def _stream(step: AnyStep) -> tuple[str, str] | None:
    return (step.stream, step.source) if isinstance(step, WriteConsole) else None
