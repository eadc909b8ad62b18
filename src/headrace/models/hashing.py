"""The hash of a model's folder.

It is a SHA-256 over one line per file, in the order of their paths: the SHA-256 of the content in hex, two
spaces, the path within the folder with ``/`` between its parts, a line feed. ``sha256sum`` writes such lines, so
anybody can check it. It covers names and contents of all files; not times, rights, owners, or empty folders. Paths
are sorted as bytes of UTF-8.

A folder that holds a link is refused: what it points to could change without the hash, and lie outside. So are
sockets and devices, and names that are not UTF-8 or hold a line break.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from headrace.errors import InvalidModel

#: Files from here on are hashed side by side: hashlib lets go of the interpreter's lock.
_BIG = 4 << 20
_CHUNK = 1 << 20


class Digest(NamedTuple):
    """What a folder holds.

    Attributes:
        hash: ``sha256:`` and 64 hex digits.
        size: Bytes of all files.
    """

    hash: str
    size: int


def folder_digest(folder: Path | str, *, without: Collection[str] = ()) -> Digest:
    """The hash and size of a folder. Memory is flat whatever the sizes.

    Args:
        folder: The folder.
        without: Files in it, by their paths, that do not count.

    Raises:
        InvalidModel: It is no folder, or holds a link, a special file or a name that cannot be written in a line.
    """
    root = os.fspath(folder)
    if not os.path.isdir(root):  # noqa: PTH112 - a Path for each file is slow
        raise InvalidModel(f"{root} is not a folder")
    left_out = {path.encode() for path in without}
    files = sorted(file for file in _files(root, "") if file[0] not in left_out)
    big = [path for path, size in files if size >= _BIG]
    hashes: dict[bytes, str] = {}
    if len(big) > 1:
        with ThreadPoolExecutor(max_workers=min(len(big), os.cpu_count() or 1, 8)) as pool:
            hashes = dict(zip(big, pool.map(lambda path: _hash(root, path), big), strict=True))
    whole = hashlib.sha256()
    for path, _ in files:
        found = hashes[path] if path in hashes else _hash(root, path)
        whole.update(f"{found}  ".encode() + path + b"\n")
    return Digest(f"sha256:{whole.hexdigest()}", sum(size for _, size in files))


def _files(root: str, inner: str) -> Iterator[tuple[bytes, int]]:
    with os.scandir(os.path.join(root, inner)) as entries:  # noqa: PTH118
        for entry in entries:
            path = f"{inner}/{entry.name}" if inner else entry.name
            mode = entry.stat(follow_symlinks=False)
            if stat.S_ISDIR(mode.st_mode):
                yield from _files(root, path)
            elif stat.S_ISREG(mode.st_mode):
                yield _name(root, path), mode.st_size
            else:
                kind = "a link" if stat.S_ISLNK(mode.st_mode) else "a special file"
                raise InvalidModel(
                    f"{root}: {path} is {kind}; a model's folder holds files and folders only"
                )


def _name(root: str, path: str) -> bytes:
    try:
        name = path.encode()
    except UnicodeEncodeError:
        raise InvalidModel(f"{root}: the name {path!r} is not UTF-8") from None
    if b"\n" in name or b"\r" in name:
        raise InvalidModel(f"{root}: the name {path!r} holds a line break")
    return name


def _hash(root: str, path: bytes) -> str:
    descriptor = os.open(
        os.path.join(os.fsencode(root), path),  # noqa: PTH118
        os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0),
    )
    with os.fdopen(descriptor, "rb", buffering=0) as file:
        found = hashlib.sha256()
        buffer = bytearray(_CHUNK)
        view = memoryview(buffer)
        while count := file.readinto(buffer):
            found.update(view[:count])
        return found.hexdigest()
