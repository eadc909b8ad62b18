"""Logged models, their params and tags; their metrics were there already."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"

_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_ORDERED = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    op.create_table(
        "logged_model",
        sa.Column("id", _ID, autoincrement=True, nullable=False),
        sa.Column("uuid", _ORDERED, nullable=False),
        sa.Column("experiment_id", _ID, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("model_type", sa.Text(), nullable=True),
        sa.Column("source_run_id", sa.Text(), nullable=True),
        sa.Column("status", sa.SmallInteger(), nullable=False),
        sa.Column("status_message", sa.Text(), nullable=True),
        sa.Column("creation_time", sa.BigInteger(), nullable=False),
        sa.Column("last_update_time", sa.BigInteger(), nullable=False),
        sa.Column("deleted_time", sa.BigInteger(), nullable=True),
        sa.Column("digest", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(
            ["experiment_id"], ["experiment.id"], name=op.f("fk_logged_model_experiment_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_logged_model")),
        sa.UniqueConstraint("uuid", name=op.f("uq_logged_model_uuid")),
        sqlite_autoincrement=True,
    )
    op.create_index(
        "ix_logged_model_experiment_creation",
        "logged_model",
        ["experiment_id", sa.text("creation_time DESC"), "uuid"],
    )
    op.create_index("ix_logged_model_experiment_name", "logged_model", ["experiment_id", "name"])
    for name in ("source_run", "deleted"):
        column = {"source_run": "source_run_id", "deleted": "deleted_time"}[name]
        there = sa.text(f"{column} IS NOT NULL")
        op.create_index(
            f"ix_logged_model_{name}",
            "logged_model",
            [column],
            sqlite_where=there,
            postgresql_where=there,
        )
    for word in ("param", "tag"):
        table = f"logged_model_{word}"
        op.create_table(
            table,
            sa.Column("logged_model_id", _ID, nullable=False),
            sa.Column("key", sa.Text(), nullable=False),
            sa.Column("value", sa.Text(), nullable=False),
            sa.ForeignKeyConstraint(
                ["logged_model_id"], ["logged_model.id"], name=op.f(f"fk_{table}_logged_model_id")
            ),
            sa.PrimaryKeyConstraint("logged_model_id", "key", name=op.f(f"pk_{table}")),
            sqlite_with_rowid=False,
        )
    op.add_column("logged_model_param", sa.Column("number", sa.Double(), nullable=True))


def downgrade() -> None:
    op.drop_table("logged_model_tag")
    op.drop_table("logged_model_param")
    op.drop_table("logged_model")
