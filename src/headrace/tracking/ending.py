"""How this process ends, told once to whoever has runs open.

- It comes to its end, or raises: told at exit (`atexit`), with the traceback. Nothing is patched for it:
  the interpreter keeps the exception (``sys.last_value``).
- ``sys.exit(code)``: the interpreter keeps no trace of it. ``sys.exit`` is wrapped to remember the code,
  and the frame that the program began in tells at exit whether it was left by an exception. A plain
  ``raise SystemExit(3)``, or a ``sys.exit`` taken hold of before, is not seen, and counts as an end like
  any other; ``with start_run():`` sees every one.
- SIGTERM: told from a thread of its own, while the interrupted code goes on, so that locks which it
  holds come free; then the process dies of the signal, as it would have. A handler that somebody else
  installed, before us or after, has precedence: ours is not there then.
- A child of `multiprocessing`: told when its work is done, with its exception.

SIGKILL, ``os._exit`` and a crash of the interpreter tell nobody; the run is shown as lost then.

``watch`` is called at every start of a run, and costs nothing when all is in place::

    ending.watch(end_all)   # end_all(status, text): at most once in a process
"""

from __future__ import annotations

import atexit
import builtins
import contextlib
import functools
import logging
import opcode
import os
import select
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from types import FrameType
from typing import Any, NoReturn

from headrace.client.environment import number
from headrace.entities import RunStatus
from headrace.errors import InvalidParameter

_logger = logging.getLogger("headrace")

OnEnd = Callable[[RunStatus, str | None], None]

#: Bytes of a traceback that are kept: its beginning and, mostly, its end, where the message is.
MAX_TEXT = 64 << 10
_MAX_THREADS = 4
#: Seconds in which a second SIGTERM is taken for the same one: a launcher and its group send both.
_SAME_SIGNAL = 1.0
#: Seconds that the main thread is given to run its handler, before it counts as stuck in C.
_STUCK = 1.0
#: Exit codes by which programs say which signal they obeyed: 128 and its number.
_KILLED = frozenset((128 + signal.SIGINT, 128 + signal.SIGTERM))
_RETURNS = ("RETURN_VALUE", "RETURN_CONST")
#: What our handler writes to the watching thread; the interpreter writes the number of the signal.
_HANDLED = 255


class Ending:
    """The end of this process. One for each process; a forked child begins anew."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._on_end: OnEnd | None = None
        self._told = threading.Lock()  # taken once, by whoever tells
        self._done = threading.Event()  # they have told
        self._begun = False  # SIGTERM came
        self._exit: tuple[Any, str] | None = None  # the last sys.exit of the main thread
        self._wrapped_exit = False
        self._root: FrameType | None = None
        self._threads: list[str] = []
        self._watches_threads = False
        self._pipe: tuple[int, int] | None = None
        self._before_fork = threading.local()
        self._hooked = False

    def watch(self, on_end: OnEnd) -> None:
        """Tell ``on_end`` when and how this process ends, if nobody is told yet.

        The first call that comes from the main thread installs what only the main thread can.

        Args:
            on_end: Called once: at exit in the main thread, with FINISHED, FAILED or KILLED; or with
                KILLED in another thread, when SIGTERM came, and given ``HEADRACE_FLUSH_TIMEOUT``
                seconds then. The text is the traceback, or where the main thread was; at most 64 KiB
                in UTF-8; None when there is nothing to say.
        """
        main = threading.current_thread() is threading.main_thread()
        with self._lock:
            if self._on_end is None:
                self._on_end = on_end
                atexit.register(self._at_exit, os.getpid())
                self._watch_child()
                self._watch_threads()
            if main:
                if self._root is None:
                    self._watch_exit()
                if self._pipe is None:
                    self._watch_signal()
            if not self._hooked and hasattr(os, "register_at_fork"):
                self._hooked = True
                os.register_at_fork(
                    before=self._block,
                    after_in_parent=self._unblock,
                    after_in_child=self._after_fork,
                )

    def _tell(self, status: RunStatus, text: str | None) -> None:
        if self._on_end is None:
            return
        if not self._told.acquire(blocking=False):
            self._done.wait(_flush_timeout())
            return
        if self._threads:
            text = "\n".join([*([text] if text else []), *self._threads])
        try:
            self._on_end(status, None if text is None else trimmed(text))
        except Exception:  # the process is ending, and must end as it would have
            _logger.warning("The open runs could not be ended.", exc_info=True)
        finally:
            self._done.set()

    # The end that everybody comes to.

    def _at_exit(self, process: int) -> None:
        if process != os.getpid():  # a forked child that left by sys.exit
            return
        if self._begun:  # the thread that SIGTERM woke is at work, and ends the process
            time.sleep(_flush_timeout() + _SAME_SIGNAL)
            return
        self._tell(*self._outcome())

    def _outcome(self) -> tuple[RunStatus, str | None]:
        # An interactive session goes on after an exception: it ends well, whatever was raised in it.
        if hasattr(sys, "ps1") or sys.flags.interactive:
            return RunStatus.FINISHED, None
        error = getattr(sys, "last_value", None)
        if isinstance(error, BaseException):
            return status_of(error), text_of(error)
        if self._exit is None or not self._left_by_exception():
            return RunStatus.FINISHED, None
        code, where = self._exit
        status = status_of(SystemExit(code))
        return status, None if status == RunStatus.FINISHED else where

    def _left_by_exception(self) -> bool:
        root = self._root
        if root is None or root.f_lasti < 0:
            return False
        return opcode.opname[root.f_code.co_code[root.f_lasti]] not in _RETURNS

    # sys.exit

    def _watch_exit(self) -> None:
        frame: FrameType | None = sys._getframe()
        while frame is not None:
            self._root, frame = frame, frame.f_back
        if self._wrapped_exit:
            return
        self._wrapped_exit = True
        real = sys.exit

        @functools.wraps(real)
        def exit(status: Any = None, /) -> NoReturn:
            self._note_exit(status)
            real(status)

        sys.exit = exit
        # `exit(3)` and `quit(3)`, which `site` makes for interactive use, and scripts use all the same.
        quitter = type(getattr(builtins, "exit", None))
        if quitter.__module__ == "_sitebuiltins":
            call = quitter.__call__

            @functools.wraps(call)
            def called(this: Any, code: Any = None) -> Any:
                self._note_exit(code)
                return call(this, code)

            quitter.__call__ = called  # type: ignore[method-assign]

    def _note_exit(self, code: Any) -> None:
        if threading.current_thread() is threading.main_thread():
            with contextlib.suppress(Exception):  # leaving must work whatever the code's repr does
                stack = "".join(traceback.format_stack(sys._getframe(2)))
                self._exit = code, f"Stack (most recent call last):\n{stack}SystemExit: {code}\n"

    # Threads and children

    def _watch_threads(self) -> None:
        """Keep the tracebacks of threads that died: the program may go on without them, or fail."""
        if self._watches_threads:  # the parent did
            return
        self._watches_threads = True
        before = threading.excepthook

        def hook(args: Any, /) -> None:
            with contextlib.suppress(Exception):  # the hook before must be called
                if args.exc_type is not SystemExit and len(self._threads) < _MAX_THREADS:
                    name = args.thread.name if args.thread is not None else "?"
                    self._threads.append(f"Exception in thread {name}:\n{text_of(args.exc_value)}")
            before(args)

        threading.excepthook = hook

    def _watch_child(self) -> None:
        """In a child of multiprocessing, which leaves by os._exit: no exit hooks run there."""
        process = sys.modules.get("multiprocessing.process")
        if process is None or process.parent_process() is None:
            return
        from multiprocessing import util

        util.Finalize(None, self._child_ends, args=(os.getpid(),), exitpriority=10)

    def _child_ends(self, process: int) -> None:
        if process == os.getpid() and not self._begun:
            error = sys.exc_info()[1]
            status = RunStatus.FINISHED if error is None else status_of(error)
            self._tell(status, None if error is None else text_of(error))

    # SIGTERM

    def _watch_signal(self) -> None:
        if os.name != "posix" or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
            return  # somebody's handler, or none may die of it: as it is
        read, write = os.pipe()
        os.set_blocking(write, False)
        self._pipe = (read, write)
        threading.Thread(
            target=self._wait, args=(read,), name="headrace-ending", daemon=True
        ).start()
        signal.signal(signal.SIGTERM, self._on_signal)
        # The interpreter's own handler writes there even while the main thread is deep in C, where no
        # handler of Python's runs. It can have one place: we take it only if nobody has.
        taken = signal.set_wakeup_fd(write, warn_on_full_buffer=False)
        if taken != -1:
            signal.set_wakeup_fd(taken)

    def _on_signal(self, signum: int, frame: FrameType | None) -> None:
        # In the main thread, between any two of its instructions: no lock may be waited for here.
        self._begun = True
        if self._pipe is not None:
            with contextlib.suppress(OSError):  # full of signals: they wake the thread as well
                os.write(self._pipe[1], bytes((_HANDLED,)))

    def _wait(self, pipe: int) -> None:
        """The watching thread."""
        while data := os.read(pipe, 1):
            if data[0] == _HANDLED:
                break
            if data[0] == signal.SIGTERM and self._ours() and self._stuck(pipe):
                break
        self._begun = True
        where = "Killed by SIGTERM while the main thread was here (most recent call last):\n"
        frame = sys._current_frames().get(threading.main_thread().ident or 0)
        while frame is not None and frame.f_code is Ending._on_signal.__code__:
            frame = frame.f_back
        stack = "".join(traceback.format_stack(frame)) if frame is not None else ""
        status, text = RunStatus.KILLED, where + stack
        error = getattr(sys, "last_value", None)
        if isinstance(error, BaseException) and not hasattr(sys, "ps1"):
            # It had failed before, and was waiting for its threads.
            status, text = status_of(error), text_of(error)
        self._finish(status, text)

    def _ours(self) -> bool:
        return signal.getsignal(signal.SIGTERM) == self._on_signal

    def _stuck(self, pipe: int) -> bool:
        """Whether the main thread cannot run our handler, though the signal came.

        A byte alone is not proof: a child that C code forked shares the pipe. If the main thread goes
        on with Python, then the signal was not for us.
        """
        main = threading.main_thread().ident or 0
        frame = sys._current_frames().get(main)
        place = frame and frame.f_lasti
        if select.select([pipe], [], [], _STUCK)[0]:
            return False  # our handler has spoken, or another signal came: the loop reads it
        again = sys._current_frames().get(main)
        return again is frame and (again and again.f_lasti) == place

    def _finish(self, status: RunStatus, text: str) -> None:
        """Tell, for as long as we may; then die of the signal."""
        patience = _flush_timeout()
        worker = threading.Thread(
            target=self._tell, args=(status, text), name="headrace-last-words", daemon=True
        )
        try:
            worker.start()
        except RuntimeError:  # the interpreter is shutting down already, and starts no threads
            self._tell(status, text)
        else:
            worker.join(min(patience, _SAME_SIGNAL))
            if worker.is_alive():
                _die_of_sigterm_next_time()
                worker.join(patience - _SAME_SIGNAL)
        _die_of_sigterm_next_time()
        os.kill(os.getpid(), signal.SIGTERM)

    # Forks: a signal that reaches the child before it has shed our handler would be lost, or taken for
    # the parent's. So it is held back meanwhile.

    def _block(self) -> None:
        if self._pipe is not None:
            self._before_fork.mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})

    def _unblock(self) -> None:
        mask = self._before_fork.__dict__.pop("mask", None)
        if mask is not None:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)

    def _after_fork(self) -> None:
        mask = self._before_fork.__dict__.pop("mask", None)
        pipe, self._pipe = self._pipe, None
        self._lock, self._told, self._before_fork = (
            threading.Lock(),
            threading.Lock(),
            threading.local(),
        )
        self._done = threading.Event()
        self._on_end, self._exit, self._root, self._begun, self._threads = (
            None,
            None,
            None,
            False,
            [],
        )
        if pipe is not None:
            with contextlib.suppress(ValueError):  # forked by a thread that is not the main one now
                if self._ours():
                    signal.signal(signal.SIGTERM, signal.SIG_DFL)
                place = signal.set_wakeup_fd(-1)
                if place not in (-1, pipe[1]):
                    signal.set_wakeup_fd(place)
            for descriptor in pipe:
                os.close(descriptor)
        if mask is not None:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def _die_of_sigterm_next_time() -> None:
    """Give SIGTERM its default disposition: from any thread, and even if the main one is stuck."""
    try:
        import ctypes  # only here: it takes milliseconds to load

        # Python's own `signal` is for the main thread. Handlers are pointers: the default one is null.
        libc = ctypes.CDLL(None)
        libc.signal.argtypes, libc.signal.restype = (ctypes.c_int, ctypes.c_void_p), ctypes.c_void_p
        libc.signal(signal.SIGTERM, None)
    except (ImportError, OSError, AttributeError):
        os._exit(128 + signal.SIGTERM)  # as shells tell it


def _flush_timeout() -> float:
    try:
        return number("FLUSH_TIMEOUT", 10.0)
    except InvalidParameter:  # no time to complain
        return 10.0


def status_of(error: BaseException) -> RunStatus:
    """How a run ends that an exception left."""
    if isinstance(error, SystemExit):
        if error.code is None or error.code == 0:
            return RunStatus.FINISHED
        killed = isinstance(error.code, int) and error.code in _KILLED
        return RunStatus.KILLED if killed else RunStatus.FAILED
    # asyncio is looked up, not imported: loading it takes longer than the rest of this package.
    cancelled = getattr(sys.modules.get("asyncio"), "CancelledError", KeyboardInterrupt)
    if isinstance(error, KeyboardInterrupt | cancelled):
        return RunStatus.KILLED
    return RunStatus.FAILED


def text_of(error: BaseException) -> str:
    """An exception's traceback as Python prints it, cut to 64 KiB of UTF-8."""
    try:
        return trimmed("".join(traceback.format_exception(error)))
    except Exception:  # noqa: BLE001 - an exception's own text may raise; its end must still be told
        return type(error).__name__


def trimmed(text: str) -> str:
    """Text cut in its middle to 64 KiB of UTF-8; characters that cannot be stored are replaced."""
    data = text.replace("\x00", "\\x00").encode("utf-8", "backslashreplace")
    if len(data) <= MAX_TEXT:
        return data.decode("utf-8")
    gap = b"\n[...]\n"
    head = MAX_TEXT // 4
    kept = data[:head], data[len(data) - (MAX_TEXT - head - len(gap)) :]
    return gap.decode().join(part.decode("utf-8", "ignore") for part in kept)


_ending = Ending()
watch = _ending.watch
