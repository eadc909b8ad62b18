"""A git repository as its files tell it: microseconds, where starting git takes milliseconds."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import msgspec

_SHA = re.compile(r"[0-9a-f]{40}([0-9a-f]{24})?")
_HEADS = "refs/heads/"
_SECTION = re.compile(r'\[\s*([A-Za-z0-9.-]+)\s*(?:"((?:[^"\\]|\\.)*)")?\s*\]')
#: A file of git's that is longer is not ours to read in a training's process.
_LONGEST = 64 << 20


class Head(msgspec.Struct, frozen=True):
    """What is checked out: None for a commit that is not there yet, and for no branch."""

    commit: str | None = None
    branch: str | None = None


class Repository(msgspec.Struct, frozen=True, kw_only=True):
    """A working tree and its repository.

    Attributes:
        root: The top of the working tree.
        git: The repository's folder; a worktree's or submodule's own.
        common: The folder that worktrees share.
    """

    root: Path
    git: Path
    common: Path

    @classmethod
    def find(cls, folder: Path) -> Repository | None:
        """The repository that a folder is in; None outside of one, and where it cannot be read.

        ``GIT_DIR`` does not count where a repository is found: a training that a hook of another
        repository starts has it set. Where none is, ``GIT_DIR`` with ``GIT_WORK_TREE`` names one.
        """
        try:
            for parent in (folder, *folder.parents):
                git = parent / ".git"
                if git.is_dir() and (git / "HEAD").is_file():
                    return cls._at(parent, git)
                if git.is_file():  # a worktree or submodule: "gitdir: path"
                    return cls._at(
                        parent, (parent / _read(git).partition(":")[2].strip()).resolve()
                    )
            git_dir, work_tree = os.environ.get("GIT_DIR"), os.environ.get("GIT_WORK_TREE")
            if git_dir and work_tree and folder.is_relative_to(Path(work_tree).resolve()):
                return cls._at(Path(work_tree).resolve(), Path(git_dir).resolve())
        except (OSError, ValueError):
            pass  # not ours to read: then nothing is known
        return None

    @classmethod
    def _at(cls, root: Path, git: Path) -> Repository:
        shared = git / "commondir"
        common = (git / _read(shared).strip()).resolve() if shared.is_file() else git
        return cls(root=root, git=git, common=common)

    def head(self) -> Head:
        """What is checked out, as far as files of text tell it."""
        try:
            head = _read(self.git / "HEAD").strip()
            if not head.startswith("ref:"):
                return Head(head if _SHA.fullmatch(head) else None)
            ref = head.partition(":")[2].strip()
            if not ref.startswith("refs/") or ".." in ref or ref == "refs/heads/.invalid":
                return Head()  # the last is what git writes where references are in tables
            return Head(
                self._commit(ref), ref.removeprefix(_HEADS) if ref.startswith(_HEADS) else None
            )
        except (OSError, ValueError):
            return Head()

    def _commit(self, ref: str) -> str | None:
        for home in dict.fromkeys((self.git, self.common)):
            if (home / ref).is_file():
                sha = _read(home / ref).strip()
                return sha if _SHA.fullmatch(sha) else None
            packed = home / "packed-refs"
            if packed.is_file():
                text = "\n" + _read(packed)
                end = text.find(f" {ref}\n")
                if end >= 0:
                    sha = text[text.rfind("\n", 0, end) + 1 : end]
                    return sha if _SHA.fullmatch(sha) else None
        return None

    def remote(self, branch: str | None) -> str | None:
        """The URL that a branch is fetched from, else that of ``origin``, else of the first remote;
        without a user's name and password. ``insteadOf`` is not applied."""
        urls: dict[str, str] = {}
        tracked = None
        try:
            for section, name, key, value in _settings(_read(self.common / "config")):
                if (section, key) == ("remote", "url"):
                    urls.setdefault(name, value)
                elif (section, name, key) == ("branch", branch, "remote"):
                    tracked = value
        except (OSError, ValueError):
            return None
        wanted = next((one for one in (tracked, "origin", *urls) if one in urls), None)
        return None if wanted is None else without_login(urls[wanted])

    def submodules(self) -> dict[str, str | None]:
        """The commits that the submodules are at, by path; None for one that is not checked out."""
        try:
            listed = _read(self.root / ".gitmodules")
            paths = [value for section, _, key, value in _settings(listed)
                     if (section, key) == ("submodule", "path")]  # fmt: skip
        except (OSError, ValueError):
            return {}
        found: dict[str, str | None] = {}
        for path in paths:
            there = (self.root / path / ".git").exists() and ".." not in path.split("/")
            one = Repository.find(self.root / path) if there else None
            found[path] = one.head().commit if one is not None else None
        return found


def without_login(url: str) -> str | None:
    """A remote's URL without user name, password and query; None for a command instead of a URL."""
    scheme, separator, rest = url.partition("://")
    if not separator:
        return None if "::" in url else url  # git@host:path names no secret; ext::… runs a program
    host, slash, path = rest.partition("/")
    if "@" not in host and "@" in path and not host.rpartition(":")[2].isdecimal() and ":" in host:
        host, slash, path = path.rpartition("@")[2].partition("/")  # a "/" in the password
    login, _, host = host.rpartition("@")
    user = login.partition(":")[0]
    if user and scheme.endswith("ssh"):
        host = f"{user}@{host}"  # part of the address, as in ssh://git@host
    return f"{scheme}://{host}{slash}{path}".partition("?")[0]


def _read(path: Path) -> str:
    if path.stat().st_size > _LONGEST:
        raise ValueError(f"{path} is too long")
    return path.read_text(encoding="utf-8", errors="surrogateescape")


def _settings(text: str) -> Iterator[tuple[str, str, str, str]]:
    """Section, name within quotes, key and value of what a git configuration file sets."""
    section = name = ""
    for line in text.splitlines():
        line = line.strip()
        found = _SECTION.match(line)
        if found:
            section, name = found[1].lower(), re.sub(r"\\(.)", r"\1", found[2] or "")
            line = line[found.end() :].strip()
        key, equals, value = line.partition("=")
        if equals and line[0] not in "#;":
            value = value.strip()
            if value.startswith('"') and value.endswith('"') and len(value) > 1:
                value = value[1:-1]
            yield section, name, key.strip().lower(), value
