"""What is installed, as a lock that pip installs again.

Names and versions are read off the folders that installers make (``name-version.dist-info``), because
`importlib.metadata` parses every METADATA file, which takes half a second where there are many.
"""

from __future__ import annotations

import os
import platform
import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import msgspec

from headrace.tracking.capture.repository import Repository, without_login
from headrace.tracking.capture.scrub import scrub_text

_DIST = re.compile(r"(.+?)-([^-]+)\.dist-info")
_EGG = re.compile(r"(.+?)-([^-]+)(?:-py[0-9.]+(?:-.+)?)?\.egg-info")
_FIELD = re.compile(r"^(Name|Version):[ \t]*(\S+)", re.MULTILINE)
_SEPARATORS = re.compile(r"[-_.]+")


class Package(msgspec.Struct, frozen=True, kw_only=True):
    """One installed distribution.

    Attributes:
        name: In its normal form (PEP 503).
        version: As installed.
        direct: What PEP 610's ``direct_url.json`` says, for what did not come from an index by name.
    """

    name: str
    version: str
    direct: dict[str, Any] | None = None

    def line(self) -> str:
        """The line of a requirements file; a comment for what exists on this machine only."""
        pinned = f"{self.name}=={self.version}"
        if self.direct is None:
            return pinned
        url = str(self.direct.get("url", ""))
        if url.startswith("file:"):
            folder = Path(unquote(urlsplit(url).path))
            info = self.direct.get("dir_info")
            if isinstance(info, dict) and info.get("editable"):
                return f"# editable: {pinned} from {_printed(str(folder))}{_commit(folder)}"
            return f"{pinned}  # installed from {_printed(url)}"
        url = without_login(url) or ""
        vcs = self.direct.get("vcs_info")
        if isinstance(vcs, dict):
            url = f"{vcs.get('vcs', 'git')}+{url}@{vcs.get('commit_id', '')}"
        archive = self.direct.get("archive_info")
        hashes = archive.get("hashes") if isinstance(archive, dict) else None
        parts = (
            [f"{key}={value}" for key, value in sorted(hashes.items())][:1]
            if isinstance(hashes, dict)
            else []
        )
        if self.direct.get("subdirectory"):
            parts.append(f"subdirectory={self.direct['subdirectory']}")
        return _printed(f"{self.name} @ {url}" + ("#" + "&".join(parts) if parts else ""))


def packages(path: Iterable[str] | None = None) -> list[Package]:
    """Every distribution that can be imported from, by name; of two of one name the one that wins.

    Args:
        path: Default ``sys.path``.
    """
    found: dict[str, Package] = {}
    for folder in dict.fromkeys(sys.path if path is None else path):
        for one in _in_folder(folder or "."):
            found.setdefault(one.name, one)
    return [found[name] for name in sorted(found)]


def requirements(installed: Iterable[Package]) -> str:
    """The lock: a requirements file, with the version of Python in a comment."""
    version = platform.python_version()
    return "".join(
        f"{scrub_text(line) if '://' in line else line}\n"  # the name of a package is no secret
        for line in (f"# Python {version}", *(one.line() for one in installed))
    )


def _in_folder(folder: str) -> Iterator[Package]:
    try:
        with os.scandir(folder) as entries:
            listed = [
                (one.name, one.path) for one in entries if one.name.endswith(("-info", ".egg-link"))
            ]
    except OSError:  # not there, a zip file, or not ours to read
        return
    for name, path in sorted(listed):
        match = _DIST.fullmatch(name) or _EGG.fullmatch(name)
        if match:
            direct = _direct(path) if name.endswith(".dist-info") else None
            yield Package(name=_normal(match[1]), version=match[2], direct=direct)
        elif name.endswith(".egg-info"):
            # `setup.py develop` leaves it beside the source, without a version in its name.
            about = dict(_FIELD.findall(_head(os.path.join(path, "PKG-INFO"))))  # noqa: PTH118
            if "Name" in about and "Version" in about:
                url = Path(folder).resolve().as_uri()
                direct = {"url": url, "dir_info": {"editable": True}}
                yield Package(name=_normal(about["Name"]), version=about["Version"], direct=direct)


def _direct(path: str) -> dict[str, Any] | None:
    try:
        with open(f"{path}/direct_url.json", "rb") as file:  # noqa: PTH123  a Path for each is slow
            found = msgspec.json.decode(file.read(1 << 16))
    except (OSError, msgspec.MsgspecError):
        return None
    return found if isinstance(found, dict) else None


def _head(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:  # noqa: PTH123
            return file.read(4096)
    except OSError:
        return ""


def _commit(folder: Path) -> str:
    repository = Repository.find(folder)
    if repository is None:
        return ""
    head = repository.head()
    if head.commit is None:
        return ""
    remote = repository.remote(head.branch)
    return f", commit {head.commit}" + (f" of {_printed(remote)}" if remote else "")


def _normal(name: str) -> str:
    return _SEPARATORS.sub("-", name).lower()


def _printed(text: str) -> str:
    """On one line, whatever it holds: a line break would begin another requirement."""
    return " ".join(text.split())
