"""Runs, params and tags, implemented. Metric points are in `headrace.engine.metrics`."""

from __future__ import annotations

import math
import uuid
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec
import sqlalchemy as sa
from sqlalchemy.dialects import sqlite

from headrace.engine import schema
from headrace.engine.assemble import experiment_location, load_runs, run_infos
from headrace.engine.database import execute_sqlite, insert_many
from headrace.engine.endings import emit_last_metrics, withdraw_stop
from headrace.engine.experiments import ExperimentOperations
from headrace.engine.liveness import LOST, end_signs
from headrace.engine.metrics.ingest import record, record_many
from headrace.engine.session import bounded, shortened
from headrace.entities import (
    KeyValue,
    LifecycleStage,
    Run,
    RunData,
    RunInfo,
    RunInputs,
    RunOutputs,
    RunStatus,
)
from headrace.errors import InvalidParameter, NotFound
from headrace.protocol.limits import (
    MAX_ITEMS_PER_BATCH,
    MAX_METRICS_PER_BATCH,
    MAX_PARAMS_PER_BATCH,
    MAX_TAGS_PER_BATCH,
    MAX_VALUE,
    check_key,
    check_model_id,
    check_run_id,
)
from headrace.protocol.names import random_name
from headrace.protocol.operation import Empty
from headrace.protocol.runs import (
    CreateRun,
    DeleteTag,
    GetRun,
    ImportedRun,
    ImportedRuns,
    ImportRuns,
    LogBatch,
    LogMetric,
    LogParam,
    MetricPoint,
    RunId,
    RunResponse,
    Runs,
    SetTag,
    UpdatedRun,
    UpdateRun,
)

RUN_NAME_TAG = "mlflow.runName"
PARENT_TAG = "mlflow.parentRunId"

#: The parent is indexed, and PostgreSQL indexes no long text.
_MAX_PARENT = 256

MAX_IMPORTED_RUNS = 1000
MAX_IMPORTED_POINTS = 100_000

_run = schema.run
_experiment = schema.experiment
#: How a run may have ended.
ENDED = (RunStatus.FINISHED, RunStatus.FAILED, RunStatus.KILLED)
_STATUS_EVENTS = {
    RunStatus.FINISHED: "run.finished",
    RunStatus.FAILED: "run.failed",
    RunStatus.KILLED: "run.killed",
    RunStatus.RUNNING: "run.started",
    RunStatus.SCHEDULED: "run.scheduled",
}

# Built once: the hot path of every write begins with it.
_SELECT_RUN = (
    sa.select(
        _run.c.id,
        _run.c.uuid,
        _run.c.experiment_id,
        _run.c.deleted_time,
        _experiment.c.deleted_time.label("experiment_deleted_time"),
    )
    .join(_experiment, _experiment.c.id == _run.c.experiment_id)
    .where(_run.c.uuid == sa.bindparam("uuid"))
)
# On PostgreSQL writers hold the row against a purge, and against nothing else; so does every insert
# that refers to it, but then the purge may have been faster.
_HOLD_RUN = _SELECT_RUN.with_for_update(read=True, key_share=True, of=_run)
_LOCK_RUN = _SELECT_RUN.with_for_update(of=_run)
# Who replaces something, a tag or the status, holds the row against others who do, because it reads what
# was there before: for the event, or to add to it.
_CHANGE_RUN = _SELECT_RUN.with_for_update(key_share=True, of=_run)
# SQLite has one writer, so there is nothing to lock.
_SELECT_RUN_SQLITE = str(_SELECT_RUN.compile(dialect=sqlite.dialect()))


class RunRow(NamedTuple):
    """What a write needs to know of a run; ``stop`` is why it was asked to stop, where that is read."""

    id: int
    uuid: str
    experiment_id: int
    deleted_time: int | None
    experiment_deleted_time: int | None
    stop: str | None = None


class RunOperations(ExperimentOperations, Runs):
    """`Runs` over tables ``run``, ``param`` and ``tag``."""

    def create_run(self, request: CreateRun) -> RunResponse:
        experiment = self._active_experiment(request.experiment_id)
        tags = checked_pairs(request.tags, "tag")
        name = name_of_new(request.run_name, tags)
        run_id = uuid.uuid4().hex
        start_time = self.now if request.start_time is None else request.start_time
        self._insert_run(run_id, experiment.id, name, request.user_id, start_time, tags)
        location = experiment_location(self, experiment.id, experiment.artifact_location)
        return RunResponse(
            run=Run(
                info=RunInfo(
                    run_id=run_id,
                    run_uuid=run_id,
                    run_name=name,
                    experiment_id=str(experiment.id),
                    user_id=request.user_id,
                    status=RunStatus.RUNNING,
                    start_time=start_time,
                    artifact_uri=f"{location}/{run_id}/artifacts",
                    lifecycle_stage=LifecycleStage.ACTIVE,
                ),
                data=RunData(tag_list=tuple(KeyValue(key, tags[key]) for key in sorted(tags))),
                inputs=RunInputs(),
                outputs=RunOutputs(),
            )
        )

    def get_run(self, request: GetRun) -> RunResponse:
        return RunResponse(run=self._load(_id_of(request)))

    def update_run(self, request: UpdateRun) -> UpdatedRun:
        run = self._active_run(_id_of(request), change=True)
        if request.run_name:
            _check_value(RUN_NAME_TAG, request.run_name, "tag")
        before = self._full_rows([run.uuid])[0]
        values: dict[str, Any] = {}
        if request.status is not None and request.status.value != before.status:
            values["status"] = request.status.value
        if request.end_time is not None and request.end_time != before.end_time:
            values["end_time"] = request.end_time
        if values:
            self._update_run(run.id, values)
            if request.status in ENDED and before.status not in ENDED:
                emit_last_metrics(self, run)
            word = "run.updated"
            if "status" in values and request.status:
                word = _STATUS_EVENTS[request.status]
                if request.status is RunStatus.RUNNING and before.status == LOST:
                    word = "run.recovered"
                elif request.status is RunStatus.RUNNING and before.status in ENDED:
                    word = "run.resumed"
            self.emit(
                word,
                f"run/{run.uuid}",
                {"before": {key: getattr(before, key) for key in values}, "after": values},
                run.experiment_id,
            )
        if request.status is not None:
            end_signs(self, run.id)  # ended; or taken up, maybe by a client that gives no signs
            # Not when it ends: others who log to the run have to hear of it too.
            if request.status is RunStatus.RUNNING and before.status != RunStatus.SCHEDULED:
                withdraw_stop(self, run.id)
        if request.run_name and request.run_name != before.name:
            self._set_tags(run, {RUN_NAME_TAG: request.run_name})
        return UpdatedRun(run_info=run_infos(self, self._full_rows([run.uuid]))[0])

    def delete_run(self, request: RunId) -> Empty:
        run = self._run(request.run_id)
        if run.deleted_time is None:
            self._update_run(run.id, {"deleted_time": self.now})
            self.emit("run.deleted", f"run/{run.uuid}", {}, run.experiment_id)
        return Empty()

    def restore_run(self, request: RunId) -> Empty:
        run = self._run(request.run_id)
        if run.experiment_deleted_time is not None:
            raise InvalidParameter(
                f"Run '{run.uuid}' cannot be restored alone: its experiment {run.experiment_id} is "
                "deleted. Restore the experiment."
            )
        if run.deleted_time is not None:
            self._update_run(run.id, {"deleted_time": None})
            self.emit("run.restored", f"run/{run.uuid}", {}, run.experiment_id)
        return Empty()

    def log_metric(self, request: LogMetric) -> Empty:
        point = MetricPoint(
            key=request.key,
            value=request.value,
            timestamp=request.timestamp,
            step=request.step,
            model_id=request.model_id,
            dataset_name=request.dataset_name,
            dataset_digest=request.dataset_digest,
        )
        self._check_points((point,))
        run = self._active_run(_id_of(request))
        record(self, run.id, run.uuid, run.experiment_id, (point,))
        return Empty()

    def log_param(self, request: LogParam) -> Empty:
        params = checked_pairs((KeyValue(request.key, request.value),), "param")
        self._log_params(self._active_run(_id_of(request)), params)
        return Empty()

    def set_tag(self, request: SetTag) -> Empty:
        tags = checked_pairs((KeyValue(request.key, request.value),), "tag")
        self._set_tags(self._active_run(_id_of(request), change=True), tags)
        return Empty()

    def delete_tag(self, request: DeleteTag) -> Empty:
        run = self._active_run(request.run_id, change=True)
        number = self.keys.lookup([request.key]).get(request.key)
        before = self.connection.execute(
            sa.delete(schema.tag)
            .where(schema.tag.c.run_id == run.id, schema.tag.c.key_id == number)
            .returning(schema.tag.c.value)
        ).scalar()
        if before is None:
            raise NotFound(f"Run '{run.uuid}' has no tag '{request.key}'.")
        if request.key == PARENT_TAG:
            self._update_run(run.id, {"parent_uuid": None})
        self.emit(
            "run.tag.deleted",
            f"run/{run.uuid}",
            {"key": request.key, **shortened({"before": before})},
            run.experiment_id,
        )
        return Empty()

    def log_batch(self, request: LogBatch) -> Empty:
        check_run_id(request.run_id)
        _check_sizes(request)
        self._check_points(request.metrics)
        params = checked_pairs(request.params, "param")
        tags = checked_pairs(request.tags, "tag")
        run = self._active_run(request.run_id, change=bool(tags))
        if params:
            self._log_params(run, params)
        if request.metrics:
            record(self, run.id, run.uuid, run.experiment_id, request.metrics)
        if tags:
            self._set_tags(run, tags)
        return Empty()

    def import_runs(self, request: ImportRuns) -> ImportedRuns:
        runs = _checked_imports(request)
        for run in runs:
            self._check_points(run.metrics)
        for experiment_id in dict.fromkeys(run.experiment_id for run in runs):
            self._active_experiment(experiment_id)
        ids = [run.run_id for run in runs]
        there = set(
            self.connection.execute(sa.select(_run.c.uuid).where(_run.c.uuid.in_(ids))).scalars()
        )
        new = [run for run in runs if run.run_id not in there]
        created = self._import(new) if new else 0
        return ImportedRuns(run_ids=tuple(ids), created=created)

    def _import(self, runs: Sequence[ImportedRun]) -> int:
        """Create the runs that nobody else created meanwhile; how many."""
        tags = {run.run_id: checked_pairs(run.tags, "tag") for run in runs}
        params = {run.run_id: checked_pairs(run.params, "param") for run in runs}
        names = {run.run_id: name_of_new(run.run_name, tags[run.run_id]) for run in runs}
        inserted = self.connection.execute(
            self.insert(_run)
            .on_conflict_do_nothing(index_elements=[_run.c.uuid])
            .returning(_run.c.uuid, _run.c.id),
            [
                {
                    "uuid": run.run_id,
                    "experiment_id": int(run.experiment_id),
                    "name": names[run.run_id],
                    "user_id": run.user_id,
                    "status": run.status.value,
                    "start_time": self.now if run.start_time is None else run.start_time,
                    "end_time": run.end_time,
                    "parent_uuid": tags[run.run_id].get(PARENT_TAG),
                }
                for run in runs
            ],
        )
        numbers: dict[str, int] = {found.uuid: found.id for found in inserted}
        runs = [run for run in runs if run.run_id in numbers]
        tags = {run.run_id: tags[run.run_id] for run in runs}
        params = {run.run_id: params[run.run_id] for run in runs}
        self._import_pairs(schema.KIND_PARAM, runs, numbers, params)
        self._import_pairs(schema.KIND_TAG, runs, numbers, tags)
        self.emit_many(
            [
                (
                    "run.created",
                    f"run/{run.run_id}",
                    {
                        "experiment_id": run.experiment_id,
                        "run_name": names[run.run_id],
                        "status": run.status.value,
                        "tags": shortened(tags[run.run_id]),
                        "params": shortened(params[run.run_id]),
                        "imported": True,
                    },
                    int(run.experiment_id),
                )
                for run in runs
            ]
        )
        record_many(
            self,
            [
                (numbers[run.run_id], run.run_id, int(run.experiment_id), run.metrics)
                for run in runs
                if run.metrics
            ],
        )
        return len(runs)

    def _import_pairs(
        self,
        kind: int,
        runs: Sequence[ImportedRun],
        numbers: Mapping[str, int],
        pairs: Mapping[str, Mapping[str, str]],
    ) -> None:
        """Params or tags of new runs: one statement for all of them."""
        keys = self.keys.number(key for one in pairs.values() for key in one)
        items = [
            (numbers[run_id], keys[key], value)
            for run_id, one in pairs.items()
            for key, value in one.items()
        ]
        if kind == schema.KIND_PARAM:
            rows = [(*item, number_of(item[2])) for item in items]
            columns = ("run_id", "key_id", "value", "number")
            insert_many(self.connection, schema.param, columns, rows)
        else:
            insert_many(self.connection, schema.tag, ("run_id", "key_id", "value"), items)
        used: dict[str, set[int]] = {}
        for run in runs:
            used.setdefault(run.experiment_id, set()).update(keys[key] for key in pairs[run.run_id])
        for experiment_id, ids in used.items():
            self.keys.discover(int(experiment_id), kind, ids)

    # What follows is for the other noun files of this package too.

    def _run(self, run_id: str, statement: sa.Select[Any] = _LOCK_RUN) -> RunRow:
        """What a write needs to know of a run, deleted ones too; locked against change."""
        if self.connection.dialect.name == "sqlite":
            rows: Sequence[Any] = execute_sqlite(self.connection, _SELECT_RUN_SQLITE, (run_id,))
        else:
            rows = self.connection.execute(statement, {"uuid": run_id}).all()
        if not rows:
            raise NotFound(f"Run '{run_id[:300]}' not found; check the run id.")
        return RunRow(*rows[0])

    def _active_run(self, run_id: str, *, change: bool = False) -> RunRow:
        """A run that may be written to, held against a purge.

        Args:
            change: Hold it against others who replace something of it too.
        """
        row = self._run(run_id, _CHANGE_RUN if change else _HOLD_RUN)
        check_active(row)
        return row

    def _insert_run(
        self,
        run_id: str,
        experiment_id: int,
        name: str,
        user_id: str,
        start_time: int,
        tags: Mapping[str, str],
    ) -> int | None:
        """Create a run of checked values; its number, None when the id is taken."""
        number: int | None = self.connection.execute(
            self.insert(_run)
            .on_conflict_do_nothing(index_elements=[_run.c.uuid])
            .returning(_run.c.id),
            {
                "uuid": run_id,
                "experiment_id": experiment_id,
                "name": name,
                "user_id": user_id,
                "status": RunStatus.RUNNING.value,
                "start_time": start_time,
                "parent_uuid": tags.get(PARENT_TAG),
            },
        ).scalar()
        if number is None:
            return None
        keys = self.keys.number(tags)
        self.connection.execute(
            schema.tag.insert(),
            [{"run_id": number, "key_id": keys[key], "value": tags[key]} for key in tags],
        )
        self.keys.discover(experiment_id, schema.KIND_TAG, keys.values())
        self.emit(
            "run.created",
            f"run/{run_id}",
            {"experiment_id": str(experiment_id), "run_name": name, "tags": shortened(tags)},
            experiment_id,
        )
        return number

    def _full_rows(self, run_ids: Sequence[str]) -> Sequence[Any]:
        return self.connection.execute(sa.select(_run).where(_run.c.uuid.in_(run_ids))).all()

    def _load(self, run_id: str) -> Run:
        rows = self._full_rows([run_id])
        if not rows:
            raise NotFound(f"Run '{run_id[:300]}' not found; check the run id.")
        return load_runs(self, rows)[0]

    def _update_run(self, number: int, values: Mapping[str, Any]) -> None:
        self.connection.execute(sa.update(_run).where(_run.c.id == number).values(**values))

    def _check_points(self, points: Iterable[MetricPoint]) -> None:
        seen: set[str] = set()
        for point in points:
            if point.key not in seen:
                seen.add(point.key)
                if not self.keys.known(point.key):
                    check_key(point.key, "metric")
            if bool(point.dataset_name) != bool(point.dataset_digest):
                raise InvalidParameter(
                    f"Metric '{point.key}': dataset_name and dataset_digest must be given together."
                )
            if point.model_id:
                check_model_id(point.model_id)

    def _log_params(self, run: RunRow, params: Mapping[str, str]) -> None:
        for refusal in self._add_params(run, params).values():
            raise refusal

    def _add_params(self, run: RunRow, params: Mapping[str, str]) -> dict[str, InvalidParameter]:
        """Record checked params; why those that the run has with another value were not, by key."""
        keys = self.keys.number(params)
        table = schema.param
        inserted = set(
            self.connection.execute(
                self.insert(table)
                .on_conflict_do_nothing(index_elements=[table.c.run_id, table.c.key_id])
                .returning(table.c.key_id),
                [
                    {
                        "run_id": run.id,
                        "key_id": number,
                        "value": params[key],
                        "number": number_of(params[key]),
                    }
                    for key, number in sorted(keys.items(), key=lambda item: item[1])
                ],
            ).scalars()
        )
        refused = {}
        old = {key: number for key, number in keys.items() if number not in inserted}
        if old:
            names = {number: key for key, number in old.items()}
            for number, value in self.connection.execute(
                sa.select(table.c.key_id, table.c.value).where(
                    table.c.run_id == run.id, table.c.key_id.in_(names)
                )
            ):
                key = names[number]
                if value != params[key]:
                    refused[key] = InvalidParameter(
                        f"Changing param values is not allowed. Param '{key}' of run '{run.uuid}' was "
                        f"already logged with value '{value[:200]}'; attempted to log "
                        f"'{params[key][:200]}'. Start a new run, or log it under another key."
                    )
        if inserted:
            self.keys.discover(run.experiment_id, schema.KIND_PARAM, inserted)
            new = {key: params[key] for key, number in keys.items() if number in inserted}
            self.emit(
                "run.params.logged",
                f"run/{run.uuid}",
                bounded("params", shortened(new)),
                run.experiment_id,
            )
        return refused

    def _set_tags(self, run: RunRow, tags: Mapping[str, str]) -> None:
        keys = self.keys.number(tags)
        table = schema.tag
        names = {number: key for key, number in keys.items()}
        before = {
            names[number]: value
            for number, value in self.connection.execute(
                sa.select(table.c.key_id, table.c.value).where(
                    table.c.run_id == run.id, table.c.key_id.in_(names)
                )
            )
        }
        changed = {key: value for key, value in tags.items() if before.get(key) != value}
        if not changed:
            return
        statement = self.insert(table)
        self.connection.execute(
            statement.on_conflict_do_update(
                index_elements=[table.c.run_id, table.c.key_id],
                set_={"value": statement.excluded.value},
            ),
            [
                {"run_id": run.id, "key_id": keys[key], "value": changed[key]}
                for key in sorted(changed, key=lambda key: keys[key])
            ],
        )
        self.keys.discover(run.experiment_id, schema.KIND_TAG, (keys[key] for key in changed))
        if PARENT_TAG in changed:
            self._update_run(run.id, {"parent_uuid": changed[PARENT_TAG]})
        if RUN_NAME_TAG in changed:
            self._update_run(run.id, {"name": changed[RUN_NAME_TAG]})
            self.emit(
                "run.renamed",
                f"run/{run.uuid}",
                {"before": before.get(RUN_NAME_TAG), "after": changed[RUN_NAME_TAG]},
                run.experiment_id,
            )
        self.emit(
            "run.tags.set",
            f"run/{run.uuid}",
            {
                "before": shortened({key: before[key] for key in changed if key in before}),
                "after": shortened(changed),
            },
            run.experiment_id,
        )


def check_active(run: RunRow) -> None:
    """Refuse to write to a deleted run.

    Raises:
        InvalidParameter: It, or its experiment, is deleted.
    """
    if run.deleted_time is not None or run.experiment_deleted_time is not None:
        what = "is" if run.deleted_time is not None else f"'s experiment {run.experiment_id} is"
        raise InvalidParameter(
            f"The run {run.uuid} must be in the 'active' state, but it {what} deleted; "
            "restore it before writing to it."
        )


def _id_of(request: GetRun | UpdateRun | LogMetric | LogParam | SetTag) -> str:
    run_id = request.run_id or request.run_uuid
    if not run_id:
        raise InvalidParameter("Missing value for required parameter 'run_id': give a run's id.")
    return run_id


def name_of_new(run_name: str, tags: dict[str, str]) -> str:
    """The name of a new run; makes the tag ``mlflow.runName`` agree with it."""
    tagged = tags.get(RUN_NAME_TAG, "")
    if run_name and tagged and run_name != tagged:
        raise InvalidParameter(
            f"Both 'run_name' ('{run_name[:100]}') and the tag '{RUN_NAME_TAG}' ('{tagged[:100]}') are "
            "given and differ; give one, or make them equal."
        )
    name = run_name or tagged or random_name()
    _check_value(RUN_NAME_TAG, name, "tag")
    tags[RUN_NAME_TAG] = name
    return name


def checked_pairs(pairs: Sequence[KeyValue], noun: str) -> dict[str, str]:
    """Params or tags as a dictionary, each checked; a param may be there only once."""
    found: dict[str, str] = {}
    for pair in pairs:
        check_key(pair.key, noun)
        _check_value(pair.key, pair.value, noun)
        if noun == "param" and pair.key in found:
            raise InvalidParameter(
                f"Duplicate param '{pair.key}' in one request; give each param once."
            )
        found[pair.key] = pair.value
    return found


def _check_value(key: str, value: str, noun: str) -> None:
    if len(value) > MAX_VALUE:
        raise InvalidParameter(
            f"The value of {noun} '{key}' has {len(value)} characters; at most {MAX_VALUE} are "
            "allowed. Log it as an artifact instead."
        )
    if noun == "tag" and key == PARENT_TAG and len(value) > _MAX_PARENT:
        raise InvalidParameter(
            f"The tag '{PARENT_TAG}' has {len(value)} characters; it must be a run id."
        )


def number_of(value: str) -> float | None:
    """A param's value as a number for comparison, None when it is none."""
    try:
        number = float(value)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _check_sizes(request: LogBatch) -> None:
    sizes = {
        "metrics": (len(request.metrics), MAX_METRICS_PER_BATCH),
        "params": (len(request.params), MAX_PARAMS_PER_BATCH),
        "tags": (len(request.tags), MAX_TAGS_PER_BATCH),
    }
    for noun, (count, most) in sizes.items():
        if count > most:
            raise InvalidParameter(
                f"A batch logging request can contain at most {most} {noun}; got {count}. Split it."
            )
    total = sum(count for count, _ in sizes.values())
    if total > MAX_ITEMS_PER_BATCH:
        raise InvalidParameter(
            f"A batch logging request can contain at most {MAX_ITEMS_PER_BATCH} metrics, params and "
            f"tags together; got {total}. Split it."
        )


def _checked_imports(request: ImportRuns) -> list[ImportedRun]:
    if len(request.runs) > MAX_IMPORTED_RUNS:
        raise InvalidParameter(
            f"At most {MAX_IMPORTED_RUNS} runs can be imported at once; got {len(request.runs)}. Split it."
        )
    points = sum(len(run.metrics) for run in request.runs)
    if points > MAX_IMPORTED_POINTS:
        raise InvalidParameter(
            f"At most {MAX_IMPORTED_POINTS} metric points can be imported at once; got {points}. Split it."
        )
    runs = []
    seen = set()
    for run in request.runs:
        if run.run_id:
            check_run_id(run.run_id)
            if run.run_id in seen:
                raise InvalidParameter(f"Run '{run.run_id}' is in the request twice; give it once.")
            seen.add(run.run_id)
        else:
            run = msgspec.structs.replace(run, run_id=uuid.uuid4().hex)
        runs.append(run)
    return runs
