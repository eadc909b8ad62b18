"""The journals of this process: one for each store that it logs to."""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from headrace.client.environment import flag, number
from headrace.client.journal.destination import Destination
from headrace.client.journal.drain import Drain, accepted
from headrace.client.journal.sources import remove
from headrace.client.journal.staging import stage
from headrace.client.journal.writer import Writer
from headrace.protocol.ingest import Rejection, Step
from headrace.protocol.stops import StopNotice

_log = logging.getLogger("headrace")

#: Seconds that the end of a process waits at most for what it logged to arrive.
_FLUSH_TIMEOUT = 30.0
#: Seconds of it that may go to what other processes left.
_ADOPTION = 5.0
#: Seconds that a fork waits for modules that are being imported.
_IMPORTS = 2.0
#: Seconds until it says what it waits for.
_QUIET = 1.0


class Journal:
    """What this process logs to one store, and its way there.

    Thread-safe.

    Attributes:
        writer: Takes records.
        before_flush: Called at the start of each flush, and by the drain before it looks at the journal.
        on_stop: Called, by the drain, when the store says that a run is to stop; maybe many times.
    """

    def __init__(self, uri: str) -> None:
        """Begin a journal.

        Args:
            uri: The store, as for `headrace.Client`, with credentials if need be.
        """
        self._destination = Destination(uri)
        self.writer = Writer(self._destination.shown)
        self._offline = flag("OFFLINE")
        self._drain = Drain(self.writer, self._destination)
        self._closed = False
        self.before_flush: list[Callable[[], None]] = self._drain.before
        self.on_stop: list[Callable[[StopNotice], None]] = self._drain.listener.on_stop
        if not self._offline:
            self._drain.start()

    @property
    def native(self) -> bool | None:
        """Whether the store is headrace's; False for a plain MLflow server, None while not known."""
        return self._destination.native

    @property
    def reachable(self) -> bool | None:
        """Whether the store could be asked the last time; None before the first."""
        return self._destination.reachable

    def probe(self, timeout: float) -> bool | None:
        """`native`, after asking the store if that is not known, or if it was away.

        Args:
            timeout: Seconds to wait for its answer.

        Returns:
            None when it cannot be reached in that time, or offline.
        """
        return None if self._offline else self._drain.connect(timeout)

    def step(self, step: Step) -> None:
        """Append a step.

        Raises:
            InvalidParameter: See `Writer.step`.
        """
        self.writer.step(step)

    def begin(self, run_id: str) -> None:
        """Send signs of life for a run from now on."""
        self._drain.begin(run_id)

    def end(self, run_id: str) -> None:
        """Send none any more."""
        self._drain.end(run_id)

    def flush(self, timeout: float | None) -> bool:
        """Wait until everything that was accepted before this call is applied at the store.

        Args:
            timeout: Seconds; None waits as long as the store takes records.

        Returns:
            Whether it is. Offline there is nothing to wait for: True.
        """
        self._collect()
        if self._offline or self._closed:
            return True
        return self._drain.wait(accepted(self.writer), timeout)

    @property
    def pending(self) -> bool:
        """Whether something was accepted that is not applied yet."""
        return not self._closed and accepted(self.writer) > self._drain.done

    def rejections(self, run_id: str) -> list[Rejection]:
        """What the store could not apply of a run; the last thousand of all runs are kept."""
        return [one for one in tuple(self._drain.rejections) if one.run_id == run_id]

    def stage(self, run_id: str, path: str, source: Path | bytes) -> None:
        """Keep a file in the journal until it is uploaded; it is copied now.

        Args:
            run_id: The run.
            path: The artifact's.
            source: A file, or bytes.

        Raises:
            OSError: The source cannot be read, or there is no room for the copy.
        """
        folder = self.writer.folder
        artifact = stage(folder, run_id, path, source, sync=flag("JOURNAL_SYNC"))
        self.writer.artifact(artifact)

    def close(self, timeout: float = 0.0) -> None:
        """Send what is left, as far as that takes no longer than ``timeout``, and let go of the files."""
        self._finish(time.monotonic() + timeout, loud=False)

    @property
    def idle(self) -> bool:
        """Whether nothing waits and no run is under way."""
        return not (self.pending or self._drain.watches)

    def abandon(self) -> None:
        """In a forked child: it is the parent's."""
        self._closed = True
        self.writer.abandon()

    def _collect(self) -> None:
        if not self._closed:
            self._drain.collect()

    def _finish(self, deadline: float, *, loud: bool = True, adopt: bool = True) -> None:
        if self._closed:
            return
        self._collect()
        interrupted = False
        if not self._offline:
            try:
                self._send(deadline, loud)
            except KeyboardInterrupt:
                interrupted = True
        # A request may be under way: give it a moment, or nothing if the user is impatient.
        stopped = self._drain.stop(0.0 if interrupted else max(deadline - time.monotonic(), 0.5))
        if adopt and stopped and not interrupted and not self._offline and not self.pending:
            self._drain.adopt(min(deadline, time.monotonic() + _ADOPTION))
        self._closed = True
        memory = any(one.path is None for one in self.writer.segments)
        complete = self.writer.close(self._drain.done)
        if complete and self.writer.folder is not None:
            remove(self.writer.folder)
        self._report(complete, memory)
        if stopped:
            self._destination.close()

    def _send(self, deadline: float, loud: bool) -> None:
        goal = accepted(self.writer)
        quiet = min(_QUIET, max(deadline - time.monotonic(), 0.0))
        if not quiet or self._drain.wait(goal, quiet):
            return
        left = deadline - time.monotonic()
        if left <= 0:
            return
        if loud:
            _say(
                f"sending {self._drain.remains():,} records to {self._destination.shown} "
                "(Ctrl-C leaves them for headrace sync)"
            )
        self._drain.wait(goal, left)

    def _report(self, complete: bool, memory: bool) -> None:
        if not complete and not self._offline:
            where = self.writer.folder
            if memory:
                _say(
                    f"{self._drain.remains():,} records were not sent to {self._destination.shown}; "
                    "those that found no room on the disk are lost."
                )
            else:
                _say(
                    f"{self._drain.remains():,} records for {self._destination.shown} wait in {where}; "
                    f"send them with: headrace sync {where}"
                )
        points, records = self.writer.dropped_points, self.writer.dropped_records
        if points or records:
            _say(
                f"{points:,} metric points and {records:,} other records were dropped: there was no room "
                "for them, neither on the disk nor in memory."
            )


class _Journals:
    """By the URI as it was given, so that two accounts on one server stay apart."""

    def __init__(self) -> None:
        # A signal handler may come here while its thread is in here.
        self.lock = threading.RLock()
        self.by_uri: dict[str, Journal] = {}
        self.hooked = False
        # Kept untouched: what they hold belongs to the parent.
        self.inherited: list[Journal] = []

    def after_fork(self) -> None:
        self.lock = threading.RLock()
        journals, self.by_uri = list(self.by_uri.values()), {}
        self.hooked = False
        for journal in journals:
            journal.abandon()
        self.inherited += journals

    def get(self, uri: str) -> Journal:
        journal = self.by_uri.get(uri)
        if journal is None:
            with self.lock:
                journal = self.by_uri.get(uri)
                if journal is None:
                    journal = self.by_uri[uri] = Journal(uri)
                    self.hook()
        return journal

    def hook(self) -> None:
        """See to it that what is left is sent when the process ends."""
        if self.hooked:
            return
        self.hooked = True
        # Exit hooks run after the last moment at which threads can be started, which opening a store
        # needs. This one (of Python's own thread pools) runs before.
        early = getattr(threading, "_register_atexit", None)
        if early is not None:
            with contextlib.suppress(RuntimeError):  # that moment is over
                early(self.open_all)
        # Children of multiprocessing leave without exit hooks.
        process = sys.modules.get("multiprocessing.process")
        if process is not None and process.parent_process() is not None:
            from multiprocessing.util import Finalize

            Finalize(None, self.finish_all, exitpriority=100)

    def open_all(self) -> None:
        """Let stores be opened that something waits for."""
        for journal in list(self.by_uri.values()):
            if journal.pending and journal.reachable is None and journal.native is None:
                journal.probe(_timeout())

    def finish_all(self) -> None:
        """Send what is left, for a limited time."""
        deadline = time.monotonic() + _timeout()
        with self.lock:
            journals, self.by_uri = list(self.by_uri.values()), {}
        for journal in journals:
            try:
                journal._finish(deadline)
            except Exception as error:  # noqa: BLE001 - the process is ending: all that is left is to say so
                _log.warning("The journal %s was not sent: %s", journal.writer.folder, error)


def _let_imports_end() -> None:
    """Before a fork: wait until no thread of ours is importing a module.

    The lock of a module that is being imported would stay locked in the child, and whoever imports that
    module there, the user's code too, would wait for ever.
    """
    locks = getattr(sys.modules.get("importlib._bootstrap"), "_module_locks", None)
    if not isinstance(locks, dict):  # another Python
        return
    deadline = time.monotonic() + _IMPORTS
    while time.monotonic() < deadline:
        ours = {one.ident for one in threading.enumerate() if one.name.startswith("headrace-")}
        found = [reference() for reference in list(locks.values())]
        if not any(getattr(lock, "owner", None) in ours for lock in found if lock is not None):
            return
        time.sleep(0.001)


_journals = _Journals()
os.register_at_fork(before=_let_imports_end, after_in_child=_journals.after_fork)
# At import, so that hooks of those who log, which come later, run before.
atexit.register(_journals.finish_all)


def journal_for(uri: str) -> Journal:
    """This process's journal for a store; made on first use.

    Args:
        uri: As given to `headrace.Client`; it may hold credentials, which are not written down.
    """
    return _journals.get(uri)


def flush(timeout: float | None = None) -> bool:
    """Wait until everything that this process logged is applied, at every store.

    Args:
        timeout: Seconds for all of them; None waits as long as the stores take records.

    Returns:
        Whether it is.
    """
    deadline = None if timeout is None else time.monotonic() + timeout
    complete = True
    for journal in list(_journals.by_uri.values()):
        left = None if deadline is None else max(deadline - time.monotonic(), 0.0)
        complete = journal.flush(left) and complete
    return complete


def pending(uri: str) -> bool:
    """Whether something was logged to a store that is not applied there yet; cheap."""
    journal = _journals.by_uri.get(uri)
    return journal is not None and journal.pending


def retire(uri: str) -> bool:
    """Let go of the journal for a store, if there is one, nothing waits in it and no run is under way.

    Returns:
        Whether there is none now.
    """
    journal = _journals.by_uri.get(uri)
    if journal is not None:
        if not journal.idle:
            return False
        _journals.by_uri.pop(uri, None)  # first: who logs to it after all begins another one
        journal._finish(time.monotonic(), loud=False, adopt=False)
    return True


def sync_before(uri: str, timeout: float | None = None) -> bool:
    """Before a store is read: wait for what this process logged to it.

    Args:
        uri: The store.
        timeout: As for `Journal.flush`.

    Returns:
        Whether it has arrived.
    """
    journal = _journals.by_uri.get(uri)
    return journal is None or not journal.pending or journal.flush(timeout)


def _timeout() -> float:
    try:
        return number("FLUSH_TIMEOUT", _FLUSH_TIMEOUT)
    except Exception as error:  # noqa: BLE001 - a bad setting must not cost the data at exit
        _log.warning("%s", error)
        return _FLUSH_TIMEOUT


def _say(message: str) -> None:
    """Tell whoever sits before the terminal; loggers may be gone at this time."""
    with contextlib.suppress(OSError, ValueError, AttributeError):  # there is nobody to tell
        print(f"headrace: {message}", file=sys.stderr, flush=True)
