"""Where a store lies: its database, and the folder or bucket of its artifacts."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote, urlsplit

import msgspec

from headrace.engine.database import parse_url
from headrace.errors import InvalidParameter

#: Name of the directory that holds an embedded store.
STORE_DIRECTORY = ".headrace"
DATABASE_FILE = "headrace.db"
ARTIFACT_FOLDER = "artifacts"


class Location(msgspec.Struct, frozen=True):
    """A store's place.

    Attributes:
        database_url: For `headrace.engine.Engine`.
        artifacts: URI of the store's own artifact root.
    """

    database_url: str
    artifacts: str


def locate(uri: str | None = None) -> Location:
    """The store that a URI names. Nothing is opened or made.

    Args:
        uri: A directory (also as ``file:``), ``sqlite:///path``, ``postgresql://…``, or None for the
            nearest ``.headrace`` directory upward from here, else one here.

    Raises:
        InvalidParameter: The URI names no local store.
    """
    if uri is None:
        return _directory(_nearest(Path.cwd()))
    if "://" not in uri or uri.startswith("file:"):
        path = _path(uri)
        if path.is_file():
            raise InvalidParameter(
                f"'{uri}' is a file, not a store directory; for a SQLite file write sqlite:///{path}."
            )
        return _directory(path.resolve())
    url = parse_url(uri)
    if url.get_backend_name() == "sqlite" and url.database:
        database = Path(url.database).resolve()
        return Location(uri, (database.parent / ARTIFACT_FOLDER).as_uri())
    return Location(uri, (_nearest(Path.cwd()) / ARTIFACT_FOLDER).as_uri())


def _path(uri: str) -> Path:
    if not uri.startswith("file:"):
        return Path(uri).expanduser()
    split = urlsplit(uri)
    if split.netloc not in ("", "localhost") or split.query or split.fragment:
        raise InvalidParameter(
            f"'{uri}' is not a local directory: write file:///path, with '?' and '#' as %3F and %23."
        )
    return Path(unquote(split.path))


def _directory(path: Path) -> Location:
    # These two mean something else in a URL.
    database = str(path / DATABASE_FILE).replace("%", "%25").replace("?", "%3F")
    return Location(f"sqlite:///{database}", (path / ARTIFACT_FOLDER).as_uri())


def _nearest(start: Path) -> Path:
    for folder in (start, *start.parents):
        if (folder / STORE_DIRECTORY).is_dir():
            return folder / STORE_DIRECTORY
    return start / STORE_DIRECTORY
