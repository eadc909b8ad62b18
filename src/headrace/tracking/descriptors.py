"""Catch what is written to descriptors 1 and 2: by C and C++, and by child processes too.

A small process of its own stands between the descriptor and what it led to: it writes through at once,
and passes a copy on. It is no thread, because code that holds the interpreter's lock while it prints
would wait for that thread for ever; and because what a crashing program prints last must still reach the
screen. Programs see a pipe there, not a terminal.
"""

from __future__ import annotations

import codecs
import contextlib
import logging
import os
import sys
import time
from collections.abc import Iterator
from typing import IO, TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    import subprocess

_logger = logging.getLogger("headrace")

#: Seconds that the last output may take. Child processes that go on keep a forwarder for themselves.
_PATIENCE = 5.0
_PIECE = 1 << 16

#: Descriptor 0 is what was printed, 1 where it is to go; the argument is where the copy goes. The copy
#: is bounded and never waited for.
_FORWARDER = """
import os, select, sys
copy, limit = int(sys.argv[1]), 16 << 20
os.set_blocking(copy, False)
waiting, lost, screen = bytearray(), 0, True
while True:
    readable, writable, _ = select.select([0], [copy] if waiting else [], [])
    if readable:
        data = os.read(0, 65536)
        if not data:
            break
        rest = memoryview(data)
        while screen and rest:
            try:
                rest = rest[os.write(1, rest):]
            except BlockingIOError:
                select.select([], [1], [])
            except OSError:
                screen = False
        if copy < 0:
            continue
        if len(waiting) + len(data) > limit:
            lost += len(data)
        else:
            if lost:
                waiting += b"\\n[headrace: %d bytes were printed too fast, and left out]\\n" % lost
                lost = 0
            waiting += data
    if writable:
        try:
            del waiting[:os.write(copy, waiting[:65536])]
        except BlockingIOError:
            pass
        except OSError:
            copy, waiting = -1, bytearray()
if copy >= 0:
    os.set_blocking(copy, True)
    try:
        while waiting:
            del waiting[:os.write(copy, waiting[:65536])]
    except OSError:
        pass
"""


class _Tap:
    """One descriptor with a forwarder on it."""

    def __init__(self, number: int) -> None:
        import subprocess  # only here: it takes milliseconds to load

        self.number = number
        self.decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self.real = os.dup(number)
        read, write = os.pipe()
        self.copy, copy = os.pipe()
        try:
            self.process: subprocess.Popen[bytes] = subprocess.Popen(
                [sys.executable, "-I", "-S", "-c", _FORWARDER, str(copy)],
                stdin=read,
                stdout=self.real,
                stderr=subprocess.DEVNULL,
                pass_fds=(copy,),
                start_new_session=True,  # Ctrl-C is for the program, whose last words we forward
            )
        except BaseException:  # cleans up, raises again
            for descriptor in (write, self.copy, self.real):
                os.close(descriptor)
            raise
        finally:
            os.close(read)
            os.close(copy)
        os.set_blocking(self.copy, False)
        os.dup2(write, number)
        os.close(write)

    def read(self) -> str:
        """What was written since last time; it does not wait."""
        parts = []
        with contextlib.suppress(BlockingIOError):
            while data := os.read(self.copy, _PIECE):
                parts.append(self.decoder.decode(data))
        return "".join(parts)

    def close(self) -> str:
        """Put the descriptor back; returns what was still on its way."""
        os.dup2(self.real, self.number)
        os.close(self.real)
        text = self.read()
        deadline = time.monotonic() + _PATIENCE
        while self.process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.002)
            text += self.read()
        text += self.read()
        os.close(self.copy)
        if self.process.poll() is None:
            # Children of ours that go on have it as their output: it ends with the last of them.
            self.process.returncode = 0
        return text


class Descriptors:
    """Both descriptors, caught."""

    def __init__(self, taps: dict[str, _Tap]) -> None:
        self._taps = taps
        self._last: list[tuple[str, str]] = []

    @classmethod
    def open(cls) -> Self | None:
        """Catch descriptors 1 and 2; None, with a warning, where that cannot be done."""
        taps: dict[str, _Tap] = {}
        _flush()
        try:
            if not sys.executable or os.name != "posix":
                raise OSError("it needs a POSIX system, and an interpreter that can be started")
            for name, number in (("stdout", 1), ("stderr", 2)):
                taps[name] = _Tap(number)
        except OSError as error:
            for tap in taps.values():
                tap.close()
            _logger.warning(
                "HEADRACE_CONSOLE=fd does not work here, only Python's output is kept: %s", error
            )
            return None
        return cls(taps)

    def holds(self, stream: IO[Any] | None) -> bool:
        """Whether a stream's text passes here already."""
        try:
            return stream is not None and stream.fileno() in (1, 2)
        except (OSError, ValueError, AttributeError):  # a stream without descriptor, or closed
            return False

    def read(self) -> Iterator[tuple[str, str]]:
        """What was written since last time: name of the stream, text."""
        yield from self._last
        self._last = []
        for name, tap in self._taps.items():
            if text := tap.read():
                yield name, text

    def close(self) -> None:
        """Put the descriptors back; `read` gives what was still on its way."""
        _flush()
        taps, self._taps = self._taps, {}
        for name, tap in taps.items():
            if text := tap.close():
                self._last.append((name, text))

    def forget(self) -> None:
        """In a forked child: leave it to the parent. What the child prints goes the same way."""
        taps, self._taps = self._taps, {}
        for tap in taps.values():
            os.close(tap.real)
            os.close(tap.copy)
            tap.process.returncode = 0  # not our child


def _flush() -> None:
    """Write out what Python and C still hold back, so that it goes where it was meant to go."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError, AttributeError):
            stream.flush()
    with contextlib.suppress(ImportError, OSError, AttributeError):
        import ctypes  # only here: it takes milliseconds to load

        ctypes.CDLL(None).fflush(None)
