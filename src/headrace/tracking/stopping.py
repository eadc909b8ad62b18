"""Runs that are asked to stop: who learns of it in this process, and how.

The drain hears it from the store, in the answer to what it sends or by asking. Then, for a run that was started
here, one of three things happens, once: `RunStopped` is raised in the thread that started the run; a function
is called; or nothing, and the program asks `stop_requested` itself.

In the main thread it is raised by a signal handler, since nothing else reaches a thread that waits. The signal is
SIGURG: nobody sends it to programs, few handle it, and it does nothing where no handler is. SIGINT would do too, but
asyncio, trio and others look whether its handler is Python's own before they put theirs there. If the program handles
SIGINT in its own way, then that is how it wants to be interrupted, and its handler is called instead.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any, NamedTuple

from headrace.client.environment import setting
from headrace.errors import InvalidParameter
from headrace.protocol.stops import StopNotice

_log = logging.getLogger("headrace")

#: Why a run that ended as KILLED was asked to stop.
STOP_TAG = "headrace.stop_reason"
RAISE, IGNORE = "raise", "ignore"
_NO_REASON = "no reason was given"
_WAKE = getattr(signal, "SIGURG", None)
_MOST_REASONS = 10_000

OnStop = str | Callable[[str], object]


class RunStopped(KeyboardInterrupt):
    """The run was asked to stop: by ``headrace runs stop``, by a rule, by somebody in the UI.

    A KeyboardInterrupt, because that is what a stop from outside is to a program: no ``except Exception`` that goes
    on with the next trial or batch swallows it, an event loop lets it through, and frameworks that clean up after
    Ctrl-C clean up.

    Attributes:
        run_id: The run.
        reason: Why, for people.
    """

    def __init__(self, run_id: str = "", reason: str = "") -> None:
        super().__init__(f"Run {run_id} was asked to stop: {reason}")
        self.run_id = run_id
        self.reason = reason


class _Target(NamedTuple):
    """What is done about a run; ``thread`` is None for the main thread."""

    action: OnStop
    thread: int | None


class Stopping:
    """The runs of this process, and which of them were asked to stop. Thread-safe."""

    def __init__(self) -> None:
        self._reasons: dict[str, str] = {}
        self._targets: dict[str, _Target] = {}  # the outermost run first
        self._due: set[str] = set()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._after_fork)

    def watch(self, run_id: str, on_stop: OnStop) -> None:
        """Do something when a run is asked to stop, from now on.

        Args:
            run_id: The run; this thread started it.
            on_stop: See `on_stop_of`.
        """
        main = threading.current_thread() is threading.main_thread()
        self._reasons.pop(run_id, None)
        self._targets[run_id] = _Target(on_stop, None if main else threading.get_ident())
        if main and on_stop == RAISE:
            self._install()

    def forget(self, run_id: str) -> None:
        """The run has ended."""
        self._targets.pop(run_id, None)
        self._reasons.pop(run_id, None)
        self._due.discard(run_id)

    def reason(self, run_id: str) -> str | None:
        """Why a run was asked to stop; None when it was not."""
        return self._reasons.get(run_id)

    def heard(self, notice: StopNotice) -> None:
        """A store says that a run is to stop; it says so again and again. Called by the drain."""
        run_id = notice.run_id
        if run_id in self._reasons:
            return
        if len(self._reasons) >= _MOST_REASONS:
            self._reasons.clear()  # of runs that are logged to by id
        reason = self._reasons[run_id] = notice.reason or _NO_REASON
        target = self._targets.get(run_id)
        if target is None:
            return  # it is logged to here, but somebody else's to stop
        _log.warning("Run %s was asked to stop: %s", run_id, reason)
        if callable(target.action):
            threading.Thread(
                target=target.action, args=(reason,), name="headrace-on-stop", daemon=True
            ).start()
        elif target.action == RAISE:
            self._interrupt(run_id, reason, target.thread)

    def _interrupt(self, run_id: str, reason: str, thread: int | None) -> None:
        if thread is not None and _raise_in(thread, run_id, reason):
            return
        self._due.add(run_id)
        main = threading.main_thread().ident
        kill = getattr(signal, "pthread_kill", None)
        if kill is None or main is None:
            import _thread

            _thread.interrupt_main()
        elif _WAKE is not None and signal.getsignal(_WAKE) == self._on_signal:
            kill(main, _WAKE)
        elif callable(signal.getsignal(signal.SIGINT)):
            kill(main, signal.SIGINT)  # a KeyboardInterrupt, unless the program has its own way

    def _install(self) -> None:
        if _WAKE is not None and signal.getsignal(_WAKE) is signal.SIG_DFL:
            with contextlib.suppress(ValueError):  # a second interpreter in this process
                signal.signal(_WAKE, self._on_signal)

    def _on_signal(self, signum: int, frame: FrameType | None) -> None:
        # In the main thread, between any two of its instructions.
        due = [run_id for run_id in list(self._targets) if run_id in self._due]
        self._due.clear()
        if not due:
            return  # the run has ended since
        own = signal.getsignal(signal.SIGINT)
        if callable(own) and own is not signal.default_int_handler:
            own(signal.SIGINT, frame)
            return
        raise RunStopped(due[0], self._reasons.get(due[0], _NO_REASON))

    def _after_fork(self) -> None:
        # The child logs to the parent's runs, and hears of them from its own drain. The thread that forked is the
        # child's main thread, and the handler is still there.
        self._targets = {one: _Target(it.action, None) for one, it in self._targets.items()}
        self._due = set()


def _raise_in(thread: int, run_id: str, reason: str) -> bool:
    """Raise `RunStopped` in another thread, when it next runs Python code; False when it is gone."""
    import ctypes  # only here: it takes milliseconds to load

    class Stopped(RunStopped):
        def __init__(self, *_: Any) -> None:  # the interpreter makes it, without arguments
            super().__init__(run_id, reason)

    Stopped.__name__ = Stopped.__qualname__ = RunStopped.__name__
    raise_in = ctypes.pythonapi.PyThreadState_SetAsyncExc
    return bool(raise_in(ctypes.c_ulong(thread), ctypes.py_object(Stopped)))


def on_stop_of(given: OnStop | None) -> OnStop:
    """What to do when a run is asked to stop: as given, else as ``HEADRACE_ON_STOP`` says, else raise.

    Raises:
        InvalidParameter: Neither ``raise`` nor ``ignore`` nor a function.
    """
    chosen = given if given is not None else setting("ON_STOP") or RAISE
    if callable(chosen) or chosen in (RAISE, IGNORE):
        return chosen
    where = "on_stop" if given is not None else "HEADRACE_ON_STOP"
    raise InvalidParameter(
        f"Invalid value for {where}: {str(chosen)[:60]!r}; give 'raise' or 'ignore'"
        + (", or a function that takes the reason." if given is not None else ".")
    )


stopping = Stopping()
