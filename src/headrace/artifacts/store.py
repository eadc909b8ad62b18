"""What an artifact store is.

Paths are relative to the store's root and pass through `headrace.artifacts.paths.artifact_path` in
every method, so a store can be handed a path straight from a request.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from types import TracebackType
from typing import Self, TypeAlias

import msgspec

from headrace.entities import FileInfo
from headrace.errors import InvalidParameter, RangeNotSatisfiable, Unsupported
from headrace.protocol.artifacts import PresignedUrl

#: A piece of an artifact: anything flat that has a buffer. (`collections.abc.Buffer` is of 3.12.)
Chunk: TypeAlias = bytes | bytearray | memoryview

#: Size of the pieces that stores read and like to be given, in bytes.
CHUNK_SIZE = 1 << 20
#: Header by which a client on a server's machine asks, and is told, where a file lies: it can then read the file
#: itself, if the system lets it. That it is the very file, and not one of that name on another machine, the
#: client sees by the etag, which has the inode and the time of the last change in it.
PLACE = "x-headrace-file"
#: Most parts of one upload; S3's limit, and so everybody's.
MAX_PARTS = 10_000


class ArtifactStat(msgspec.Struct, frozen=True):
    """One file: ``size`` in bytes, ``modified`` in seconds since 1970, ``etag`` a version token.

    Two reads that see the same etag see the same bytes. It is empty where a store has none. ``place`` is the file's
    path on this machine, where `ArtifactStore.stat` knows that it lies here.
    """

    size: int
    modified: float
    etag: str = ""
    place: str = ""


class ArtifactContent(ABC):
    """An artifact, or a range of one, open for reading: iterate once, close in any case.

    Attributes:
        stat: Of the whole file.
        start: First byte of the range.
        stop: One past the last byte of the range.
    """

    def __init__(self, stat: ArtifactStat, start: int, stop: int) -> None:
        self.stat = stat
        self.start = start
        self.stop = stop

    @abstractmethod
    def __iter__(self) -> Iterator[Chunk]:
        """The bytes, in pieces of about `CHUNK_SIZE`; exactly ``stop - start`` in all.

        Raises:
            Unavailable: The store broke off.
        """

    @abstractmethod
    def close(self) -> None:
        """Let go of the file or connection."""

    def read(self) -> bytes:
        """All bytes at once; for small files."""
        return b"".join(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """A part that was uploaded: its number from 1, and the etag that the upload answered."""

    part_number: int
    etag: str = ""


class PartTarget(msgspec.Struct, frozen=True, kw_only=True):
    """Where to PUT one part, and with which headers."""

    part_number: int
    url: str
    headers: dict[str, str] = {}


class ArtifactStore(ABC):
    """A folder of artifacts somewhere.

    Thread-safe: any method may be called from any thread. Files are whole or absent: a reader never
    sees half of one, and a failed or killed writer leaves nothing under the name it wrote to.
    Folders exist only through the files in them.

    Attributes:
        uri: Where the root is, as URI.
        presigns: Whether `presign` and `start_multipart` give URLs that lead to the store itself.
    """

    uri: str
    presigns: bool = False

    @abstractmethod
    def list(self, path: str = "") -> list[FileInfo]:
        """The direct children of a folder, sorted by path, with paths relative to the store's root.

        A folder that is not there, and a file, have none.
        """

    @abstractmethod
    def stat(self, path: str) -> ArtifactStat:
        """Size and version of a file.

        Raises:
            NotFound: No such file.
            InvalidParameter: The path names a folder.
        """

    @abstractmethod
    def read(self, path: str, start: int = 0, stop: int | None = None) -> ArtifactContent:
        """Open a file, or the bytes ``start`` to ``stop`` of it, as a slice would.

        Negative ``start`` counts from the end. A ``stop`` past the end means the end.

        Raises:
            NotFound: No such file.
            InvalidParameter: The path names a folder.
            RangeNotSatisfiable: The range begins past the end of the file.
        """

    @abstractmethod
    def write(self, path: str, chunks: Iterable[Chunk], *, size: int | None = None) -> ArtifactStat:
        """Write a file, replacing one that is there, and make the folders it needs.

        Returns when the file is durable and visible. When ``chunks`` raises, nothing becomes
        visible, an older file of that name stays as it was, and the error goes on to the caller.

        Args:
            path: The file.
            chunks: Its bytes, in pieces of any length.
            size: How many bytes there will be, if known; object stores choose their parts by it.

        Raises:
            InvalidParameter: The path names a folder, or has a file for a parent.
            Unavailable: The store is full or away.
        """

    @abstractmethod
    def delete(self, path: str) -> None:
        """Delete a file, or a folder with all in it. What is not there is no error."""

    def presign(self, method: str, path: str, expires: int) -> PresignedUrl:
        """A URL that carries the permission for one GET or PUT, without this process.

        Args:
            method: ``GET`` or ``PUT``.
            path: The file.
            expires: Seconds for which the URL works.

        Raises:
            Unsupported: The store has no such URLs.
            NotFound: GET of a file that is not there.
        """
        raise Unsupported(
            f"Presigned {'upload' if method == 'PUT' else 'download'} is not supported for the "
            f"current artifact repository ({self.uri}); it is for object stores."
        )

    # Multipart uploads: the caller starts one, sends the parts in any order and in parallel, and
    # completes it.

    def start_multipart(
        self, path: str, count: int, expires: int = 3600
    ) -> tuple[str, Sequence[PartTarget] | None]:
        """Begin an upload in parts.

        Args:
            path: The file to be.
            count: How many parts there will be, 1 to 10,000.
            expires: Seconds for which the URLs of the parts work.

        Returns:
            The upload's id, and where to PUT the parts 1 to ``count``; None in place of the latter
            when parts go through `write_part`.

        Raises:
            Unsupported: The store cannot.
        """
        raise multipart_unsupported(self.uri)

    def write_part(
        self, path: str, upload_id: str, part_number: int, chunks: Iterable[Chunk]
    ) -> str:
        """Store one part, replacing one of that number; its etag."""
        raise multipart_unsupported(self.uri)

    def complete_multipart(self, path: str, upload_id: str, parts: Sequence[Part]) -> None:
        """Make one file of the parts, in order of their numbers.

        Raises:
            NotFound: No such upload.
            InvalidParameter: A part is missing, named twice, or has another etag.
        """
        raise multipart_unsupported(self.uri)

    def abort_multipart(self, path: str, upload_id: str) -> None:
        """Forget an upload and its parts. One that is not there is no error."""
        raise multipart_unsupported(self.uri)


def check_part_count(count: int) -> None:
    """Refuse a number of parts that no store takes."""
    if not 1 <= count <= MAX_PARTS:
        raise InvalidParameter(
            f"Invalid value {count} for parameter 'num_parts': an upload has 1 to {MAX_PARTS} parts."
        )


def multipart_unsupported(uri: str) -> Unsupported:
    """The error whose first words make MLflow's client fall back to one plain upload."""
    return Unsupported(
        "Multipart upload is not supported for the current artifact repository "
        f"({uri}); upload in one piece."
    )


def resolve_range(path: str, size: int, start: int, stop: int | None) -> tuple[int, int]:
    """A slice of a file as (first, one past the last).

    Raises:
        RangeNotSatisfiable: It begins past the end, or is empty though the file is not.
    """
    first = max(size + start, 0) if start < 0 else start
    last = size if stop is None else min(stop, size)
    if (first, last) != (0, size) and first >= last:
        raise RangeNotSatisfiable(
            f"Bytes {start} to {'the end' if stop is None else stop} lie outside of '{path}', "
            f"which has {size} bytes."
        )
    return first, last
