"""The model registry."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"

_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_ORDERED = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    op.create_table(
        "registered_model",
        sa.Column("id", _ID, autoincrement=True, nullable=False),
        sa.Column("workspace", sa.Text(), server_default="default", nullable=False),
        sa.Column("name", _ORDERED, nullable=False),
        sa.Column("description", sa.Text(), nullable=True),
        sa.Column("user_id", sa.Text(), nullable=True),
        sa.Column("creation_time", sa.BigInteger(), nullable=False),
        sa.Column("last_update_time", sa.BigInteger(), nullable=False),
        sa.Column("last_version", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_registered_model")),
        sqlite_autoincrement=True,
    )
    op.create_index(
        "uq_registered_model_name", "registered_model", ["workspace", "name"], unique=True
    )
    op.create_index(
        "ix_registered_model_updated", "registered_model", ["workspace", "last_update_time", "name"]
    )
    _owned(
        "registered_model_tag",
        "model_id",
        "registered_model",
        (sa.Column("key", sa.Text(), nullable=False),),
        sa.Column("value", sa.Text(), nullable=False),
    )
    op.create_table(
        "model_version",
        sa.Column("id", _ID, autoincrement=True, nullable=False),
        sa.Column("model_id", _ID, nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("stage", sa.SmallInteger(), nullable=False),
        sa.Column("description", sa.Text(), nullable=True),
        sa.Column("user_id", sa.Text(), nullable=True),
        sa.Column("creation_time", sa.BigInteger(), nullable=False),
        sa.Column("last_update_time", sa.BigInteger(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("location", sa.Text(), nullable=True),
        sa.Column("run_uuid", sa.Text(), nullable=True),
        sa.Column("run_link", sa.Text(), nullable=True),
        sa.Column("logged_model_id", sa.Text(), nullable=True),
        sa.Column("digest", sa.Text(), nullable=True),
        sa.Column("parent_id", _ID, nullable=True),
        sa.ForeignKeyConstraint(
            ["model_id"], ["registered_model.id"], name=op.f("fk_model_version_model_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_model_version")),
        sqlite_autoincrement=True,
    )
    op.create_index(
        "uq_model_version_number", "model_version", ["model_id", "version"], unique=True
    )
    op.create_index("ix_model_version_stage", "model_version", ["model_id", "stage", "id"])
    op.create_index("ix_model_version_updated", "model_version", ["last_update_time"])
    op.create_index("ix_model_version_run", "model_version", ["run_uuid"])
    op.create_index("ix_model_version_logged", "model_version", ["logged_model_id"])
    op.create_index("ix_model_version_parent", "model_version", ["parent_id"])
    _owned(
        "model_version_tag",
        "version_id",
        "model_version",
        (sa.Column("key", sa.Text(), nullable=False),),
        sa.Column("value", sa.Text(), nullable=False),
    )
    _owned(
        "model_alias",
        "model_id",
        "registered_model",
        (_alias(),),
        sa.Column("version", sa.BigInteger(), nullable=False),
    )
    op.create_table(
        "model_alias_move",
        sa.Column("id", _ID, autoincrement=True, nullable=False),
        sa.Column("model_id", _ID, nullable=False),
        _alias(),
        sa.Column("time", sa.BigInteger(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("before", sa.BigInteger(), nullable=True),
        sa.Column("after", sa.BigInteger(), nullable=True),
        sa.Column("approved_by", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["model_id"], ["registered_model.id"], name=op.f("fk_model_alias_move_model_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_model_alias_move")),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_model_alias_move_model", "model_alias_move", ["model_id", "id"])
    op.create_index("ix_model_alias_move_alias", "model_alias_move", ["model_id", "alias", "id"])
    _owned(
        "model_guard",
        "model_id",
        "registered_model",
        (_alias(),),
        sa.Column("checks", sa.Text(), nullable=False),
        sa.Column("approvals", sa.Integer(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("time", sa.BigInteger(), nullable=False),
    )
    _owned(
        "model_approval",
        "model_id",
        "registered_model",
        (
            _alias(),
            sa.Column("version", sa.BigInteger(), nullable=False),
            sa.Column("actor", sa.Text(), nullable=False),
        ),
        sa.Column("time", sa.BigInteger(), nullable=False),
    )
    op.create_index("ix_run_model_model", "run_model", ["model_id", "direction"])


def _alias() -> sa.Column[Any]:
    return sa.Column("alias", sa.Text(), nullable=False)


def _owned(
    table: str, owner: str, of: str, keys: tuple[sa.Column[Any], ...], *columns: sa.Column[Any]
) -> None:
    """A table of rows of something, which are known by their keys."""
    op.create_table(
        table,
        sa.Column(owner, _ID, nullable=False),
        *keys,
        *columns,
        sa.ForeignKeyConstraint([owner], [f"{of}.id"], name=op.f(f"fk_{table}_{owner}")),
        sa.PrimaryKeyConstraint(owner, *(key.name for key in keys), name=op.f(f"pk_{table}")),
        sqlite_with_rowid=False,
    )


def downgrade() -> None:
    op.drop_index("ix_run_model_model", "run_model")
    for table in (
        "model_approval",
        "model_guard",
        "model_alias_move",
        "model_alias",
        "model_version_tag",
        "model_version",
        "registered_model_tag",
        "registered_model",
    ):
        op.drop_table(table)
