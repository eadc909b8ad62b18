"""Copying a file on this machine, inside the kernel where it can: the bytes need not come through here."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable

#: So many bytes are asked for at once, so that whoever is told hears something now and then.
_STEP = 64 << 20
_BUFFER = 1 << 20


def copy_here(source: int, target: int, told: Callable[[int], None] | None = None) -> None:
    """Append a whole file to another; both are open.

    Args:
        source: Read from its beginning to the end that it has now.
        target: Written where it stands.
        told: Is called with the number of bytes that each step copied.

    Raises:
        OSError: The source became shorter meanwhile, or the disk is full.
    """
    left = os.fstat(source).st_size
    at = 0
    inside = hasattr(os, "copy_file_range")
    while left:
        done = -1
        if inside:
            try:
                done = os.copy_file_range(source, target, min(left, _STEP), offset_src=at)
            except OSError as error:
                if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EIO):
                    raise
                inside = False  # not between these file systems
        if done < 0:
            done = os.write(target, os.pread(source, min(left, _BUFFER), at))
        if not done:
            raise OSError(errno.EIO, "the file became shorter while it was copied")
        at += done
        left -= done
        if told is not None:
            told(done)
