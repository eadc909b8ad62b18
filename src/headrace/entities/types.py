"""Closed sets of words. Each is a string, so it compares equal to its wire form."""

from __future__ import annotations

from enum import StrEnum


class RunStatus(StrEnum):
    """Where a run stands. The order is that of MLflow's numbering, which starts at 1."""

    RUNNING = "RUNNING"
    SCHEDULED = "SCHEDULED"
    FINISHED = "FINISHED"
    FAILED = "FAILED"
    KILLED = "KILLED"


class ViewType(StrEnum):
    """Which lifecycle stages a search looks at. Numbered from 1 on MLflow's wire."""

    ACTIVE_ONLY = "ACTIVE_ONLY"
    DELETED_ONLY = "DELETED_ONLY"
    ALL = "ALL"


class LifecycleStage(StrEnum):
    """``deleted`` things are in the trash: restorable until the trash is emptied."""

    ACTIVE = "active"
    DELETED = "deleted"
