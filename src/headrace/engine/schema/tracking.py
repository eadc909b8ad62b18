"""Experiments, runs and what they log; logged models."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Column,
    Double,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    SmallInteger,
    Table,
    Text,
    text,
)

from headrace.engine.schema.base import Id, Ordered, metadata

experiment = Table(
    "experiment",
    metadata,
    Column("id", Id, primary_key=True, autoincrement=True),
    Column("workspace", Text, nullable=False, server_default="default"),
    Column("name", Text, nullable=False),
    # NULL: below the store's own artifact root, wherever the store is opened or served.
    Column("artifact_location", Text),
    Column("creation_time", BigInteger, nullable=False),
    Column("last_update_time", BigInteger, nullable=False),
    Column("deleted_time", BigInteger),
    sqlite_autoincrement=True,  # an id is never used twice, even after a purge
)
Index(
    "uq_experiment_active_name",
    experiment.c.workspace,
    experiment.c.name,
    unique=True,
    sqlite_where=text("deleted_time IS NULL"),
    postgresql_where=text("deleted_time IS NULL"),
)
Index("ix_experiment_name", experiment.c.name)

experiment_tag = Table(
    "experiment_tag",
    metadata,
    Column("experiment_id", Id, ForeignKey("experiment.id"), primary_key=True),
    Column("key", Text, primary_key=True),
    Column("value", Text, nullable=False),
    sqlite_with_rowid=False,
)

run = Table(
    "run",
    metadata,
    Column("id", Id, primary_key=True, autoincrement=True),
    Column("uuid", Ordered, nullable=False, unique=True),
    Column("experiment_id", Id, ForeignKey("experiment.id"), nullable=False),
    Column("name", Text, nullable=False),
    Column("user_id", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("start_time", BigInteger, nullable=False),
    Column("end_time", BigInteger),
    Column("deleted_time", BigInteger),
    # Follows the tag mlflow.parentRunId, so that the children of a run are found by index.
    Column("parent_uuid", Text),
    sqlite_autoincrement=True,
)
Index("ix_run_experiment_start", run.c.experiment_id, run.c.start_time.desc(), run.c.uuid)
Index(
    "ix_run_parent",
    run.c.parent_uuid,
    sqlite_where=text("parent_uuid IS NOT NULL"),
    postgresql_where=text("parent_uuid IS NOT NULL"),
)
Index(
    "ix_run_deleted",
    run.c.deleted_time,
    sqlite_where=text("deleted_time IS NOT NULL"),
    postgresql_where=text("deleted_time IS NOT NULL"),
)

key = Table(
    "key",
    metadata,
    Column("id", Id, primary_key=True, autoincrement=True),
    Column("name", Text, nullable=False, unique=True),
)

#: Values of ``experiment_key.kind``.
KIND_METRIC, KIND_PARAM, KIND_TAG = 0, 1, 2

experiment_key = Table(
    "experiment_key",
    metadata,
    Column("experiment_id", Id, ForeignKey("experiment.id"), primary_key=True),
    Column("kind", SmallInteger, primary_key=True),
    Column("key_id", Id, ForeignKey("key.id"), primary_key=True),
    sqlite_with_rowid=False,
)

param = Table(
    "param",
    metadata,
    Column("run_id", Id, ForeignKey("run.id"), primary_key=True),
    Column("key_id", Id, ForeignKey("key.id"), primary_key=True),
    Column("value", Text, nullable=False),
    # The value as a number, NULL when it is none: for numeric comparison in filters.
    Column("number", Double),
    sqlite_with_rowid=False,
)

tag = Table(
    "tag",
    metadata,
    Column("run_id", Id, ForeignKey("run.id"), primary_key=True),
    Column("key_id", Id, ForeignKey("key.id"), primary_key=True),
    Column("value", Text, nullable=False),
    sqlite_with_rowid=False,
)

#: Values of ``metric_summary.last_rank``: numbers sort before NaN.
RANK_NUMBER, RANK_NAN = 0, 1

metric_summary = Table(
    "metric_summary",
    metadata,
    Column("run_id", Id, ForeignKey("run.id"), primary_key=True),
    Column("key_id", Id, ForeignKey("key.id"), primary_key=True),
    # The run's experiment again, so that one index serves "order the runs of an experiment by a metric".
    Column("experiment_id", Id, nullable=False),
    # Last point: greatest (step, time, value), NaN counting as 0. A NaN is NULL with rank 1.
    Column("last_rank", SmallInteger, nullable=False),
    Column("last_value", Double),
    Column("last_step", BigInteger, nullable=False),
    Column("last_time", BigInteger, nullable=False),
    # Over the values that are not NaN; NULL when there are none.
    Column("min_value", Double),
    Column("min_step", BigInteger),
    Column("max_value", Double),
    Column("max_step", BigInteger),
    # Points accepted, exact duplicates included; how many of them NaN.
    Column("count", BigInteger, nullable=False),
    Column("nan_count", BigInteger, nullable=False),
    Column("first_step", BigInteger, nullable=False),
    Column("first_time", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)
Index(
    "ix_metric_summary_order",
    metric_summary.c.experiment_id,
    metric_summary.c.key_id,
    metric_summary.c.last_rank,
    metric_summary.c.last_value,
    metric_summary.c.run_id,
)

metric_batch = Table(
    "metric_batch",
    metadata,
    Column("id", Id, primary_key=True, autoincrement=True),
    Column("run_id", Id, ForeignKey("run.id"), nullable=False),
    Column("points", Integer, nullable=False),
    Column("data", LargeBinary, nullable=False),  # headrace.engine.metrics.columns: block
    sqlite_autoincrement=True,
)
Index("ix_metric_batch_run", metric_batch.c.run_id, metric_batch.c.id)

metric_segment = Table(
    "metric_segment",
    metadata,
    Column("id", Id, primary_key=True, autoincrement=True),
    Column("run_id", Id, ForeignKey("run.id"), nullable=False),
    Column("key_id", Id, ForeignKey("key.id"), nullable=False),
    Column("points", Integer, nullable=False),
    Column("min_step", BigInteger, nullable=False),
    Column("max_step", BigInteger, nullable=False),
    Column("min_time", BigInteger, nullable=False),
    Column("max_time", BigInteger, nullable=False),
    Column("overview", LargeBinary, nullable=False),  # columns.py: one line per 128 points
    Column("data", LargeBinary, nullable=False),  # columns.py: block of one series
    sqlite_autoincrement=True,
)
Index("ix_metric_segment_series", metric_segment.c.run_id, metric_segment.c.key_id)

#: Values of ``logged_model.status``, which are MLflow's.
MODEL_PENDING, MODEL_READY, MODEL_FAILED = 1, 2, 3

# Models, each with its own folder of artifacts below the experiment's location.
logged_model = Table(
    "logged_model",
    metadata,
    Column("id", Id, primary_key=True, autoincrement=True),
    Column("uuid", Ordered, nullable=False, unique=True),  # m-…
    Column("experiment_id", Id, ForeignKey("experiment.id"), nullable=False),
    Column("name", Text, nullable=False),
    Column("model_type", Text),
    # Of the run that made it: opaque, for the run may be on another store, or purged.
    Column("source_run_id", Text),
    Column("status", SmallInteger, nullable=False),
    Column("status_message", Text),
    Column("creation_time", BigInteger, nullable=False),
    Column("last_update_time", BigInteger, nullable=False),
    Column("deleted_time", BigInteger),
    # Of its folder, as the client gave it; never changed.
    Column("digest", Text),
    sqlite_autoincrement=True,
)
Index(
    "ix_logged_model_experiment_creation",
    logged_model.c.experiment_id,
    logged_model.c.creation_time.desc(),
    logged_model.c.uuid,
)
Index("ix_logged_model_experiment_name", logged_model.c.experiment_id, logged_model.c.name)
Index(
    "ix_logged_model_source_run",
    logged_model.c.source_run_id,
    sqlite_where=text("source_run_id IS NOT NULL"),
    postgresql_where=text("source_run_id IS NOT NULL"),
)
Index(
    "ix_logged_model_deleted",
    logged_model.c.deleted_time,
    sqlite_where=text("deleted_time IS NOT NULL"),
    postgresql_where=text("deleted_time IS NOT NULL"),
)

# Keys are text here: models are few, and their keys follow no rule that `key` would vouch for.
logged_model_param = Table(
    "logged_model_param",
    metadata,
    Column("logged_model_id", Id, ForeignKey("logged_model.id"), primary_key=True),
    Column("key", Text, primary_key=True),
    Column("value", Text, nullable=False),
    Column("number", Double),  # the value as a number, NULL when it is none
    sqlite_with_rowid=False,
)

logged_model_tag = Table(
    "logged_model_tag",
    metadata,
    Column("logged_model_id", Id, ForeignKey("logged_model.id"), primary_key=True),
    Column("key", Text, primary_key=True),
    Column("value", Text, nullable=False),
    sqlite_with_rowid=False,
)

# What was logged about a logged model, and on which data set. The model may be one of another store.
logged_model_metric = Table(
    "logged_model_metric",
    metadata,
    Column("id", Id, primary_key=True, autoincrement=True),
    Column("model_id", Text, nullable=False),
    Column("run_id", Id, ForeignKey("run.id"), nullable=False),
    Column("key_id", Id, ForeignKey("key.id"), nullable=False),
    Column("step", BigInteger, nullable=False),
    Column("time", BigInteger, nullable=False),
    Column("value", Double),  # NULL: NaN
    Column("dataset_name", Text),
    Column("dataset_digest", Text),
)
Index(
    "ix_logged_model_metric_model",
    logged_model_metric.c.model_id,
    logged_model_metric.c.key_id,
)
Index("ix_logged_model_metric_run", logged_model_metric.c.run_id)

dataset = Table(
    "dataset",
    metadata,
    Column("id", Id, primary_key=True, autoincrement=True),
    Column("experiment_id", Id, ForeignKey("experiment.id"), nullable=False),
    Column("name", Text, nullable=False),
    Column("digest", Text, nullable=False),
    Column("source_type", Text, nullable=False),
    Column("source", Text, nullable=False),
    Column("schema", Text),
    Column("profile", Text),
)
Index("uq_dataset_name", dataset.c.experiment_id, dataset.c.name, dataset.c.digest, unique=True)

run_dataset = Table(
    "run_dataset",
    metadata,
    Column("run_id", Id, ForeignKey("run.id"), primary_key=True),
    Column("dataset_id", Id, ForeignKey("dataset.id"), primary_key=True),
    Column("context", Text),  # the tag mlflow.data.context, for search
    Column("tags", Text, nullable=False),  # JSON: [{"key", "value"}, ...]
    sqlite_with_rowid=False,
)
Index("ix_run_dataset_dataset", run_dataset.c.dataset_id)

#: Values of ``run_model.direction``.
MODEL_INPUT, MODEL_OUTPUT = 0, 1

run_model = Table(
    "run_model",
    metadata,
    Column("run_id", Id, ForeignKey("run.id"), primary_key=True),
    Column("direction", SmallInteger, primary_key=True),
    Column("model_id", Text, primary_key=True),
    Column("step", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)
Index("ix_run_model_model", run_model.c.model_id, run_model.c.direction)

# How far the journal of each writer was applied (headrace.protocol.ingest). Kept for good: an offline
# journal may come again after a year.
writer = Table(
    "writer",
    metadata,
    Column("id", Text, primary_key=True),
    Column("position", BigInteger, nullable=False),
    Column("updated_time", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

# The runs that say when they are alive, while they run: a row goes when its run ends.
heartbeat = Table(
    "heartbeat",
    metadata,
    Column("run_id", Id, ForeignKey("run.id"), primary_key=True, autoincrement=False),
    Column("seen_time", BigInteger, nullable=False),
    Column("silence", BigInteger, nullable=False),  # milliseconds after which it counts as lost
)

# Runs that were asked to stop, until they are taken up again.
run_stop = Table(
    "run_stop",
    metadata,
    Column("run_id", Id, ForeignKey("run.id"), primary_key=True, autoincrement=False),
    Column("time", BigInteger, nullable=False),
    Column("reason", Text, nullable=False),
    Column("actor", Text, nullable=False),
)

# Console output: stretches of lines, of all streams and sources in the order of their arrival.
console_chunk = Table(
    "console_chunk",
    metadata,
    Column("run_id", Id, ForeignKey("run.id"), primary_key=True),
    Column("first", BigInteger, primary_key=True),  # number of its first line, from 1
    Column("lines", Integer, nullable=False),
    Column("data", LargeBinary, nullable=False),  # headrace.engine.console: chunk
    sqlite_with_rowid=False,
)

# The line that each stream is in the middle of: a progress bar.
console_open = Table(
    "console_open",
    metadata,
    Column("run_id", Id, ForeignKey("run.id"), primary_key=True),
    Column("source", Text, primary_key=True),
    Column("stream", Text, primary_key=True),
    Column("time", BigInteger, nullable=False),
    Column("text", Text, nullable=False),
    sqlite_with_rowid=False,
)

#: Tables that hold rows of one run, in the order in which a purge empties them.
RUN_TABLES = (
    param,
    tag,
    metric_summary,
    metric_batch,
    metric_segment,
    logged_model_metric,
    run_dataset,
    run_model,
    heartbeat,
    run_stop,
    console_chunk,
    console_open,
)
