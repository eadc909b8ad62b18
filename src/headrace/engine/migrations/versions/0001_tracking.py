"""Tracking: experiments, runs, params, tags, metrics, datasets, events."""

from __future__ import annotations

import time

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_ORDERED = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
_TABLES = (
    "event",
    "run_model",
    "run_dataset",
    "tag",
    "param",
    "metric_summary",
    "metric_segment",
    "metric_batch",
    "logged_model_metric",
    "run",
    "experiment_tag",
    "experiment_key",
    "dataset",
    "key",
    "experiment",
)


def upgrade() -> None:
    op.create_table(
        "event",
        sa.Column("seq", _ID, autoincrement=True, nullable=False),
        sa.Column("time", sa.BigInteger(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("data", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_event")),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "experiment",
        sa.Column("id", _ID, autoincrement=True, nullable=False),
        sa.Column("workspace", sa.Text(), server_default="default", nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("artifact_location", sa.Text(), nullable=True),
        sa.Column("creation_time", sa.BigInteger(), nullable=False),
        sa.Column("last_update_time", sa.BigInteger(), nullable=False),
        sa.Column("deleted_time", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_experiment")),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_experiment_name", "experiment", ["name"], unique=False)
    op.create_index(
        "uq_experiment_active_name",
        "experiment",
        ["workspace", "name"],
        unique=True,
        sqlite_where=sa.text("deleted_time IS NULL"),
        postgresql_where=sa.text("deleted_time IS NULL"),
    )
    op.create_table(
        "key",
        sa.Column("id", _ID, autoincrement=True, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_key")),
        sa.UniqueConstraint("name", name=op.f("uq_key_name")),
    )
    op.create_table(
        "dataset",
        sa.Column("id", _ID, autoincrement=True, nullable=False),
        sa.Column("experiment_id", _ID, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("source_type", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("schema", sa.Text(), nullable=True),
        sa.Column("profile", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(
            ["experiment_id"], ["experiment.id"], name=op.f("fk_dataset_experiment_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_dataset")),
    )
    op.create_index("uq_dataset_name", "dataset", ["experiment_id", "name", "digest"], unique=True)
    op.create_table(
        "experiment_key",
        sa.Column("experiment_id", _ID, nullable=False),
        sa.Column("kind", sa.SmallInteger(), nullable=False),
        sa.Column("key_id", _ID, nullable=False),
        sa.ForeignKeyConstraint(
            ["experiment_id"], ["experiment.id"], name=op.f("fk_experiment_key_experiment_id")
        ),
        sa.ForeignKeyConstraint(["key_id"], ["key.id"], name=op.f("fk_experiment_key_key_id")),
        sa.PrimaryKeyConstraint("experiment_id", "kind", "key_id", name=op.f("pk_experiment_key")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "experiment_tag",
        sa.Column("experiment_id", _ID, nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["experiment_id"], ["experiment.id"], name=op.f("fk_experiment_tag_experiment_id")
        ),
        sa.PrimaryKeyConstraint("experiment_id", "key", name=op.f("pk_experiment_tag")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "run",
        sa.Column("id", _ID, autoincrement=True, nullable=False),
        sa.Column("uuid", _ORDERED, nullable=False),
        sa.Column("experiment_id", _ID, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("start_time", sa.BigInteger(), nullable=False),
        sa.Column("end_time", sa.BigInteger(), nullable=True),
        sa.Column("deleted_time", sa.BigInteger(), nullable=True),
        sa.Column("parent_uuid", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(
            ["experiment_id"], ["experiment.id"], name=op.f("fk_run_experiment_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_run")),
        sa.UniqueConstraint("uuid", name=op.f("uq_run_uuid")),
        sqlite_autoincrement=True,
    )
    op.create_index(
        "ix_run_deleted",
        "run",
        ["deleted_time"],
        unique=False,
        sqlite_where=sa.text("deleted_time IS NOT NULL"),
        postgresql_where=sa.text("deleted_time IS NOT NULL"),
    )
    op.create_index(
        "ix_run_experiment_start",
        "run",
        ["experiment_id", sa.literal_column("start_time DESC"), "uuid"],
        unique=False,
    )
    op.create_index(
        "ix_run_parent",
        "run",
        ["parent_uuid"],
        unique=False,
        sqlite_where=sa.text("parent_uuid IS NOT NULL"),
        postgresql_where=sa.text("parent_uuid IS NOT NULL"),
    )
    op.create_table(
        "logged_model_metric",
        sa.Column("id", _ID, autoincrement=True, nullable=False),
        sa.Column("model_id", sa.Text(), nullable=False),
        sa.Column("run_id", _ID, nullable=False),
        sa.Column("key_id", _ID, nullable=False),
        sa.Column("step", sa.BigInteger(), nullable=False),
        sa.Column("time", sa.BigInteger(), nullable=False),
        sa.Column("value", sa.Double(), nullable=True),
        sa.Column("dataset_name", sa.Text(), nullable=True),
        sa.Column("dataset_digest", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["key_id"], ["key.id"], name=op.f("fk_logged_model_metric_key_id")),
        sa.ForeignKeyConstraint(["run_id"], ["run.id"], name=op.f("fk_logged_model_metric_run_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_logged_model_metric")),
    )
    op.create_index(
        "ix_logged_model_metric_model", "logged_model_metric", ["model_id", "key_id"], unique=False
    )
    op.create_index("ix_logged_model_metric_run", "logged_model_metric", ["run_id"], unique=False)
    op.create_table(
        "metric_batch",
        sa.Column("id", _ID, autoincrement=True, nullable=False),
        sa.Column("run_id", _ID, nullable=False),
        sa.Column("points", sa.Integer(), nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["run_id"], ["run.id"], name=op.f("fk_metric_batch_run_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_metric_batch")),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_metric_batch_run", "metric_batch", ["run_id", "id"], unique=False)
    op.create_table(
        "metric_segment",
        sa.Column("id", _ID, autoincrement=True, nullable=False),
        sa.Column("run_id", _ID, nullable=False),
        sa.Column("key_id", _ID, nullable=False),
        sa.Column("points", sa.Integer(), nullable=False),
        sa.Column("min_step", sa.BigInteger(), nullable=False),
        sa.Column("max_step", sa.BigInteger(), nullable=False),
        sa.Column("min_time", sa.BigInteger(), nullable=False),
        sa.Column("max_time", sa.BigInteger(), nullable=False),
        sa.Column("overview", sa.LargeBinary(), nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["key_id"], ["key.id"], name=op.f("fk_metric_segment_key_id")),
        sa.ForeignKeyConstraint(["run_id"], ["run.id"], name=op.f("fk_metric_segment_run_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_metric_segment")),
        sqlite_autoincrement=True,
    )
    op.create_index(
        "ix_metric_segment_series", "metric_segment", ["run_id", "key_id"], unique=False
    )
    op.create_table(
        "metric_summary",
        sa.Column("run_id", _ID, nullable=False),
        sa.Column("key_id", _ID, nullable=False),
        sa.Column("experiment_id", _ID, nullable=False),
        sa.Column("last_rank", sa.SmallInteger(), nullable=False),
        sa.Column("last_value", sa.Double(), nullable=True),
        sa.Column("last_step", sa.BigInteger(), nullable=False),
        sa.Column("last_time", sa.BigInteger(), nullable=False),
        sa.Column("min_value", sa.Double(), nullable=True),
        sa.Column("min_step", sa.BigInteger(), nullable=True),
        sa.Column("max_value", sa.Double(), nullable=True),
        sa.Column("max_step", sa.BigInteger(), nullable=True),
        sa.Column("count", sa.BigInteger(), nullable=False),
        sa.Column("nan_count", sa.BigInteger(), nullable=False),
        sa.Column("first_step", sa.BigInteger(), nullable=False),
        sa.Column("first_time", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["key_id"], ["key.id"], name=op.f("fk_metric_summary_key_id")),
        sa.ForeignKeyConstraint(["run_id"], ["run.id"], name=op.f("fk_metric_summary_run_id")),
        sa.PrimaryKeyConstraint("run_id", "key_id", name=op.f("pk_metric_summary")),
        sqlite_with_rowid=False,
    )
    op.create_index(
        "ix_metric_summary_order",
        "metric_summary",
        ["experiment_id", "key_id", "last_rank", "last_value", "run_id"],
        unique=False,
    )
    op.create_table(
        "param",
        sa.Column("run_id", _ID, nullable=False),
        sa.Column("key_id", _ID, nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.Column("number", sa.Double(), nullable=True),
        sa.ForeignKeyConstraint(["key_id"], ["key.id"], name=op.f("fk_param_key_id")),
        sa.ForeignKeyConstraint(["run_id"], ["run.id"], name=op.f("fk_param_run_id")),
        sa.PrimaryKeyConstraint("run_id", "key_id", name=op.f("pk_param")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "run_dataset",
        sa.Column("run_id", _ID, nullable=False),
        sa.Column("dataset_id", _ID, nullable=False),
        sa.Column("context", sa.Text(), nullable=True),
        sa.Column("tags", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["dataset_id"], ["dataset.id"], name=op.f("fk_run_dataset_dataset_id")
        ),
        sa.ForeignKeyConstraint(["run_id"], ["run.id"], name=op.f("fk_run_dataset_run_id")),
        sa.PrimaryKeyConstraint("run_id", "dataset_id", name=op.f("pk_run_dataset")),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_run_dataset_dataset", "run_dataset", ["dataset_id"], unique=False)
    op.create_table(
        "run_model",
        sa.Column("run_id", _ID, nullable=False),
        sa.Column("direction", sa.SmallInteger(), nullable=False),
        sa.Column("model_id", sa.Text(), nullable=False),
        sa.Column("step", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["run_id"], ["run.id"], name=op.f("fk_run_model_run_id")),
        sa.PrimaryKeyConstraint("run_id", "direction", "model_id", name=op.f("pk_run_model")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "tag",
        sa.Column("run_id", _ID, nullable=False),
        sa.Column("key_id", _ID, nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["key_id"], ["key.id"], name=op.f("fk_tag_key_id")),
        sa.ForeignKeyConstraint(["run_id"], ["run.id"], name=op.f("fk_tag_run_id")),
        sa.PrimaryKeyConstraint("run_id", "key_id", name=op.f("pk_tag")),
        sqlite_with_rowid=False,
    )

    now = time.time_ns() // 1_000_000
    op.get_bind().execute(
        sa.text(
            "INSERT INTO experiment (id, name, creation_time, last_update_time) "
            "VALUES (0, 'Default', :now, :now)"
        ),
        {"now": now},
    )
    if op.get_bind().dialect.name == "postgresql":
        # Compressed already: PostgreSQL's own compression would only cost time.
        for table, column in (
            ("metric_batch", "data"),
            ("metric_segment", "data"),
            ("metric_segment", "overview"),
        ):
            op.execute(f"ALTER TABLE {table} ALTER COLUMN {column} SET STORAGE EXTERNAL")


def downgrade() -> None:
    for table in _TABLES:
        op.drop_table(table)
