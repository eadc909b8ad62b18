"""Artifacts in an object store (S3 and what speaks like it, GCS, Azure), through obstore."""

from __future__ import annotations

import contextlib
import itertools
import os
import time
from collections.abc import Iterable, Iterator, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, cast

import obstore
from obstore.exceptions import BaseError, PermissionDeniedError, UnauthenticatedError

from headrace.artifacts.paths import artifact_path
from headrace.artifacts.s3 import S3Multipart
from headrace.artifacts.store import (
    CHUNK_SIZE,
    ArtifactContent,
    ArtifactStat,
    ArtifactStore,
    Chunk,
    Part,
    PartTarget,
    check_part_count,
    multipart_unsupported,
    resolve_range,
)
from headrace.entities import FileInfo
from headrace.errors import InvalidParameter, NotFound, Unavailable
from headrace.protocol.artifacts import PresignedUrl

if TYPE_CHECKING:
    from obstore.store import ObjectStore

#: Size in bytes and number of the parts of one upload that are in memory together.
_PART_SIZE = 8 << 20
_PARTS_AT_ONCE = 3
#: Object stores take at most 10,000 parts; large files get larger ones.
_MAX_PARTS = 9_000


class ObjectArtifacts(ArtifactStore):
    """A bucket or container, or a prefix in one.

    Writes are multipart uploads that become visible when complete; an upload that fails is aborted.
    """

    def __init__(self, uri: str, store: ObjectStore) -> None:
        self.uri = uri
        self._store = store
        self._multipart = (
            S3Multipart(uri, self._sign_put) if type(store).__name__ == "S3Store" else None
        )
        self.presigns = self._multipart is not None and bool(
            os.environ.get("AWS_SECRET_ACCESS_KEY")
        )

    def list(self, path: str = "") -> list[FileInfo]:
        path = artifact_path(path, root=True)
        with self._explained(path):
            listing = obstore.list_with_delimiter(self._store, prefix=path or None)
        found = [FileInfo(path=folder, is_dir=True) for folder in listing["common_prefixes"]]
        found += [
            FileInfo(path=meta["path"], is_dir=False, file_size=meta["size"])
            for meta in listing["objects"]
            if meta["path"] != path
        ]
        return sorted((info for info in found if _reachable(info.path)), key=lambda info: info.path)

    def stat(self, path: str) -> ArtifactStat:
        path = artifact_path(path)
        try:
            with self._explained(path):
                return _stat(obstore.head(self._store, path))
        except FileNotFoundError:
            raise self._missing(path) from None

    def read(self, path: str, start: int = 0, stop: int | None = None) -> ArtifactContent:
        path = artifact_path(path)
        if (start, stop) == (0, None):
            return self._whole(path)
        stat = self.stat(path)
        first, last = resolve_range(path, stat.size, start, stop)
        if (first, last) == (0, stat.size):
            return self._whole(path)
        with self._explained(path):
            result = obstore.get(self._store, path, options={"range": (first, last)})
        return _ObjectContent(self, path, result, stat, first, last)

    def _whole(self, path: str) -> ArtifactContent:
        try:
            with self._explained(path):
                result = obstore.get(self._store, path)
        except FileNotFoundError:
            raise self._missing(path) from None
        stat = _stat(result.meta)
        return _ObjectContent(self, path, result, stat, 0, stat.size)

    def write(self, path: str, chunks: Iterable[Chunk], *, size: int | None = None) -> ArtifactStat:
        path = artifact_path(path)
        part_size = max(_PART_SIZE, -(-(size or 0) // _MAX_PARTS))
        counted = _Counted(chunks)
        pieces = iter(counted)
        head: list[Chunk] = []
        for piece in pieces:
            head.append(piece)
            if counted.total >= part_size:
                break
        with self._explained(path):
            if counted.total < part_size:
                result = obstore.put(self._store, path, b"".join(head), use_multipart=False)
            else:
                result = obstore.put(
                    self._store,
                    path,
                    cast("Iterator[bytes]", itertools.chain(_drain(head), pieces)),
                    use_multipart=True,
                    chunk_size=part_size,
                    max_concurrency=_PARTS_AT_ONCE,
                )
        return ArtifactStat(
            size=counted.total, modified=time.time(), etag=result.get("e_tag") or ""
        )

    def delete(self, path: str) -> None:
        path = artifact_path(path, root=True)
        with self._explained(path):
            if path:
                self._delete([path])
            for batch in obstore.list(self._store, prefix=path or None, chunk_size=1000):
                self._delete([meta["path"] for meta in batch])

    def _delete(self, paths: Sequence[str]) -> None:
        with contextlib.suppress(FileNotFoundError):
            obstore.delete(self._store, list(paths))

    def presign(self, method: str, path: str, expires: int) -> PresignedUrl:
        path = artifact_path(path)
        size = self.stat(path).size if method == "GET" else None
        with self._explained(path):
            url = self._sign(method, path, expires)
        # Azure wants to hear what kind of blob it is given.
        azure = method == "PUT" and type(self._store).__name__ == "AzureStore"
        headers = {"x-ms-blob-type": "BlockBlob"} if azure else {}
        return PresignedUrl(presigned_url=url, headers=headers, file_size=size)

    def _sign(self, method: str, path: str, expires: int) -> str:
        return obstore.sign(
            cast(Any, self._store), cast(Any, method), path, timedelta(seconds=expires)
        )

    def _sign_put(self, path: str) -> str:
        return self._sign("PUT", path, 60)

    def start_multipart(
        self, path: str, count: int, expires: int = 3600
    ) -> tuple[str, Sequence[PartTarget] | None]:
        path = artifact_path(path)
        check_part_count(count)
        return self._s3().start(path, count, expires)

    def complete_multipart(self, path: str, upload_id: str, parts: Sequence[Part]) -> None:
        self._s3().complete(artifact_path(path), upload_id, parts)

    def abort_multipart(self, path: str, upload_id: str) -> None:
        self._s3().abort(artifact_path(path), upload_id)

    def _s3(self) -> S3Multipart:
        if self._multipart is None:
            raise multipart_unsupported(self.uri)
        return self._multipart

    def _missing(self, path: str) -> NotFound | InvalidParameter:
        with self._explained(path):
            for batch in obstore.list(self._store, prefix=path, chunk_size=1):
                if batch:
                    return InvalidParameter(
                        f"Artifact path refers to a directory, not a file: '{path}'. "
                        "Name a file in it."
                    )
        return NotFound(f"No such artifact: '{path}'.")

    @contextlib.contextmanager
    def _explained(self, path: str) -> Iterator[None]:
        """obstore's errors in our words. Its messages go on for pages after the first line."""
        try:
            yield
        except (PermissionDeniedError, UnauthenticatedError) as error:
            raise Unavailable(
                f"{self.uri} refuses our credentials for '{path}'; check AWS_ACCESS_KEY_ID and its "
                f"like, and what they may do: {_first_line(error)}"
            ) from error
        except BaseError as error:
            raise Unavailable(f"{self.uri} cannot serve '{path}': {_first_line(error)}") from error


class _ObjectContent(ArtifactContent):
    def __init__(
        self,
        store: ObjectArtifacts,
        path: str,
        result: obstore.GetResult,
        stat: ArtifactStat,
        start: int,
        stop: int,
    ) -> None:
        super().__init__(stat, start, stop)
        self._store = store
        self._path = path
        self._result: obstore.GetResult | None = result

    def __iter__(self) -> Iterator[Chunk]:
        if self._result is None or self.start == self.stop:
            return
        with self._store._explained(self._path):
            for chunk in self._result.stream(min_chunk_size=CHUNK_SIZE):
                yield memoryview(cast(Any, chunk))

    def close(self) -> None:
        self._result = None


class _Counted:
    """Passes chunks on and counts their bytes."""

    def __init__(self, chunks: Iterable[Chunk]) -> None:
        self._chunks = chunks
        self.total = 0

    def __iter__(self) -> Iterator[Chunk]:
        for chunk in self._chunks:
            self.total += len(chunk)
            if len(chunk):
                yield chunk


def _drain(chunks: list[Chunk]) -> Iterator[Chunk]:
    """The chunks, each let go as soon as it was handed on."""
    chunks.reverse()
    while chunks:
        yield chunks.pop()


def _stat(meta: obstore.ObjectMeta) -> ArtifactStat:
    return ArtifactStat(
        size=meta["size"], modified=meta["last_modified"].timestamp(), etag=meta["e_tag"] or ""
    )


def _reachable(path: str) -> bool:
    try:
        return artifact_path(path) == path
    except InvalidParameter:
        return False


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0][:500]
