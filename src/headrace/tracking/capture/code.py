"""Which code ran: commit, changes, command line and entry file."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from headrace.tracking.capture.changes import (
    EMPTY_TREES,
    FILE_LIMIT,
    Changes,
    changes,
    read_text,
    refusal,
)
from headrace.tracking.capture.document import Document, Moment, json_document
from headrace.tracking.capture.entry import is_installed
from headrace.tracking.capture.git import Git, GitFailed
from headrace.tracking.capture.names import is_config_name
from headrace.tracking.capture.repository import Head, Repository
from headrace.tracking.capture.scrub import (
    Counts,
    scrub,
    scrub_arguments,
    scrub_text,
    scrub_values,
    secret_values,
)

COMMAND_TAG = "headrace.command"
DIRTY_TAG = "mlflow.source.git.dirty"

_LISTED = 200
#: What a tag holds of a long command line.
_TAG_LENGTH = 2000


class Code:
    """Captures the code of one moment: git is asked once for the parts ``diff`` and ``code``."""

    def __init__(self, moment: Moment, limit: int) -> None:
        """Look for the repository; git is not started yet.

        Args:
            moment: When the run started.
            limit: Bytes of the patch and the untracked files together.
        """
        self._moment = moment
        self._limit = limit
        self._repository = Repository.find(moment.source)
        self._head = Head() if self._repository is None else self._repository.head()
        self._secrets = secret_values(moment.environment)
        self._asked: Changes | GitFailed | None = None
        self._entry_ignored = False

    def diff(self) -> Iterator[Document]:
        """The patch, and the files that git does not know.

        Raises:
            GitFailed: Not in a repository, or git could not say.
        """
        if self._repository is None:
            raise GitFailed("the code is in no git repository")
        found = self._changes(self._repository)
        if found.patch:
            yield Document(path="headrace/diff.patch", content=found.patch)
        for path, content in found.files.items():
            yield Document(path=f"headrace/untracked/{path}", content=content)

    def code(self, *, with_diff: bool) -> Iterator[Document]:
        """``code.json``, and the entry file where there is no repository that has it.

        Args:
            with_diff: The part ``diff`` is captured too.
        """
        counts: Counts = Counter()
        command = [
            scrub_values(one.encode("utf-8", "surrogateescape"), self._secrets, counts).decode(
                "utf-8", "replace"
            )
            for one in scrub_arguments(self._moment.command, counts)
        ]
        about: dict[str, Any] = {
            "command": command,
            "kind": self._moment.entry.kind,
            "module": self._moment.entry.module,
        }
        failure = self._describe_repository(about, with_diff=with_diff)
        if self._repository is None or failure is not None:
            yield from self._entry_file(about, counts)
        if with_diff and isinstance(self._asked, Changes):
            counts += self._asked.scrubs + self._asked.patch_scrubs
        about["scrubbed"] = dict(counts)
        tags = {COMMAND_TAG: shlex.join(command)[:_TAG_LENGTH]}
        if about.get("dirty") is not None:
            tags[DIRTY_TAG] = str(about["dirty"])
        yield json_document("code.json", about, tags)
        if failure is not None:
            raise failure  # said in capture.json; what is known without git is kept

    def _describe_repository(self, about: dict[str, Any], *, with_diff: bool) -> GitFailed | None:
        moment, repository = self._moment, self._repository
        root = repository.root.resolve() if repository is not None else None
        about["entry"] = _within(moment.entry.path, root) or moment.entry.name
        about["working_directory"] = _within(moment.folder, root) or str(moment.folder)
        if repository is None:
            about["git"] = False
            return None
        remote = repository.remote(self._head.branch)
        about |= {
            "git": True,
            "root": str(root),
            "commit": self._head.commit,
            "branch": self._head.branch,
            "remote": None if remote is None else scrub_text(remote),
            "dirty": None,
        }
        submodules = repository.submodules()
        if submodules:
            about["submodules"] = submodules
            about["submodules_note"] = "changes within submodules are not captured"
        try:
            found = self._changes(repository)
        except GitFailed as failure:
            return failure
        about["commit"], about["branch"] = self._head.commit, self._head.branch
        about["dirty"] = found.dirty
        about["untracked"] = found.untracked
        if self._entry_ignored:
            about["entry_note"] = "git ignores the entry file: it is not captured"
        if with_diff:
            about["left_out"] = [
                {"path": one.path, "why": one.why} for one in found.left_out[:_LISTED]
            ]
            if len(found.left_out) > _LISTED:
                about["left_out_more"] = len(found.left_out) - _LISTED
            if found.patch_scrubs:
                about["patch_note"] = (
                    f"{found.patch_scrubs.total()} secrets were scrubbed from diff.patch: it may not apply"
                )
        return None

    def _changes(self, repository: Repository) -> Changes:
        if self._asked is None:
            try:
                git = Git(repository, self._moment.environment, self._limit)
                if self._head.commit is None:
                    self._head = _asked_head(git) or self._head
                base = "HEAD" if self._head.commit is not None else _empty_tree(git)
                self._asked = changes(git, repository.root, base, self._limit, self._secrets)
                self._entry_ignored = self._is_ignored(git, repository)
            except GitFailed as failure:
                self._asked = failure
        if isinstance(self._asked, GitFailed):
            raise self._asked
        return self._asked

    def _is_ignored(self, git: Git, repository: Repository) -> bool:
        entry = _within(self._moment.entry.path, repository.root.resolve())
        if entry is None or Path(entry).is_absolute():
            return False
        asked = ["ls-files", "-z", "--others", "--ignored", "--exclude-standard", "--"]
        return bool(git.run([*asked, f":(top,literal){entry}"], 4096).data)

    def _entry_file(self, about: dict[str, Any], counts: Counts) -> Iterator[Document]:
        path = self._moment.entry.path
        if path is None or is_installed(path.resolve()):
            return
        content = refusal(path.name) or read_text(path.resolve(), FILE_LIMIT)
        if isinstance(content, str):
            about["left_out"] = [{"path": str(path), "why": content}]
            return
        content = scrub_values(content, self._secrets, counts)
        content = scrub(content, counts, config=is_config_name(path.name))
        about["entry_file"] = f"code/{path.name}"
        yield Document(path=f"headrace/code/{path.name}", content=content)


def _asked_head(git: Git) -> Head | None:
    """What is checked out, where files of text do not tell it; None before the first commit."""
    try:
        commit = git.run(["rev-parse", "--quiet", "--verify", "HEAD"], 4096).data.decode().strip()
        branch = git.run(["rev-parse", "--abbrev-ref", "HEAD"], 4096).data.decode().strip()
    except GitFailed:
        return None
    return Head(commit, None if branch == "HEAD" else branch)


def _empty_tree(git: Git) -> str:
    try:
        kind = git.run(["rev-parse", "--show-object-format"], 4096).data.decode().strip()
    except GitFailed:  # older than kinds of hash
        kind = "sha1"
    return EMPTY_TREES.get(kind, EMPTY_TREES["sha1"])


def _within(path: Path | None, root: Path | None) -> str | None:
    """A path relative to the top of the repository, if it is in there; else as it is."""
    if path is None:
        return None
    resolved = path.resolve()
    if root is not None and resolved.is_relative_to(root):
        return resolved.relative_to(root).as_posix()
    return str(path)
