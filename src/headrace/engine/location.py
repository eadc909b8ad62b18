"""Where a store lies: its database, and the folder or bucket of its artifacts."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote, urlsplit

import msgspec

from headrace.engine.database import parse_url
from headrace.errors import InvalidParameter
from headrace.protocol.places import ARTIFACT_FOLDER, database_url, nearest_store


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
        return _directory(nearest_store(Path.cwd()))
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
    return Location(uri, (nearest_store(Path.cwd()) / ARTIFACT_FOLDER).as_uri())


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
    return Location(database_url(path), (path / ARTIFACT_FOLDER).as_uri())
