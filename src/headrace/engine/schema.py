"""The tables, for SQLite and PostgreSQL.

Integer keys inside, MLflow's ids outside. Param, tag and metric names are kept once, in ``key``, and
referred to by number: at a million runs the names would otherwise be most of the database.

Times are milliseconds since the Unix epoch. A thing is in the trash when ``deleted_time`` is set; a
run is also in the trash while its experiment is, which no column says twice.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Column,
    Double,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    Table,
    Text,
    text,
)

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

#: SQLite numbers rows by itself only for a column that is exactly INTEGER.
Id = BigInteger().with_variant(Integer, "sqlite")

#: Text that is ordered by code point on PostgreSQL too, so that an index has that order.
Ordered = Text().with_variant(Text(collation="C"), "postgresql")

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

# The event log (docs/internals/events.md). `seq` is drawn by `headrace.engine.events.numbering`.
event = Table(
    "event",
    metadata,
    Column("seq", Id, primary_key=True, autoincrement=True),
    Column("time", BigInteger, nullable=False),
    Column("type", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("actor", Text, nullable=False),
    Column("data", Text, nullable=False),  # JSON object
    # The experiment that the change belongs to; NULL when to none.
    Column("experiment_id", Id),
    sqlite_autoincrement=True,
)
Index("ix_event_subject", event.c.subject, event.c.seq)
Index(
    "ix_event_experiment",
    event.c.experiment_id,
    event.c.seq,
    sqlite_where=text("experiment_id IS NOT NULL"),
    postgresql_where=text("experiment_id IS NOT NULL"),
)
Index("ix_event_time", event.c.time, event.c.seq)

# One row: which log this is, and how much of it was trimmed.
event_log = Table(
    "event_log",
    metadata,
    Column("id", Text, primary_key=True),  # a UUID, the events' source
    Column("trimmed", BigInteger, nullable=False),  # the greatest number that was trimmed
)

# How far readers of the log that keep their place here have come, by name: webhooks, rules.
event_cursor = Table(
    "event_cursor",
    metadata,
    Column("name", Text, primary_key=True),
    Column("seq", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

#: Values of ``webhook_delivery.state``.
PENDING, DELIVERED, PARKED, CANCELLED = range(4)

# Where events are sent (docs/internals/webhooks.md). A deleted one stays until its deliveries are gone.
webhook = Table(
    "webhook",
    metadata,
    Column("id", Id, primary_key=True, autoincrement=True),
    Column("uuid", Ordered, nullable=False, unique=True),
    Column("workspace", Text, nullable=False, server_default="default"),
    Column("name", Text, nullable=False),
    Column("description", Text, nullable=False),
    Column("url", Text, nullable=False),  # without credentials
    Column("status", Text, nullable=False),
    Column("format", Text, nullable=False),
    Column("template", Text, nullable=False),
    Column("wants", Text, nullable=False),  # JSON: headrace.engine.webhooks.wants
    # Encrypted, each by itself: headrace.engine.webhooks.secrets.
    Column("secret", Text),
    Column("headers", Text),
    Column("credentials", Text),
    Column("after_seq", BigInteger, nullable=False),  # it gets only later events
    Column("creation_time", BigInteger, nullable=False),
    Column("last_update_time", BigInteger, nullable=False),
    Column("deleted_time", BigInteger),
    sqlite_autoincrement=True,
)

webhook_delivery = Table(
    "webhook_delivery",
    metadata,
    Column("id", Id, primary_key=True, autoincrement=True),
    Column("uuid", Ordered, nullable=False, unique=True),
    Column("webhook_id", Id, ForeignKey("webhook.id"), nullable=False),
    Column("seq", BigInteger, nullable=False),  # the event's number; 0: a test
    Column("time", BigInteger, nullable=False),  # the event's
    Column("type", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("event", Text, nullable=False),  # a CloudEvent in JSON
    Column("state", SmallInteger, nullable=False),
    Column("attempts", Integer, nullable=False),  # ever
    Column("tries", Integer, nullable=False),  # since it was queued last
    Column("queued_time", BigInteger, nullable=False),
    Column("next_time", BigInteger),  # of a pending one that failed
    Column("done_time", BigInteger),
    Column("status", Integer),  # what the last attempt was answered
    Column("error", Text, nullable=False),  # why the last attempt failed
    sqlite_autoincrement=True,
)
Index("ix_webhook_delivery_event", webhook_delivery.c.webhook_id, webhook_delivery.c.seq)
Index(
    "ix_webhook_delivery_pending",
    webhook_delivery.c.webhook_id,
    webhook_delivery.c.subject,
    webhook_delivery.c.seq,
    sqlite_where=text("state = 0"),
    postgresql_where=text("state = 0"),
)
Index(
    "ix_webhook_delivery_parked",
    webhook_delivery.c.webhook_id,
    webhook_delivery.c.id,
    sqlite_where=text("state = 2"),
    postgresql_where=text("state = 2"),
)

# One row for every subject of which a webhook has pending deliveries: when to send the next one.
webhook_queue = Table(
    "webhook_queue",
    metadata,
    Column("webhook_id", Id, ForeignKey("webhook.id"), primary_key=True),
    Column("subject", Text, primary_key=True),
    Column("next_time", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)
Index("ix_webhook_queue_next", webhook_queue.c.webhook_id, webhook_queue.c.next_time)

webhook_attempt = Table(
    "webhook_attempt",
    metadata,
    Column("delivery_id", Id, ForeignKey("webhook_delivery.id"), primary_key=True),
    Column("number", Integer, primary_key=True),  # from 1
    Column("time", BigInteger, nullable=False),
    Column("status", Integer),
    Column("latency_ms", Double, nullable=False),
    Column("body", Text, nullable=False),
    Column("error", Text, nullable=False),
    sqlite_with_rowid=False,
)

rule = Table(
    "rule",
    metadata,
    Column("id", Id, primary_key=True, autoincrement=True),
    Column("name", Text, nullable=False, unique=True),
    Column("spec", Text, nullable=False),  # JSON: headrace.protocol.rule_spec
    Column("origin", Text, nullable=False),  # api, file
    Column("enabled", SmallInteger, nullable=False),
    Column("revision", BigInteger, nullable=False),
    Column("created_time", BigInteger, nullable=False),
    Column("updated_time", BigInteger, nullable=False),
    Column("muted_until", BigInteger),
    Column("muted_reason", Text),
    sqlite_autoincrement=True,
)

# What is remembered of each group that a rule watches apart.
rule_state = Table(
    "rule_state",
    metadata,
    Column("rule_id", Id, ForeignKey("rule.id"), primary_key=True),
    Column("group", Text, primary_key=True),
    Column("phase", Text, nullable=False),  # ok, pending, firing
    Column("since", BigInteger, nullable=False),
    Column("last_fired", BigInteger),
    Column("state", Text, nullable=False),  # JSON: headrace.engine.rules.records
    sqlite_with_rowid=False,
)

# Kept when their rule is gone.
rule_firing = Table(
    "rule_firing",
    metadata,
    Column("number", Id, primary_key=True, autoincrement=True),
    Column("rule", Text, nullable=False),
    Column("group", Text, nullable=False),
    Column("run_uuid", Text),
    Column("experiment_id", Id),
    Column("severity", Text, nullable=False),
    Column("title", Text, nullable=False),
    Column("text", Text, nullable=False),
    Column("time", BigInteger, nullable=False),
    Column("resolved_time", BigInteger),
    Column("momentary", SmallInteger, nullable=False),
    Column("seen", Text, nullable=False),  # JSON object: what the condition saw
    Column("cause", BigInteger),  # number of an event
    Column("chain", Text, nullable=False),  # JSON array of names
    Column("actions", Text, nullable=False),  # JSON array: what it does
    Column("outcomes", Text),  # JSON array: what came of it; NULL while it is to be done
    sqlite_autoincrement=True,
)
Index("ix_rule_firing_rule", rule_firing.c.rule, rule_firing.c.number)
Index("ix_rule_firing_run", rule_firing.c.run_uuid, rule_firing.c.number)
Index(
    "ix_rule_firing_open",
    rule_firing.c.number,
    sqlite_where=text("outcomes IS NULL OR (resolved_time IS NULL AND momentary = 0)"),
    postgresql_where=text("outcomes IS NULL OR (resolved_time IS NULL AND momentary = 0)"),
)

# The registry (docs/internals/registry.md). Names of models are looked up and never copied, so a rename is one row.
registered_model = Table(
    "registered_model",
    metadata,
    Column("id", Id, primary_key=True, autoincrement=True),
    Column("workspace", Text, nullable=False, server_default="default"),
    Column("name", Ordered, nullable=False),
    Column("description", Text),
    Column("user_id", Text),
    Column("creation_time", BigInteger, nullable=False),
    Column("last_update_time", BigInteger, nullable=False),
    Column("last_version", BigInteger, nullable=False),  # the greatest number that was ever given
    sqlite_autoincrement=True,
)
Index(
    "uq_registered_model_name", registered_model.c.workspace, registered_model.c.name, unique=True
)
Index(
    "ix_registered_model_updated",
    registered_model.c.workspace,
    registered_model.c.last_update_time,
    registered_model.c.name,
)

registered_model_tag = Table(
    "registered_model_tag",
    metadata,
    Column("model_id", Id, ForeignKey("registered_model.id"), primary_key=True),
    Column("key", Text, primary_key=True),
    Column("value", Text, nullable=False),
    sqlite_with_rowid=False,
)

# Runs and logged models are named by their public ids: a version outlives them.
model_version = Table(
    "model_version",
    metadata,
    Column("id", Id, primary_key=True, autoincrement=True),
    Column("model_id", Id, ForeignKey("registered_model.id"), nullable=False),
    Column("version", BigInteger, nullable=False),
    Column("stage", SmallInteger, nullable=False),  # headrace.protocol.model_versions.STAGES
    Column("description", Text),
    Column("user_id", Text),
    Column("creation_time", BigInteger, nullable=False),
    Column("last_update_time", BigInteger, nullable=False),
    Column("source", Text, nullable=False),
    Column("location", Text),  # where its files are; NULL: the source says it
    Column("run_uuid", Text),
    Column("run_link", Text),
    Column("logged_model_id", Text),
    Column("digest", Text),
    Column("parent_id", Id),  # the version that it is a copy of, which may be gone
    sqlite_autoincrement=True,
)
Index("uq_model_version_number", model_version.c.model_id, model_version.c.version, unique=True)
# Ids grow with the numbers of a model's versions, so the greatest id of a stage is its newest version.
Index("ix_model_version_stage", model_version.c.model_id, model_version.c.stage, model_version.c.id)
Index("ix_model_version_updated", model_version.c.last_update_time)
Index("ix_model_version_run", model_version.c.run_uuid)
Index("ix_model_version_logged", model_version.c.logged_model_id)
Index("ix_model_version_parent", model_version.c.parent_id)

model_version_tag = Table(
    "model_version_tag",
    metadata,
    Column("version_id", Id, ForeignKey("model_version.id"), primary_key=True),
    Column("key", Text, primary_key=True),
    Column("value", Text, nullable=False),
    sqlite_with_rowid=False,
)

model_alias = Table(
    "model_alias",
    metadata,
    Column("model_id", Id, ForeignKey("registered_model.id"), primary_key=True),
    Column("alias", Text, primary_key=True),
    Column("version", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

# Goes with its model; the event log has it still.
model_alias_move = Table(
    "model_alias_move",
    metadata,
    Column("id", Id, primary_key=True, autoincrement=True),
    Column("model_id", Id, ForeignKey("registered_model.id"), nullable=False),
    Column("alias", Text, nullable=False),
    Column("time", BigInteger, nullable=False),
    Column("actor", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("before", BigInteger),
    Column("after", BigInteger),
    Column("approved_by", Text, nullable=False),  # JSON array of names
    sqlite_autoincrement=True,
)
Index("ix_model_alias_move_model", model_alias_move.c.model_id, model_alias_move.c.id)
Index(
    "ix_model_alias_move_alias",
    model_alias_move.c.model_id,
    model_alias_move.c.alias,
    model_alias_move.c.id,
)

model_guard = Table(
    "model_guard",
    metadata,
    Column("model_id", Id, ForeignKey("registered_model.id"), primary_key=True),
    Column("alias", Text, primary_key=True),
    Column("checks", Text, nullable=False),  # JSON array of names
    Column("approvals", Integer, nullable=False),
    Column("actor", Text, nullable=False),
    Column("time", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

# Who agrees to the next move of a guarded alias.
model_approval = Table(
    "model_approval",
    metadata,
    Column("model_id", Id, ForeignKey("registered_model.id"), primary_key=True),
    Column("alias", Text, primary_key=True),
    Column("version", BigInteger, primary_key=True),
    Column("actor", Text, primary_key=True),
    Column("time", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

#: Tables that hold rows of one registered model, in the order in which its deletion empties them.
REGISTERED_MODEL_TABLES = (
    model_approval,
    model_guard,
    model_alias_move,
    model_alias,
    model_version,
    registered_model_tag,
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
