"""Where a run's record begins: in the store, or, when that cannot be reached, in the journal."""

from __future__ import annotations

import logging
import uuid
from typing import TYPE_CHECKING

from headrace.client.environment import flag, number
from headrace.client.journal.journals import journal_for
from headrace.client.runs import PARENT_RUN_TAG
from headrace.client.values import now_ms
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
from headrace.errors import InternalError, InvalidState, NotFound, Unavailable
from headrace.protocol.ingest import StartRun, UpdateRun
from headrace.protocol.names import random_name
from headrace.tracking.choice import DEFAULT_EXPERIMENT_ID, choice, chosen_experiment
from headrace.tracking.origin import default_tags
from headrace.tracking.system_metrics import rank

if TYPE_CHECKING:
    from headrace.client.journal.journals import Journal

_log = logging.getLogger("headrace")

NAME_TAG = "mlflow.runName"
#: Seconds that a server has to answer when a run starts (``HEADRACE_START_TIMEOUT``).
_PATIENCE = 5.0


def created(
    run_id: str | None,
    current: Run | None,
    parent_run_id: str | None,
    experiment_id: str | None,
    run_name: str | None,
    given: dict[str, str],
) -> tuple[Run, StartRun | None]:
    """A new run, and what creates it if that waits in the journal.

    Args:
        run_id: Its id; default a new one.
        current: The active run, its parent.
        parent_run_id: Another parent.
        experiment_id: Default: the parent's, else the chosen one.
        run_name: Default: a random one.
        given: Tags.
    """
    client = choice.client()
    journal = journal_for(client.tracking_uri)
    native = reach(journal)
    parent: Run | None = current
    if parent_run_id and (current is None or parent_run_id != current.info.run_id):
        if current is not None:
            raise InvalidState(
                f"Current run with UUID {current.info.run_id} does not match the specified "
                f"parent_run_id {parent_run_id}. To start a new nested run under that parent, first "
                "end the current run with end_run()."
            )
        try:
            if native is None:
                raise Unavailable("The store was asked just now.")
            parent = client.get_run(parent_run_id)
        except Unavailable:
            given = {PARENT_RUN_TAG: parent_run_id, **given}
        else:
            if parent.info.lifecycle_stage == LifecycleStage.DELETED:
                raise InvalidState(
                    f"Cannot start a run under parent run {parent_run_id}: it is deleted. "
                    "Restore it with restore_run."
                )
    tags = default_tags()
    if parent is not None:
        tags[PARENT_RUN_TAG] = parent.info.run_id
    if run_name:
        tags[NAME_TAG] = run_name
    tags.update(given)
    where, name = experiment_id or "", ""
    if not where and parent is not None:
        where = parent.info.experiment_id
    if not where:
        where, name = chosen_experiment(ask=native is not None)
    step = StartRun(
        run_id=run_id or uuid.uuid4().hex,
        experiment_id=where,
        experiment_name=name,
        run_name=tags.get(NAME_TAG) or random_name(),
        user_id=tags.get("mlflow.user", "unknown"),
        start_time=now_ms(),
        tags=tuple(KeyValue(key, value) for key, value in tags.items()),
    )
    try:
        if native:
            return client.start(step), None
        if native is False:
            run = client.create_run(
                where or DEFAULT_EXPERIMENT_ID, tags=tags, run_name=step.run_name
            )
            return run, None
    except (Unavailable, InternalError) as error:
        _log.debug("The run starts in the journal: %s", error)
    journal.step(step)
    client.began.add(step.run_id)
    _say_recorded(journal, step.run_id)
    return _recorded(step), step


def resumed(
    run_id: str,
    experiment_id: str | None,
    run_name: str | None,
    given: dict[str, str],
    *,
    shared: bool,
) -> tuple[Run, StartRun | None]:
    """A run that goes on; one that is shared and not there yet is created, as by `created`."""
    client = choice.client()
    journal = journal_for(client.tracking_uri)
    if reach(journal) is not None:
        try:
            run = client.get_run(run_id)
            return _gone_on(run, experiment_id, run_name, given, shared=shared), None
        except NotFound:
            if not shared:
                raise
        except Unavailable as error:
            _log.debug("The run goes on in the journal: %s", error)
    if shared:
        return created(run_id, None, None, experiment_id, run_name, given)
    step = StartRun(
        run_id=run_id,
        experiment_id=experiment_id or "",
        run_name=run_name or run_id,
        start_time=now_ms(),
        tags=tuple(KeyValue(key, value) for key, value in given.items()),
    )
    # Only an update: a run of that id must be there.
    journal.step(UpdateRun(run_id=run_id, status=RunStatus.RUNNING, run_name=run_name))
    _say_recorded(journal, run_id)
    return _recorded(step), None


def _gone_on(
    run: Run,
    experiment_id: str | None,
    run_name: str | None,
    given: dict[str, str],
    *,
    shared: bool,
) -> Run:
    client = choice.client()
    run_id = run.info.run_id
    wanted = choice.experiment_id if experiment_id is None else str(experiment_id)
    if wanted is not None and wanted != run.info.experiment_id:
        raise InvalidState(
            f"Cannot start run with ID {run_id}: it belongs to experiment {run.info.experiment_id}, but "
            f"the active experiment is {wanted}. Set the run's own experiment, or none."
        )
    if run.info.lifecycle_stage == LifecycleStage.DELETED:
        raise InvalidState(
            f"Cannot start run with ID {run_id} because it is in the deleted state. "
            "Restore it with restore_run."
        )
    # Of those who share a run, the one who ends it may also take it up again.
    status = None if shared and rank() else RunStatus.RUNNING
    if run_name or status not in (None, run.info.status) or not shared:
        client.update_run(run_id, status, run_name)
    if given:
        client.log_batch(run_id, tags=given)
    return client.get_run(run_id)


def reach(journal: Journal) -> bool | None:
    """Whether the store is one of ours (True) or MLflow's (False); None when it cannot be reached."""
    return journal.probe(number("START_TIMEOUT", _PATIENCE))


def _say_recorded(journal: Journal, run_id: str) -> None:
    if journal.writer.folder is not None and not flag("OFFLINE"):
        _log.warning(
            "%s cannot be reached. Run %s is recorded in %s and sent when it is back, or by: headrace sync",
            journal.writer.uri,
            run_id,
            journal.writer.folder,
        )


def _recorded(step: StartRun) -> Run:
    """A run as far as it is known before the store has seen it."""
    return Run(
        info=RunInfo(
            run_id=step.run_id,
            run_uuid=step.run_id,
            run_name=step.run_name,
            experiment_id=step.experiment_id,
            user_id=step.user_id,
            status=RunStatus.RUNNING,
            start_time=step.start_time or 0,
            artifact_uri="",
            lifecycle_stage=LifecycleStage.ACTIVE,
        ),
        data=RunData(tag_list=step.tags),
        inputs=RunInputs(),
        outputs=RunOutputs(),
    )
