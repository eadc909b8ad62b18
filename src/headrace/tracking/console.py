"""What this process prints, caught beside the screen and handed on in the background.

The streams stay the objects that they are. While a run listens, ``write`` of ``sys.stdout`` and
``sys.stderr`` is ours: it calls the real one first, as if we were not there, and then puts the text on a
bounded pile. So ``isatty``, ``fileno``, ``reconfigure`` and the rest answer as before, and logging
handlers and progress bars that took hold of the stream earlier are caught as well. `Console.collect`,
called from a background thread, makes lines of the pile.

    handle = console.attach(sink)   # a run begins
    console.collect()               # every half second, from a thread
    handle.detach()                 # the run ends: what is left goes to the sink

With ``HEADRACE_CONSOLE=fd`` the file descriptors are caught too: see `descriptors`.
"""

from __future__ import annotations

import atexit
import contextlib
import io
import logging
import os
import sys
import threading
from collections import deque
from collections.abc import Callable, Sequence
from threading import get_ident
from time import time_ns
from typing import Any, Protocol, TextIO

from headrace.client.environment import setting
from headrace.protocol.ingest import ConsoleLine
from headrace.tracking.descriptors import Descriptors
from headrace.tracking.terminal import MAX_LINE, Terminal, moves

_logger = logging.getLogger("headrace")

STREAMS = ("stdout", "stderr")
#: Characters of a stream that may wait for `Console.collect`; what comes then is counted, not kept.
MAX_WAITING = 16 << 20
#: Threads of which the beginning of a line is held back.
_MAX_THREADS = 32
#: Milliseconds that it is held back: then it was no `print` that was about to end the line.
_MID_PRINT = 200
#: Seconds that a collection waits for another thread's.
_PATIENCE = 5.0


class Sink(Protocol):
    """Who is told what was printed. Called by `Console.collect` and `Handle.detach` alone."""

    def __call__(self, stream: str, lines: Sequence[ConsoleLine], unfinished: str) -> None:
        """Keep lines.

        Args:
            stream: ``stdout`` or ``stderr``.
            lines: Complete lines, in their order.
            unfinished: The line that is being written, which replaces the one of the last call; empty
                when there is none.
        """


class _Pile:
    """Text of one stream that waits to be collected.

    Threads add without a lock. The room that is left is counted roughly: two threads at once may count
    for one.
    """

    __slots__ = ("add", "entries", "lost", "lost_lines", "room")

    def __init__(self) -> None:
        self.entries: deque[tuple[int, int, Any]] = deque()
        self.add = self.entries.append
        self.room = MAX_WAITING
        self.lost = 0
        self.lost_lines = 0

    def lose(self, text: Any) -> None:
        self.lost += len(text)
        self.lost_lines += text.count("\n" if isinstance(text, str) else b"\n")


class _Feed:
    """Where a caught stream's text goes now: None is nowhere."""

    __slots__ = ("pile",)

    def __init__(self) -> None:
        self.pile: _Pile | None = None


class _Caught:
    """A stream whose ``write`` is ours until `release`."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream
        self.feed = _Feed()
        self._ours: list[tuple[Any, str, Any, Any]] = []
        self.encoding: str = getattr(stream, "encoding", None) or "utf-8"
        # Bytes that go to the buffer beneath are told from those of our own writes by who calls, which
        # works where nothing but C is between the two.
        plain = (
            isinstance(stream, io.TextIOWrapper)
            and type(stream).write is io.TextIOWrapper.write
            and type(stream).flush is io.TextIOWrapper.flush
            and not {"write", "flush"} & set(vars(stream))
        )
        text = _catching(stream.write, self.feed)
        if not self._replace(stream, "write", text) or not plain:
            return
        flush = _calling(stream.flush)
        if self._replace(stream, "flush", flush):
            inner = (text.__code__, flush.__code__)
            self._replace(
                stream.buffer, "write", _catching_bytes(stream.buffer.write, self.feed, inner)
            )

    def _replace(self, thing: Any, name: str, ours: Any) -> bool:
        try:
            before = vars(thing).get(name, _ABSENT)
            setattr(thing, name, ours)
        except (AttributeError, TypeError):  # an object of slots: what it prints is not caught
            return False
        self._ours.append((thing, name, ours, before))
        return True

    @property
    def in_place(self) -> bool:
        """Whether everything that we put there is still what is called first."""
        return bool(self._ours) and all(
            vars(thing).get(name) is ours for thing, name, ours, _ in self._ours
        )

    def release(self) -> None:
        """Put back what was there. Where somebody has put theirs over ours meanwhile, ours stays
        beneath, and only passes on."""
        self.feed.pile = None
        for thing, name, ours, before in self._ours:
            if vars(thing).get(name) is not ours:
                continue
            if before is _ABSENT:
                delattr(thing, name)
            else:
                setattr(thing, name, before)


_ABSENT = object()


def _catching(real: Callable[[str], int], feed: _Feed) -> Any:
    # In every print twice: each name here is local, and nothing is called that need not be.
    clock, thread = time_ns, get_ident

    def write(text: str) -> int:
        written = real(text)
        pile = feed.pile
        if pile is not None:
            try:
                if pile.room > 0:
                    pile.room -= len(text)
                    pile.add((clock(), thread(), text))
                else:
                    pile.lose(text)
            except Exception:  # noqa: BLE001 - printing must not fail for our sake
                pass
        return written

    return write


def _calling(real: Callable[[], None]) -> Any:
    def flush() -> None:
        return real()

    return flush


def _catching_bytes(real: Callable[[Any], int], feed: _Feed, inner: tuple[Any, Any]) -> Any:
    caller = sys._getframe

    def write(data: Any) -> int:
        written = real(data)
        pile = feed.pile
        if pile is not None and caller(1).f_code not in inner:
            try:
                if pile.room > 0:
                    text = bytes(data)  # the caller may change the buffer that it gave
                    pile.room -= len(text)
                    pile.add((time_ns(), get_ident(), text))
                else:
                    pile.lose(bytes(data))
            except Exception:  # noqa: BLE001 - printing must not fail for our sake
                pass
        return written

    return write


class _Channel:
    """One stream's way to one sink."""

    def __init__(self, name: str, sink: Sink) -> None:
        self.name = name
        self.pile = _Pile()
        self.encoding = "utf-8"
        self._sink = sink
        self._terminal = Terminal()
        # By thread, the beginning of a line and when it was printed: `print` writes a line and its end
        # apart, and lines of threads that print at once shall not be torn. The latest is last.
        self._begun: dict[int, tuple[int, str]] = {}
        self._shown = ""

    def collect(self, now: int, *, last: bool = False) -> None:
        """Tell the sink what is new. The last time, all that there is."""
        self._play()
        for thread, (time, _) in list(self._begun.items()):
            if last or time < now - _MID_PRINT:
                self._terminal.write(*self._begun.pop(thread))
        lines = self._terminal.finish() if last else self._terminal.take(now)
        lost, self.pile.lost = self.pile.lost, 0
        count, self.pile.lost_lines = self.pile.lost_lines, 0
        if lost:
            text = (
                f"[headrace: {count} lines ({lost} characters) were printed too fast, and left out]"
            )
            lines.append(ConsoleLine(now, text))
        unfinished = "" if last else self._unfinished()
        if lines or unfinished != self._shown:
            self._shown = unfinished
            self._sink(self.name, lines, unfinished)

    def _play(self) -> None:
        pile, begun, write = self.pile, self._begun, self._terminal.write
        for _ in range(len(pile.entries)):  # what comes meanwhile is for next time
            nanoseconds, thread, entry = pile.entries.popleft()
            time = nanoseconds // 1_000_000
            text = (
                entry if isinstance(entry, str) else bytes(entry).decode(self.encoding, "replace")
            )
            since, beginning = begun.pop(thread, (time, ""))
            text = beginning + text
            if text and text[-1] != "\n" and len(text) < MAX_LINE and not moves(text):
                begun[thread] = since, text
                if len(begun) > _MAX_THREADS:
                    write(*begun.pop(next(iter(begun))))
            else:
                write(time, text)
        if not pile.entries:
            pile.room = MAX_WAITING

    def _unfinished(self) -> str:
        text = self._terminal.unfinished
        if not text and self._begun:
            terminal = Terminal()
            terminal.write(*next(reversed(self._begun.values())))
            text = terminal.unfinished
        return text


class Handle:
    """A run that listens."""

    def __init__(self, owner: Console, sink: Sink) -> None:
        self._owner = owner
        self.channels = {name: _Channel(name, sink) for name in STREAMS}

    def detach(self) -> None:
        """Stop listening: the sink gets what is left, an unfinished line as a line of its own.

        The run that listened before listens again; after the last one the streams are put back.
        Nothing happens the second time.
        """
        self._owner.detach(self)


class Console:
    """The console of this process; one for each process, as there is one ``sys.stdout``.

    What a forked child prints is on the screen and not caught here (with ``HEADRACE_CONSOLE=fd`` it is),
    unless it attaches for itself.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._collecting = False
        self._handles: list[Handle] = []
        self._caught: dict[str, _Caught] = {}
        self._descriptors: Descriptors | None = None
        self._said = False
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._after_fork)
        # What objects print when the interpreter takes itself apart is flushed when the stream goes,
        # which a `write` of ours on it would hold. Registered so early, it comes after the runs' end.
        atexit.register(self._at_exit)

    def attach(self, sink: Sink) -> Handle:
        """Hand what is printed from now on to ``sink``, and to nobody else until it is detached.

        Args:
            sink: Called by `collect`. What it raises is warned about once, and the lines are gone.
        """
        handle = Handle(self, sink)
        with self._lock:
            self._handles.append(handle)
            self._catch()
            self._route()
        return handle

    def collect(self) -> None:
        """Hand out what was printed since last time. For any thread, but not from within a sink."""
        # Whoever flushes the journal comes here as well, perhaps while another thread's sink waits for
        # the journal: better late lines than a deadlock.
        if not self._lock.acquire(timeout=_PATIENCE):
            return
        try:
            if not self._collecting:
                self._collect(self._handles)
        finally:
            self._lock.release()

    def detach(self, handle: Handle) -> None:
        """See `Handle.detach`."""
        with self._lock:
            if handle not in self._handles:
                return
            if len(self._handles) == 1 and self._descriptors is not None:
                self._descriptors.close()
                self._read_descriptors()
                self._descriptors = None
            self._handles.remove(handle)
            self._route()
            self._collect([handle], last=True)
            if not self._handles:
                self._let_go()

    def _at_exit(self) -> None:
        self._let_go()
        self._handles = []  # their sinks may hold the program's objects, which are to be finalized

    def _let_go(self) -> None:
        """Put everything back, whoever listens."""
        if self._descriptors is not None:
            self._descriptors.close()
            self._descriptors = None
        caught, self._caught = self._caught, {}
        for one in caught.values():
            one.release()

    def _catch(self) -> None:
        """Catch the streams as they are now. Already caught ones are kept while they are."""
        if self._descriptors is None and setting("CONSOLE") == "fd":
            self._descriptors = Descriptors.open()
        for name in STREAMS:
            stream = getattr(sys, name, None)
            if self._descriptors is not None and self._descriptors.holds(stream):
                continue
            caught = self._caught.get(name)
            if caught is not None and caught.stream is stream and caught.in_place:
                continue
            if caught is not None:
                caught.release()
                del self._caught[name]
            if stream is not None and not any(c.stream is stream for c in self._caught.values()):
                self._caught[name] = _Caught(stream)

    def _route(self) -> None:
        handle = self._handles[-1] if self._handles else None
        for name, caught in self._caught.items():
            if handle is not None:
                handle.channels[name].encoding = caught.encoding
            caught.feed.pile = None if handle is None else handle.channels[name].pile

    def _collect(self, handles: Sequence[Handle], *, last: bool = False) -> None:
        self._collecting = True
        try:
            self._read_descriptors()
            for handle in handles:
                for channel in handle.channels.values():
                    try:
                        channel.collect(time_ns() // 1_000_000, last=last)
                    except Exception as error:  # noqa: BLE001 - a console that is not kept ends no run
                        self._say(error)
        finally:
            self._collecting = False

    def _read_descriptors(self) -> None:
        if self._descriptors is None or not self._handles:
            return
        channels = self._handles[-1].channels
        for name, text in self._descriptors.read():
            channels[name].pile.add((time_ns(), 0, text))

    def _say(self, error: Exception) -> None:
        if not self._said:
            self._said = True
            _logger.warning("Console output was not recorded: %s: %s", type(error).__name__, error)

    def _after_fork(self) -> None:
        # The parent's runs are told by the parent. The lock may have been held by a thread that is not
        # here, and the piles hold text that the parent collects.
        self._lock = threading.RLock()
        self._collecting = False
        self._handles = []
        caught, self._caught = self._caught, {}
        for one in caught.values():
            with contextlib.suppress(
                Exception
            ):  # a stream of another's making, in a child just born
                one.release()
        if self._descriptors is not None:
            self._descriptors.forget()
            self._descriptors = None


_console = Console()
attach = _console.attach
collect = _console.collect
