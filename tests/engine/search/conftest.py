"""A store to search, on SQLite and on PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from headrace.engine import Engine
from support.searched import Searched


@pytest.fixture
def store(database_url: str) -> Iterator[Searched]:
    """An empty store."""
    engine = Engine(database_url, artifact_root="file:///artifacts", compact=False)
    yield Searched(engine)
    engine.close()
