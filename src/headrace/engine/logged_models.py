"""Logged models, implemented.

Their metrics are written with the runs' (`headrace.engine.metrics.ingest`), and read here.
"""

from __future__ import annotations

import re
import uuid
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

import sqlalchemy as sa

from headrace.engine import schema
from headrace.engine.assemble import experiment_location
from headrace.engine.experiments import ExperimentOperations
from headrace.engine.runs import number_of
from headrace.engine.search.logged_models import (
    LoggedModelConditions,
    logged_model_order,
    metric_names,
)
from headrace.engine.search.operations import check_max_results, experiment_ids, next_token
from headrace.engine.search.paging import after, digest, read_token
from headrace.engine.search.parse import parse_filter
from headrace.engine.search.selection import columns, ordered
from headrace.engine.search.tree import Kind, fields
from headrace.engine.search.vocabulary import LOGGED_MODELS
from headrace.engine.session import SessionBase, bounded, shortened
from headrace.entities import (
    KeyValue,
    LoggedModel,
    LoggedModelData,
    LoggedModelInfo,
    LoggedModelMetric,
    LoggedModelState,
)
from headrace.errors import InvalidParameter, NotFound
from headrace.protocol.limits import (
    MAX_LOGGED_MODEL_KEY,
    MAX_LOGGED_MODEL_NAME,
    MAX_VALUE,
    check_run_id,
)
from headrace.protocol.logged_models import (
    PAGE,
    CreateLoggedModel,
    DeleteLoggedModelTag,
    FinalizeLoggedModel,
    GetLoggedModel,
    LoggedModelId,
    LoggedModelResponse,
    LoggedModels,
    LoggedModelsPage,
    LogLoggedModelParams,
    SearchLoggedModels,
    SetLoggedModelTags,
)
from headrace.protocol.names import random_name
from headrace.protocol.operation import Empty

_model = schema.logged_model
_metric = schema.logged_model_metric
_CHUNK = 5000
_NAN = float("nan")
_FORBIDDEN = ("/", ":", ".", "%", '"', "'")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_STATES = {
    schema.MODEL_PENDING: LoggedModelState.PENDING,
    schema.MODEL_READY: LoggedModelState.READY,
    schema.MODEL_FAILED: LoggedModelState.FAILED,
}
_NUMBERS = {state: number for number, state in _STATES.items()}


class LoggedModelOperations(ExperimentOperations, LoggedModels):
    """`LoggedModels` over tables ``logged_model``, ``logged_model_param`` and ``logged_model_tag``."""

    def create_logged_model(self, request: CreateLoggedModel) -> LoggedModelResponse:
        _check_name(request.name)
        if request.source_run_id:
            check_run_id(request.source_run_id)
        if len(request.model_type) > MAX_LOGGED_MODEL_NAME:
            raise InvalidParameter(
                f"The model_type has {len(request.model_type)} characters; at most "
                f"{MAX_LOGGED_MODEL_NAME} are allowed."
            )
        params, tags = _checked(request.params, "param"), _checked(request.tags, "tag")
        experiment = self._active_experiment(request.experiment_id)
        model_id = f"m-{uuid.uuid4().hex}"
        name = request.name or random_name()
        row = self.connection.execute(
            _model.insert().returning(*_model.c),
            {
                "uuid": model_id,
                "experiment_id": experiment.id,
                "name": name,
                "model_type": request.model_type or None,
                "source_run_id": request.source_run_id or None,
                "status": schema.MODEL_PENDING,
                "creation_time": self.now,
                "last_update_time": self.now,
            },
        ).one()
        for table, values in (
            (schema.logged_model_param, params),
            (schema.logged_model_tag, tags),
        ):
            if values:
                self.connection.execute(table.insert(), _rows(table, row.id, values))
        self.emit(
            "logged_model.created",
            f"logged_model/{model_id}",
            {
                "experiment_id": str(experiment.id),
                "name": name,
                "model_type": request.model_type or None,
                "source_run_id": request.source_run_id or None,
                **bounded("params", shortened(params)),
                "tags": shortened(tags),
            },
            experiment.id,
        )
        return LoggedModelResponse(model=load_models(self, [row])[0])

    def get_logged_model(self, request: GetLoggedModel) -> LoggedModelResponse:
        row = self._logged_model(request.model_id)
        if row.deleted_time is not None and not request.allow_deleted:
            raise _missing(request.model_id)
        return LoggedModelResponse(model=load_models(self, [row])[0])

    def finalize_logged_model(self, request: FinalizeLoggedModel) -> LoggedModelResponse:
        if request.digest and not _DIGEST.fullmatch(request.digest):
            raise InvalidParameter(
                f"Invalid digest '{request.digest[:100]}': give sha256: and 64 hexadecimal digits."
            )
        row = self._logged_model(request.model_id, change=True)
        if request.digest and row.digest not in (None, request.digest):
            raise InvalidParameter(
                f"The digest of logged model '{row.uuid}' is {row.digest} and does not change; got "
                f"{request.digest}. Log changed files as another model."
            )
        after_ = {"status": request.status, "digest": request.digest or row.digest}
        before = {"status": _STATES[row.status], "digest": row.digest}
        changed = [key for key in after_ if after_[key] != before[key]]
        if changed:
            row = self.connection.execute(
                sa.update(_model)
                .where(_model.c.id == row.id)
                .values(
                    status=_NUMBERS[request.status],
                    digest=after_["digest"],
                    last_update_time=self.now,
                )
                .returning(*_model.c)
            ).one()
            self._emit_model_updated(
                row,
                {key: _plain(before[key]) for key in changed},
                {key: _plain(after_[key]) for key in changed},
            )
        return LoggedModelResponse(model=load_models(self, [row])[0])

    def delete_logged_model(self, request: LoggedModelId) -> Empty:
        self._trash_model(request.model_id, "deleted", self.now)
        return Empty()

    def restore_logged_model(self, request: LoggedModelId) -> Empty:
        self._trash_model(request.model_id, "restored", None)
        return Empty()

    def _trash_model(self, model_id: str, word: str, deleted_time: int | None) -> None:
        """Into the trash, or out of it, unless the model is there already."""
        row = self._logged_model(model_id, change=True)
        if (row.deleted_time is None) == (deleted_time is None):
            return
        self.connection.execute(
            sa.update(_model)
            .where(_model.c.id == row.id)
            .values(deleted_time=deleted_time, last_update_time=self.now)
        )
        self.emit(
            f"logged_model.{word}",
            f"logged_model/{row.uuid}",
            {"name": row.name},
            row.experiment_id,
        )

    def set_logged_model_tags(self, request: SetLoggedModelTags) -> Empty:
        tags = _checked(request.tags, "tag")
        row = self._logged_model(request.model_id, change=True)
        table = schema.logged_model_tag
        before = self._pairs_of_model(table, row.id, tags)
        changed = {key: value for key, value in tags.items() if before.get(key) != value}
        if changed:
            statement = self.insert(table)
            self.connection.execute(
                statement.on_conflict_do_update(
                    index_elements=[table.c.logged_model_id, table.c.key],
                    set_={"value": statement.excluded.value},
                ),
                _rows(table, row.id, changed),
            )
            old = {key: before[key] for key in changed if key in before}
            self._emit_model_updated(row, {"tags": shortened(old)}, {"tags": shortened(changed)})
        return Empty()

    def delete_logged_model_tag(self, request: DeleteLoggedModelTag) -> Empty:
        row = self._logged_model(request.model_id, change=True)
        table = schema.logged_model_tag
        before = self.connection.execute(
            sa.delete(table)
            .where(table.c.logged_model_id == row.id, table.c.key == request.tag_key)
            .returning(table.c.value)
        ).scalar()
        if before is None:
            raise NotFound(
                f"No tag with key '{request.tag_key[:300]}' found for model with ID '{row.uuid}'."
            )
        key = request.tag_key
        self._emit_model_updated(row, {"tags": shortened({key: before})}, {"tags": {key: None}})
        return Empty()

    def log_logged_model_params(self, request: LogLoggedModelParams) -> Empty:
        params = _checked(request.params, "param")
        row = self._logged_model(request.model_id, change=True)
        table = schema.logged_model_param
        before = self._pairs_of_model(table, row.id, params)
        for key, value in before.items():
            if value != params[key]:
                raise InvalidParameter(
                    f"Changing param values is not allowed. Param '{key}' of logged model '{row.uuid}' was "
                    f"already logged with value '{value[:200]}'; attempted to log '{params[key][:200]}'."
                )
        new = {key: value for key, value in params.items() if key not in before}
        if new:
            self.connection.execute(table.insert(), _rows(table, row.id, new))
            self._emit_model_updated(row, {"params": {}}, bounded("params", shortened(new)))
        return Empty()

    def search_logged_models(self, request: SearchLoggedModels) -> LoggedModelsPage:
        if not request.experiment_ids:
            raise InvalidParameter(
                "Missing value for required parameter 'experiment_ids': give at least one."
            )
        if not all(one.dataset_name for one in request.datasets):
            raise InvalidParameter(
                "`dataset_name` in the `datasets` clause must be specified: a digest alone names no data set."
            )
        limit = request.max_results or PAGE
        check_max_results(limit)
        node = parse_filter(request.filter, LOGGED_MODELS)
        ids = experiment_ids(request.experiment_ids)
        names = {field.key for field in fields(node) if field.kind is Kind.METRIC}
        conditions = LoggedModelConditions(
            postgres=self.connection.dialect.name == "postgresql",
            keys=self.keys.lookup(names | metric_names(request.order_by)),
            datasets=request.datasets,
            artifact_root=self.artifact_root,
        )
        terms = logged_model_order(request.order_by, conditions)
        search = digest(
            "logged_models",
            sorted(set(ids)),
            request.filter,
            [[one.dataset_name, one.dataset_digest] for one in request.datasets],
            [
                [one.field_name, one.ascending, one.dataset_name, one.dataset_digest]
                for one in request.order_by
            ],
        )
        start = read_token(request.page_token, search, terms)
        statement = sa.select(_model, *columns(terms)).where(
            _model.c.experiment_id.in_(ids),
            _model.c.deleted_time.is_(None),
            *conditions.whole(node),
        )
        if start is not None:
            statement = statement.where(after(terms, start))
        rows = list(self.connection.execute(ordered(statement, terms).limit(limit + 1)))
        return LoggedModelsPage(
            models=tuple(load_models(self, rows[:limit])),
            next_page_token=next_token(search, rows, limit, terms),
        )

    def _logged_model(self, model_id: str, *, change: bool = False) -> Any:
        """The row of a model, deleted ones too; ``change``: nobody else may change it meanwhile."""
        statement = sa.select(_model).where(_model.c.uuid == model_id)
        if change:
            statement = statement.with_for_update()
        row = self.connection.execute(statement).one_or_none()
        if row is None:
            raise _missing(model_id)
        return row

    def _pairs_of_model(self, table: sa.Table, number: int, keys: Iterable[str]) -> dict[str, str]:
        """Those of some params or tags that a model has."""
        wanted = list(keys)
        found: dict[str, str] = {}
        for start in range(0, len(wanted), _CHUNK):
            rows = self.connection.execute(
                sa.select(table.c.key, table.c.value).where(
                    table.c.logged_model_id == number,
                    table.c.key.in_(wanted[start : start + _CHUNK]),
                )
            )
            found |= {row.key: row.value for row in rows}
        return found

    def _emit_model_updated(self, row: Any, before: dict[str, Any], after: dict[str, Any]) -> None:
        self.emit(
            "logged_model.updated",
            f"logged_model/{row.uuid}",
            {"name": row.name, "before": before, "after": after},
            row.experiment_id,
        )


def model_locations(session: SessionBase, rows: Sequence[Any]) -> list[str]:
    """Where models keep their artifacts, for rows of ``logged_model``, in their order."""
    table = schema.experiment
    owners = sorted({row.experiment_id for row in rows})
    locations: dict[int, str] = {}
    for start in range(0, len(owners), _CHUNK):
        for number, own in session.connection.execute(
            sa.select(table.c.id, table.c.artifact_location).where(
                table.c.id.in_(owners[start : start + _CHUNK])
            )
        ):
            locations[number] = experiment_location(session, number, own)
    return [f"{locations[row.experiment_id]}/models/{row.uuid}/artifacts" for row in rows]


def load_models(session: SessionBase, rows: Sequence[Any]) -> list[LoggedModel]:
    """Whole models of rows of ``logged_model`` (all columns), in their order.

    Params and tags are sorted by key; the cost is one query per table, not per model.
    """
    if not rows:
        return []
    ids = [row.id for row in rows]
    params = _pairs(session, schema.logged_model_param, ids)
    tags = _pairs(session, schema.logged_model_tag, ids)
    metrics = _metrics(session, [row.uuid for row in rows])
    return [
        LoggedModel(
            info=LoggedModelInfo(
                model_id=row.uuid,
                experiment_id=str(row.experiment_id),
                name=row.name,
                creation_timestamp_ms=row.creation_time,
                last_updated_timestamp_ms=row.last_update_time,
                artifact_uri=location,
                status=_STATES[row.status],
                model_type=row.model_type or "",
                source_run_id=row.source_run_id or "",
                status_message=row.status_message or "",
                tag_list=tuple(tags.get(row.id, ())),
                digest=row.digest or "",
                deleted=row.deleted_time is not None,
            ),
            data=LoggedModelData(
                param_list=tuple(params.get(row.id, ())), metrics=tuple(metrics.get(row.uuid, ()))
            ),
        )
        for row, location in zip(rows, model_locations(session, rows), strict=True)
    ]


def _pairs(session: SessionBase, table: sa.Table, ids: Sequence[int]) -> dict[int, list[KeyValue]]:
    found: dict[int, list[KeyValue]] = defaultdict(list)
    for start in range(0, len(ids), _CHUNK):
        for row in session.connection.execute(
            sa.select(table.c.logged_model_id, table.c.key, table.c.value).where(
                table.c.logged_model_id.in_(ids[start : start + _CHUNK])
            )
        ):
            found[row.logged_model_id].append(KeyValue(row.key, row.value))
    for pairs in found.values():
        pairs.sort(key=lambda pair: pair.key)
    return found


def _metrics(session: SessionBase, ids: Sequence[str]) -> dict[str, list[LoggedModelMetric]]:
    """Every point of some models, by key, time and step; what was logged twice comes once."""
    run = schema.run
    found: dict[str, set[Any]] = defaultdict(set)
    for start in range(0, len(ids), _CHUNK):
        for model_id, *point in session.connection.execute(
            sa.select(
                _metric.c.model_id,
                _metric.c.key_id,
                _metric.c.time,
                _metric.c.step,
                _metric.c.value,
                run.c.uuid,
                _metric.c.dataset_name,
                _metric.c.dataset_digest,
            )
            .join(run, run.c.id == _metric.c.run_id)
            .where(_metric.c.model_id.in_(ids[start : start + _CHUNK]))
        ):
            found[model_id].add(tuple(point))
    names = session.keys.names({point[0] for points in found.values() for point in points})
    metrics: dict[str, list[LoggedModelMetric]] = {}
    for model_id, points in found.items():
        metrics[model_id] = [
            LoggedModelMetric(
                key=names[key],
                value=_NAN if value is None else value,
                timestamp=time,
                step=step,
                model_id=model_id,
                run_id=run_id,
                dataset_name=name,
                dataset_digest=digest_,
            )
            for key, time, step, value, run_id, name, digest_ in points
        ]
        metrics[model_id].sort(key=_place)
    return metrics


def _place(point: LoggedModelMetric) -> tuple[Any, ...]:
    return point.key, point.timestamp, point.step, point.dataset_name or "", point.run_id


def _rows(table: sa.Table, number: int, values: dict[str, str]) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = [
        {"logged_model_id": number, "key": key, "value": values[key]} for key in sorted(values)
    ]
    if table is schema.logged_model_param:
        for row in rows:
            row["number"] = number_of(row["value"])
    return rows


def _plain(value: Any) -> Any:
    """A status by its short word, as users know it."""
    return value.name if isinstance(value, LoggedModelState) else value


def _check_name(name: str) -> None:
    if any(character in name for character in _FORBIDDEN):
        raise InvalidParameter(
            f"Invalid model name ({name[:100]!r}) provided. It is used in URIs, so it cannot hold any of "
            f"{' '.join(_FORBIDDEN)}"
        )
    if len(name) > MAX_LOGGED_MODEL_NAME:
        raise InvalidParameter(
            f"Invalid model name: it has {len(name)} characters; at most {MAX_LOGGED_MODEL_NAME} are "
            "allowed."
        )


def _checked(pairs: Sequence[KeyValue], noun: str) -> dict[str, str]:
    """Params or tags as a dictionary, each checked; a param may be there only once."""
    found: dict[str, str] = {}
    for pair in pairs:
        if not pair.key or len(pair.key) > MAX_LOGGED_MODEL_KEY:
            raise InvalidParameter(
                f"Invalid {noun} key '{pair.key[:100]}' of a logged model: it must have 1 to "
                f"{MAX_LOGGED_MODEL_KEY} characters."
            )
        if len(pair.value) > MAX_VALUE:
            raise InvalidParameter(
                f"The value of {noun} '{pair.key}' has {len(pair.value)} characters; at most {MAX_VALUE} "
                "are allowed. Log it as an artifact instead."
            )
        if noun == "param" and pair.key in found:
            raise InvalidParameter(
                f"Duplicate param '{pair.key}' in one request; give each param once."
            )
        found[pair.key] = pair.value
    return found


def _missing(model_id: str) -> NotFound:
    return NotFound(f"Logged model with ID '{model_id[:300]}' not found.")
