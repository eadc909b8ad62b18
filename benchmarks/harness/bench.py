"""The surroundings of one benchmark: options, environments, databases, servers."""

from __future__ import annotations

import contextlib
import shutil
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.harness.postgres import Postgres
from benchmarks.harness.servers import HEADRACE, MLFLOWS, Server, start

SQLITE, POSTGRES = "SQLite", "PostgreSQL"


@dataclass
class Bench:
    """What a benchmark is given. Use as a context; everything started is stopped at its end.

    Attributes:
        peer: MLflow's Python, None to measure headrace alone.
        ours: Whether headrace is measured.
        quick: Small sizes and short loads, to try the harness; the figures mean nothing.
        million: Whether to do what needs a million runs.
        databases: `SQLITE`, `POSTGRES` or both.
        tools: Which peers log, by package; empty: all.
    """

    peer: Path | None
    ours: bool = True
    quick: bool = False
    million: bool = False
    databases: tuple[str, ...] = (SQLITE, POSTGRES)
    tools: tuple[str, ...] = ()
    python: Path = field(default_factory=lambda: Path(sys.executable))

    def __enter__(self) -> Bench:
        self.scratch = Path(tempfile.mkdtemp(prefix="headrace-bench-"))
        self._postgres: Postgres | None = None
        self._count = 0
        return self

    def __exit__(self, *_: object) -> None:
        if self._postgres is not None:
            self._postgres.stop()
        shutil.rmtree(self.scratch, ignore_errors=True)

    def size(self, full: int, quick: int) -> int:
        """One size for figures, another to try the harness."""
        return quick if self.quick else full

    @property
    def seconds(self) -> float:
        """How long a load lasts."""
        return 1.0 if self.quick else 6.0

    @property
    def postgres(self) -> Postgres:
        """The benchmark's PostgreSQL, started on first use."""
        if self._postgres is None:
            self._postgres = Postgres(self.scratch / "postgres")
        return self._postgres

    def folder(self, name: str) -> Path:
        """A new folder in the scratch."""
        self._count += 1
        folder = self.scratch / f"{self._count:02}-{name}"
        folder.mkdir()
        return folder

    def database(self, kind: str, folder: Path) -> str:
        """URL of a new empty database."""
        if kind == SQLITE:
            return f"sqlite:///{folder / 'store.db'}"
        return self.postgres.create_database(folder.name)

    def discard(self, kind: str, folder: Path) -> None:
        """Remove a database and its folder; the next benchmark should not share the disk with it."""
        if kind == POSTGRES:
            self.postgres.drop_database(folder.name)
        shutil.rmtree(folder, ignore_errors=True)

    def kinds(self) -> list[str]:
        """The servers to measure."""
        return [*([HEADRACE] if self.ours else []), *(MLFLOWS if self.peer else ())]

    def python_of(self, kind: str) -> Path:
        """The Python that a server is installed for."""
        if kind == HEADRACE:
            return self.python
        assert self.peer is not None
        return self.peer

    def serve(self, kind: str, database: str, folder: Path) -> Server:
        """Start a server and let it come to rest."""
        server = start(kind, self.python_of(kind), database, folder)
        server.settle()
        return server

    @contextlib.contextmanager
    def fresh(self, kind: str, database: str) -> Iterator[Server]:
        """A server over an empty database, both gone afterwards."""
        folder = self.folder(f"{kind.split(',')[0]}-{database.lower()}")
        try:
            with self.serve(kind, self.database(database, folder), folder) as server:
                yield server
        finally:
            self.discard(database, folder)

    def analyze(self) -> None:
        """VACUUM ANALYZE in every PostgreSQL database there is, as autovacuum does in time."""
        if self._postgres is None:
            return
        with self._postgres.connect("postgres") as connection:
            names = connection.execute(
                "SELECT datname FROM pg_database WHERE NOT datistemplate AND datname <> 'postgres'"
            ).fetchall()
        for (name,) in names:
            with self._postgres.connect(name) as connection:
                connection.execute("VACUUM ANALYZE")


def say(text: str) -> None:
    """Progress for whoever waits."""
    print(f"  {text}", file=sys.stderr, flush=True)
