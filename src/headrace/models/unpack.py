"""Copying and unpacking what strangers made, into a folder of one's own.

An archive is read through once before anything is written: every name, kind and size. What is refused: names that lead
out of the folder, absolute or with a drive; links of both kinds, devices, fifos; two members of one name, or of
names that differ in case or composition only, which are one file on some systems; a file where another member has a folder; more
than comes out of a model. What is written are plain files, readable by this user alone; modes, owners and times of the
archive count for nothing. On an error nothing stays.
"""

from __future__ import annotations

import os
import shutil
import tarfile
import unicodedata
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any

from headrace.errors import InvalidModel, InvalidParameter, NotFound, PolicyViolation
from headrace.models.inspection.archives import ZIP, BoundedHeader
from headrace.models.inspection.numeric import leads_out
from headrace.models.structure import MOST_DEPTH, MOST_ENTRIES, files_of, open_plain

#: Bytes that may come out of one archive, whatever its size.
MOST_BYTES = 1 << 40
#: Out of one byte so many may come, beyond the first `_FREE`.
_MOST_RATIO = 200
_FREE = 256 << 20
_CHUNK = 1 << 20


def copy_folder(source: Path, target: Path) -> None:
    """Copy a model's folder, plain files alone, into one that only this user can read or write.

    Args:
        source: The folder.
        target: Where; must not exist.

    Raises:
        PolicyViolation, InvalidModel: See `headrace.models.structure`.
    """
    entries = files_of(source)
    target.mkdir(mode=0o700)
    for entry in entries:
        file = target / entry.path
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with open_plain(source / entry.path) as stream, _created(file) as copy:
            shutil.copyfileobj(stream, copy, _CHUNK)


def unpack(archive: Path, target: Path, *, most_bytes: int = MOST_BYTES) -> None:
    """Unpack a zip or tar archive (compressed or not) of a model.

    Args:
        archive: The file.
        target: The folder; must not exist.
        most_bytes: More than this never comes out.

    Raises:
        PolicyViolation: A member is not one that a model has; the message names it. Nothing was written.
        InvalidModel: It is no archive, damaged, or a bomb. Nothing stays.
        NotFound: There is no such file.
    """
    if not archive.is_file():
        raise NotFound(f"There is no archive '{archive}'.")
    if target.exists():
        raise InvalidParameter(f"'{target}' is there already: give a folder that is not.")
    size = archive.stat().st_size
    most = min(most_bytes, max(_FREE, size * _MOST_RATIO))
    unborn = target.with_name(f".{target.name}.{os.urandom(4).hex()}")
    try:
        with open_plain(archive) as stream:
            read = _zip_members if stream.read(4) in ZIP else _tar_members
        try:
            _check(read(archive), most)
            unborn.mkdir(mode=0o700)
            _write(read(archive), unborn, most)
        except (
            zipfile.BadZipFile,
            tarfile.TarError,
            EOFError,
            RuntimeError,
            NotImplementedError,
            ValueError,
        ) as error:
            raise InvalidModel(f"'{archive.name}' is no archive of a model: {error}") from None
        except OSError as error:
            if error.errno is not None:  # not of a library that unpacks
                raise
            raise InvalidModel(f"'{archive.name}' is damaged: {error}") from None
        unborn.rename(target)
    finally:
        shutil.rmtree(unborn, ignore_errors=True)


class _Member:
    """A member of an archive: its name, what is wrong with it, its size, its content (None for a folder)."""

    def __init__(
        self, name: str, problem: str | None, size: int, content: IO[bytes] | None
    ) -> None:
        self.name = name
        self.problem = problem
        self.size = size
        self.content = content


def _zip_members(archive: Path) -> Iterator[_Member]:
    with zipfile.ZipFile(archive) as file:
        for member in file.infolist():
            kind = (member.external_attr >> 16) & 0o170000
            problem = None
            if kind not in (0, 0o100000, 0o040000):
                problem = "is a link or a device"
            elif member.flag_bits & 0x1:
                problem = "is encrypted"
            if member.is_dir() or problem:
                yield _Member(member.filename, problem, 0, None)
            else:
                with file.open(member) as content:
                    yield _Member(member.filename, None, member.file_size, content)


def _tar_members(archive: Path) -> Iterator[_Member]:
    # As a stream: no member is read that stands before it has been looked at.
    with tarfile.open(archive, "r|*", tarinfo=BoundedHeader) as file:
        for member in file:
            if member.isdir():
                yield _Member(member.name, None, 0, None)
            elif member.isreg():
                problem = "is sparse" if member.issparse() else None
                yield _Member(member.name, problem, member.size, file.extractfile(member))
            else:
                yield _Member(member.name, "is a link or a device", 0, None)


def _check(members: Iterable[_Member], most: int) -> None:
    """Read an archive through without writing.

    Raises:
        PolicyViolation, InvalidModel: See `unpack`.
    """
    seen: dict[str, str] = {}
    folders: set[str] = set()
    total = 0
    for count, member in enumerate(members, 1):
        name = member.name.replace("\\", "/").rstrip("/")
        if member.problem:
            raise PolicyViolation(
                f"'{member.name}' in the archive {member.problem}: nothing was unpacked."
            )
        if leads_out(member.name) or leads_out(name):
            raise PolicyViolation(
                f"'{member.name}' in the archive lies outside of it: nothing was unpacked."
            )
        parts = [part for part in name.split("/") if part not in ("", ".")]
        if count > MOST_ENTRIES or len(parts) > MOST_DEPTH:
            raise InvalidModel(
                "The archive has more members, or deeper ones, than a model has: nothing was unpacked."
            )
        total += member.size
        if total > most:
            raise InvalidModel(
                f"More than {most:,} bytes come out of the archive: nothing was unpacked."
            )
        if not parts:
            continue
        _check_name(parts, member, seen, folders)
    clash = sorted(folders & seen.keys())
    if clash:
        raise PolicyViolation(
            f"'{seen[clash[0]]}' in the archive is a file and a folder: nothing was unpacked."
        )


def _check_name(parts: list[str], member: _Member, seen: dict[str, str], folders: set[str]) -> None:
    folded = [unicodedata.normalize("NFC", part).casefold() for part in parts]
    if any("\0" in part or part.rstrip(". ") != part for part in parts):
        raise PolicyViolation(
            f"'{member.name}' in the archive has a name that systems read differently: nothing was unpacked."
        )
    for depth in range(1, len(folded)):
        folders.add("/".join(folded[:depth]))
    if member.content is None:
        folders.add("/".join(folded))
        return
    whole = "/".join(folded)
    if whole in seen:
        raise PolicyViolation(
            f"'{member.name}' and '{seen[whole]}' in the archive are one file, on some systems at least: nothing was unpacked."
        )
    seen[whole] = member.name


def _write(members: Iterable[_Member], target: Path, most: int) -> None:
    left = most
    for member in members:
        parts = [
            part for part in member.name.replace("\\", "/").split("/") if part not in ("", ".")
        ]
        if not parts:
            continue
        file = target.joinpath(*parts)
        if member.content is None:
            file.mkdir(parents=True, exist_ok=True, mode=0o700)
            continue
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with _created(file) as out:
            while part := member.content.read(_CHUNK):
                left -= len(part)
                if left < 0:  # it claimed less
                    raise InvalidModel(f"More than {most:,} bytes come out of the archive.")
                out.write(part)


def _created(file: Path) -> Any:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    return os.fdopen(os.open(file, flags, 0o600), "wb")
