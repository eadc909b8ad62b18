"""A store with something in it, and the command line to look at it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from headrace.cli import main
from headrace.client import Client

#: ``new_run("name", {"lr": 0.1}, {"loss": 0.5}, team="a")`` makes a finished run and gives its id.
NewRun = Callable[..., str]


class Headrace:
    """The command line over one store."""

    def __init__(self, uri: str) -> None:
        self.uri = uri

    def __call__(self, *arguments: str, code: int | None = 0, **options: Any) -> Result:
        """Run a command; it must end with that code (None: any)."""
        result = CliRunner().invoke(
            main, [*arguments, "--store", self.uri], prog_name="headrace", **options
        )
        assert code is None or result.exit_code == code, (result.output, result.exception)
        return result

    def json(self, *arguments: str, code: int = 0) -> Any:
        """What a command prints with ``--json``."""
        return json.loads(self(*arguments, "--json", code=code).stdout)


@pytest.fixture
def store(tmp_path: Path) -> str:
    """A directory for an embedded store."""
    return str(tmp_path / "store")


@pytest.fixture
def client(store: str) -> Client:
    """The Python client of the store."""
    return Client(store)


@pytest.fixture
def headrace(store: str) -> Headrace:
    """The command line over the store."""
    return Headrace(store)


@pytest.fixture
def new_run(client: Client) -> NewRun:
    """Makes finished runs in the store."""

    def make(
        name: str,
        params: dict[str, Any] | None = None,
        metrics: dict[str, float] | None = None,
        *,
        experiment_id: str = "0",
        **tags: str,
    ) -> str:
        run = client.create_run(experiment_id, run_name=name, tags=tags)
        for key, value in (params or {}).items():
            client.log_param(run.info.run_id, key, value)
        for key, number in (metrics or {}).items():
            client.log_metric(run.info.run_id, key, number)
        client.set_terminated(run.info.run_id)
        return str(run.info.run_id)

    return make
