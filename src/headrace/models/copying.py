"""Copies of what a model takes along: code, data, artifacts."""

from __future__ import annotations

import shutil
from pathlib import Path

from headrace.artifacts import ArtifactStore, open_artifacts
from headrace.artifacts.locations import local_folder
from headrace.errors import InvalidParameter, NotFound

#: What Python and version control leave beside code.
_LEFT_OUT = shutil.ignore_patterns("__pycache__", "*.pyc", ".git", ".DS_Store")


def copy_tree(source: Path, target: Path) -> None:
    """Copy a file, or a folder with what is in it. Links become what they lead to.

    Raises:
        InvalidParameter: Nothing is there, or it cannot be read.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(
                source, target, ignore=_LEFT_OUT, copy_function=shutil.copyfile, dirs_exist_ok=True
            )
        else:
            shutil.copyfile(source, target)
    except FileNotFoundError:
        raise InvalidParameter(f"there is no file or folder {source}") from None
    except (OSError, shutil.Error) as error:
        raise InvalidParameter(f"cannot copy {source}: {error}") from error


def fetch(uri: str, target: Path) -> None:
    """Copy the file or the folder at a path or a URI of an object store.

    Raises:
        InvalidParameter: Nothing is there, or no store is known for the URI.
    """
    folder = local_folder(uri)
    if folder is not None:
        copy_tree(folder, target)
        return
    above, _, name = uri.rstrip("/").rpartition("/")
    store = open_artifacts(above)
    if not _fetch_folder(store, name, target):
        try:
            _fetch_file(store, name, target)
        except NotFound:
            raise InvalidParameter(f"there is no file or folder {uri}") from None


def _fetch_folder(store: ArtifactStore, path: str, target: Path) -> bool:
    """Whether it was one."""
    found = store.list(path)
    for entry in found:
        below = target / entry.path.rpartition("/")[2]
        if entry.is_dir:
            _fetch_folder(store, entry.path, below)
        else:
            _fetch_file(store, entry.path, below)
    return bool(found)


def _fetch_file(store: ArtifactStore, path: str, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    content = store.read(path)
    try:
        with target.open("wb") as file:
            for chunk in content:
                file.write(chunk)
    finally:
        content.close()
