"""Where journals lie, and who holds which.

A journal is a folder named after its writer. The process that appends to it, or ships it, holds a lock
(``flock``) on the file ``lock`` in it; the system releases that when the process dies, however it dies.
"""

from __future__ import annotations

import fcntl
import os
import re
from collections.abc import Iterator
from pathlib import Path

from headrace.client.environment import setting

LOCK = "lock"
_WRITER = re.compile(r"[0-9a-f]{32}")


def journal_directory() -> Path:
    """Where this user's journals lie on this machine.

    ``HEADRACE_JOURNAL_DIR``, else ``headrace/journal`` below ``$XDG_STATE_HOME`` or ``~/.local/state``.

    Raises:
        OSError: There is no home directory.
    """
    given = setting("JOURNAL_DIR")
    if given:
        return Path(given).absolute()
    state = os.environ.get("XDG_STATE_HOME")
    try:
        base = Path(state) if state else Path.home() / ".local" / "state"
    except RuntimeError as error:
        raise OSError(str(error)) from None
    return base / "headrace" / "journal"


def make_journal(directory: Path) -> tuple[Path, int]:
    """Make a journal's folder; it, and the descriptor that holds its lock.

    Raises:
        OSError: The directory cannot be written.
    """
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    writer = os.urandom(16).hex()
    # Locked before it has its name: nobody may take it for one that was left behind.
    unborn = directory / f".{writer}"
    unborn.mkdir(mode=0o700)
    lock = None
    try:
        lock = os.open(unborn / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        unborn.rename(directory / writer)
    except OSError:
        if lock is not None:
            os.close(lock)
        (unborn / LOCK).unlink(missing_ok=True)
        unborn.rmdir()
        raise
    return directory / writer, lock


def claim(folder: Path) -> int | None:
    """Take a journal that was left behind: the descriptor that holds its lock.

    None when its process lives, when somebody else was faster, or when it is gone.
    """
    try:
        lock = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError:
        return None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # It may have been shipped and removed while we waited for the lock of a file without a name.
        if os.fstat(lock).st_ino == os.stat(folder / LOCK).st_ino:  # noqa: PTH116
            return lock
    except OSError:
        pass
    os.close(lock)
    return None


def journals(directory: Path) -> Iterator[Path]:
    """The journals in a directory, or the directory itself when it is one."""
    if _WRITER.fullmatch(directory.name) and directory.is_dir():
        yield directory
        return
    try:
        names = sorted(os.listdir(directory))  # noqa: PTH208 - names are enough
    except OSError:
        return
    for name in names:
        if _WRITER.fullmatch(name):
            yield directory / name
