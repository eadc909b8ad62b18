"""Artifacts in a local folder.

Uploads are written in a staging folder inside the root (`headrace.artifacts.paths.STAGING`, on the
same file system) and renamed into place when whole and on disk. What a killed process left there is
swept a day later.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import re
import secrets
import shutil
import stat as stat_
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

from headrace.artifacts.copying import copy_here
from headrace.artifacts.paths import STAGING, artifact_path
from headrace.artifacts.store import (
    CHUNK_SIZE,
    ArtifactContent,
    ArtifactStat,
    ArtifactStore,
    Chunk,
    Part,
    PartTarget,
    check_part_count,
    resolve_range,
)
from headrace.artifacts.writeback import STEP, begin_writeback
from headrace.entities import FileInfo
from headrace.errors import InvalidParameter, NotFound, Unavailable

T = TypeVar("T")

#: Age in seconds after which something in the staging folder belongs to nobody.
_ABANDONED = 24 * 3600
#: What others keep undoing, because they prune the folder that it needs, is tried again for so many
#: seconds, and so often at least: a stopped process may sleep through any number of seconds.
_PATIENCE = 30.0
_TRIES = 100
_UPLOAD_ID = re.compile(r"[0-9a-f]{32}")


class LocalArtifacts(ArtifactStore):
    """A local folder. It is made by the first write."""

    def __init__(self, root: str | Path) -> None:
        self.root = Path(os.path.abspath(root))  # noqa: PTH100 - resolve() would follow symlinks now
        self.uri = self.root.as_uri()
        self._swept = False

    def list(self, path: str = "") -> list[FileInfo]:
        path = artifact_path(path, root=True)
        folder = self._inside(path)
        found = []
        with contextlib.suppress(FileNotFoundError, NotADirectoryError), _explained(path):
            for entry in os.scandir(folder):
                name = f"{path}/{entry.name}" if path else entry.name
                info = self._info(name, entry)
                if info is not None:
                    found.append(info)
        return sorted(found, key=lambda info: info.path)

    def _info(self, path: str, entry: os.DirEntry[str]) -> FileInfo | None:
        """A listing's entry; None for what cannot be reached by a path, or is gone again."""
        try:
            artifact_path(path)
            self._inside(path)
            if entry.is_dir():
                return FileInfo(path=path, is_dir=True)
            return FileInfo(path=path, is_dir=False, file_size=entry.stat().st_size)
        except (InvalidParameter, OSError):
            return None

    def stat(self, path: str) -> ArtifactStat:
        with self.read(path) as content:
            found = content.stat
        return ArtifactStat(found.size, found.modified, found.etag, self.place(path))

    def place(self, path: str) -> str:
        """Where a file is on this machine, whether it is there or not."""
        return str(self._inside(artifact_path(path)))

    def read(self, path: str, start: int = 0, stop: int | None = None) -> ArtifactContent:
        path = artifact_path(path)
        target = self._inside(path)
        with _explained(path):
            try:
                # O_NONBLOCK: a FIFO must not hold us up before we see what it is.
                fd = os.open(target, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
            except (FileNotFoundError, NotADirectoryError):
                raise _missing(path) from None
        try:
            status = os.fstat(fd)
            if stat_.S_ISDIR(status.st_mode):
                raise _is_folder(path)
            if not stat_.S_ISREG(status.st_mode):
                raise InvalidParameter(f"Invalid path: '{path}' is not a regular file.")
            first, last = resolve_range(path, status.st_size, start, stop)
            return _LocalContent(path, fd, stat_of(status), first, last)
        except BaseException:  # cleans up, raises again
            os.close(fd)
            raise

    def write(self, path: str, chunks: Iterable[Chunk], *, size: int | None = None) -> ArtifactStat:
        path = artifact_path(path)
        self._refuse_folder(path)
        with self._staged(path) as (staged, fd):
            _write_all(path, fd, chunks)
            return self._publish(path, staged, fd)

    def delete(self, path: str) -> None:
        path = artifact_path(path, root=True)
        if not path:
            for info in self.list():
                self.delete(info.path)
            return
        # The folder of the thing must lie inside; the thing itself may be a symlink, which goes
        # without touching what it points to.
        folder, _, name = path.rpartition("/")
        target = self._inside(folder) / name
        with _explained(path):
            try:
                if target.is_symlink() or not target.is_dir():
                    target.unlink()
                else:
                    self._delete_folder(target)
            except (FileNotFoundError, NotADirectoryError):
                return
            self._prune(target.parent)

    def _delete_folder(self, target: Path) -> None:
        """All of a folder disappears at once: it moves to the staging folder and goes there."""

        def bury(grave: Path) -> Path | None:
            try:
                return target.rename(grave)
            except FileNotFoundError:
                if os.path.lexists(target):
                    raise  # it is the staging folder that is gone
                return None

        try:
            grave = self._in_staging(bury)
            if grave is not None:
                shutil.rmtree(grave)
        finally:
            self._leave_staging()

    def _prune(self, folder: Path) -> None:
        root = Path(os.path.realpath(self.root))
        while folder != root and root in folder.parents:
            try:
                folder.rmdir()
            except OSError:  # not empty, or already gone and filled anew
                return
            folder = folder.parent

    # Uploads in parts: a folder per upload, a file per part.

    def start_multipart(
        self, path: str, count: int, expires: int = 3600
    ) -> tuple[str, Sequence[PartTarget] | None]:
        path = artifact_path(path)
        check_part_count(count)
        self._refuse_folder(path)
        upload_id = secrets.token_hex(16)
        with _explained(path):
            folder = self._in_staging(_new_folder, upload_id)
            (folder / "path").write_text(path, encoding="utf-8")
        return upload_id, None

    def write_part(
        self, path: str, upload_id: str, part_number: int, chunks: Iterable[Chunk]
    ) -> str:
        folder = self._upload(path, upload_id)
        check_part_count(part_number)
        etag = secrets.token_hex(8)
        staged = folder / f"{etag}.tmp"
        try:
            with _explained(path):
                fd = os.open(staged, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        except FileNotFoundError:
            raise _no_upload(path, upload_id) from None
        try:
            _write_all(path, fd, chunks)
            staged.rename(folder / f"{part_number}.{etag}")
        except FileNotFoundError:
            raise _no_upload(path, upload_id) from None
        finally:
            os.close(fd)
            with contextlib.suppress(OSError):
                staged.unlink()
        return etag

    def complete_multipart(self, path: str, upload_id: str, parts: Sequence[Part]) -> None:
        path = artifact_path(path)
        folder = self._upload(path, upload_id)
        files = [self._part_file(folder, part) for part in parts]
        numbers = [part.part_number for part in parts]
        if not parts or sorted(numbers) != list(range(1, len(parts) + 1)):
            raise InvalidParameter(
                f"Parts {numbers[:20]} of '{path}' are not all of 1 to {len(parts) or 1}, each once."
            )
        files = [file for _, file in sorted(zip(numbers, files, strict=True))]
        self._refuse_folder(path)
        with self._staged(path) as (staged, fd), _explained(path):
            for file in files:
                with file.open("rb") as source:
                    copy_here(source.fileno(), fd)
            self._publish(path, staged, fd)
        self.abort_multipart(path, upload_id)

    def abort_multipart(self, path: str, upload_id: str) -> None:
        try:
            folder = self._upload(path, upload_id)
        except NotFound:
            return
        shutil.rmtree(folder, ignore_errors=True)
        self._leave_staging()

    def _upload(self, path: str, upload_id: str) -> Path:
        """The folder of an upload, which must be one to this path."""
        path = artifact_path(path)
        folder = self.root / STAGING / upload_id
        if _UPLOAD_ID.fullmatch(upload_id):
            with contextlib.suppress(OSError):
                if (folder / "path").read_text(encoding="utf-8") == path:
                    return folder
        raise _no_upload(path, upload_id)

    def _part_file(self, folder: Path, part: Part) -> Path:
        etag = part.etag.strip('"')
        file = folder / f"{part.part_number}.{etag}"
        if not re.fullmatch(r"[0-9a-f]{16}", etag) or not file.is_file():
            raise InvalidParameter(
                f"Part {part.part_number} with etag '{part.etag[:60]}' was not uploaded."
            )
        return file

    # The way into place.

    def _inside(self, path: str) -> Path:
        """The real place of a safe path, with symlinks resolved; it must lie in the root."""
        root = os.path.realpath(self.root)
        target = os.path.realpath(os.path.join(root, path))  # noqa: PTH118
        if target != root and not target.startswith(root.rstrip(os.sep) + os.sep):
            raise InvalidParameter(
                f"Invalid path: '{path}' leads out of the artifact root through a symbolic link."
            )
        return Path(target)

    def _refuse_folder(self, path: str) -> None:
        if self._inside(path).is_dir():
            raise _is_folder(path)

    def _in_staging(self, make: Callable[[Path], T], name: str = "") -> T:
        """Make something in the staging folder, which others remove when it is empty.

        Args:
            make: Gets a path there; raises FileNotFoundError when the staging folder is gone.
            name: The last part of that path; default: a new one.

        Raises:
            Unavailable: The staging folder cannot be made.
        """
        staging = self.root / STAGING
        for _ in _tries():
            try:
                _make_folders(staging)
                if not self._swept:
                    self._swept = True
                    self._sweep(staging)
            except (FileExistsError, NotADirectoryError):
                raise Unavailable(f"The artifact root {self.root} is not a folder.") from None
            except FileNotFoundError:
                continue
            try:
                return make(staging / (name or secrets.token_hex(16)))
            except FileNotFoundError:
                pass
        raise Unavailable(f"Cannot make the artifact root {self.root}.")

    def _leave_staging(self) -> None:
        with contextlib.suppress(OSError):  # somebody else still uses it
            (self.root / STAGING).rmdir()

    def _sweep(self, staging: Path) -> None:
        limit = time.time() - _ABANDONED
        for entry in os.scandir(staging):
            with contextlib.suppress(OSError):  # another process sweeps too
                if entry.stat(follow_symlinks=False).st_mtime < limit:
                    if entry.is_dir(follow_symlinks=False):
                        shutil.rmtree(entry.path)
                    else:
                        os.unlink(entry.path)  # noqa: PTH108

    @contextlib.contextmanager
    def _staged(self, path: str) -> Iterator[tuple[Path, int]]:
        """A new file in the staging folder; it is gone at the end unless it was renamed."""
        with _explained(path):
            staged, fd = self._in_staging(_new_file)
        try:
            yield staged, fd
        finally:
            os.close(fd)
            with contextlib.suppress(FileNotFoundError):
                staged.unlink()
            self._leave_staging()

    def _publish(self, path: str, staged: Path, fd: int) -> ArtifactStat:
        """Put a whole file under its name, durably."""
        with _explained(path):
            os.fsync(fd)
            target, made = self._move(path, staged)
            for folder in {target.parent, *(folder.parent for folder in made)}:
                _sync_folder(folder)
            return stat_of(os.fstat(fd))

    def _move(self, path: str, staged: Path) -> tuple[Path, Sequence[Path]]:
        """Rename a file into its place; that place, and the folders that had to be made for it."""
        made: Sequence[Path] = ()
        for _ in _tries():
            target = self._inside(path)
            try:
                made = (*made, *_make_folders(target.parent))
                os.replace(staged, target)  # noqa: PTH105
                return target, made
            except IsADirectoryError:
                raise _is_folder(path) from None
            except (FileNotFoundError, NotADirectoryError, FileExistsError):
                # Mostly a deletion pruned the folder meanwhile, whatever the system calls that.
                if _in_the_way(target.parent):
                    raise InvalidParameter(
                        f"Invalid path: a part of '{path}' is a file, not a folder."
                    ) from None
        raise Unavailable(f"The folder of '{path}' is deleted as often as it is made; try again.")


class _LocalContent(ArtifactContent):
    def __init__(self, path: str, fd: int, stat: ArtifactStat, start: int, stop: int) -> None:
        super().__init__(stat, start, stop)
        self._path = path
        self._fd = fd

    def __iter__(self) -> Iterator[Chunk]:
        at = self.start
        while at < self.stop:
            with _explained(self._path):
                chunk = os.pread(self._fd, min(CHUNK_SIZE, self.stop - at), at)
            if not chunk:
                raise Unavailable(f"'{self._path}' was cut short while it was read.")
            at += len(chunk)
            yield chunk

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def stat_of(status: os.stat_result) -> ArtifactStat:
    """What an artifact store says of a file of this machine."""
    # The inode tells apart two files written within one tick of the clock.
    etag = f'"{status.st_mtime_ns:x}-{status.st_ino:x}-{status.st_size:x}"'
    return ArtifactStat(size=status.st_size, modified=status.st_mtime, etag=etag)


def _write_all(path: str, fd: int, chunks: Iterable[Chunk]) -> None:
    written = begun = 0
    # Only our own file's errors are explained; those of `chunks` are the caller's.
    for chunk in chunks:
        with _explained(path):
            view = memoryview(chunk).cast("B")
            written += len(view)
            while view:
                view = view[os.write(fd, view) :]
        if written - begun >= STEP:
            begin_writeback(fd, begun, written - begun)
            begun = written


def _new_file(path: Path) -> tuple[Path, int]:
    return path, os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)


def _new_folder(path: Path) -> Path:
    path.mkdir()
    return path


def _tries() -> Iterator[int]:
    """Counts the tries of what others keep undoing, until it is time to give up.

    No pause between them is needed: that a try failed means that somebody else's work got on.
    """
    until = time.monotonic() + _PATIENCE
    for number in itertools.count():
        if number >= _TRIES and time.monotonic() > until:
            return
        yield number


def _make_folders(folder: Path) -> list[Path]:
    """Make a folder and its parents, also while others make and prune the same; those that are new.

    Raises:
        FileExistsError, NotADirectoryError: A part of it is a file.
        FileNotFoundError: Others remove it as often as it is made.
    """
    new: list[Path] = []
    for _ in _tries():
        if folder.is_dir():
            return new
        try:
            _make_folder(folder)
            return [*new, folder]
        except FileNotFoundError:
            new += _make_folders(folder.parent)
        except (FileExistsError, NotADirectoryError):
            if _in_the_way(folder):
                raise
    raise FileNotFoundError(errno.ENOENT, "removed as often as it is made", str(folder))


def _make_folder(folder: Path) -> None:
    """Make one folder.

    Raises:
        FileNotFoundError: The folder above it is not there.
        PermissionError: The folder above it is there and takes none in, as /proc does.
    """
    try:
        folder.mkdir()
        return
    except FileNotFoundError:
        # Either the folder above it was removed, and somebody may have made it again since; or it
        # says so of every name. While we hold it open no other folder can get its inode number.
        above = os.open(folder.parent, os.O_RDONLY)
    try:
        folder.mkdir()
    except FileNotFoundError:
        if os.path.samestat(os.fstat(above), folder.parent.stat()):
            raise PermissionError(errno.EPERM, os.strerror(errno.EPERM), str(folder)) from None
        raise
    finally:
        os.close(above)


def _in_the_way(folder: Path) -> bool:
    """Whether a part of a path is there and is no folder.

    Asked after the system said something like it: what it says also comes about when a folder comes and
    goes between two of its looks.
    """
    for part in (folder, *folder.parents):
        try:
            mode = part.lstat().st_mode
        except (FileNotFoundError, NotADirectoryError):
            continue
        if not stat_.S_ISDIR(mode) and not (stat_.S_ISLNK(mode) and part.is_dir()):
            return True
    return False


def _sync_folder(folder: Path) -> None:
    """Make a rename durable. Not every platform lets a folder be opened."""
    with contextlib.suppress(OSError):
        fd = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)


@contextlib.contextmanager
def _explained(path: str) -> Iterator[None]:
    """The operating system's errors in our words; those that callers handle pass through."""
    try:
        yield
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError, FileExistsError):
        raise
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            raise InvalidParameter(f"Invalid path: '{path[:200]}…' is too long.") from None
        if error.errno == errno.ELOOP:
            raise InvalidParameter(f"Invalid path: '{path}' is a loop of links.") from None
        raise Unavailable(
            f"The artifact folder cannot serve '{path}': {error.strerror or error}."
        ) from error


def _missing(path: str) -> NotFound:
    return NotFound(f"No such artifact: '{path}'.")


def _is_folder(path: str) -> InvalidParameter:
    return InvalidParameter(
        f"Artifact path refers to a directory, not a file: '{path}'. Name a file in it."
    )


def _no_upload(path: str, upload_id: str) -> NotFound:
    return NotFound(f"No multipart upload '{upload_id[:60]}' to '{path}' is under way.")
