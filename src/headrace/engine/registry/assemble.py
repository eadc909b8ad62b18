"""Rows of the registry as entities: one query per table for any number of models or versions."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

import sqlalchemy as sa

from headrace.engine import schema
from headrace.engine.database import select_many
from headrace.engine.session import SessionBase
from headrace.entities import KeyValue, ModelVersion, RegisteredModel, RegisteredModelAlias
from headrace.protocol.model_versions import STAGES

#: Ids per IN list; SQLite allows 32,766 bound values in a statement.
_CHUNK = 5000
_READY = "READY"

_version = schema.model_version
_COLUMNS = len(_version.c)
_model = schema.registered_model
#: Ids of the newest version in each stage of a model.
_NEWEST = sa.select(
    *(
        sa.select(sa.func.max(_version.c.id))
        .where(_version.c.model_id == _model.c.id, _version.c.stage == stage)
        .correlate(_model)
        .scalar_subquery()
        for stage in range(len(STAGES))
    )
)


def version_entities(
    session: SessionBase, rows: Sequence[Any], names: dict[int, str]
) -> list[ModelVersion]:
    """Versions of rows of ``model_version`` (all columns), in their order.

    Args:
        session: Where to ask.
        rows: The rows.
        names: Names of their models, by the models' ids.
    """
    tags = _tags(session, schema.model_version_tag, "version_id", [row.id for row in rows])
    aliases: dict[tuple[int, int], list[str]] = defaultdict(list)
    for model, alias, number in _many(
        session, schema.model_alias, ("model_id", "alias", "version"), "model_id", _models_of(rows)
    ):
        aliases[model, number].append(alias)
    parents = version_names(session, {row.parent_id for row in rows if row.parent_id is not None})
    return [_entity(row[:_COLUMNS], names, tags, aliases, parents) for row in rows]


def _entity(
    row: Any,
    names: dict[int, str],
    tags: dict[int, list[KeyValue]],
    aliases: dict[tuple[int, int], list[str]],
    parents: dict[int, tuple[str, int]],
) -> ModelVersion:
    # Unpacked in the order of the table's columns, because reading them by name costs more than the query.
    (
        id, model_id, number, stage, description, user_id, created, updated, source, _location, run_id,
        run_link, logged_model_id, digest, parent_id,
    ) = row  # fmt: skip
    parent = parents.get(parent_id)
    return ModelVersion(
        name=names[model_id],
        version=str(number),
        creation_timestamp=created,
        last_updated_timestamp=updated,
        user_id=user_id,
        current_stage=STAGES[stage],
        description=description,
        source=source,
        run_id=run_id,
        run_link=run_link,
        status=_READY,
        tag_list=tuple(tags.get(id, ())),
        aliases=tuple(sorted(aliases.get((model_id, number), ()))),
        model_id=logged_model_id,
        digest=digest,
        parent=None if parent is None else f"models:/{parent[0]}/{parent[1]}",
    )


def model_entities(session: SessionBase, rows: Sequence[Any]) -> list[RegisteredModel]:
    """Registered models of rows of ``registered_model`` (all columns), in their order."""
    ids = [row.id for row in rows]
    names = {row.id: row.name for row in rows}
    latest: dict[int, list[ModelVersion]] = defaultdict(list)
    found = latest_rows(session, ids)
    for row, version in zip(found, version_entities(session, found, names), strict=True):
        latest[row.model_id].append(version)
    tags = _tags(session, schema.registered_model_tag, "model_id", ids)
    aliases: dict[int, list[RegisteredModelAlias]] = defaultdict(list)
    columns = ("model_id", "alias", "version")
    for model, alias, number in sorted(
        _many(session, schema.model_alias, columns, "model_id", ids)
    ):
        aliases[model].append(RegisteredModelAlias(alias=alias, version=str(number)))
    return [
        RegisteredModel(
            name=row.name,
            creation_timestamp=row.creation_time,
            last_updated_timestamp=row.last_update_time,
            user_id=row.user_id,
            description=row.description,
            latest_versions=tuple(latest.get(row.id, ())),
            tag_list=tuple(tags.get(row.id, ())),
            alias_list=tuple(aliases.get(row.id, ())),
        )
        for row in rows
    ]


def latest_rows(session: SessionBase, models: Sequence[int]) -> list[Any]:
    """Rows of the newest version in each stage of some models, by stage.

    Each is the last entry of a stretch of an index, so the number of versions does not matter.
    """
    rows: list[Any] = []
    for start in range(0, len(models), _CHUNK):
        part = models[start : start + _CHUNK]
        found = session.connection.execute(_NEWEST.where(_model.c.id.in_(part))).all()
        ids = [number for row in found for number in row if number is not None]
        for first in range(0, len(ids), _CHUNK):
            some = ids[first : first + _CHUNK]
            statement = sa.select(_version).where(_version.c.id.in_(some))
            rows += session.connection.execute(statement).all()
    rows.sort(key=lambda row: (row.model_id, row.stage))
    return rows


def model_names(session: SessionBase, models: Iterable[int]) -> dict[int, str]:
    """Names of models by id."""
    rows = _many(session, schema.registered_model, ("id", "name"), "id", list(set(models)))
    return dict(rows)


def version_names(session: SessionBase, versions: Iterable[int]) -> dict[int, tuple[str, int]]:
    """Name of the model, and number, of those versions that are there, by id."""
    found = _many(session, _version, ("id", "model_id", "version"), "id", list(set(versions)))
    names = model_names(session, {model for _id, model, _number in found})
    # On PostgreSQL a model may go between two statements of a transaction that writes.
    return {id: (names[model], number) for id, model, number in found if model in names}


def _models_of(rows: Sequence[Any]) -> list[int]:
    return list({row.model_id for row in rows})


def _tags(
    session: SessionBase, table: sa.Table, owner: str, ids: Sequence[int]
) -> dict[int, list[KeyValue]]:
    tags: dict[int, list[KeyValue]] = defaultdict(list)
    for number, key, value in sorted(_many(session, table, (owner, "key", "value"), owner, ids)):
        tags[number].append(KeyValue(key, value))
    return tags


def _many(
    session: SessionBase,
    table: sa.Table,
    columns: Sequence[str],
    key: str,
    ids: Sequence[int],
) -> list[Any]:
    found: list[Any] = []
    for start in range(0, len(ids), _CHUNK):
        part = ids[start : start + _CHUNK]
        found += select_many(session.connection, table, columns, key, part)
    return found
