"""A git repository to capture, and what is captured in it."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from headrace.tracking import capture

#: ``git("commit", "-m", "x")``: runs git in the repository, answers what it wrote.
Git = Callable[..., str]


def run_git(folder: Path, *arguments: str) -> str:
    """Run git, whatever the settings of the person who runs the tests."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    return subprocess.run(
        ["git", "-c", "protocol.file.allow=always", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        check=True,
        env={
            **clean,
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_GLOBAL": os.devnull,
            "GIT_AUTHOR_NAME": "t",
            "GIT_AUTHOR_EMAIL": "t@example.org",
            "GIT_COMMITTER_NAME": "t",
            "GIT_COMMITTER_EMAIL": "t@example.org",
        },
    ).stdout.strip()


class Captured:
    """What `capture.documents` gave, by path below ``headrace/``."""

    def __init__(self, documents: Iterator[capture.Document]) -> None:
        self.documents = {one.path.removeprefix("headrace/"): one for one in documents}

    def __contains__(self, path: str) -> bool:
        return path in self.documents

    def __getitem__(self, path: str) -> bytes:
        assert path in self.documents, self.documents["capture.json"].content.decode()
        return self.documents[path].content

    def json(self, path: str) -> Any:
        """A document of JSON."""
        return json.loads(self[path])

    @property
    def left_out(self) -> dict[str, str]:
        """Why, by path."""
        return {one["path"]: one["why"] for one in self.json("code.json")["left_out"]}

    @property
    def untracked(self) -> dict[str, bytes]:
        """Files that git does not know, by path."""
        return {
            path.removeprefix("untracked/"): one.content
            for path, one in self.documents.items()
            if path.startswith("untracked/")
        }


@pytest.fixture(autouse=True)
def _capturing(_own_settings: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Other tests capture nothing; these do."""
    monkeypatch.delenv("HEADRACE_CAPTURE")


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with one commit; the process is in it."""
    folder = tmp_path / "repository"
    folder.mkdir()
    run_git(folder, "init", "-q", "-b", "main")
    (folder / "train.py").write_text("print('hello')\n" * 20)
    (folder / "data").mkdir()
    (folder / "data" / "readme.txt").write_text("data\n")
    run_git(folder, "add", ".")
    run_git(folder, "commit", "-q", "-m", "first")
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def git(repository: Path) -> Git:
    """Runs git in the repository."""
    return lambda *arguments: run_git(repository, *arguments)


def captured() -> Captured:
    """Capture this process as it is."""
    return Captured(capture.documents())
