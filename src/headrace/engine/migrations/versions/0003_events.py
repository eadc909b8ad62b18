"""The event log is read: by subject, experiment and time, from a cursor, and trimmed."""

from __future__ import annotations

import uuid

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.add_column("event", sa.Column("experiment_id", _ID, nullable=True))
    # What was written before: a run's experiment is known while the run is there.
    op.execute(
        "UPDATE event SET experiment_id = (SELECT run.experiment_id FROM run "
        "WHERE 'run/' || run.uuid = event.subject) WHERE subject LIKE 'run/%'"
    )
    op.execute(
        "UPDATE event SET experiment_id = CAST(substr(subject, 12) AS BIGINT) "
        "WHERE subject LIKE 'experiment/%'"
    )
    op.create_index("ix_event_subject", "event", ["subject", "seq"])
    op.create_index(
        "ix_event_experiment",
        "event",
        ["experiment_id", "seq"],
        sqlite_where=sa.text("experiment_id IS NOT NULL"),
        postgresql_where=sa.text("experiment_id IS NOT NULL"),
    )
    op.create_index("ix_event_time", "event", ["time", "seq"])
    log = op.create_table(
        "event_log",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("trimmed", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_event_log")),
    )
    op.bulk_insert(log, [{"id": str(uuid.uuid4()), "trimmed": 0}])
    op.create_table(
        "event_cursor",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_event_cursor")),
        sqlite_with_rowid=False,
    )


def downgrade() -> None:
    op.drop_table("event_cursor")
    op.drop_table("event_log")
    for index in ("ix_event_time", "ix_event_experiment", "ix_event_subject"):
        op.drop_index(index, "event")
    op.drop_column("event", "experiment_id")
