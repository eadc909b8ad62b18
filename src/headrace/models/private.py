"""A folder that nobody else can change between the audit and the load.

What the audit has seen must be what the loader opens. Flavors' libraries open files by name, so
the names must keep meaning the same: everything in the folder, and every folder on the way to it, belongs to this user or to
root and cannot be written by anybody else (as OpenSSH asks of its files). Where that is so, the folder is used as it is. Where not (a shared disk, files that a group may
write), it is copied into a folder of this user's alone, and the copy is audited and loaded. What runs as this user, or
root, can change anything anyhow, headrace included, and is not defended against.

A hard link is no way around: permissions belong to the file, not to its name.
"""

from __future__ import annotations

import grp
import os
import pwd
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from headrace.models.structure import files_of
from headrace.models.unpack import copy_folder


@contextmanager
def private(folder: Path) -> Iterator[Path]:
    """The folder to audit and to load from; gone at the end if it is a copy.

    A library that still has a file of the copy open, or mapped, keeps it until it lets go.

    Raises:
        NotFound, PolicyViolation, InvalidModel: See `headrace.models.structure`.
    """
    folder = folder.resolve()
    if is_private(folder):
        yield folder
        return
    with tempfile.TemporaryDirectory(prefix="headrace-model-") as place:
        copy = Path(place) / "model"
        copy_folder(folder, copy)
        yield copy


def is_private(folder: Path) -> bool:
    """Whether only this user and root can change what is in a folder, and what its name means."""
    for parent in folder.parents:
        about = os.stat(parent)  # noqa: PTH116
        # In a sticky folder, such as /tmp, nobody can rename what is not his.
        if not _ours(about, sticky=True):
            return False
    if not _ours(os.lstat(folder)):
        return False
    folders = {folder}
    for entry in files_of(folder):
        file = folder / entry.path
        if not _ours(os.lstat(file)):
            return False
        folders.add(file.parent)
    return all(_ours(os.lstat(one)) for one in folders)


def _ours(about: os.stat_result, *, sticky: bool = False) -> bool:
    if about.st_uid not in (0, os.getuid()):
        return False
    if sticky and about.st_mode & stat.S_ISVTX:
        return True
    if about.st_mode & stat.S_IWOTH:
        return False
    return not about.st_mode & stat.S_IWGRP or _is_own_group(about.st_gid)


def _is_own_group(gid: int) -> bool:
    """Whether a group is this user alone, or root: many systems give each user one, and let it write."""
    if gid == 0:
        return True
    try:
        user = pwd.getpwuid(os.getuid()).pw_name
        group = grp.getgrgid(gid)
    except KeyError:
        return False
    return group.gr_name == user and set(group.gr_mem) <= {user}
