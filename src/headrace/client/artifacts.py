"""Artifacts from the client's side: through a server, or where they are stored.

`artifacts_at` answers an `ArtifactStore` for any artifact URI; `headrace.client.transfer` copies files
and folders between this machine and any such store.
"""

from __future__ import annotations

import contextlib
import email.utils
import itertools
import os
import posixpath
import time
import urllib.parse
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import httpx
import msgspec

from headrace.artifacts import (
    ArtifactContent,
    ArtifactStat,
    ArtifactStore,
    Chunk,
    Part,
    PartTarget,
    artifact_path,
    open_artifacts,
)
from headrace.artifacts.local import stat_of
from headrace.artifacts.store import CHUNK_SIZE, PLACE, resolve_range
from headrace.client.environment import setting
from headrace.client.transfer import (
    Progress,
    download,
    download_file,
    upload,
    upload_dir,
)
from headrace.entities import FileInfo
from headrace.errors import HeadraceError, InvalidParameter, NotFound, Unavailable, from_wire
from headrace.protocol.artifacts import PresignedUrl

if TYPE_CHECKING:
    from headrace.client.remote import RemoteStore

__all__ = [
    "Progress",
    "RemoteArtifacts",
    "artifacts_at",
    "download",
    "download_file",
    "upload",
    "upload_dir",
]

_BASE = "api/2.0/mlflow-artifacts"
#: Servers at these addresses may be on this machine.
_NEAR = frozenset(("127.0.0.1", "localhost", "::1"))
#: How often a read goes on after its connection broke without a byte in between.
_READ_TRIES = 5


def artifacts_at(uri: str, remote: Any = None) -> ArtifactStore:
    """The artifact store at a URI.

    Args:
        uri: ``mlflow-artifacts:/path``, which goes through a server, or anything that
            `headrace.artifacts.open_artifacts` knows.
        remote: The tracking store that answered the URI; a `RemoteStore` when it is a server.

    Raises:
        InvalidParameter: No store is known for that URI, or it needs a server and there is none.
    """
    if not uri.startswith("mlflow-artifacts:"):
        return open_artifacts(uri)
    http = getattr(remote, "http", None)
    if http is None:
        raise InvalidParameter(
            f"'{uri}' is reached through a server: set the tracking URI to its http:// address."
        )
    return RemoteArtifacts(uri, remote)


class RemoteArtifacts(ArtifactStore):
    """Artifacts behind the ``mlflow-artifacts`` proxy of a headrace or MLflow server.

    Reads go on where they stopped when a connection breaks. Writes of files are repeated by
    `headrace.client.transfer.upload`, which can read them again.
    """

    def __init__(self, uri: str, remote: RemoteStore) -> None:
        """Address a folder on a server; nothing is sent yet.

        Args:
            uri: ``mlflow-artifacts:/path``; a host in it must be the server's own.
            remote: The server.
        """
        self.uri = uri
        self._remote = remote
        split = urllib.parse.urlsplit(uri)
        path = split.path + (f"?{split.query}" if split.query else "")
        self._root = artifact_path(urllib.parse.unquote(path).lstrip("/"), root=True)
        self._capabilities: dict[str, Any] | None = None

    @property
    def presigns(self) -> bool:  # type: ignore[override]
        """Whether the server sends clients to its object store for multipart uploads."""
        if self._capabilities is None:
            try:
                response = self._http.get("api/3.0/mlflow/server-info")
                given = response.json() if response.is_success else {}
            except (httpx.HTTPError, ValueError):
                given = {}
            self._capabilities = given if isinstance(given, dict) else {}
        # A server before a folder may take parts too, but then they all pass through it.
        names = ("multipart_uploads_enabled", "multipart_downloads_enabled")
        return all(self._capabilities.get(name) is True for name in names)

    @property
    def _http(self) -> httpx.Client:
        return self._remote.http

    def list(self, path: str = "") -> list[FileInfo]:
        path = artifact_path(path, root=True)
        answer = self._ask("GET", f"{_BASE}/artifacts", params={"path": self._full(path)})
        files = msgspec.convert(answer.get("files", []), tuple[FileInfo, ...], strict=False)
        found = []
        for file in files:
            # A hostile server must not name files outside of the folder that we asked for.
            name = posixpath.basename(artifact_path(file.path))
            place = posixpath.join(path, name)
            same = len(files) == 1 and not file.is_dir and name == posixpath.basename(path)
            if same and self._is_file(path):
                # MLflow's server lists some stores' files as their own children.
                return []
            size = None if file.is_dir else file.file_size or 0
            found.append(FileInfo(path=place, is_dir=file.is_dir, file_size=size))
        return sorted(found, key=lambda info: info.path)

    def _is_file(self, path: str) -> bool:
        try:
            self.stat(path)
        except (NotFound, InvalidParameter):
            return False
        return True

    def stat(self, path: str) -> ArtifactStat:
        near = self._http.base_url.host in _NEAR and setting("READ_FILES_HERE") != "0"
        headers = {PLACE: "?"} if near else {}
        response = self._request("HEAD", self._url(path), path, headers=headers)
        if response.status_code == 405:
            return self._listed(path)
        self._check(response, path)
        found = _stat(response)
        place = urllib.parse.unquote(response.headers.get(PLACE, "")) if near else ""
        return ArtifactStat(found.size, found.modified, found.etag, _same(place, found))

    def _listed(self, path: str) -> ArtifactStat:
        """What a listing says of a file, for servers without HEAD."""
        path = artifact_path(path)
        for info in self.list(posixpath.dirname(path)):
            if info.path == path and not info.is_dir:
                return ArtifactStat(size=info.file_size or 0, modified=0.0)
        raise NotFound(f"No such artifact: '{path}'.")

    def read(self, path: str, start: int = 0, stop: int | None = None) -> ArtifactContent:
        path = artifact_path(path)
        if start < 0:
            start = max(self.stat(path).size + start, 0)
        response = self._open(path, start, stop, "")
        stat, first = _described(response)
        try:
            wanted, last = resolve_range(path, stat.size, start, stop)
        except HeadraceError:
            response.close()
            raise
        return _RemoteContent(self, path, response, first, stat, wanted, last)

    def _open(self, path: str, start: int, stop: int | None, etag: str) -> httpx.Response:
        """A response whose body is, or begins before, the bytes from ``start``."""
        headers = {"Accept-Encoding": "identity"}
        if (start, stop) != (0, None):
            headers["Range"] = f"bytes={start}-{'' if stop is None else max(stop - 1, start)}"
            if etag:
                headers["If-Range"] = etag
        response = self._request("GET", self._url(path), path, headers=headers, stream=True)
        if not response.is_success:
            response.read()
            response.close()
            self._check(response, path)
        return response

    def write(self, path: str, chunks: Iterable[Chunk], *, size: int | None = None) -> ArtifactStat:
        path = artifact_path(path)
        counted = _Counted(chunks)
        headers = {"Content-Type": "application/octet-stream"}
        head = list(itertools.islice(counted, 2))
        content: Any
        if len(head) < 2:
            content = b"".join(head)  # replayable, so that the client below can retry it
        else:
            content = itertools.chain(head, counted)
            if size is not None:
                headers["Content-Length"] = str(size)
        response = self._request("PUT", self._url(path), path, headers=headers, content=content)
        self._check(response, path)
        return ArtifactStat(
            size=counted.total, modified=time.time(), etag=response.headers.get("etag", "")
        )

    def delete(self, path: str) -> None:
        path = artifact_path(path, root=True)
        response = self._request("DELETE", self._url(path, root=True), path)
        if response.status_code != 404:
            self._check(response, path)

    def presign(self, method: str, path: str, expires: int) -> PresignedUrl:
        if method != "GET":
            return super().presign(method, path, expires)
        answer = self._ask("GET", f"{_BASE}/presigned/{self._quoted(path)}")
        return PresignedUrl(
            presigned_url=answer["url"],
            headers=answer.get("headers") or {},
            file_size=answer.get("file_size"),
        )

    def start_multipart(
        self, path: str, count: int, expires: int = 3600
    ) -> tuple[str, Sequence[PartTarget] | None]:
        answer = self._multipart("create", path, num_parts=count)
        targets = msgspec.convert(answer.get("credentials", []), tuple[PartTarget, ...])
        return answer["upload_id"], targets

    def complete_multipart(self, path: str, upload_id: str, parts: Sequence[Part]) -> None:
        listed = [{"part_number": part.part_number, "etag": part.etag} for part in parts]
        self._multipart("complete", path, upload_id=upload_id, parts=listed)

    def abort_multipart(self, path: str, upload_id: str) -> None:
        try:
            self._multipart("abort", path, upload_id=upload_id)
        except NotFound:
            return

    def _multipart(self, verb: str, path: str, **fields: Any) -> Any:
        folder, name = posixpath.split(self._full(artifact_path(path)))
        return self._ask(
            "POST",
            f"{_BASE}/mpu/{verb}/{urllib.parse.quote(folder, safe='/')}",
            json={"path": name, **fields},
        )

    def _full(self, path: str) -> str:
        return posixpath.join(self._root, path) if path else self._root

    def _quoted(self, path: str, *, root: bool = False) -> str:
        return urllib.parse.quote(self._full(artifact_path(path, root=root)), safe="/")

    def _url(self, path: str, *, root: bool = False) -> str:
        return f"{_BASE}/artifacts/{self._quoted(path, root=root)}"

    def _ask(self, method: str, url: str, **options: Any) -> Any:
        """A JSON answer; an object, possibly empty."""
        response = self._request(method, url, "", **options)
        self._check(response, "")
        try:
            answer = msgspec.json.decode(response.content or b"{}")
        except msgspec.DecodeError:
            answer = None
        if not isinstance(answer, dict):
            raise Unavailable(f"{self._remote.uri} answered with something that is not an object.")
        return answer

    def _request(
        self, method: str, url: str, path: str, *, stream: bool = False, **options: Any
    ) -> httpx.Response:
        request = self._http.build_request(method, url, **options)
        try:
            return self._http.send(request, stream=stream)
        except httpx.TransportError as error:
            raise Unavailable(
                f"The connection to {self._remote.uri} broke on artifact '{path}': "
                f"{error or type(error).__name__}."
            ) from error

    def _check(self, response: httpx.Response, path: str) -> None:
        """Raise what the server answered, as the class that a local store would raise."""
        if response.is_success:
            return
        code, message = None, ""
        try:
            body = msgspec.json.decode(response.content)
        except (msgspec.DecodeError, httpx.ResponseNotRead):
            body = None
        if isinstance(body, dict):
            code, message = body.get("error_code"), body.get("message") or body.get("detail") or ""
        raise from_wire(
            code,
            str(message)
            or f"{self._remote.uri} answered {response.status_code} for artifact '{path}'.",
            response.status_code,
        )


class _RemoteContent(ArtifactContent):
    """A download that reconnects where it stopped."""

    def __init__(
        self,
        store: RemoteArtifacts,
        path: str,
        response: httpx.Response,
        first: int,
        stat: ArtifactStat,
        start: int,
        stop: int,
    ) -> None:
        super().__init__(stat, start, stop)
        self._store = store
        self._path = path
        self._response = response
        self._first = first

    def __iter__(self) -> Iterator[Chunk]:
        at, tries = self.start, 0
        while at < self.stop:
            try:
                for chunk in self._pieces(at):
                    at += len(chunk)
                    tries = 0
                    yield chunk
                if at >= self.stop:
                    return
                problem: Exception = EOFError("it ended early")
            except httpx.TransportError as error:
                problem = error
            tries += 1
            if tries > _READ_TRIES:
                raise Unavailable(
                    f"The download of '{self._path}' broke off at byte {at:,} of {self.stop:,}: "
                    f"{problem}."
                ) from problem
            time.sleep(min(0.1 * 2**tries, 5.0))
            self._reconnect(at)

    def _pieces(self, at: int) -> Iterator[Chunk]:
        """The response's bytes from ``at`` to the end of the range."""
        skip = at - self._first
        left = self.stop - at
        for chunk in self._response.iter_raw(CHUNK_SIZE):
            piece = memoryview(chunk)[skip:]
            skip = max(skip - len(chunk), 0)
            if piece:
                yield piece[:left]
                left -= len(piece)
            if left <= 0:
                return

    def _reconnect(self, at: int) -> None:
        self._response.close()
        response = self._store._open(self._path, at, self.stop, self.stat.etag)
        stat, first = _described(response)
        if (stat.etag, stat.size) != (self.stat.etag, self.stat.size):
            response.close()
            raise Unavailable(f"'{self._path}' changed while it was downloaded; start again.")
        self._response, self._first = response, first

    def close(self) -> None:
        self._response.close()


class _Counted:
    def __init__(self, chunks: Iterable[Chunk]) -> None:
        self._chunks = iter(chunks)
        self.total = 0

    def __iter__(self) -> Iterator[Chunk]:
        return self

    def __next__(self) -> Chunk:
        chunk = next(self._chunks)
        self.total += len(chunk)
        return chunk


def _same(place: str, stat: ArtifactStat) -> str:
    """The path that a server names, if the very file that it serves lies there for us too; else nothing."""
    if place and os.path.isabs(place):  # noqa: PTH117 - it may be no path at all
        with contextlib.suppress(OSError, ValueError):
            here = stat_of(os.stat(place))  # noqa: PTH116
            if (here.etag, here.size) == (stat.etag, stat.size):
                return place
    return ""


def _described(response: httpx.Response) -> tuple[ArtifactStat, int]:
    """The file that a GET answers from, and where in it the body begins."""
    unit, _, span = response.headers.get("content-range", "").partition(" ")
    if response.status_code == 206 and unit == "bytes":
        covered, _, size = span.partition("/")
        return _stat(response, int(size)), int(covered.partition("-")[0])
    return _stat(response), 0


def _stat(response: httpx.Response, size: int | None = None) -> ArtifactStat:
    modified = 0.0
    if text := response.headers.get("last-modified"):
        modified = email.utils.parsedate_to_datetime(text).timestamp()
    return ArtifactStat(
        size=int(response.headers.get("content-length", 0)) if size is None else size,
        modified=modified,
        etag=response.headers.get("etag", ""),
    )
