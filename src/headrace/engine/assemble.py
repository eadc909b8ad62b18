"""Rows as entities: one query per table for any number of runs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import msgspec
import sqlalchemy as sa

from headrace.engine import schema
from headrace.engine.database import select_many
from headrace.engine.liveness import LOST
from headrace.engine.session import SessionBase
from headrace.entities import (
    Dataset,
    DatasetInput,
    Experiment,
    KeyValue,
    LifecycleStage,
    LoggedModelInput,
    LoggedModelOutput,
    Metric,
    Run,
    RunData,
    RunInfo,
    RunInputs,
    RunOutputs,
    RunStatus,
)

#: Ids per IN list; SQLite allows 32,766 bound values in a statement.
_CHUNK = 5000
_NAN = float("nan")
_STATUS = {status.value: status for status in RunStatus} | {LOST: RunStatus.RUNNING}
_tags_decoder = msgspec.json.Decoder(tuple[KeyValue, ...])


def experiment_entities(session: SessionBase, rows: Sequence[Any]) -> list[Experiment]:
    """Experiments of rows of ``experiment``, in their order."""
    tags: dict[int, list[KeyValue]] = defaultdict(list)
    table = schema.experiment_tag
    for found in _rows(session, table, table.c.experiment_id, [row.id for row in rows]):
        tags[found.experiment_id].append(KeyValue(found.key, found.value))
    return [
        Experiment(
            experiment_id=str(row.id),
            name=row.name,
            artifact_location=experiment_location(session, row.id, row.artifact_location),
            lifecycle_stage=_stage(row.deleted_time is not None),
            creation_time=row.creation_time,
            last_update_time=row.last_update_time,
            tag_list=tuple(tags.get(row.id, ())),
            workspace=row.workspace,
        )
        for row in rows
    ]


def experiment_location(session: SessionBase, number: int, own: str | None) -> str:
    """Where an experiment keeps artifacts: its own location, or below the store's root."""
    return own or f"{session.artifact_root}/{number}"


def run_infos(session: SessionBase, rows: Sequence[Any]) -> list[RunInfo]:
    """`RunInfo` of rows of ``run`` (all columns), in their order."""
    table = schema.experiment
    experiments = {
        found.id: (
            experiment_location(session, found.id, found.artifact_location),
            found.deleted_time is not None,
        )
        for found in _columns(
            session,
            (table.c.id, table.c.artifact_location, table.c.deleted_time),
            table.c.id,
            list({row.experiment_id for row in rows}),
        )
    }
    seen = _seen(session, [row.id for row in rows if _STATUS[row.status] is RunStatus.RUNNING])
    infos = []
    for row in rows:
        location, experiment_deleted = experiments[row.experiment_id]
        infos.append(
            RunInfo(
                run_id=row.uuid,
                run_uuid=row.uuid,
                run_name=row.name,
                experiment_id=str(row.experiment_id),
                user_id=row.user_id,
                status=_STATUS[row.status],
                start_time=row.start_time,
                end_time=row.end_time,
                artifact_uri=f"{location}/{row.uuid}/artifacts",
                lifecycle_stage=_stage(experiment_deleted or row.deleted_time is not None),
                lost=row.status == LOST,
                seen_time=seen.get(row.id),
            )
        )
    return infos


def load_runs(session: SessionBase, rows: Sequence[Any]) -> list[Run]:
    """Whole runs of rows of ``run`` (all columns), in their order.

    Params, tags and metrics are sorted by key; the cost is one query per table, not per run.
    """
    if not rows:
        return []
    ids = [row.id for row in rows]
    params = _pairs(session, schema.param, ids)
    tags = _pairs(session, schema.tag, ids)
    metrics = _last_metrics(session, ids)
    datasets = _datasets(session, ids)
    models_in, models_out = _models(session, ids)
    return [
        Run(
            info=info,
            data=RunData(
                metric_list=tuple(metrics.get(row.id, ())),
                param_list=tuple(params.get(row.id, ())),
                tag_list=tuple(tags.get(row.id, ())),
            ),
            inputs=RunInputs(
                dataset_inputs=tuple(datasets.get(row.id, ())),
                model_inputs=tuple(models_in.get(row.id, ())),
            ),
            outputs=RunOutputs(model_outputs=tuple(models_out.get(row.id, ()))),
        )
        for row, info in zip(rows, run_infos(session, rows), strict=True)
    ]


def _seen(session: SessionBase, ids: Sequence[int]) -> dict[int, int]:
    """When runs gave their last sign of life, of those that ever did."""
    return dict(_many(session, schema.heartbeat, ("run_id", "seen_time"), ids))


def _stage(deleted: bool) -> LifecycleStage:
    return LifecycleStage.DELETED if deleted else LifecycleStage.ACTIVE


def _rows(
    session: SessionBase, table: sa.Table, column: sa.Column[Any], ids: Sequence[int]
) -> list[Any]:
    return _columns(session, tuple(table.c), column, ids)


def _columns(
    session: SessionBase, columns: Sequence[Any], column: sa.Column[Any], ids: Sequence[int]
) -> list[Any]:
    found: list[Any] = []
    for start in range(0, len(ids), _CHUNK):
        part = ids[start : start + _CHUNK]
        found += session.connection.execute(sa.select(*columns).where(column.in_(part))).all()
    return found


# A page of 100 runs has thousands of rows here. Rows are unpacked, because reading their columns by
# name costs more than the query; and sorted whole, by key, because names repeat.


def _many(
    session: SessionBase, table: sa.Table, columns: Sequence[str], ids: Sequence[int]
) -> list[Any]:
    found: list[Any] = []
    for start in range(0, len(ids), _CHUNK):
        part = ids[start : start + _CHUNK]
        found += select_many(session.connection, table, columns, "run_id", part)
    return found


def _pairs(session: SessionBase, table: sa.Table, ids: Sequence[int]) -> dict[int, list[KeyValue]]:
    rows = _many(session, table, ("key_id", "run_id", "value"), ids)
    place, names = _sorted_names(session, rows)
    rows.sort(key=lambda row: place[row[0]])
    pairs: dict[int, list[KeyValue]] = {number: [] for number in ids}
    for key, run, value in rows:
        pairs[run].append(KeyValue(names[key], value))
    return pairs


def _last_metrics(session: SessionBase, ids: Sequence[int]) -> dict[int, list[Metric]]:
    columns = ("key_id", "run_id", "last_value", "last_time", "last_step")
    rows = _many(session, schema.metric_summary, columns, ids)
    place, names = _sorted_names(session, rows)
    rows.sort(key=lambda row: place[row[0]])
    metrics: dict[int, list[Metric]] = {number: [] for number in ids}
    for key, run, value, time, step in rows:
        metrics[run].append(
            Metric(
                key=names[key],
                value=_NAN if value is None else value,
                timestamp=time,
                step=step,
            )
        )
    return metrics


def _sorted_names(
    session: SessionBase, rows: Sequence[Any]
) -> tuple[dict[int, int], dict[int, str]]:
    """The names of the keys in the rows' first column, and the place of each key among them."""
    names = session.keys.names({row[0] for row in rows})
    return {key: place for place, key in enumerate(sorted(names, key=names.__getitem__))}, names


def _datasets(session: SessionBase, ids: Sequence[int]) -> dict[int, list[DatasetInput]]:
    link, table = schema.run_dataset, schema.dataset
    inputs: dict[int, list[DatasetInput]] = defaultdict(list)
    for start in range(0, len(ids), _CHUNK):
        rows = session.connection.execute(
            sa.select(link.c.run_id, link.c.tags, table)
            .join(table, table.c.id == link.c.dataset_id)
            .where(link.c.run_id.in_(ids[start : start + _CHUNK]))
            .order_by(link.c.run_id, table.c.id)
        )
        for row in rows:
            inputs[row.run_id].append(
                DatasetInput(
                    tags=_tags_decoder.decode(row.tags),
                    dataset=Dataset(
                        name=row.name,
                        digest=row.digest,
                        source_type=row.source_type,
                        source=row.source,
                        schema=row.schema,
                        profile=row.profile,
                    ),
                )
            )
    return inputs


def _models(
    session: SessionBase, ids: Sequence[int]
) -> tuple[dict[int, list[LoggedModelInput]], dict[int, list[LoggedModelOutput]]]:
    inputs: dict[int, list[LoggedModelInput]] = defaultdict(list)
    outputs: dict[int, list[LoggedModelOutput]] = defaultdict(list)
    for row in _rows(session, schema.run_model, schema.run_model.c.run_id, ids):
        if row.direction == schema.MODEL_INPUT:
            inputs[row.run_id].append(LoggedModelInput(model_id=row.model_id))
        else:
            outputs[row.run_id].append(LoggedModelOutput(model_id=row.model_id, step=row.step))
    return inputs, outputs
