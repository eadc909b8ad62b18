"""A store under test, with a view of the database below it."""

from __future__ import annotations

import json
from typing import Any

import sqlalchemy as sa

from headrace.engine.database import parse_url
from headrace.engine.schema import event
from headrace.protocol.catalogue import EVENT_TYPES
from headrace.protocol.store import Store


class Backend:
    """A store and the database under it.

    Attributes:
        actor: Whom its events name.
    """

    def __init__(self, store: Store, url: str, actor: str) -> None:
        self.store = store
        self.url = url
        self.actor = actor
        self._engine = sa.create_engine(parse_url(url), poolclass=sa.NullPool)

    def rows(self, statement: sa.Select[Any]) -> list[Any]:
        """Rows straight from the database."""
        with self._engine.connect() as connection:
            return list(connection.execute(statement).all())

    def check_log(self) -> None:
        """Every event of an experiment, and of a run that was ever there, names the experiment."""
        runs = set(self.rows(sa.select(event.c.subject).where(event.c.type == "run.created")))
        for row in self.rows(sa.select(event)):
            assert row.type in EVENT_TYPES
            if row.subject.startswith("experiment/") or (row.subject,) in runs:
                assert row.experiment_id is not None, row

    def events(self, subject: str) -> list[tuple[str, dict[str, Any]]]:
        """Events of one thing as (type, data), in order."""
        rows = self.rows(sa.select(event).where(event.c.subject == subject).order_by(event.c.seq))
        assert {row.actor for row in rows} <= {self.actor}
        assert all(row.time > 1_600_000_000_000 for row in rows)
        return [(row.type, json.loads(row.data)) for row in rows]
