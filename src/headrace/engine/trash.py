"""Emptying the trash, implemented."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

import sqlalchemy as sa

from headrace.engine import schema
from headrace.engine.assemble import experiment_entities, run_infos
from headrace.engine.inputs import InputOperations
from headrace.engine.logged_models import LoggedModelOperations, model_locations
from headrace.errors import InvalidParameter
from headrace.protocol.registered_models import PROMPT_SOURCES
from headrace.protocol.trash import PurgedTrash, PurgeTrash, Trash

_run = schema.run
_model = schema.logged_model
_experiment = schema.experiment
_version = schema.model_version
_MAX_LIMIT = 10_000
_CHUNK = 500


class Chosen(NamedTuple):
    """Rows to purge."""

    runs: list[Any]
    models: list[Any]
    experiments: list[Any]


class TrashOperations(InputOperations, LoggedModelOperations, Trash):
    """`Trash`: rows of deleted runs, logged models and experiments, removed for good."""

    def purge_trash(self, request: PurgeTrash) -> PurgedTrash:
        if request.older_than_ms < 0:
            raise InvalidParameter(
                f"older_than_ms must not be negative, got {request.older_than_ms}."
            )
        if not 1 <= request.limit <= _MAX_LIMIT:
            raise InvalidParameter(f"limit must be from 1 to {_MAX_LIMIT}, got {request.limit}.")
        if request.run_ids or request.experiment_ids or request.logged_model_ids:
            chosen = self._named(request)
        else:
            chosen = self._due(request)
        runs, models, experiments = self._with_their_own(chosen, request.limit)
        uris = [info.artifact_uri for info in run_infos(self, runs)]
        # An experiment's own folder goes last, so that only what nobody names any more is deleted.
        uris += [
            entity.artifact_location if row.artifact_location is None else ""
            for row, entity in zip(experiments, experiment_entities(self, experiments), strict=True)
        ]
        model_uris = model_locations(self, models)
        if not request.dry_run:
            self._purge_runs(runs)
            self._purge_models(models)
            self._purge_experiments(experiments)
        return PurgedTrash(
            run_ids=tuple(run.uuid for run in runs),
            experiment_ids=tuple(str(one.id) for one in experiments),
            artifact_uris=tuple(uris),
            logged_model_ids=tuple(model.uuid for model in models),
            logged_model_uris=tuple(model_uris),
        )

    def _named(self, request: PurgeTrash) -> Chosen:
        """What the request names."""
        latest = self.now - request.older_than_ms
        experiments = [
            self._experiment(one, lock=True) for one in dict.fromkeys(request.experiment_ids)
        ]
        for one in experiments:
            _check_trashed(f"Experiment {one.id}", one.deleted_time, latest)
            for table in (_run, _model):
                self._refuse_registered(
                    f"Experiment {one.id}", table, table.c.experiment_id == one.id
                )
        runs: list[Any] = []
        for run_id in dict.fromkeys(request.run_ids):
            row = self._run(run_id)
            deleted = (
                row.deleted_time if row.deleted_time is not None else row.experiment_deleted_time
            )
            _check_trashed(f"Run '{run_id}'", deleted, latest)
            self._refuse_registered(f"Run '{run_id}'", _run, _run.c.id == row.id)
            runs += self._full_rows([run_id])
        models = [
            self._logged_model(one, change=True) for one in dict.fromkeys(request.logged_model_ids)
        ]
        for model in models:
            what = f"Logged model '{model.uuid}'"
            _check_trashed(what, model.deleted_time, latest)
            self._refuse_registered(what, _model, _model.c.id == model.id)
        return Chosen(runs, models, experiments)

    def _due(self, request: PurgeTrash) -> Chosen:
        """What has been in the trash long enough, oldest first."""
        latest = self.now - request.older_than_ms

        def due(table: sa.Table) -> list[Any]:
            return list(
                self.connection.execute(
                    sa.select(table)
                    .where(table.c.deleted_time <= latest, *_unregistered(table))
                    .order_by(table.c.deleted_time, table.c.id)
                    .limit(request.limit)
                    .with_for_update()
                )
            )

        experiments = due(_experiment)
        return Chosen(due(_run), due(_model), experiments)

    def _with_their_own(self, chosen: Chosen, limit: int) -> Chosen:
        """Adds the experiments' runs and models, up to the limit of each; an experiment goes when all did."""
        runs = {run.id: run for run in chosen.runs[:limit]}
        models = {model.id: model for model in chosen.models[:limit]}
        whole = []
        for one in chosen.experiments:
            all_ = self._take_from(_run, one.id, runs, limit)
            if self._take_from(_model, one.id, models, limit) and all_:
                whole.append(one)
        return Chosen(list(runs.values()), list(models.values()), whole)

    def _take_from(
        self, table: sa.Table, experiment: int, taken: dict[int, Any], limit: int
    ) -> bool:
        """Take an experiment's runs or models while there is room; whether none is left."""
        room = limit - len(taken)
        own = [row.id for row in taken.values() if row.experiment_id == experiment]
        found = self.connection.execute(
            sa.select(table)
            .where(
                table.c.experiment_id == experiment,
                table.c.id.not_in(own),
                *_unregistered(table),
            )
            .order_by(table.c.id)
            .limit(room + 1)
            .with_for_update()
        ).all()
        taken.update({row.id: row for row in found[:room]})
        kept = self.connection.execute(
            sa.select(table.c.id)
            .where(table.c.experiment_id == experiment, _registered(table))
            .limit(1)
        ).first()
        return len(found) <= room and kept is None

    def _refuse_registered(self, what: str, table: sa.Table, those: sa.ColumnElement[bool]) -> None:
        """Refuse to purge what has runs, or logged models, that versions of registered models are made of."""
        registered = schema.registered_model
        version = self.connection.execute(
            sa.select(registered.c.name, _version.c.version)
            .select_from(table)
            .join(_version, _made_of(table))
            .join(registered, registered.c.id == _version.c.model_id)
            .where(those)
            .limit(1)
        ).first()
        if version is not None:
            raise InvalidParameter(
                f"{what} cannot be purged: version {version.version} of the registered model '{version.name}' "
                "is made of it, and would lose its files. Delete that version first."
            )

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

    def _purge_models(self, models: Sequence[Any]) -> None:
        for start in range(0, len(models), _CHUNK):
            some = models[start : start + _CHUNK]
            ids = [model.id for model in some]
            for table in (schema.logged_model_param, schema.logged_model_tag):
                self.connection.execute(sa.delete(table).where(table.c.logged_model_id.in_(ids)))
            metric = schema.logged_model_metric
            self.connection.execute(
                sa.delete(metric).where(metric.c.model_id.in_([model.uuid for model in some]))
            )
            self.connection.execute(sa.delete(_model).where(_model.c.id.in_(ids)))
        self.emit_many(
            [
                (
                    "logged_model.purged",
                    f"logged_model/{model.uuid}",
                    {"name": model.name},
                    model.experiment_id,
                )
                for model in models
            ]
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


def _made_of(table: sa.Table) -> sa.ColumnElement[bool]:
    """That a version is made of a run, or of a logged model: its files are theirs."""
    if table is _model:
        return _version.c.logged_model_id == _model.c.uuid
    return sa.and_(
        _version.c.run_uuid == _run.c.uuid,
        _version.c.logged_model_id.is_(None),
        _version.c.source.not_in(PROMPT_SOURCES),
    )


def _registered(table: sa.Table) -> sa.ColumnElement[bool]:
    """That a version is made of a run, or of a logged model, so that it is kept."""
    return sa.exists().where(_made_of(table)).correlate(table)


def _unregistered(table: sa.Table) -> list[sa.ColumnElement[bool]]:
    return [] if table is _experiment else [sa.not_(_registered(table))]


def _check_trashed(what: str, deleted: int | None, latest: int) -> None:
    """Refuse what is not in the trash, or not for long enough."""
    if deleted is None:
        raise InvalidParameter(f"{what} is not in the trash; delete it before purging it.")
    if deleted > latest:
        raise InvalidParameter(
            f"{what} was deleted too recently for older_than_ms; wait, or give a smaller one."
        )
