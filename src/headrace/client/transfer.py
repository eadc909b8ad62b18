"""Copying files and folders to and from any artifact store.

Large downloads come in parallel parts, into ``<name>.headrace-part`` with a note beside it of how much of
each part is there; a download that was cut goes on from there, provided that the artifact is still the same.
Large uploads go in parallel parts straight to the object store where the server says so.
"""

from __future__ import annotations

import contextlib
import os
import posixpath
import secrets
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, BinaryIO, Protocol, TypeVar

import httpx
import msgspec

from headrace.artifacts import ArtifactStat, ArtifactStore, Chunk, Part, PartTarget, artifact_path
from headrace.artifacts.copying import copy_here
from headrace.artifacts.local import LocalArtifacts, stat_of
from headrace.artifacts.store import CHUNK_SIZE, MAX_PARTS
from headrace.errors import InvalidParameter, InvalidState, NotFound, Unavailable, Unsupported

T = TypeVar("T")

#: Parts of downloads, and the size from which a file comes in parts, in bytes.
PART_SIZE = 16 << 20
#: How much of a part may come, in bytes, before it is noted what is there. A killed process loses so much.
_NOTE_EVERY = 4 << 20
#: Uploads from this size on go in parts where the store takes them directly.
MULTIPART_FROM = 64 << 20
#: Parts, or small files of a folder, that travel together.
PARALLEL = 4
#: A file's upload is tried so often when the connection breaks.
_UPLOAD_TRIES = 3

PART_SUFFIX = ".headrace-part"


class Progress(Protocol):
    """Told how far a transfer is. Called from any thread, so it must be quick and thread-safe."""

    def __call__(self, path: str, done: int, total: int) -> None:
        """``done`` of ``total`` bytes of the artifact at ``path`` are through."""


def upload(
    store: ArtifactStore,
    local: str | os.PathLike[str],
    path: str,
    progress: Progress | None = None,
) -> None:
    """Copy a local file to an artifact, as long as it is at the start.

    Args:
        store: Where to.
        local: The file.
        path: The artifact's whole path, name included.
        progress: Told about it.

    Raises:
        FileNotFoundError: No such file here.
        Unavailable: The store cannot be reached after several tries.
    """
    file = Path(local)
    path = artifact_path(path)
    size = file.stat().st_size
    meter = _Meter(path, size, progress)
    # obstore sends parts in parallel by itself; a server says whether and where they may go.
    if size >= MULTIPART_FROM and store.uri.startswith("mlflow-artifacts:") and store.presigns:
        try:
            _upload_parts(store, file, path, size, meter)
            return
        except (Unsupported, httpx.TransportError):
            # The object store is not for us to reach: its URLs may hold for the server's network only.
            meter.reset()
    for last in range(_UPLOAD_TRIES - 1, -1, -1):
        try:
            with file.open("rb") as stream:
                store.write(path, meter.watch(_first(stream, size)), size=size)
            break
        except Unavailable:
            if not last:
                raise
            meter.reset()
    meter.finish()


def upload_dir(
    store: ArtifactStore,
    local: str | os.PathLike[str],
    path: str = "",
    progress: Progress | None = None,
) -> list[str]:
    """Copy what is in a local folder, at any depth; the paths of the artifacts.

    Args:
        store: Where to.
        local: The folder. Links to folders in it are not followed.
        path: Folder to copy into; default the root.
        progress: Told about each file.

    Raises:
        NotADirectoryError: No such folder here.
    """
    folder = Path(local)
    if not folder.is_dir():
        raise NotADirectoryError(f"'{folder}' is not a folder.")
    path = artifact_path(path, root=True)
    pairs = []
    for parent, _folders, names in os.walk(folder):
        for name in names:
            file = Path(parent, name)
            pairs.append((file, posixpath.join(path, file.relative_to(folder).as_posix())))
    pairs.sort(key=lambda pair: pair[1])
    _together([lambda f=f, p=p: upload(store, f, p, progress) for f, p in pairs])  # type: ignore[misc]
    return [place for _, place in pairs]


def download(
    store: ArtifactStore,
    path: str,
    dst: str | os.PathLike[str] | None = None,
    progress: Progress | None = None,
) -> str:
    """Bring a file or a folder here; its local path.

    Args:
        store: Where from.
        path: File or folder; ``""`` means everything.
        dst: Where to: an existing folder, into which the thing goes under its own name, or a name for
            it that is not taken. Default: a new temporary folder.
        progress: Told about each file.

    Raises:
        NotFound: Nothing is there.
        Unavailable: The store cannot be reached after several tries.
    """
    path = artifact_path(path, root=True)
    place = Path(tempfile.mkdtemp(prefix="headrace-")) if dst is None else Path(dst)
    if path and place.is_dir():
        place = place / posixpath.basename(path)
    files = list(walk(store, path))
    if files == [path]:
        download_file(store, path, place, progress)
        return str(place)
    if not files and path:
        raise NotFound(f"No artifact '{path}' in {store.uri}.")
    place.mkdir(parents=True, exist_ok=True)
    cut = len(path) + 1 if path else 0
    _together(
        [
            lambda file=file: download_file(store, file, place / file[cut:], progress)  # type: ignore[misc]
            for file in files
        ]
    )
    return str(place)


def walk(store: ArtifactStore, path: str) -> Iterator[str]:
    """The paths of the file, or of all files in the folder, that a path names."""
    if path:
        with contextlib.suppress(InvalidParameter, NotFound):  # a folder, or nothing
            store.stat(path)
            yield path
            return
    pending = [path]
    while pending:
        for child in store.list(pending.pop()):
            if child.is_dir:
                pending.append(child.path)
            else:
                yield child.path


def download_file(
    store: ArtifactStore,
    path: str,
    target: str | os.PathLike[str],
    progress: Progress | None = None,
) -> None:
    """Copy one artifact to a local file, whose folder is made. The file appears when it is whole.

    A download of several parts that was cut goes on where it stopped when it is called again: what had
    arrived is not fetched again, or after a kill all but a few MiB.

    Raises:
        NotFound: No such artifact.
        InvalidParameter: It is a folder.
        Unavailable: The store cannot be reached, or the artifact changed meanwhile.
    """
    place = Path(target)
    place.parent.mkdir(parents=True, exist_ok=True)
    stat = store.stat(path)
    meter = _Meter(path, stat.size, progress)
    if stat.place and _copied(stat, place, meter):
        pass
    elif stat.size <= PART_SIZE or isinstance(store, LocalArtifacts):
        _download_whole(store, path, place, meter)
    else:
        with store.read(path, 0, 1) as content:
            stat = content.stat  # MLflow's server answers HEAD with another etag than GET
        _Download(store, path, place, stat, meter).run()
    meter.finish()


def _download_whole(store: ArtifactStore, path: str, place: Path, meter: _Meter) -> None:
    partial = place.with_name(f".{secrets.token_hex(8)}{PART_SUFFIX}")
    try:
        with partial.open("xb") as stream, store.read(path) as content:
            for chunk in meter.watch(iter(content)):
                stream.write(chunk)
        partial.replace(place)
    except BaseException:  # cleans up, raises again
        partial.unlink(missing_ok=True)
        raise


def _copied(stat: ArtifactStat, place: Path, meter: _Meter) -> bool:
    """Copy a file that lies on this machine; False when it cannot be read, or is another one by now."""
    try:
        source = os.open(stat.place, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    except OSError:
        return False
    # The name that a download in parts has: one that is killed is written over by the next.
    partial = place.with_name(place.name + PART_SUFFIX)
    try:
        if stat_of(os.fstat(source)).etag != stat.etag:
            return False
        partial.with_name(f"{partial.name}.json").unlink(missing_ok=True)
        with partial.open("wb") as stream:
            copy_here(source, stream.fileno(), meter.add)
        partial.replace(place)
    except BaseException:  # cleans up, raises again
        partial.unlink(missing_ok=True)
        raise
    finally:
        os.close(source)
    return True


class _State(msgspec.Struct):
    """What is beside a partial file: of which version it is, and how much of it is there.

    ``there`` is the number of bytes, from the start of the part, by number of the part.
    """

    etag: str
    size: int
    part_size: int
    boot: str
    there: dict[int, int] = {}


class _Download:
    """One large file, in parallel parts that survive an interruption."""

    def __init__(
        self, store: ArtifactStore, path: str, place: Path, stat: ArtifactStat, meter: _Meter
    ) -> None:
        self._store = store
        self._path = path
        self._place = place
        self._partial = place.with_name(place.name + PART_SUFFIX)
        self._sidecar = place.with_name(place.name + PART_SUFFIX + ".json")
        self._meter = meter
        self._lock = threading.Lock()
        self._state = _State(stat.etag, stat.size, PART_SIZE, _boot_id())

    def run(self) -> None:
        self._resume()
        if not self._state.there:
            self._sidecar.unlink(missing_ok=True)  # what it says is not true of what is written now
        fd = os.open(self._partial, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            os.ftruncate(fd, self._state.size)
            count = -(-self._state.size // PART_SIZE)
            there = self._state.there
            missing = [n for n in range(count) if there.get(n, 0) < self._length(n)]
            self._meter.add(sum(there.values()))
            _together([lambda n=n: self._fetch(fd, n) for n in missing])  # type: ignore[misc]
        finally:
            os.close(fd)
        self._partial.replace(self._place)
        self._sidecar.unlink(missing_ok=True)

    def _resume(self) -> None:
        """Take over what an earlier download of the same version left."""
        try:
            old = msgspec.json.decode(self._sidecar.read_bytes(), type=_State)
            whole = self._partial.stat().st_size == self._state.size
        except (OSError, msgspec.DecodeError):
            return
        known = (old.etag, old.size, old.part_size, old.boot)
        state = self._state
        # Without an etag nobody knows whether it is the same file. After a crash of the machine nobody
        # knows which of the parts had reached the disk.
        if state.etag and whole and known == (state.etag, state.size, PART_SIZE, state.boot):
            count = -(-state.size // PART_SIZE)
            state.there = {
                number: max(0, min(length, self._length(number)))
                for number, length in old.there.items()
                if 0 <= number < count
            }

    def _length(self, number: int) -> int:
        return min(PART_SIZE, self._state.size - number * PART_SIZE)

    def _fetch(self, fd: int, number: int) -> None:
        first = number * PART_SIZE
        at = noted = first + self._state.there.get(number, 0)
        with self._store.read(self._path, at, first + self._length(number)) as content:
            if (content.stat.etag, content.stat.size) != (self._state.etag, self._state.size):
                raise Unavailable(f"'{self._path}' changed while it was downloaded; start again.")
            try:
                for chunk in self._meter.watch(iter(content)):
                    view = memoryview(chunk)
                    while view:
                        done = os.pwrite(fd, view, at)
                        view = view[done:]
                        at += done
                    if at - noted >= _NOTE_EVERY:
                        self._note(number, at - first)
                        noted = at
            finally:
                if at > noted:
                    self._note(number, at - first)

    def _note(self, number: int, length: int) -> None:
        """Write down how much of a part is there."""
        with self._lock:
            self._state.there[number] = length
            new = self._sidecar.with_name(self._sidecar.name + ".new")
            new.write_bytes(msgspec.json.encode(self._state))
            new.replace(self._sidecar)


def _first(stream: BinaryIO, size: int) -> Iterator[Chunk]:
    """The first bytes of a file, which may be a log that somebody goes on writing.

    Raises:
        InvalidState: It has become shorter.
    """
    left = size
    while left:
        chunk = stream.read(min(CHUNK_SIZE, left))
        if not chunk:
            raise InvalidState(
                f"'{stream.name}' became shorter while it was uploaded; upload it again."
            )
        left -= len(chunk)
        yield chunk


def _upload_parts(store: ArtifactStore, file: Path, path: str, size: int, meter: _Meter) -> None:
    part_size = max(PART_SIZE, -(-size // (MAX_PARTS - 1)))
    count = -(-size // part_size)
    upload_id, targets = store.start_multipart(path, count)
    if targets is None:
        raise Unsupported(f"{store.uri} gives no addresses for parts.")
    try:
        with httpx.Client(timeout=httpx.Timeout(120, connect=10)) as http:

            def put(target: PartTarget) -> Part:
                with file.open("rb") as stream:
                    stream.seek((target.part_number - 1) * part_size)
                    body = stream.read(part_size)
                for last in range(_UPLOAD_TRIES - 1, -1, -1):
                    try:
                        response = http.put(target.url, content=body, headers=target.headers)
                    except httpx.TransportError:
                        if not last:
                            raise
                        continue
                    if response.is_success:
                        break
                    if not last or response.status_code < 500:
                        raise Unavailable(
                            f"The object store refused part {target.part_number} of '{path}': "
                            f"{response.status_code}."
                        )
                meter.add(len(body))
                return Part(part_number=target.part_number, etag=response.headers.get("etag", ""))

            parts = _together([lambda t=t: put(t) for t in targets])  # type: ignore[misc]
        store.complete_multipart(path, upload_id, parts)
    except BaseException:  # cleans up, raises again
        store.abort_multipart(path, upload_id)
        raise
    meter.finish()


def _together(calls: Sequence[Callable[[], T]]) -> list[T]:
    """Run calls, a few at a time; on the first error the rest is not begun."""
    if len(calls) < 2:
        return [call() for call in calls]
    stop = threading.Event()

    def guarded(call: Callable[[], T]) -> Any:
        if stop.is_set():
            return None
        try:
            return call()
        except BaseException:  # cleans up, raises again
            stop.set()
            raise

    with ThreadPoolExecutor(PARALLEL, thread_name_prefix="headrace-transfer") as pool:
        futures = [pool.submit(guarded, call) for call in calls]
        try:
            return [future.result() for future in futures]
        except BaseException:  # also Ctrl-C: what is queued must not begin
            stop.set()
            # The error of the call that failed, not the None of one that was skipped after it.
            for future in futures:
                if future.done() and not future.cancelled() and future.exception() is not None:
                    future.result()
            raise


class _Meter:
    """Counts the bytes of one file for a `Progress`."""

    def __init__(self, path: str, total: int, progress: Progress | None) -> None:
        self._path = path
        self._total = total
        self._progress = progress
        self._done = 0
        self._lock = threading.Lock()

    def add(self, count: int) -> None:
        with self._lock:
            self._done += count
            done = self._done
        if self._progress is not None:
            self._progress(self._path, done, self._total)

    def reset(self) -> None:
        self.add(-self._done)

    def finish(self) -> None:
        """Report the end, also of an empty file."""
        if self._progress is not None:
            self._progress(self._path, self._total, self._total)

    def watch(self, chunks: Iterator[Chunk]) -> Iterator[Chunk]:
        for chunk in chunks:
            yield chunk
            self.add(len(chunk))


def _boot_id() -> str:
    """Changes with every start of the machine; empty where the system does not say."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""
