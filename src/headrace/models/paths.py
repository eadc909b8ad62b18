"""Names of files inside a model's folder, as MLmodel gives them: none may lead out of it."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import Any

from headrace.errors import InvalidModel


def inside(folder: Path, name: Any, *, key: str, must_exist: bool = True) -> Path:
    """The file or folder that a value of MLmodel names.

    Args:
        folder: The model's folder.
        name: The value: a path relative to it, ``/`` between its parts.
        key: Where in MLmodel it stands, for the message.
        must_exist: Whether its absence is an error.

    Raises:
        InvalidModel: Not a string, an absolute path, one with ``..``, one that a symlink leads out of the
            folder, or nothing is there.
    """
    if not isinstance(name, str) or not name or "\x00" in name:
        raise InvalidModel(f"MLmodel: '{key}' must name a file in the model's folder, got {name!r}")
    path = PurePosixPath(name.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or ":" in path.parts[0]:
        raise InvalidModel(f"MLmodel: '{key}' names {name!r}, which is outside the model's folder")
    target = folder.joinpath(*path.parts)
    try:
        leads_out = not target.resolve().is_relative_to(folder.resolve())
        is_there = target.exists()
    except (
        OSError,
        RuntimeError,
        ValueError,
    ) as error:  # too long a name, links in a circle, no UTF-8
        raise InvalidModel(f"MLmodel: '{key}' names {name[:200]!r}: {error}") from None
    if leads_out:
        raise InvalidModel(
            f"MLmodel: '{key}' names {name!r}, a link that leads out of the model's folder"
        )
    if must_exist and not is_there:
        raise InvalidModel(f"MLmodel: '{key}' names {name!r}, which is not in the folder {folder}")
    return target
