"""Where a run comes from."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

import headrace
from headrace.errors import InvalidParameter
from headrace.tracking.capture.repository import Repository


def git(folder: Path, *arguments: str) -> str:
    return subprocess.run(
        ["git", "-c", "user.name=t", "-c", "user.email=t@example.org", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()


def ask(folder: Path) -> str | None:
    """The commit that a folder is at."""
    found = Repository.find(folder)
    return None if found is None else found.head().commit


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    folder = tmp_path / "repository"
    (folder / "deep" / "er").mkdir(parents=True)
    git(folder, "init", "-q", "-b", "main")
    (folder / "deep" / "er" / "a.txt").write_text("a")
    git(folder, "add", ".")
    git(folder, "commit", "-q", "-m", "first")
    return folder


def test_the_commit_is_found_however_git_keeps_it(repository: Path, tmp_path: Path) -> None:
    commit = git(repository, "rev-parse", "HEAD")
    assert ask(repository) == commit
    assert ask(repository / "deep" / "er") == commit
    git(repository, "checkout", "-q", "--detach")
    assert ask(repository) == commit
    git(repository, "checkout", "-q", "main")
    git(repository, "pack-refs", "--all")
    assert ask(repository) == commit
    git(repository, "worktree", "add", "-q", "-b", "other", str(tmp_path / "worktree"))
    assert ask(tmp_path / "worktree") == commit


def test_outside_of_git_there_is_no_commit(repository: Path, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    git(empty, "init", "-q")
    assert ask(empty) is None
    (repository / ".git" / "HEAD").write_bytes(b"\xff\xfe")
    assert ask(repository) is None


def test_a_run_says_who_and_what_and_which_commit(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(repository)
    monkeypatch.setattr("sys.argv", ["-c"])
    monkeypatch.setenv("MLFLOW_RUN_CONTEXT", '{"ci.job": "7"}')
    monkeypatch.delenv("HEADRACE_CAPTURE")
    with headrace.start_run(tags={"mlflow.user": "somebody"}) as run:
        pass
    tags = headrace.get_run(run.info.run_id).data.tags
    assert tags["mlflow.source.git.commit"] == git(repository, "rev-parse", "HEAD")
    assert tags["mlflow.source.git.branch"] == "main"
    assert tags["mlflow.source.name"] == "-c"
    assert tags["mlflow.user"] == run.info.user_id == "somebody"
    assert tags["ci.job"] == "7"
    monkeypatch.setenv("HEADRACE_RUN_CONTEXT", "[1]")
    with pytest.raises(InvalidParameter, match="HEADRACE_RUN_CONTEXT"):
        headrace.start_run()
