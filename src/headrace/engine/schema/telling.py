"""The event log, webhooks and rules."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Column,
    Double,
    ForeignKey,
    Index,
    Integer,
    SmallInteger,
    Table,
    Text,
    text,
)

from headrace.engine.schema.base import Id, Ordered, metadata

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
