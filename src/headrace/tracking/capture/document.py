"""What a part of the capture hands over, and what it starts from."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from headrace.tracking.capture.entry import (
    Entry,
    command_line,
    current_folder,
    entry,
    source_folder,
)


class Document(msgspec.Struct, frozen=True, kw_only=True):
    """A file to keep with the run.

    Attributes:
        path: Artifact path, below ``headrace/``.
        content: Bytes.
        tags: To set on the run, found out together with the file.
    """

    path: str
    content: bytes
    tags: Mapping[str, str] = msgspec.field(default_factory=dict)


class Moment(msgspec.Struct, frozen=True, kw_only=True):
    """The process as it was when a run started: a capture in the background must not see what the
    program changes next."""

    entry: Entry
    command: list[str]
    folder: Path
    source: Path
    environment: Mapping[str, str]

    @classmethod
    def now(cls) -> Moment:
        """As it is now."""
        started = entry()
        return cls(
            entry=started,
            command=command_line(),
            folder=current_folder(),
            source=source_folder(started),
            environment=dict(os.environ),
        )


def json_document(name: str, value: Any, tags: Mapping[str, str] | None = None) -> Document:
    """A document of indented JSON."""
    # A path or a variable may hold bytes that are no text.
    clean = msgspec.json.encode(_speakable(value))
    content = msgspec.json.format(clean, indent=2) + b"\n"
    return Document(path=f"headrace/{name}", content=content, tags=tags or {})


def _speakable(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode() if not value.isascii() else value
    if isinstance(value, Mapping):
        return {_speakable(key): _speakable(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_speakable(one) for one in value]
    return value
