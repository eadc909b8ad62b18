"""Rules, what is remembered of their groups, and their firings."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"

_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_OPEN = sa.text("outcomes IS NULL OR (resolved_time IS NULL AND momentary = 0)")


def upgrade() -> None:
    op.create_table(
        "rule",
        sa.Column("id", _ID, autoincrement=True, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("spec", sa.Text(), nullable=False),
        sa.Column("origin", sa.Text(), nullable=False),
        sa.Column("enabled", sa.SmallInteger(), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.Column("created_time", sa.BigInteger(), nullable=False),
        sa.Column("updated_time", sa.BigInteger(), nullable=False),
        sa.Column("muted_until", sa.BigInteger(), nullable=True),
        sa.Column("muted_reason", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_rule")),
        sa.UniqueConstraint("name", name=op.f("uq_rule_name")),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "rule_state",
        sa.Column("rule_id", _ID, nullable=False),
        sa.Column("group", sa.Text(), nullable=False),
        sa.Column("phase", sa.Text(), nullable=False),
        sa.Column("since", sa.BigInteger(), nullable=False),
        sa.Column("last_fired", sa.BigInteger(), nullable=True),
        sa.Column("state", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["rule_id"], ["rule.id"], name=op.f("fk_rule_state_rule_id_rule")),
        sa.PrimaryKeyConstraint("rule_id", "group", name=op.f("pk_rule_state")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "rule_firing",
        sa.Column("number", _ID, autoincrement=True, nullable=False),
        sa.Column("rule", sa.Text(), nullable=False),
        sa.Column("group", sa.Text(), nullable=False),
        sa.Column("run_uuid", sa.Text(), nullable=True),
        sa.Column("experiment_id", _ID, nullable=True),
        sa.Column("severity", sa.Text(), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("time", sa.BigInteger(), nullable=False),
        sa.Column("resolved_time", sa.BigInteger(), nullable=True),
        sa.Column("momentary", sa.SmallInteger(), nullable=False),
        sa.Column("seen", sa.Text(), nullable=False),
        sa.Column("cause", sa.BigInteger(), nullable=True),
        sa.Column("chain", sa.Text(), nullable=False),
        sa.Column("actions", sa.Text(), nullable=False),
        sa.Column("outcomes", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_rule_firing")),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_rule_firing_rule", "rule_firing", ["rule", "number"])
    op.create_index("ix_rule_firing_run", "rule_firing", ["run_uuid", "number"])
    op.create_index(
        "ix_rule_firing_open", "rule_firing", ["number"], sqlite_where=_OPEN, postgresql_where=_OPEN
    )


def downgrade() -> None:
    op.drop_table("rule_firing")
    op.drop_table("rule_state")
    op.drop_table("rule")
