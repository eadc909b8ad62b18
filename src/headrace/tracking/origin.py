"""Where a run comes from: the tags that say who ran what, read from this process."""

from __future__ import annotations

import functools
import getpass
import os
import re
import sys
from pathlib import Path

import msgspec

from headrace.client.environment import setting
from headrace.errors import InvalidParameter

_SHA = re.compile(r"[0-9a-f]{40}([0-9a-f]{24})?")


def default_tags() -> dict[str, str]:
    """``mlflow.user``, ``mlflow.source.name``, ``mlflow.source.type``, and, inside a git repository,
    ``mlflow.source.git.commit``; then what ``HEADRACE_RUN_CONTEXT`` (a JSON object) adds.

    Raises:
        InvalidParameter: ``HEADRACE_RUN_CONTEXT`` is no JSON object.
    """
    tags = {
        "mlflow.user": user(),
        "mlflow.source.name": source_name(),
        "mlflow.source.type": "LOCAL",
    }
    commit = git_commit(_folder())
    if commit:
        tags["mlflow.source.git.commit"] = commit
    context = setting("RUN_CONTEXT")
    if context:
        try:
            extra = msgspec.json.decode(context.encode(), type=dict[str, str], strict=False)
        except msgspec.MsgspecError:
            raise InvalidParameter(
                f"HEADRACE_RUN_CONTEXT (or MLFLOW_RUN_CONTEXT) is {context[:100]!r}: "
                "give a JSON object of tags and their values."
            ) from None
        tags.update(extra)
    return tags


def user() -> str:
    """Name of the user of this process."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # no such user in this container
        return "unknown"


def source_name() -> str:
    """The script of this process as it was called, else ``<console>``."""
    return (sys.argv[0] if sys.argv else "") or "<console>"


def _folder() -> Path:
    script = Path(source_name())
    return script.resolve().parent if script.is_file() else Path.cwd()


@functools.cache
def git_commit(folder: Path) -> str | None:
    """The commit that a folder's git repository is at; None outside of one.

    Read from git's files, which takes microseconds where starting git takes milliseconds; asked once
    for each folder.
    """
    try:
        for parent in (folder, *folder.parents):
            git = parent / ".git"
            if git.is_dir():
                return _head(git)
            if git.is_file():  # a worktree or submodule: "gitdir: path"
                return _head((parent / git.read_text().partition(":")[2].strip()).resolve())
    except (OSError, UnicodeDecodeError):
        pass  # not ours to read: then nothing is known
    return None


def _head(git: Path) -> str | None:
    head = (git / "HEAD").read_text().strip()
    if not head.startswith("ref:"):
        return head if _SHA.fullmatch(head) else None
    ref = head.partition(":")[2].strip()
    shared = git / "commondir"
    homes = [git, (git / shared.read_text().strip()).resolve()] if shared.is_file() else [git]
    for home in homes:
        if (home / ref).is_file():
            sha = (home / ref).read_text().strip()
            return sha if _SHA.fullmatch(sha) else None
        packed = home / "packed-refs"
        if packed.is_file():
            for line in packed.read_text().splitlines():
                sha, _, name = line.partition(" ")
                if name == ref and _SHA.fullmatch(sha):
                    return sha
    return None


def inherited_run_id() -> str | None:
    """``HEADRACE_RUN_ID`` or ``MLFLOW_RUN_ID``, taken out of the environment: it is for one run."""
    ours = os.environ.pop("HEADRACE_RUN_ID", None)
    theirs = os.environ.pop("MLFLOW_RUN_ID", None)
    return ours or theirs or None
