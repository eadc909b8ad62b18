"""Lineage of versions, implemented."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from headrace.engine import schema
from headrace.engine.assemble import load_runs
from headrace.engine.registry.assemble import model_names, version_entities
from headrace.engine.registry.base import RegistryBase
from headrace.errors import InvalidParameter
from headrace.protocol.lineage import (
    MAX_ITEMS,
    GetLineage,
    Lineage,
    LineageResponse,
    LineageRun,
    Lineages,
    LineageVersion,
)

_model = schema.registered_model
_version = schema.model_version
_run = schema.run
_link = schema.run_model
_COMMIT, _SOURCE = "mlflow.source.git.commit", "mlflow.source.name"
#: Parents are followed so far.
_DEEPEST = 100


class LineageOperations(RegistryBase, Lineages):
    """`Lineages`, by indexes on who made and read what."""

    def get_lineage(self, request: GetLineage) -> LineageResponse:
        most = request.max_results
        if not 1 <= most <= MAX_ITEMS:
            raise InvalidParameter(
                f"Invalid value {most} for parameter 'max_results': give a number from 1 to {MAX_ITEMS}."
            )
        model, version = self._model_version(request.name, request.version)
        maker = self._lineage_runs([version.run_uuid] if version.run_uuid else [])
        run = maker[0] if maker else None
        readers = self._lineage_readers(model, version, most)
        runs = self._lineage_runs(readers[:most], via="input")
        found = [
            self._lineage_versions(_version.c.logged_model_id.in_(run.model_inputs), most)
            if run is not None and run.model_inputs
            else [],
            self._lineage_versions(_version.c.parent_id == version.id, most),
            self._lineage_versions(_version.c.run_uuid.in_(readers[:most]), most)
            if readers
            else [],
        ]
        ancestors, copies, descendants = (self._lineage_named(rows[:most]) for rows in found)
        return LineageResponse(
            lineage=Lineage(
                version=version_entities(self, [version], {model.id: model.name})[0],
                run=run,
                parents=self._lineage_parents(version),
                ancestors=ancestors,
                copies=copies,
                runs=tuple(runs),
                descendants=descendants,
                truncated=len(readers) > most or any(len(rows) > most for rows in found),
            )
        )

    def _lineage_parents(self, version: Any) -> tuple[LineageVersion, ...]:
        """What a version is a copy of, the nearest first."""
        found: list[LineageVersion] = []
        while version.parent_id is not None and len(found) < _DEEPEST:
            parent = self.connection.execute(
                sa.select(_version).where(_version.c.id == version.parent_id)
            ).one_or_none()
            if parent is None:
                # What it was called is in the source of the copy.
                name, _, number = version.source.removeprefix("models:/").rpartition("/")
                found.append(LineageVersion(name=name, version=number, gone=True))
                break
            found += self._lineage_named([parent])
            version = parent
        return tuple(found)

    def _lineage_readers(self, model: Any, version: Any, most: int) -> list[str]:
        """Ids of the runs that read a version, newest first: one more than asked for, if there are more."""
        ids = [f"models:/{model.name}/{version.version}"]
        if version.logged_model_id:
            ids.append(version.logged_model_id)
        statement = (
            sa.select(_run.c.uuid)
            .join(_link, _link.c.run_id == _run.c.id)
            .where(_link.c.model_id.in_(ids), _link.c.direction == schema.MODEL_INPUT)
            .group_by(_run.c.id, _run.c.uuid)
            .order_by(_run.c.id.desc())
        )
        return list(self.connection.execute(statement.limit(most + 1)).scalars())

    def _lineage_versions(self, condition: sa.ColumnElement[bool], most: int) -> list[Any]:
        """Rows of versions, newest first: one more than asked for, if there are more."""
        statement = sa.select(_version).where(condition).order_by(_version.c.id.desc())
        return list(self.connection.execute(statement.limit(most + 1)))

    def _lineage_named(self, rows: Sequence[Any]) -> tuple[LineageVersion, ...]:
        names = model_names(self, {row.model_id for row in rows})
        return tuple(
            LineageVersion(
                name=names[row.model_id],
                version=str(row.version),
                model_id=row.logged_model_id,
                run_id=row.run_uuid,
            )
            for row in rows
        )

    def _lineage_runs(self, run_ids: Sequence[str], via: str | None = None) -> list[LineageRun]:
        """Runs with their code and what they read; of those that are gone, only the id."""
        rows = self.connection.execute(sa.select(_run).where(_run.c.uuid.in_(run_ids))).all()
        runs = {one.info.run_id: one for one in load_runs(self, rows)}
        found = []
        for run_id in run_ids:
            run = runs.get(run_id)
            if run is None:
                found.append(LineageRun(run_id=run_id, gone=True, via=via))
                continue
            info, tags = run.info, run.data.tags
            found.append(
                LineageRun(
                    run_id=run_id,
                    run_name=info.run_name,
                    experiment_id=info.experiment_id,
                    status=info.status,
                    deleted=info.lifecycle_stage == "deleted",
                    commit=tags.get(_COMMIT),
                    source=tags.get(_SOURCE),
                    datasets=tuple(one.dataset for one in run.inputs.dataset_inputs),
                    model_inputs=tuple(one.model_id for one in run.inputs.model_inputs),
                    via=via,
                )
            )
        return found
