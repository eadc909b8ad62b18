"""Artifact listings."""

from __future__ import annotations

from headrace.entities.base import Entity


class FileInfo(Entity, frozen=True, kw_only=True):
    """One entry of an artifact listing; ``file_size`` in bytes, absent for directories."""

    path: str
    is_dir: bool
    file_size: int | None = None
