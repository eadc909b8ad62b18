"""The active run: what logging functions log to when they are given no run.

It belongs to the context (`contextvars`), not to the process: each thread has its own, starting with
none, and each asyncio task sees the run that was active where the task was made, and may start others
without disturbing anybody.
"""

from __future__ import annotations

import atexit
import logging
import os
import sys
import threading
from collections.abc import Mapping
from contextvars import ContextVar
from types import TracebackType
from typing import Any, Self

from headrace.client.client import Client
from headrace.client.environment import flag
from headrace.client.runs import PARENT_RUN_TAG
from headrace.entities import LifecycleStage, Run, RunStatus
from headrace.errors import HeadraceError, InvalidParameter, InvalidState
from headrace.tracking.choice import choice
from headrace.tracking.choice import experiment_id as chosen_experiment
from headrace.tracking.origin import default_tags, inherited_run_id

_logger = logging.getLogger("headrace")

NAME_TAG = "mlflow.runName"
NOTE_TAG = "mlflow.note.content"


class ActiveRun(Run, frozen=True):
    """A run that was started here: a `Run` as it was at its start, and a context manager that ends it.

    Leaving the block sets the status: FINISHED, or FAILED when an exception leaves it, or KILLED when
    that is KeyboardInterrupt or the cancellation of a task.
    """

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        status = RunStatus.FINISHED if error is None else _status_of(error)
        stack = _stack.get()
        places = [place for place, run in enumerate(stack) if run is self]
        # Runs that were started inside the block and never ended go with it.
        for run in reversed(stack[places[0] :] if places else (self,)):
            _end(run, status)


_stack: ContextVar[tuple[ActiveRun, ...]] = ContextVar("headrace_active_runs", default=())
_last: ContextVar[str | None] = ContextVar("headrace_last_run", default=None)


class _Open:
    """The runs that this process started and has not ended, with the client of each."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.runs: dict[str, Client] = {}
        self.inherited: set[str] = set()
        self.hooked = False
        os.register_at_fork(after_in_child=self.after_fork)

    def after_fork(self) -> None:
        # They are the parent's to end, unless the child says end_run. It may go on logging to them.
        self.lock = threading.Lock()
        self.inherited |= set(self.runs)
        self.runs = {}

    def add(self, run_id: str, client: Client) -> None:
        with self.lock:
            self.runs[run_id] = client
            if not self.hooked:
                # Only now: exit hooks run last-in first-out, and the stores' is in place already.
                self.hooked = True
                atexit.register(self.end_all)

    def take(self, run_id: str) -> Client | None:
        with self.lock:
            return self.runs.pop(run_id, None)

    def end_all(self) -> None:
        """At exit: end what is open; FAILED when the program died of an exception."""
        error = getattr(sys, "last_value", None)
        status = RunStatus.FINISHED if error is None else _status_of(error)
        for run_id in list(self.runs):
            client = self.take(run_id)
            try:
                if client is not None:
                    client.set_terminated(run_id, status)
            except HeadraceError as failure:  # the process is ending: all that is left is to say so
                _logger.warning("Run %s could not be ended: %s", run_id, failure)


_open = _Open()


def active_run() -> ActiveRun | None:
    """The active run of this context, None if there is none.

    It is the run as it was when it started; `get_run` gives it with what was logged since.
    """
    runs = _stack.get()
    return runs[-1] if runs else None


def last_active_run() -> Run | None:
    """The active run, else the one that was active last in this context, as it is now."""
    run = active_run()
    if run is not None:
        return run
    run_id = _last.get()
    return None if run_id is None else choice.client().get_run(run_id)


def active_or_new() -> ActiveRun:
    """The active run; one is started if there is none, and ends with the process."""
    return active_run() or start_run()


def start_run(
    run_id: str | None = None,
    experiment_id: str | None = None,
    run_name: str | None = None,
    nested: bool = False,
    parent_run_id: str | None = None,
    tags: Mapping[str, Any] | None = None,
    description: str | None = None,
    log_system_metrics: bool | None = None,
) -> ActiveRun:
    """Start a run, or go on with an existing one, and make it the active run of this context.

    Use it as context manager, or end the run with `end_run`; else it ends with the process.

    Args:
        run_id: Go on with this run: its status becomes RUNNING again. Default: ``HEADRACE_RUN_ID`` or
            ``MLFLOW_RUN_ID`` if set (for the first run of the process), else a new run.
        experiment_id: Of the new run. Default: its parent's, else see `set_experiment`.
        run_name: Default: a random one. An existing run is renamed.
        nested: Allow an active run, and make it the parent of the new one.
        parent_run_id: Parent of the new run, if it is not the active one.
        tags: Values are taken as text.
        description: Shown with the run; kept as tag ``mlflow.note.content``.
        log_system_metrics: Accepted, but this version does not collect system metrics.

    Raises:
        InvalidState: A run is active and ``nested`` is not set; or the run to go on with, or the
            parent, is deleted or does not fit the experiment.
        NotFound: No run of that id.
    """
    current = active_run()
    if current is not None and not nested:
        raise InvalidState(
            f"Run with UUID {current.info.run_id} is already active. To start a new run, first end the "
            "current run with end_run(). To start a nested run, call start_run with nested=True."
        )
    if log_system_metrics or (log_system_metrics is None and flag("ENABLE_SYSTEM_METRICS_LOGGING")):
        _logger.warning("This version of headrace does not collect system metrics.")
    given = {str(key): str(value) for key, value in (tags or {}).items()}
    if description:
        if NOTE_TAG in given:
            raise InvalidParameter(f"Give the description, or the tag {NOTE_TAG}, not both.")
        given[NOTE_TAG] = description
    client = choice.client()
    run_id = run_id or inherited_run_id()
    run = (
        _resumed(client, run_id, experiment_id, run_name, given)
        if run_id
        else _created(client, current, parent_run_id, experiment_id, run_name, given)
    )
    active = ActiveRun(**{name: getattr(run, name) for name in Run.__struct_fields__})
    _open.add(active.info.run_id, client)
    _stack.set((*_stack.get(), active))
    _last.set(active.info.run_id)
    return active


def end_run(status: str = RunStatus.FINISHED) -> None:
    """End the active run of this context; nothing happens if there is none.

    Args:
        status: FINISHED, FAILED or KILLED.
    """
    run = active_run()
    if run is not None:
        inherited = run.info.run_id in _open.inherited
        _end(run, status, choice.client() if inherited else None)


def _created(
    client: Client,
    current: ActiveRun | None,
    parent_run_id: str | None,
    experiment_id: str | None,
    run_name: str | None,
    given: dict[str, str],
) -> Run:
    parent: Run | None = current
    if parent_run_id and (current is None or parent_run_id != current.info.run_id):
        if current is not None:
            raise InvalidState(
                f"Current run with UUID {current.info.run_id} does not match the specified "
                f"parent_run_id {parent_run_id}. To start a new nested run under that parent, first "
                "end the current run with end_run()."
            )
        parent = client.get_run(parent_run_id)
        if parent.info.lifecycle_stage == LifecycleStage.DELETED:
            raise InvalidState(
                f"Cannot start a run under parent run {parent_run_id}: it is deleted. "
                "Restore it with restore_run."
            )
    all_tags = default_tags()
    if parent is not None:
        all_tags[PARENT_RUN_TAG] = parent.info.run_id
    if run_name:
        all_tags[NAME_TAG] = run_name
    all_tags.update(given)
    where = experiment_id
    if where is None:
        where = parent.info.experiment_id if parent is not None else chosen_experiment()
    return client.create_run(where, tags=all_tags, run_name=run_name)


def _resumed(
    client: Client,
    run_id: str,
    experiment_id: str | None,
    run_name: str | None,
    given: dict[str, str],
) -> Run:
    run = client.get_run(run_id)
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
    client.update_run(run_id, RunStatus.RUNNING, run_name)
    if given:
        client.log_batch(run_id, tags=given)
    return client.get_run(run_id)


def _end(run: ActiveRun, status: str, client: Client | None = None) -> None:
    """Take a run off the stack; set its status unless that was done, or ``client`` is to do it."""
    _stack.set(tuple(other for other in _stack.get() if other is not run))
    client = _open.take(run.info.run_id) or client
    if client is not None:
        client.set_terminated(run.info.run_id, status)


def _status_of(error: BaseException) -> RunStatus:
    if isinstance(error, SystemExit) and error.code in (None, 0):
        return RunStatus.FINISHED
    # asyncio is looked up, not imported: loading it takes longer than the rest of this package.
    cancelled = getattr(sys.modules.get("asyncio"), "CancelledError", KeyboardInterrupt)
    if isinstance(error, KeyboardInterrupt | cancelled):
        return RunStatus.KILLED
    return RunStatus.FAILED
