"""Reading what a run printed: declarations. It comes in with `headrace.protocol.ingest.WriteConsole`."""

from __future__ import annotations

from headrace.protocol.limits import Int64, Required
from headrace.protocol.operation import (
    NATIVE_PREFIXES,
    Interface,
    Request,
    Response,
    operation,
)

MAX_CONSOLE_LINES = 10_000


class GetConsole(Request, frozen=True, kw_only=True):
    """What to read of a run's console output.

    Attributes:
        start: Number of the line to begin at, from 1. Negative: so many lines that pass the filters,
            counted from the end.
        limit: At most so many lines, from 0 to 10,000.
        contains: Only lines with this in them, in any case.
        stream: Only ``stdout`` or ``stderr``; empty for both.
        source: Only what this process wrote, where several write to one run; empty for all.
    """

    run_id: Required
    start: Int64 = 1
    limit: Int64 = 1000
    contains: str = ""
    stream: str = ""
    source: str = ""


class ConsoleText(Response, frozen=True, kw_only=True):
    """A line that a run printed.

    Attributes:
        number: Its place among all lines of the run, from 1; 0 while it is unfinished.
        time: When it was complete, or last changed: milliseconds since the Unix epoch.
        stream: ``stdout`` or ``stderr``.
        source: Which process wrote it, where several write to one run; else empty.
        text: Without its end. Escape sequences of terminals are as the run wrote them.
    """

    number: int = 0
    time: int
    stream: str
    source: str = ""
    text: str


class ConsolePage(Response, frozen=True, kw_only=True):
    """A stretch of a run's console output.

    Attributes:
        lines: In the order in which they arrived. There may be fewer than asked for, even none, though
            more follow: a filter looks only so far at once.
        unfinished: The line that each stream is in the middle of, if it passes the filters.
        next: Where to go on. Everything was read when it is greater than ``total``.
        total: Number of the last line that there is.
        ended: The run has ended; no more lines are to be expected.
        lost: The run has been silent for too long.
    """

    lines: tuple[ConsoleText, ...] = ()
    unfinished: tuple[ConsoleText, ...] = ()
    next: int
    total: int
    ended: bool = False
    lost: bool = False


class Consoles(Interface):
    """Console output of runs."""

    @operation("GET", "/runs/console", permission="run:read", reads=True, prefixes=NATIVE_PREFIXES)
    def get_console(self, request: GetConsole) -> ConsolePage:
        """Read lines that a run printed, from any place, and search in them.

        Raises:
            NotFound: There is no such run.
            InvalidParameter: ``start`` is 0, or ``limit`` is out of range.
        """
        raise NotImplementedError
