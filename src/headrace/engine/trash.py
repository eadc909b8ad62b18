"""Emptying the trash, implemented."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import sqlalchemy as sa

from headrace.engine import schema
from headrace.engine.assemble import experiment_entities, run_infos
from headrace.engine.inputs import InputOperations
from headrace.errors import InvalidParameter
from headrace.protocol.trash import PurgedTrash, PurgeTrash, Trash

_run = schema.run
_experiment = schema.experiment
_MAX_LIMIT = 10_000
_CHUNK = 500


class TrashOperations(InputOperations, Trash):
    """`Trash`: rows of deleted runs and experiments, removed for good."""

    def purge_trash(self, request: PurgeTrash) -> PurgedTrash:
        if request.older_than_ms < 0:
            raise InvalidParameter(
                f"older_than_ms must not be negative, got {request.older_than_ms}."
            )
        if not 1 <= request.limit <= _MAX_LIMIT:
            raise InvalidParameter(f"limit must be from 1 to {_MAX_LIMIT}, got {request.limit}.")
        if request.run_ids or request.experiment_ids:
            runs, experiments = self._named(request)
        else:
            runs, experiments = self._due(request)
        uris = [info.artifact_uri for info in run_infos(self, runs)]
        # An experiment's own folder goes last, so that only what nobody names any more is deleted.
        uris += [
            entity.artifact_location if row.artifact_location is None else ""
            for row, entity in zip(experiments, experiment_entities(self, experiments), strict=True)
        ]
        if not request.dry_run:
            self._purge_runs(runs)
            self._purge_experiments(experiments)
        return PurgedTrash(
            run_ids=tuple(run.uuid for run in runs),
            experiment_ids=tuple(str(one.id) for one in experiments),
            artifact_uris=tuple(uris),
        )

    def _named(self, request: PurgeTrash) -> tuple[list[Any], list[Any]]:
        """The runs and experiments that the request names; those experiments' runs too."""
        latest = self.now - request.older_than_ms
        experiments = [
            self._experiment(one, lock=True) for one in dict.fromkeys(request.experiment_ids)
        ]
        for one in experiments:
            if one.deleted_time is None:
                raise InvalidParameter(
                    f"Experiment {one.id} is not in the trash; delete it before purging it."
                )
            _check_age(f"Experiment {one.id}", one.deleted_time, latest)
        runs: list[Any] = []
        for run_id in dict.fromkeys(request.run_ids):
            row = self._run(run_id)
            deleted = (
                row.deleted_time if row.deleted_time is not None else row.experiment_deleted_time
            )
            if deleted is None:
                raise InvalidParameter(
                    f"Run '{run_id}' is not in the trash; delete it before purging it."
                )
            _check_age(f"Run '{run_id}'", deleted, latest)
            runs += self._full_rows([run_id])
        return self._with_their_runs(runs, experiments, request.limit)

    def _due(self, request: PurgeTrash) -> tuple[list[Any], list[Any]]:
        """What has been in the trash long enough, oldest first."""
        latest = self.now - request.older_than_ms
        experiments = list(
            self.connection.execute(
                sa.select(_experiment)
                .where(_experiment.c.deleted_time <= latest)
                .order_by(_experiment.c.deleted_time, _experiment.c.id)
                .limit(request.limit)
                .with_for_update()
            )
        )
        runs = list(
            self.connection.execute(
                sa.select(_run)
                .where(_run.c.deleted_time <= latest)
                .order_by(_run.c.deleted_time, _run.c.id)
                .limit(request.limit)
                .with_for_update()
            )
        )
        return self._with_their_runs(runs, experiments, request.limit)

    def _with_their_runs(
        self, runs: list[Any], experiments: list[Any], limit: int
    ) -> tuple[list[Any], list[Any]]:
        """Adds the experiments' runs, up to the limit; an experiment goes only when all its runs do."""
        chosen = {run.id: run for run in runs[:limit]}
        own: dict[int, list[int]] = {}
        for run in chosen.values():
            own.setdefault(run.experiment_id, []).append(run.id)
        whole = []
        for one in experiments:
            room = limit - len(chosen)
            statement = sa.select(_run).where(
                _run.c.experiment_id == one.id, _run.c.id.not_in(own.get(one.id, ()))
            )
            found = self.connection.execute(
                statement.order_by(_run.c.id).limit(room + 1).with_for_update()
            ).all()
            chosen |= {run.id: run for run in found[:room]}
            if len(found) <= room:
                whole.append(one)
        return list(chosen.values()), whole

    def _purge_runs(self, runs: Sequence[Any]) -> None:
        for start in range(0, len(runs), _CHUNK):
            ids = [run.id for run in runs[start : start + _CHUNK]]
            for table in schema.RUN_TABLES:
                self.connection.execute(sa.delete(table).where(table.c.run_id.in_(ids)))
            self.connection.execute(sa.delete(_run).where(_run.c.id.in_(ids)))
        self._purge_datasets({run.experiment_id for run in runs})
        self.emit_many(
            [
                (
                    "run.purged",
                    f"run/{run.uuid}",
                    {"experiment_id": str(run.experiment_id)},
                    run.experiment_id,
                )
                for run in runs
            ]
        )

    def _purge_datasets(self, experiments: Collection[int]) -> None:
        """Remove the data sets of these experiments that no run has any more."""
        dataset, link = schema.dataset, schema.run_dataset
        unused = ~sa.exists().where(link.c.dataset_id == dataset.c.id)
        # Locked first, so that on PostgreSQL the delete sees who began to use one meanwhile.
        found = self.connection.execute(
            sa.select(dataset.c.id)
            .where(dataset.c.experiment_id.in_(experiments), unused)
            .order_by(dataset.c.id)
            .with_for_update()
        ).scalars()
        ids = list(found)
        for start in range(0, len(ids), _CHUNK):
            self.connection.execute(
                sa.delete(dataset).where(dataset.c.id.in_(ids[start : start + _CHUNK]), unused)
            )

    def _purge_experiments(self, experiments: Sequence[Any]) -> None:
        for one in experiments:
            for table in (schema.experiment_tag, schema.experiment_key, schema.dataset):
                self.connection.execute(sa.delete(table).where(table.c.experiment_id == one.id))
            self.connection.execute(sa.delete(_experiment).where(_experiment.c.id == one.id))
        self.keys.purged()
        self.emit_many(
            [
                ("experiment.purged", f"experiment/{one.id}", {"name": one.name}, one.id)
                for one in experiments
            ]
        )


def _check_age(what: str, deleted: int, latest: int) -> None:
    if deleted > latest:
        raise InvalidParameter(
            f"{what} was deleted too recently for older_than_ms; wait, or give a smaller one."
        )
