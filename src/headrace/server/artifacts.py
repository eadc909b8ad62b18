"""Artifacts over HTTP: MLflow's ``mlflow-artifacts`` proxy, and the artifacts of runs.

Bytes are streamed both ways in pieces of about a megabyte, read and written in threads, the next
one on its way while the last is sent or stored. A slow peer slows its own transfer and takes no
memory: the pieces in flight are all that a transfer holds.
"""

from __future__ import annotations

import asyncio
import email.utils
import posixpath
import re
import urllib.parse
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Self, TypeVar

import msgspec
from starlette.requests import Request as HttpRequest
from starlette.responses import Response as HttpResponse
from starlette.routing import BaseRoute, Route

from headrace.artifacts import (
    ArtifactContent,
    ArtifactStore,
    Chunk,
    Part,
    PartTarget,
    artifact_path,
)
from headrace.artifacts.local import LocalArtifacts
from headrace.artifacts.store import PLACE, resolve_range
from headrace.entities import FileInfo
from headrace.errors import BadRequest, InvalidParameter, RangeNotSatisfiable, Unavailable
from headrace.protocol.limits import Int64, Required
from headrace.protocol.operation import Empty, Operation, Request, Response
from headrace.protocol.wire import decode_body, encode
from headrace.server.artifact_events import ArtifactEvents
from headrace.server.body import Disconnected, read_body
from headrace.server.content import content_headers
from headrace.server.exchange import Receive, Scope, Send
from headrace.server.run_artifacts import ArtifactService

__all__ = ["ArtifactService", "artifact_routes"]

T = TypeVar("T")

_PREFIXES = ("/api/2.0", "/ajax-api/2.0")
#: Only for browsers, in MLflow too.
_MODEL_FILES = "/ajax-api/2.0/mlflow/logged-models/{model_id}/artifacts/files"
#: Uploads gather so many bytes before a thread stores them.
_PIECE = 1 << 20
#: Pieces shorter than this, in the midst of a large upload, are worth waiting for more (seconds).
_SMALL, _BREATH = 128 << 10, 0.001
#: Uploads that may run at once; each holds a thread for as long as its client takes.
_UPLOADS = 128
#: Other calls of the store that may run at once: each lasts as long as the store takes.
_CALLS = 128
#: A peer that sends nothing for so long is gone.
_SILENCE = 120.0
#: Largest JSON body of the multipart calls: 10,000 parts with their URLs.
_MAX_BODY = 32 << 20
#: How long presigned URLs work, in seconds.
_DOWNLOAD_TTL = 300
_UPLOAD_TTL = 3600

_RANGE = re.compile(r"bytes\s*=\s*(?:(\d{1,18})\s*-\s*(\d{0,18})|-\s*(\d{1,18}))\s*", re.ASCII)


class CreateMultipart(Request, frozen=True, kw_only=True):
    """``path`` is the client's local file; its last part is the artifact's name."""

    path: Required
    num_parts: Int64 = 1


class MultipartCreated(Response, frozen=True, kw_only=True):
    """Where to PUT each part."""

    upload_id: str
    credentials: tuple[PartTarget, ...] = ()


class UploadedPart(Request, frozen=True, kw_only=True):
    """A part as the client reports it: the etag that the PUT answered."""

    part_number: Int64
    etag: str = ""
    url: str = ""


class CompleteMultipart(Request, frozen=True, kw_only=True):
    """All parts of an upload."""

    path: Required
    upload_id: Required
    parts: tuple[UploadedPart, ...]


class AbortMultipart(Request, frozen=True, kw_only=True):
    """An upload to forget."""

    path: Required
    upload_id: Required


class ProxyListing(Response, frozen=True, kw_only=True):
    """Direct children, by their last name alone."""

    files: tuple[FileInfo, ...] = ()


class ProxyPresigned(Response, frozen=True, kw_only=True):
    """A URL of the store itself."""

    url: str
    headers: dict[str, str] = msgspec.field(default_factory=dict)
    file_size: int | None = None


def _multipart_operation(name: str, request: type[Request], response: type[Response]) -> Operation:
    verb = name.partition("_")[0]
    return Operation(
        name=name,
        methods=("POST",),
        path=f"/mlflow-artifacts/mpu/{verb}/{{path}}",
        prefixes=_PREFIXES,
        request=request,
        response=response,
        permission="artifact:edit",
        reads=False,
        summary=f"{verb.capitalize()} a multipart upload.",
    )


_CREATE = _multipart_operation("create_multipart_upload", CreateMultipart, MultipartCreated)
_COMPLETE = _multipart_operation("complete_multipart_upload", CompleteMultipart, Empty)
_ABORT = _multipart_operation("abort_multipart_upload", AbortMultipart, Empty)


def artifact_routes(
    store: ArtifactStore | None,
    service: ArtifactService | None = None,
    told: ArtifactEvents | None = None,
) -> list[BaseRoute]:
    """The routes of the proxy, and of ``/get-artifact``.

    Handlers raise `headrace.errors`; the application turns them into answers.

    Args:
        store: Behind the proxy; None turns the proxy off, and its routes answer 503.
        service: Finds the artifacts of runs; None leaves out ``/get-artifact`` and its like for logged models.
        told: Is told what was stored and deleted; None: nobody is.
    """
    proxy = _Proxy(store, told)
    routes: list[BaseRoute] = []
    for prefix in _PREFIXES:
        base = f"{prefix}/mlflow-artifacts"
        for path, methods, endpoint in (
            ("/artifacts", ["GET"], proxy.list),
            ("/artifacts/{path:path}", ["GET"], proxy.download),
            ("/artifacts/{path:path}", ["PUT"], proxy.upload),
            ("/artifacts/{path:path}", ["DELETE"], proxy.delete),
            ("/presigned/{path:path}", ["GET"], proxy.presign),
            ("/mpu/create/{path:path}", ["POST"], proxy.create_multipart),
            ("/mpu/complete/{path:path}", ["POST"], proxy.complete_multipart),
            ("/mpu/abort/{path:path}", ["POST"], proxy.abort_multipart),
            ("/mpu/part/{upload_id}/{number}/{path:path}", ["PUT"], proxy.upload_part),
        ):
            name = f"{endpoint.__name__}_artifact".replace("multipart_artifact", "multipart")
            routes.append(Route(base + path, endpoint, methods=methods, name=name))
    if service is not None:
        runs = _Files(service, proxy.threads)
        routes.append(Route("/get-artifact", runs.download, name="get_artifact"))
        routes.append(Route(_MODEL_FILES, runs.download_of_model, name="get_logged_model_artifact"))
    return routes


class _Threads:
    """Where blocking store calls run, so many at once."""

    def __init__(self, count: int) -> None:
        self._pool = ThreadPoolExecutor(count, thread_name_prefix="headrace-transfer")

    def run(self, call: Callable[..., T], *arguments: Any, **named: Any) -> Awaitable[T]:
        loop = asyncio.get_running_loop()
        return loop.run_in_executor(self._pool, lambda: call(*arguments, **named))


class _Proxy:
    def __init__(self, store: ArtifactStore | None, told: ArtifactEvents | None) -> None:
        self._stored = store
        self._told = told
        self.threads = _Threads(_CALLS)
        # Apart, so that slow clients that upload keep nobody from reading.
        self._uploads = _Threads(_UPLOADS)

    @property
    def _store(self) -> ArtifactStore:
        if self._stored is None:
            raise Unavailable(
                "Artifact serving is disabled. Start the server with --serve-artifacts, or reach the "
                "artifacts where they are stored."
            )
        return self._stored

    async def list(self, request: HttpRequest) -> HttpResponse:
        path = request.query_params.get("path", "")
        files = await self.threads.run(self._store.list, path)
        names = (
            FileInfo(path=posixpath.basename(f.path), is_dir=f.is_dir, file_size=f.file_size)
            for f in files
        )
        return _json(ProxyListing(files=tuple(names)))

    async def download(self, request: HttpRequest) -> HttpResponse:
        return await _content(request, self._store, _path(request), self.threads)

    async def upload(self, request: HttpRequest) -> HttpResponse:
        path = artifact_path(_path(request))
        length = request.headers.get("content-length", "")
        size = int(length) if length.isdecimal() else None
        with _Body(request, size) as body:
            stat = await self._uploads.run(self._store.write, path, body, size=size)
        if self._told is not None:
            self._told.stored(path, stat.size)
        return HttpResponse(status_code=200, headers={"etag": stat.etag} if stat.etag else None)

    async def delete(self, request: HttpRequest) -> HttpResponse:
        path = artifact_path(_path(request))
        await self.threads.run(self._store.delete, path)
        if self._told is not None:
            self._told.deleted(path)
        return _json(Empty())

    async def presign(self, request: HttpRequest) -> HttpResponse:
        made = await self.threads.run(self._store.presign, "GET", _path(request), _DOWNLOAD_TTL)
        return _json(
            ProxyPresigned(url=made.presigned_url, headers=made.headers, file_size=made.file_size)
        )

    async def create_multipart(self, request: HttpRequest) -> HttpResponse:
        asked: Any = decode_body(_CREATE, await self._json_body(request))
        path = _target(request, asked.path)
        upload_id, targets = await self.threads.run(
            self._store.start_multipart, path, asked.num_parts, _UPLOAD_TTL
        )
        if targets is None:
            targets = _own_targets(request, path, upload_id, asked.num_parts)
        return _json(MultipartCreated(upload_id=upload_id, credentials=tuple(targets)))

    async def upload_part(self, request: HttpRequest) -> HttpResponse:
        # No credentials come with this request (MLflow's client sends none to part URLs): the upload
        # id, 128 random bits, is the permission.
        upload_id: str = request.path_params["upload_id"]
        number = _part_number(request.path_params["number"])
        length = request.headers.get("content-length", "")
        path = artifact_path(request.path_params["path"])
        with _Body(request, int(length) if length.isdecimal() else None) as body:
            etag = await self._uploads.run(self._store.write_part, path, upload_id, number, body)
        return HttpResponse(status_code=200, headers={"etag": f'"{etag}"'})

    async def complete_multipart(self, request: HttpRequest) -> HttpResponse:
        asked: Any = decode_body(_COMPLETE, await self._json_body(request))
        parts = [Part(part_number=part.part_number, etag=part.etag) for part in asked.parts]
        path = _target(request, asked.path)
        await self.threads.run(self._store.complete_multipart, path, asked.upload_id, parts)
        if self._told is not None:
            self._told.stored(path)
        return _json(Empty())

    async def abort_multipart(self, request: HttpRequest) -> HttpResponse:
        asked: Any = decode_body(_ABORT, await self._json_body(request))
        path = _target(request, asked.path)
        await self.threads.run(self._store.abort_multipart, path, asked.upload_id)
        return _json(Empty())

    async def _json_body(self, request: HttpRequest) -> bytes:
        _ = self._store  # a proxy that is off says so before it reads anything
        return await read_body(request.receive, dict(request.scope["headers"]), _MAX_BODY)


class _Files:
    def __init__(self, service: ArtifactService, threads: _Threads) -> None:
        self._service = service
        self._threads = threads

    async def download(self, request: HttpRequest) -> HttpResponse:
        query = request.query_params
        run_id = query.get("run_id") or query.get("run_uuid") or ""
        path = query.get("path", "")
        store, place = await self._threads.run(self._service.locate, run_id, path)
        return await _content(request, store, place, self._threads)

    async def download_of_model(self, request: HttpRequest) -> HttpResponse:
        path = request.query_params.get("artifact_file_path", "")
        if not path:
            raise BadRequest('Request must include the "artifact_file_path" query parameter.')
        model_id = request.path_params["model_id"]
        store, place = await self._threads.run(self._service.locate_of_model, model_id, path)
        return await _content(request, store, place, self._threads)


def _path(request: HttpRequest) -> str:
    """The artifact's path in a request's.

    MLflow's client does not encode ``?`` in file names, so what looks like a query is the rest of the
    name; these routes have no query of their own.
    """
    path: str = request.path_params["path"]
    query = request.scope["query_string"]
    return f"{path}?{urllib.parse.unquote(query.decode('latin-1'))}" if query else path


def _target(request: HttpRequest, local_file: str) -> str:
    """The artifact that a multipart call is about: folder from the URL, name from the body."""
    name = re.split(r"[/\\]", local_file)[-1]
    return artifact_path(posixpath.join(request.path_params["path"], name))


def _part_number(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) < 10):
        raise InvalidParameter(f"Invalid part number '{text[:60]}': parts have numbers from 1.")
    return int(text)


def _own_targets(request: HttpRequest, path: str, upload_id: str, count: int) -> list[PartTarget]:
    """Part URLs that lead back to this server, by the name that the client calls it."""
    scheme = request.headers.get("x-forwarded-proto", request.scope["scheme"])
    if scheme not in ("http", "https"):
        scheme = "http"
    raw = request.scope.get("raw_path") or request.scope["path"].encode()
    prefix = raw.decode("latin-1").partition("/mlflow-artifacts/")[0]
    base = f"{scheme}://{request.headers.get('host', '')}{prefix}/mlflow-artifacts/mpu/part"
    quoted = urllib.parse.quote(path)
    return [
        PartTarget(part_number=number, url=f"{base}/{upload_id}/{number}/{quoted}")
        for number in range(1, count + 1)
    ]


def _json(answer: msgspec.Struct) -> HttpResponse:
    return HttpResponse(encode(answer), media_type="application/json")


async def _content(
    request: HttpRequest, store: ArtifactStore, path: str, threads: _Threads
) -> HttpResponse:
    """The answer that carries a file, or the range of it that was asked for."""
    path = artifact_path(path)
    content = await threads.run(store.read, path)
    stat = content.stat
    headers = content_headers(path)
    if PLACE in request.headers and isinstance(store, LocalArtifacts) and _is_near(request):
        headers[PLACE] = urllib.parse.quote(store.place(path))
    headers["accept-ranges"] = "bytes"
    headers["last-modified"] = email.utils.formatdate(stat.modified, usegmt=True)
    if stat.etag:
        headers["etag"] = stat.etag
    try:
        if stat.etag and request.headers.get("if-none-match") in (stat.etag, "*"):
            content.close()
            return HttpResponse(status_code=304, headers=headers)
        wanted = _wanted(request, stat.etag)
        if wanted is not None:
            start, stop = resolve_range(path, stat.size, *wanted)
            content.close()
            content = await threads.run(store.read, path, start, stop)
            headers["content-range"] = f"bytes {start}-{stop - 1}/{stat.size}"
        headers["content-length"] = str(content.stop - content.start)
        return _Stream(content, headers, threads, status=200 if wanted is None else 206)
    except RangeNotSatisfiable as error:
        content.close()
        headers = {"content-range": f"bytes */{stat.size}"}
        body = encode(error.wire())
        return HttpResponse(body, status_code=416, headers=headers, media_type="application/json")
    except BaseException:  # cleans up, raises again
        content.close()
        raise


def _is_near(request: HttpRequest) -> bool:
    """Whether a request seems to come from this machine, and through no proxy that says so."""
    peer = request.client.host if request.client is not None else ""
    forwarded = any(name in request.headers for name in ("forwarded", "x-forwarded-for", "via"))
    return peer in ("127.0.0.1", "::1") and not forwarded


def _wanted(request: HttpRequest, etag: str) -> tuple[int, int | None] | None:
    """The slice that a Range header asks for; None for the whole.

    Several ranges, units other than bytes and a stale If-Range all mean the whole, as HTTP allows.
    """
    found = _RANGE.fullmatch(request.headers.get("range", ""))
    if found is None or request.headers.get("if-range", etag) != etag:
        return None
    first, last, suffix = found.groups()
    if suffix is not None:
        # "The last 0 bytes" is a range that nothing satisfies.
        return (-int(suffix), None) if int(suffix) else (1 << 62, None)
    if last and int(last) < int(first):
        return None
    return int(first), int(last) + 1 if last else None


class _Stream(HttpResponse):
    """Sends a file piece by piece, the next one read while the last is sent."""

    def __init__(
        self, content: ArtifactContent, headers: dict[str, str], threads: _Threads, *, status: int
    ) -> None:
        super().__init__(status_code=status, headers=headers)
        # Without the length 0 that a response without body gets.
        self.raw_headers = [(k.encode("latin-1"), v.encode("latin-1")) for k, v in headers.items()]
        self._content = content
        self._threads = threads

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        watch = asyncio.ensure_future(_gone(receive))
        try:
            await send(
                {
                    "type": "http.response.start",
                    "status": self.status_code,
                    "headers": self.raw_headers,
                }
            )
            if scope["method"] != "HEAD":
                await self._send_body(send, watch)
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            watch.cancel()
            await self._threads.run(self._content.close)

    async def _send_body(self, send: Send, watch: asyncio.Future[None]) -> None:
        pieces = iter(self._content)
        waiting: asyncio.Future[Chunk] = asyncio.ensure_future(self._threads.run(next, pieces, b""))
        try:
            while piece := await waiting:
                # Granian's send does not say that nobody listens any more.
                if watch.done():
                    waiting = _nothing()
                    raise Disconnected
                waiting = asyncio.ensure_future(self._threads.run(next, pieces, b""))
                await send({"type": "http.response.body", "body": bytes(piece), "more_body": True})
        finally:
            # The file may be closed only when no thread reads it.
            await asyncio.wait([waiting])


def _nothing() -> asyncio.Future[Chunk]:
    done: asyncio.Future[Chunk] = asyncio.get_running_loop().create_future()
    done.set_result(b"")
    return done


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


class _Body:
    """A request's body, iterated in a thread while the event loop receives the next piece.

    Leaving its ``with`` block, in the event loop, ends the receiving: of a refused upload too.

    Raises:
        Disconnected: The client went away, or fell silent, before the body was complete.
    """

    def __init__(self, request: HttpRequest, size: int | None) -> None:
        self._receive = request.receive
        self._size = size
        self._got = 0
        self._ended = False
        self._loop = asyncio.get_running_loop()
        self._next = self._loop.create_task(self._gather())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        if not self._next.cancel() and not self._next.cancelled():
            self._next.exception()  # looked at, or it would be logged as one that nobody handled

    def __iter__(self) -> Iterator[Chunk]:
        while True:
            taken = asyncio.run_coroutine_threadsafe(self._take(), self._loop)
            pieces = taken.result()
            if not pieces:
                return
            # Large pieces go as they are; joining many small ones saves as many system calls.
            yield from [b"".join(pieces)] if len(pieces) > 8 else pieces
            del pieces, taken  # or they would live until the next ones are here

    async def _take(self) -> list[bytes]:
        pieces = await self._next
        self._next = self._loop.create_task(self._gather())
        return pieces

    async def _gather(self) -> list[bytes]:
        pieces: list[bytes] = []
        gathered = 0
        try:
            async with asyncio.timeout(_SILENCE) as silence:
                heard = self._loop.time()
                while not self._ended and gathered < _PIECE:
                    message = await self._receive()
                    # Some clients send 16 KiB at a time: not every piece may cost a new timer.
                    if self._loop.time() - heard > 5:
                        heard = self._loop.time()
                        silence.reschedule(heard + _SILENCE)
                    if message["type"] == "http.disconnect":
                        self._ended = True
                        if self._got != self._size:
                            raise Disconnected
                        break
                    piece = message.get("body", b"")
                    if piece:
                        pieces.append(piece)
                        gathered += len(piece)
                        self._got += len(piece)
                    self._ended = not message.get("more_body", False)
                    if len(piece) < _SMALL and self._got > _PIECE and not self._ended:
                        # A client that writes little at a time: let it fill the socket meanwhile,
                        # or most of the work would be waking up.
                        await asyncio.sleep(_BREATH)
        except TimeoutError:
            raise Disconnected from None
        if self._ended and self._size is not None and self._got != self._size:
            raise Disconnected
        return pieces
