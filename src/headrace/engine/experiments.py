"""Experiments, implemented."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import unquote, urlsplit

import sqlalchemy as sa

from headrace.engine import schema
from headrace.engine.assemble import experiment_entities
from headrace.engine.session import SessionBase
from headrace.errors import AlreadyExists, InvalidParameter, InvalidState, NotFound
from headrace.protocol.experiments import (
    CreatedExperiment,
    CreateExperiment,
    DeleteExperimentTag,
    ExperimentId,
    ExperimentResponse,
    Experiments,
    GetExperiment,
    GetExperimentByName,
    SetExperimentTag,
    UpdateExperiment,
)
from headrace.protocol.limits import (
    MAX_ARTIFACT_LOCATION,
    MAX_EXPERIMENT_NAME,
    MAX_EXPERIMENT_TAG_VALUE,
    MAX_KEY,
    check_key,
)
from headrace.protocol.operation import Empty

_experiment = schema.experiment
_NUMBER = re.compile(r"[0-9]{1,18}")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


class ExperimentOperations(SessionBase, Experiments):
    """`Experiments` over tables ``experiment`` and ``experiment_tag``."""

    def create_experiment(self, request: CreateExperiment) -> CreatedExperiment:
        _check_name(request.name)
        location = _checked_location(request.artifact_location)
        tags = {tag.key: tag.value for tag in request.tags}
        for key, value in tags.items():
            _check_tag(key, value)
        try:
            with self.connection.begin_nested():
                number = self.connection.execute(
                    _experiment.insert().returning(_experiment.c.id),
                    {
                        "name": request.name,
                        "artifact_location": location,
                        "creation_time": self.now,
                        "last_update_time": self.now,
                    },
                ).scalar_one()
        except sa.exc.IntegrityError:
            raise _name_taken(request.name) from None
        if tags:
            self.connection.execute(
                schema.experiment_tag.insert(),
                [{"experiment_id": number, "key": k, "value": v} for k, v in tags.items()],
            )
        self._emit_experiment(
            "experiment.created",
            number,
            {"name": request.name, "artifact_location": location, "tags": tags},
        )
        return CreatedExperiment(experiment_id=str(number))

    def get_experiment(self, request: GetExperiment) -> ExperimentResponse:
        return self._response(self._experiment(request.experiment_id))

    def get_experiment_by_name(self, request: GetExperimentByName) -> ExperimentResponse:
        row = self.connection.execute(
            sa.select(_experiment)
            .where(_experiment.c.name == request.experiment_name)
            .order_by(
                _experiment.c.deleted_time.is_not(None),
                _experiment.c.deleted_time.desc(),
                _experiment.c.id.desc(),
            )
            .limit(1)
        ).one_or_none()
        if row is None:
            raise NotFound(
                f"No experiment named '{request.experiment_name[:300]}'; create it with experiments/create."
            )
        return self._response(row)

    def update_experiment(self, request: UpdateExperiment) -> Empty:
        _check_name(request.new_name)
        row = self._experiment(request.experiment_id, lock=True)
        if row.deleted_time is not None:
            raise InvalidState(
                f"Experiment {row.id} is deleted and cannot be renamed; restore it first."
            )
        if row.name == request.new_name:
            return Empty()
        try:
            with self.connection.begin_nested():
                self._update(row.id, name=request.new_name, last_update_time=self.now)
        except sa.exc.IntegrityError:
            raise _name_taken(request.new_name) from None
        self._emit_experiment(
            "experiment.renamed",
            row.id,
            {"before": {"name": row.name}, "after": {"name": request.new_name}},
        )
        return Empty()

    def delete_experiment(self, request: ExperimentId) -> Empty:
        row = self._experiment(request.experiment_id, lock=True)
        if row.deleted_time is not None:
            raise NotFound(f"No active experiment with id {row.id}: it is deleted already.")
        self._update(row.id, deleted_time=self.now, last_update_time=self.now)
        self._emit_experiment("experiment.deleted", row.id, {"name": row.name})
        return Empty()

    def restore_experiment(self, request: ExperimentId) -> Empty:
        row = self._experiment(request.experiment_id, lock=True)
        if row.deleted_time is None:
            raise NotFound(f"No deleted experiment with id {row.id}: it is active.")
        try:
            with self.connection.begin_nested():
                self._update(row.id, deleted_time=None, last_update_time=self.now)
        except sa.exc.IntegrityError:
            raise AlreadyExists(
                f"Experiment {row.id} cannot be restored: its name '{row.name}' was taken meanwhile. "
                "Rename the experiment that has it, then try again."
            ) from None
        self._emit_experiment("experiment.restored", row.id, {"name": row.name})
        return Empty()

    def set_experiment_tag(self, request: SetExperimentTag) -> Empty:
        _check_tag(request.key, request.value)
        row = self._active_experiment(request.experiment_id, change=True)
        tag = schema.experiment_tag
        where = (tag.c.experiment_id == row.id) & (tag.c.key == request.key)
        before = self.connection.execute(sa.select(tag.c.value).where(where)).scalar()
        statement = self.insert(tag).values(
            experiment_id=row.id, key=request.key, value=request.value
        )
        self.connection.execute(
            statement.on_conflict_do_update(
                index_elements=[tag.c.experiment_id, tag.c.key],
                set_={"value": statement.excluded.value},
            )
        )
        if before != request.value:
            self._update(row.id, last_update_time=self.now)
            self._emit_experiment(
                "experiment.tag.set",
                row.id,
                {"key": request.key, "before": before, "after": request.value},
            )
        return Empty()

    def delete_experiment_tag(self, request: DeleteExperimentTag) -> Empty:
        row = self._active_experiment(request.experiment_id, change=True)
        tag = schema.experiment_tag
        before = self.connection.execute(
            sa.delete(tag)
            .where(tag.c.experiment_id == row.id, tag.c.key == request.key)
            .returning(tag.c.value)
        ).scalar()
        if before is None:
            raise NotFound(f"Experiment {row.id} has no tag '{request.key}'.")
        self._update(row.id, last_update_time=self.now)
        self._emit_experiment(
            "experiment.tag.deleted",
            row.id,
            {"key": request.key, "before": before},
        )
        return Empty()

    def _emit_experiment(self, type: str, number: int, data: dict[str, Any]) -> None:
        self.emit(type, f"experiment/{number}", data, number)

    # What follows is for the other noun files of this package too.

    def _experiment(
        self,
        experiment_id: str,
        *,
        lock: bool = False,
        change: bool = False,
        hold: bool = False,
    ) -> Any:
        """The row of an experiment, deleted ones too.

        Args:
            lock: Let nobody else change it, or write below it, in this transaction.
            change: Let nobody else change it.
            hold: Let nobody purge it, which on PostgreSQL is all that a writer below it needs.
        """
        if not experiment_id:
            raise InvalidParameter(
                "Missing value for required parameter 'experiment_id': give an experiment's id."
            )
        if not _NUMBER.fullmatch(experiment_id):
            raise InvalidParameter(
                f"Invalid experiment id '{experiment_id[:100]}': it must be a whole number, such as '0'."
            )
        statement = sa.select(_experiment).where(_experiment.c.id == int(experiment_id))
        if lock:
            statement = statement.with_for_update()
        elif change:
            statement = statement.with_for_update(key_share=True)
        elif hold:
            statement = statement.with_for_update(read=True, key_share=True)
        row = self.connection.execute(statement).one_or_none()
        if row is None:
            raise NotFound(f"No experiment with id {experiment_id} exists.")
        return row

    def _active_experiment(self, experiment_id: str, *, change: bool = False) -> Any:
        row = self._experiment(experiment_id, change=change, hold=not change)
        if row.deleted_time is not None:
            raise InvalidParameter(
                f"Experiment {row.id} ('{row.name}') is deleted; restore it before writing to it."
            )
        return row

    def _update(self, number: int, **values: Any) -> None:
        self.connection.execute(
            sa.update(_experiment).where(_experiment.c.id == number).values(**values)
        )

    def _response(self, row: Any) -> ExperimentResponse:
        return ExperimentResponse(experiment=experiment_entities(self, [row])[0])


def _name_taken(name: str) -> AlreadyExists:
    return AlreadyExists(
        f"An active experiment named '{name}' exists already; choose another name."
    )


def _check_name(name: str) -> None:
    if len(name) > MAX_EXPERIMENT_NAME:
        raise InvalidParameter(
            f"Experiment name '{name[:60]}...' has {len(name)} characters; "
            f"at most {MAX_EXPERIMENT_NAME} are allowed."
        )


def _check_tag(key: str, value: str) -> None:
    check_key(key, "tag")
    if len(value) > MAX_EXPERIMENT_TAG_VALUE:
        raise InvalidParameter(
            f"The value of experiment tag '{key[:MAX_KEY]}' has {len(value)} characters; "
            f"at most {MAX_EXPERIMENT_TAG_VALUE} are allowed."
        )


def _checked_location(location: str | None) -> str | None:
    """An artifact location that may be used, or None when none was given."""
    if not location:
        return None
    if len(location) > MAX_ARTIFACT_LOCATION:
        raise InvalidParameter(
            f"The artifact location has {len(location)} characters; at most {MAX_ARTIFACT_LOCATION} "
            "are allowed."
        )
    try:
        parts = urlsplit(location)
    except ValueError as error:
        raise InvalidParameter(f"Invalid artifact location '{location[:200]}': {error}.") from None
    path = location
    while (plain := unquote(path)) != path:
        path = plain
    if parts.query or parts.fragment or ".." in re.split(r"[/\\]", path):
        raise InvalidParameter(
            f"Invalid artifact location '{location[:200]}': no query, fragment or '..' part is allowed."
        )
    if _CONTROL.search(
        path
    ):  # URL parsers drop some of them, and may find a '..' where we saw none
        raise InvalidParameter(
            f"Invalid artifact location {location[:200]!r}: no control character is allowed."
        )
    if parts.scheme == "runs":
        raise InvalidParameter(
            f"Invalid artifact location '{location[:200]}': a runs:/ URI cannot hold an experiment; "
            "give a folder or a bucket."
        )
    return location.rstrip("/") or location
