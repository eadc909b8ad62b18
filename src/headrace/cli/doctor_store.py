"""The part of `headrace doctor` that looks at a store: a server, a database, folders and disks."""

from __future__ import annotations

import email.utils
import os
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import sqlalchemy as sa

from headrace.artifacts.locations import local_folder
from headrace.cli.db import inspect
from headrace.cli.finding import Finding
from headrace.cli.output import size
from headrace.cli.store import ask, sqlite_file
from headrace.client.remote import RemoteStore
from headrace.client.stores import is_remote, resolve
from headrace.engine.database import Database
from headrace.engine.location import locate
from headrace.errors import HeadraceError, NotFound
from headrace.protocol.experiments import Experiments

#: Clocks may differ by so many seconds before times of runs mislead.
_SKEW = 5.0
#: A durable write that takes longer than this, in milliseconds, makes every logging call slow.
_SLOW_SYNC_MS = 50.0
_FEW_BYTES = 1 << 30
_OLDEST_SQLITE = (3, 35)
_OLDEST_POSTGRES = 150_000
#: File systems on which SQLite's locks and shared memory are not to be trusted.
_NETWORK_FILE_SYSTEMS = frozenset(
    ("nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "fuse.sshfs", "lustre", "gpfs", "beegfs", "glusterfs", "fuse.glusterfs")
)  # fmt: skip
_REACH = (
    "Check that the server runs and that the address is right: --store or HEADRACE_TRACKING_URI."
)


def store_findings(uri: str | None) -> Iterator[Finding]:
    """What there is to say of a store; nothing is raised.

    Args:
        uri: As ``--store`` was given.
    """
    try:
        url = resolve(uri)
        if is_remote(url):
            yield from _server(url)
        else:
            yield from _local(uri, url)
    except HeadraceError as error:
        yield Finding.problem("store", error.message, "Name another store with --store.")


def _server(url: str) -> Iterator[Finding]:
    store = RemoteStore(url)
    try:
        yield from _answers(store)
    except httpx.HTTPError as error:
        yield Finding.problem("server", f"{store.uri}: {error}", _REACH)
    except HeadraceError as error:
        yield Finding.problem("server", error.message, _REACH)
    finally:
        store.close()


def _answers(store: RemoteStore) -> Iterator[Finding]:
    # One plain request first, without the client's patience: a person is waiting.
    with httpx.Client(base_url=store.http.base_url, timeout=10) as probe:
        health = probe.get("health", headers=dict(store.http.headers))
    before = time.time()
    version = store.http.get("version")
    took = time.time() - before
    if health.status_code != 200:
        yield Finding.problem(
            "server",
            f"{store.uri} answered /health with {health.status_code}: {health.text[:100]!r}",
            "Read the server's log; 503 means that its store cannot answer.",
        )
        return
    text = version.text.strip()[:80] if version.status_code == 200 else "unknown version"
    yield Finding.ok("server", f"{store.uri}, {text}, answered in {took * 1000:.0f} ms")
    if store.uri.startswith("http://") and "authorization" in store.http.headers:
        yield Finding.warning(
            "server",
            "credentials travel without encryption",
            "Use https:// outside of this machine.",
        )
    sent = email.utils.parsedate_to_datetime(version.headers["date"]) if "date" in version.headers else None  # fmt: skip
    if sent is not None:
        # The header is cut to whole seconds, half a second on average.
        yield _clock("the server", sent.timestamp() + 0.5 - (before + took / 2))
    count = len(ask(store, Experiments.search_experiments, max_results=1).experiments)
    yield Finding.ok("store", "readable" if count else "readable, and empty")


def _local(uri: str | None, url: str) -> Iterator[Finding]:
    path = sqlite_file(url)
    if path is not None:
        if not path.is_file():
            yield Finding.note(
                "store", f"none at {path.parent} yet; the first run that logs makes it"
            )
            yield from _folder("store folder", path.parent)
            return
        yield from _sqlite(path)
    database = Database(url)
    try:
        yield from _database(database)
    except NotFound as error:
        yield Finding.problem("store", error.message, "Name another store with --store.")
    finally:
        database.close()
    folder = local_folder(locate(uri if uri else None).artifacts)
    if folder is not None:
        yield from _folder("artifacts", folder)


def _sqlite(path: Path) -> Iterator[Finding]:
    version = sqlite3.sqlite_version_info
    if version < _OLDEST_SQLITE:
        yield Finding.problem(
            "sqlite",
            sqlite3.sqlite_version,
            "Use a Python that is built with SQLite 3.35 or newer.",
        )
    else:
        yield Finding.ok("sqlite", sqlite3.sqlite_version)
    wal = Path(f"{path}-wal")
    total = path.stat().st_size + (wal.stat().st_size if wal.exists() else 0)
    yield Finding.ok("store", f"{path}, {size(total)}")
    if not os.access(path, os.W_OK):
        yield Finding.problem(
            "store", f"{path} is not writable by this user", f"Change its owner or mode: {path}"
        )
    kind = _file_system(path)
    if kind in _NETWORK_FILE_SYSTEMS:
        yield Finding.warning(
            "store",
            f"the database lies on a network file system ({kind})",
            "Run headrace server where the disk is and point clients to it, or use PostgreSQL.",
        )
    yield from _folder("store folder", path.parent)


def _database(database: Database) -> Iterator[Finding]:
    before = time.time()
    with database.read() as connection:
        connection.exec_driver_sql("SELECT 1")
        took = time.time() - before
        if not database.is_sqlite:
            yield from _postgres(connection, took)
    found = inspect(database)
    for problem in found.problems:
        yield Finding.problem("schema", problem, "headrace db check says more.")
    if not found.problems:
        yield Finding.ok("schema", f"{found.version}, the one this headrace works with")


def _postgres(connection: sa.Connection, took: float) -> Iterator[Finding]:
    number = int(connection.exec_driver_sql("SHOW server_version_num").scalar_one())
    text = connection.exec_driver_sql("SHOW server_version").scalar_one()
    shown = connection.engine.url.render_as_string(hide_password=True)
    if number < _OLDEST_POSTGRES:
        yield Finding.problem("postgresql", f"{text} at {shown}", "Use PostgreSQL 15 or newer.")
    else:
        yield Finding.ok("postgresql", f"{text} at {shown}, connected in {took * 1000:.0f} ms")
    durable = {
        name: connection.exec_driver_sql(f"SHOW {name}").scalar_one()
        for name in ("fsync", "synchronous_commit")
    }
    if "off" in durable.values():
        yield Finding.warning(
            "postgresql",
            ", ".join(f"{name}={value}" for name, value in durable.items()),
            "What was acknowledged may be lost in a power cut: set both on.",
        )
    before = time.time()
    clock = connection.exec_driver_sql(
        "SELECT extract(epoch FROM clock_timestamp())::float8"
    ).scalar_one()
    yield _clock("the database", clock - (before + time.time()) / 2)


def _folder(what: str, folder: Path) -> Iterator[Finding]:
    """Whether a folder, or the one it would be made in, can be written to, and how fast and how much."""
    there = folder
    while not there.exists():
        there = there.parent
    free = shutil.disk_usage(there).free
    if free < _FEW_BYTES:
        yield Finding.warning(
            what, f"{there} has {size(free)} free", "Make room; headrace gc empties the trash."
        )
    else:
        yield Finding.ok(what, f"{folder}, {size(free)} free")
    try:
        took = _sync_time(there)
    except OSError as error:
        yield Finding.problem(
            what,
            f"cannot write in {there}: {error.strerror}",
            "Change its owner or mode, or make room.",
        )
        return
    detail = f"a durable write takes {took:.2f} ms"
    if took > _SLOW_SYNC_MS:
        yield Finding.warning(what, detail, "A local disk logs faster than this one.")
    else:
        yield Finding.ok(what, detail)


def _sync_time(folder: Path) -> float:
    """Milliseconds of the middle one of a few small durable writes."""
    times = []
    with tempfile.TemporaryFile(dir=folder) as file:
        for _ in range(5):
            file.write(b"x" * 4096)
            before = time.perf_counter()
            file.flush()
            os.fsync(file.fileno())
            times.append(time.perf_counter() - before)
    return sorted(times)[2] * 1000


def _file_system(path: Path) -> str:
    """The type of the file system that a path lies on; empty where the system does not tell."""
    try:
        mounts = Path("/proc/mounts").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    best, kind = "", ""
    for line in mounts.splitlines():
        _, place, type_, *_ = line.split(" ")
        place = place.replace("\\040", " ")
        if path.is_relative_to(place) and len(place) >= len(best):
            best, kind = place, type_
    return kind


def _clock(whose: str, skew: float) -> Finding:
    detail = f"{whose}'s is {abs(skew):.1f} s {'ahead' if skew > 0 else 'behind'}"
    if abs(skew) > _SKEW:
        return Finding.warning(
            "clock", detail, "Synchronise both (NTP): run times come from clients."
        )
    return Finding.ok("clock", detail)
