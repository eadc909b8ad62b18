"""Files that wait in a journal to be uploaded."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
from pathlib import Path

from headrace.client.journal.records import StagedArtifact
from headrace.client.journal.sources import STAGED

_MOST = 1 << 30
_TEMPORARY = "headrace-staged-"


def stage(
    folder: Path | None, run_id: str, path: str, source: Path | bytes, *, sync: bool
) -> StagedArtifact:
    """Copy a file, or bytes, into a journal.

    A copy, not a hard link: a file that is rewritten in place would change what was logged. File systems
    that can share blocks between files (btrfs, XFS, ZFS) do so.

    Args:
        folder: The journal; None when it has no folder, then a temporary file is made.
        run_id: The run.
        path: The artifact's.
        source: What to copy.
        sync: Flush it to the disk.

    Returns:
        The record; its ``file`` is an absolute path when the file does not lie in the journal.

    Raises:
        OSError: The source cannot be read, or there is no room for it.
    """
    name = secrets.token_hex(8) + Path(path).suffix[:20]
    target = _place(folder, name)
    try:
        with target.open("xb") as out:
            if isinstance(source, bytes):
                out.write(source)
            else:
                with source.open("rb") as file:
                    _copy(file.fileno(), out.fileno())
            if sync:
                out.flush()
                os.fsync(out.fileno())
    except BaseException:  # cleans up, raises again
        target.unlink(missing_ok=True)
        raise
    if sync:  # the name too
        handle = os.open(target.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
    inside = folder is not None and target.parent.parent == folder
    return StagedArtifact(run_id=run_id, path=path, file=name if inside else str(target))


def _place(folder: Path | None, name: str) -> Path:
    if folder is not None:
        with contextlib.suppress(OSError):  # read-only since
            (folder / STAGED).mkdir(exist_ok=True, mode=0o700)
            return folder / STAGED / name
    import tempfile  # lazily: random numbers cost start-up time

    return Path(tempfile.mkdtemp(prefix=_TEMPORARY)) / name


def _copy(source: int, target: int) -> None:
    if hasattr(os, "copy_file_range"):
        copied = False
        try:
            while os.copy_file_range(source, target, _MOST):
                copied = True
            if copied:
                return
        except OSError:
            # Between file systems, or of a kind that cannot: from where it stopped, by hand.
            pass
    with os.fdopen(os.dup(source), "rb") as from_, os.fdopen(os.dup(target), "wb") as to:
        shutil.copyfileobj(from_, to, 1 << 20)


def staged_file(folder: Path | None, artifact: StagedArtifact) -> Path:
    """Where a staged file is."""
    file = Path(artifact.file)
    # A journal that somebody else made must not name any file of this machine.
    if file.is_absolute() and file.parent.name.startswith(_TEMPORARY):
        return file
    return (folder or file.parent) / STAGED / file.name


def unstage(file: Path) -> None:
    """Remove a staged file that has arrived."""
    with contextlib.suppress(OSError):  # it is only left over then
        file.unlink(missing_ok=True)
        if file.parent.name.startswith(_TEMPORARY):
            file.parent.rmdir()
