"""Where an embedded store lies: a directory with a database file and a folder of artifacts."""

from __future__ import annotations

from pathlib import Path

#: Name of the directory that holds an embedded store.
STORE_DIRECTORY = ".headrace"
DATABASE_FILE = "headrace.db"
ARTIFACT_FOLDER = "artifacts"


def nearest_store(start: Path) -> Path:
    """The nearest store directory upward from a folder; where there is none, one in that folder."""
    for folder in (start, *start.parents):
        if (folder / STORE_DIRECTORY).is_dir():
            return folder / STORE_DIRECTORY
    return start / STORE_DIRECTORY


def database_url(store: Path) -> str:
    """The URL of the database in a store directory."""
    # These two mean something else in a URL.
    path = str(store / DATABASE_FILE).replace("%", "%25").replace("?", "%3F")
    return f"sqlite:///{path}"
