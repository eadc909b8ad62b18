"""Logging: progress of journals, signs of life, console output."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_TABLES = ("console_open", "console_chunk", "heartbeat", "writer")


def upgrade() -> None:
    op.create_table(
        "writer",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.Column("updated_time", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_writer")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "heartbeat",
        sa.Column("run_id", _ID, autoincrement=False, nullable=False),
        sa.Column("seen_time", sa.BigInteger(), nullable=False),
        sa.Column("silence", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["run_id"], ["run.id"], name=op.f("fk_heartbeat_run_id")),
        sa.PrimaryKeyConstraint("run_id", name=op.f("pk_heartbeat")),
    )
    op.create_table(
        "console_chunk",
        sa.Column("run_id", _ID, nullable=False),
        sa.Column("first", sa.BigInteger(), nullable=False),
        sa.Column("lines", sa.Integer(), nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["run_id"], ["run.id"], name=op.f("fk_console_chunk_run_id")),
        sa.PrimaryKeyConstraint("run_id", "first", name=op.f("pk_console_chunk")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "console_open",
        sa.Column("run_id", _ID, nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("stream", sa.Text(), nullable=False),
        sa.Column("time", sa.BigInteger(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["run_id"], ["run.id"], name=op.f("fk_console_open_run_id")),
        sa.PrimaryKeyConstraint("run_id", "source", "stream", name=op.f("pk_console_open")),
        sqlite_with_rowid=False,
    )
    if op.get_bind().dialect.name == "postgresql":
        # Compressed already: PostgreSQL's own compression would only cost time.
        op.execute("ALTER TABLE console_chunk ALTER COLUMN data SET STORAGE EXTERNAL")


def downgrade() -> None:
    for table in _TABLES:
        op.drop_table(table)
