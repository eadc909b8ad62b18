"""Registered models, their versions and aliases."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, ForeignKey, Index, Integer, SmallInteger, Table, Text

from headrace.engine.schema.base import Id, Ordered, metadata

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
