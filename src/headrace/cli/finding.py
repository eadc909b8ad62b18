"""What `headrace doctor` finds."""

from __future__ import annotations

from enum import StrEnum
from typing import Self

import msgspec


class Level(StrEnum):
    """How bad it is. Only a problem makes the command fail."""

    OK = "ok"
    NOTE = "note"
    WARNING = "warning"
    PROBLEM = "problem"


class Finding(msgspec.Struct, frozen=True):
    """One thing that was looked at, and what to do about it (empty: nothing)."""

    level: Level
    what: str
    detail: str
    remedy: str = ""

    @classmethod
    def ok(cls, what: str, detail: str) -> Self:
        return cls(Level.OK, what, detail)

    @classmethod
    def note(cls, what: str, detail: str) -> Self:
        return cls(Level.NOTE, what, detail)

    @classmethod
    def warning(cls, what: str, detail: str, remedy: str) -> Self:
        return cls(Level.WARNING, what, detail, remedy)

    @classmethod
    def problem(cls, what: str, detail: str, remedy: str) -> Self:
        return cls(Level.PROBLEM, what, detail, remedy)
