"""Copying and unpacking what strangers made, into a folder of one's own."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from headrace.models.structure import files_of, open_plain


def copy_folder(source: Path, target: Path) -> None:
    """Copy a model's folder, plain files alone, into one that only this user can read or write.

    Args:
        source: The folder.
        target: Where; must not exist.

    Raises:
        PolicyViolation, InvalidModel: See `headrace.models.structure`.
    """
    entries = files_of(source)
    target.mkdir(mode=0o700)
    for entry in entries:
        file = target / entry.path
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with (
            open_plain(source / entry.path) as stream,
            os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as copy,
        ):
            shutil.copyfileobj(stream, copy, 1 << 20)
