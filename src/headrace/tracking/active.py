"""The active run: what logging functions log to when they are given no run.

It belongs to the context (`contextvars`), not to the process: each thread has its own, starting with
none, and each asyncio task sees the run that was active where the task was made, and may start others
without disturbing anybody.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Mapping
from contextvars import ContextVar
from types import TracebackType
from typing import Any, Self

from headrace.client.values import now_ms
from headrace.entities import Run, RunStatus
from headrace.errors import HeadraceError, InvalidParameter, InvalidState
from headrace.protocol.ingest import UpdateRun
from headrace.protocol.limits import check_run_id
from headrace.tracking import background, ending
from headrace.tracking.alerts import raise_alert
from headrace.tracking.choice import choice
from headrace.tracking.origin import inherited_run_id
from headrace.tracking.recorder import Recorder, recorders
from headrace.tracking.starting import created, resumed
from headrace.tracking.stopping import STOP_TAG, OnStop, RunStopped, on_stop_of, stopping
from headrace.tracking.system_metrics import rank

_logger = logging.getLogger("headrace")

NOTE_TAG = "mlflow.note.content"
#: The traceback of the exception, or the place where the signal came, that ended a run.
TRACEBACK_TAG = "headrace.traceback"


class ActiveRun(Run, frozen=True):
    """A run that was started here: a `Run` as it was at its start, and a context manager that ends it.

    Leaving the block sets the status: FINISHED, or FAILED when an exception leaves it (its traceback is
    kept in the tag ``headrace.traceback``), or KILLED when that is KeyboardInterrupt or the cancellation
    of a task.
    """

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        status = RunStatus.FINISHED if error is None else ending.status_of(error)
        text = None if error is None or status == RunStatus.FINISHED else ending.text_of(error)
        runs = stack.get()
        places = [place for place, recorder in enumerate(runs) if recorder.run is self]
        # Runs that were started inside the block and never ended go with it.
        stopped = error.reason if isinstance(error, RunStopped) else None
        for recorder in reversed(runs[places[0] :] if places else _open.of(self)):
            _end(recorder, status, text, stopped)

    def alert(self, title: str, text: str = "", severity: str = "warn") -> None:
        """As `headrace.alert`, for this run."""
        raise_alert(recorder_of(self.info.run_id), title, text, severity)


#: Recorders of the runs that are active in this context, the innermost last.
stack: ContextVar[tuple[Recorder, ...]] = ContextVar("headrace_active_runs", default=())
_last: ContextVar[str | None] = ContextVar("headrace_last_run", default=None)


class _Open:
    """The runs that this process started and has not ended."""

    def __init__(self) -> None:
        self.lock = threading.RLock()  # a signal handler may end a run
        self.recorders: dict[str, Recorder] = {}
        self.inherited: set[str] = set()
        os.register_at_fork(after_in_child=self.after_fork)

    def after_fork(self) -> None:
        # They are the parent's to end, unless the child says end_run. It may go on logging to them.
        self.lock = threading.RLock()
        self.inherited |= set(self.recorders)
        self.recorders = {}

    def add(self, recorder: Recorder) -> None:
        with self.lock:
            self.recorders[recorder.run_id] = recorder
        # Not before: exit hooks run last-in first-out, and the journal's must be in place already.
        ending.watch(self.end_all)

    def take(self, recorder: Recorder) -> bool:
        """Whether it is ours to end: it was open, and now is not."""
        with self.lock:
            if self.recorders.get(recorder.run_id) is not recorder:
                return False
            del self.recorders[recorder.run_id]
            return True

    def of(self, run: ActiveRun) -> tuple[Recorder, ...]:
        """The recorder of a run that another context started."""
        return tuple(one for one in list(self.recorders.values()) if one.run is run)

    def end_all(self, status: RunStatus, trace: str | None) -> None:
        """When the process ends: end what is open."""
        for recorder in reversed(list(self.recorders.values())):
            try:
                _end(recorder, status, trace)
            except HeadraceError as failure:  # the process is ending: all that is left is to say so
                _logger.warning("Run %s could not be ended: %s", recorder.run_id, failure)
        background.finish()


_open = _Open()


def active_run() -> ActiveRun | None:
    """The active run of this context, None if there is none.

    It is the run as it was when it started; `get_run` gives it with what was logged since.
    """
    runs = stack.get()
    return runs[-1].run if runs else None


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


def recorder_of(run_id: str | None) -> Recorder:
    """How to log to a run: to the active one, or a new one, when none is named."""
    runs = stack.get()
    if run_id is None:
        if not runs:
            start_run()
            runs = stack.get()
        return runs[-1]
    for recorder in reversed(runs):
        if recorder.run_id == run_id:
            return recorder
    check_run_id(run_id)
    return _open.recorders.get(run_id) or recorders.get(choice.client().tracking_uri, run_id)


def start_run(
    run_id: str | None = None,
    experiment_id: str | None = None,
    run_name: str | None = None,
    nested: bool = False,
    parent_run_id: str | None = None,
    tags: Mapping[str, Any] | None = None,
    description: str | None = None,
    log_system_metrics: bool | None = None,
    shared: bool = False,
    on_stop: OnStop | None = None,
) -> ActiveRun:
    """Start a run, or go on with an existing one, and make it the active run of this context.

    Use it as context manager, or end the run with `end_run`; else it ends with the process. When the
    server cannot be reached, or with ``HEADRACE_OFFLINE=1``, the run is recorded in this machine's
    journal and sent when the server is back, or by ``headrace sync``.

    Args:
        run_id: Go on with this run: its status becomes RUNNING again. Default: ``HEADRACE_RUN_ID`` or
            ``MLFLOW_RUN_ID`` if set (for the first run of the process), else a new run.
        experiment_id: Of the new run. Default: its parent's, else see `set_experiment`.
        run_name: Default: a random one. An existing run is renamed.
        nested: Allow an active run, and make it the parent of the new one.
        parent_run_id: Parent of the new run, if it is not the active one.
        tags: Values are taken as text.
        description: Shown with the run; kept as tag ``mlflow.note.content``.
        log_system_metrics: Whether to sample CPU, memory, disk, network and GPUs. Default: yes, unless
            ``HEADRACE_CAPTURE`` or ``HEADRACE_ENABLE_SYSTEM_METRICS_LOGGING`` says no.
        shared: Many processes, on any number of machines, log to the run ``run_id``: it is created by
            whoever comes first, system metrics are named by rank, and only rank 0 (or everybody, where
            there are no ranks) ends it, but everybody can fail it.
        on_stop: What happens when the run is asked to stop: ``"raise"`` raises `RunStopped` in the thread that
            started the run; ``"ignore"`` does nothing, and the program asks `stop_requested`; a function is
            called with the reason, in a thread of its own. Default: ``HEADRACE_ON_STOP``, else ``"raise"``.

    Raises:
        InvalidState: A run is active and ``nested`` is not set; or the run to go on with, or the
            parent, is deleted or does not fit the experiment.
        NotFound: No run of that id.
        InvalidParameter: ``shared`` without ``run_id``, a tag that is not acceptable, or another ``on_stop``.
    """
    current = active_run()
    if current is not None and not nested:
        raise InvalidState(
            f"Run with UUID {current.info.run_id} is already active. To start a new run, first end the "
            "current run with end_run(). To start a nested run, call start_run with nested=True."
        )
    action = on_stop_of(on_stop)
    given = {str(key): str(value) for key, value in (tags or {}).items()}
    if description:
        if NOTE_TAG in given:
            raise InvalidParameter(f"Give the description, or the tag {NOTE_TAG}, not both.")
        given[NOTE_TAG] = description
    run_id = run_id or inherited_run_id()
    if run_id:
        check_run_id(run_id)
    if shared and not run_id:
        raise InvalidParameter("A shared run needs a run_id that all who log to it agree on.")
    run, start = (
        resumed(run_id, experiment_id, run_name, given, shared=shared)
        if run_id
        else created(None, current, parent_run_id, experiment_id, run_name, given)
    )
    active = ActiveRun(**{name: getattr(run, name) for name in Run.__struct_fields__})
    recorder = Recorder(choice.client().tracking_uri, active.info.run_id, shared=shared)
    recorder.run = active
    recorder.start = start
    stopping.watch(recorder.run_id, action)
    recorder.journal.begin(recorder.run_id)
    _open.add(recorder)
    stack.set((*stack.get(), recorder))
    _last.set(recorder.run_id)
    background.begin(recorder, metrics=log_system_metrics, nested=current is not None)
    return active


def end_run(status: str = RunStatus.FINISHED) -> None:
    """End the active run of this context; nothing happens if there is none.

    What was logged to it is sent before this returns, unless the store is away.

    Args:
        status: FINISHED, FAILED or KILLED.

    Raises:
        InvalidParameter: Another status; the run goes on.
    """
    try:
        final = RunStatus(str(status).upper())
    except ValueError:
        raise InvalidParameter(
            f"Invalid run status '{status}': end a run as FINISHED, FAILED or KILLED."
        ) from None
    runs = stack.get()
    if runs:
        _end(runs[-1], final, None)


def stop_requested(run_id: str | None = None) -> str | None:
    """Why the run was asked to stop; None when it was not.

    It is known within a second while the run logs, and else within a few. The run may go on as long as it likes.

    Args:
        run_id: Default: the active run of this context, and those that it is nested in.
    """
    ids = [one.run_id for one in stack.get()] if run_id is None else [run_id]
    return next((why for one in ids if (why := stopping.reason(one)) is not None), None)


def _end(
    recorder: Recorder, status: RunStatus, trace: str | None, stopped: str | None = None
) -> None:
    """Take a run off the stack; end it, unless that was done or is the parent process's to do.

    Args:
        recorder: The run's.
        status: How it ended.
        trace: The traceback, if an exception ended it.
        stopped: Why it was stopped, if it was.
    """
    stack.set(tuple(other for other in stack.get() if other is not recorder))
    inherited = recorder.run_id in _open.inherited
    _open.inherited.discard(recorder.run_id)
    if not _open.take(recorder) and not inherited:
        return
    stopped = stopping.reason(recorder.run_id) or stopped
    stopping.forget(recorder.run_id)
    background.end(recorder)
    if stopped and status == RunStatus.KILLED:
        recorder.tags({STOP_TAG: stopped})
    if trace and status != RunStatus.FINISHED:
        recorder.tags({TRACEBACK_TAG: trace})
    if not recorder.shared or status != RunStatus.FINISHED or not rank():
        recorder.step(UpdateRun(run_id=recorder.run_id, status=status, end_time=now_ms()))
    recorder.journal.end(recorder.run_id)
    recorder.journal.flush(None)
