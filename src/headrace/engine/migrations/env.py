"""Alembic's entry point: run migrations on the connection that `headrace.engine.migrations` gives."""

from __future__ import annotations

from alembic import context

from headrace.engine import schema

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=schema.metadata,
    transactional_ddl=True,
    render_as_batch=True,
)
with context.begin_transaction():
    context.run_migrations()
