"""The state: SQL schema, transactions, metric storage, search, event log."""

from headrace.engine.engine import Engine

__all__ = ["Engine"]
