"""How a command ends: its exit code, and what it says when it failed.

====  =======================================================================
code  meaning
====  =======================================================================
0     done; for a check, nothing is wrong; for a diff, no difference
1     failed, or a check found a problem, or a diff a difference
2     the command line or a value in it is wrong
3     an experiment, run, file or store that was named does not exist
4     the store cannot be reached, or cannot answer now
5     the server refused: not signed in, or not allowed
130   interrupted
====  =======================================================================
"""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Iterator

import click

from headrace.errors import (
    BadRequest,
    HeadraceError,
    InvalidParameter,
    NotFound,
    PermissionDenied,
    Unauthenticated,
    Unavailable,
)

FAILED = 1
USAGE = 2
NOT_FOUND = 3
UNAVAILABLE = 4
REFUSED = 5
INTERRUPTED = 130

_CODES: tuple[tuple[type[HeadraceError], int], ...] = (
    (NotFound, NOT_FOUND),
    (InvalidParameter, USAGE),
    (BadRequest, USAGE),
    (Unavailable, UNAVAILABLE),
    (Unauthenticated, REFUSED),
    (PermissionDenied, REFUSED),
)


def exit_code(error: HeadraceError) -> int:
    """The exit code that stands for an error."""
    return next((code for kind, code in _CODES if isinstance(error, kind)), FAILED)


def printable(text: str) -> str:
    """A text without control characters but newlines: a name that others chose must not reach the terminal
    as a command to it."""
    return "".join(
        one if one.isprintable() or one == "\n" else "\N{REPLACEMENT CHARACTER}" for one in text
    )


def complain(message: str) -> None:
    """Say on stderr what went wrong, in one line.

    A message that points at a character keeps its lines, or it would point nowhere.
    """
    lines = [line.rstrip() for line in message.strip().splitlines()]
    pointing = any(line.strip() and not line.strip("^~ ") for line in lines)
    text = "\n".join(lines) if pointing else " ".join(line.strip() for line in lines)
    click.echo(f"headrace: {printable(text)}", err=True)


@contextlib.contextmanager
def reported(ctx: click.Context) -> Iterator[None]:
    """Turn an error that was raised on purpose, or by the system, into a line and an exit code."""
    try:
        yield
    except HeadraceError as error:
        complain(error.message)
        ctx.exit(exit_code(error))
    except OSError as error:
        if error.errno == errno.EPIPE:
            raise  # the reader has seen enough; click ends quietly
        complain(f"{error.strerror or error}: {error.filename}" if error.filename else str(error))
        ctx.exit(FAILED)
    except KeyboardInterrupt:
        ctx.exit(INTERRUPTED)
