"""The patch and the files that git does not know."""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.tracking import capture

from .conftest import Captured, Git, captured, run_git


def tree(folder: Path) -> dict[str, tuple[bool, bytes]]:
    """Every file below a folder but git's: whether it is executable, and what it holds."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if ".git" in name.split("/"):
            continue
        if path.is_symlink():
            found[name] = (False, os.fsencode(path.readlink()))
        elif path.is_file():
            found[name] = (bool(path.stat().st_mode & stat.S_IXUSR), path.read_bytes())
    return found


def rebuilt(repository: Path, into: Path, what: Captured) -> dict[str, tuple[bool, bytes]]:
    """The tree that a clean checkout, the patch and the untracked files make."""
    run_git(repository.parent, "clone", "-q", str(repository), str(into))
    if "diff.patch" in what:
        patch = into.with_suffix(".patch")
        patch.write_bytes(what["diff.patch"])
        run_git(into, "apply", str(patch))
    for path, content in what.untracked.items():
        (into / path).parent.mkdir(parents=True, exist_ok=True)
        (into / path).write_bytes(content)
    return tree(into)


def fingerprint(folder: Path) -> dict[str, str]:
    """Content and time of every file of git's own."""
    return {
        str(path): f"{path.stat().st_mtime_ns} {hashlib.sha256(path.read_bytes()).hexdigest()}"
        for path in sorted((folder / ".git").rglob("*"))
        if path.is_file()
    }


def test_a_clean_checkout_with_the_patch_and_the_files_is_the_same_tree(
    repository: Path, git: Git, tmp_path: Path
) -> None:
    for name in (
        "gone.txt",
        "mode.sh",
        "new\nline.txt",
        'quote".txt',
        "ünï.txt",
        "crlf.txt",
        "latin.txt",
    ):
        (repository / name).write_text("one\ntwo\nthree\n")
    (repository / "link").symlink_to("train.py")
    git("add", ".")
    git("commit", "-q", "-m", "second")
    (repository / "gone.txt").unlink()
    (repository / "mode.sh").chmod(0o755)
    (repository / "new\nline.txt").write_text("one\n2\nthree\n")
    (repository / 'quote".txt').write_text("one\ntwo\nthree")  # no line break at the end
    (repository / "ünï.txt").write_text("diff --git a/x b/x\n--- a/x\n+++ b/x\n@@ -1 +1 @@\n")
    (repository / "crlf.txt").write_bytes(b"one\r\ntwo\r\nthree\r\n")
    (repository / "latin.txt").write_bytes(b"\xe9t\xe9\n")
    (repository / "link").unlink()
    (repository / "link").symlink_to("data")
    (repository / "staged.txt").write_text("staged\n")
    (repository / "empty.txt").touch()
    git("add", "staged.txt", "empty.txt")
    (repository / "deep" / "er").mkdir(parents=True)
    (repository / "deep" / "er" / "née.txt").write_text("new\n")
    (repository / "void.txt").touch()
    what = captured()
    assert what.json("code.json")["dirty"] is True
    assert what.json("code.json")["untracked"] == 2
    assert what.left_out == {}
    assert rebuilt(repository, tmp_path / "clone", what) == tree(repository)


@settings(max_examples=12, deadline=None, derandomize=True)
@given(
    st.dictionaries(
        st.sampled_from(["a", "b c", "dé", "e/f", "e/g", "h\ti"]),
        st.tuples(*[st.none() | st.text("ab \n\r\t+-@\\é", max_size=40)] * 2),
        min_size=1,
    )
)
def test_any_edits_come_back(files: dict[str, tuple[str | None, str | None]]) -> None:
    with tempfile.TemporaryDirectory() as above:
        folder = Path(above).resolve() / "repository"
        folder.mkdir()
        run_git(folder, "init", "-q", "-b", "main")
        for version in (0, 1):
            for name, contents in files.items():
                content = contents[version]
                (folder / name).unlink(missing_ok=True)
                if content is not None:
                    (folder / name).parent.mkdir(exist_ok=True)
                    (folder / name).write_bytes(content.encode())
            if version == 0:
                run_git(folder, "add", ".")
                run_git(folder, "commit", "-q", "--allow-empty", "-m", "first")
        here = Path.cwd()
        os.chdir(folder)
        try:
            what = captured()
        finally:
            os.chdir(here)
        # No artifact can be named with a tab; such a file is said to be left out.
        there = {name: one for name, one in tree(folder).items() if name not in what.left_out}
        assert set(what.left_out) <= {"h\ti"}
        assert rebuilt(folder, folder.parent / "clone", what) == there


def test_a_clean_repository_has_no_patch(repository: Path, git: Git) -> None:
    os.utime(repository / "train.py", (1, 1))  # touched, but the same
    what = captured()
    assert "diff.patch" not in what
    assert what.json("code.json")["dirty"] is False
    assert what.json("code.json")["commit"] == git("rev-parse", "HEAD")
    assert what.documents["code.json"].tags["mlflow.source.git.dirty"] == "False"


def test_nothing_in_the_repository_is_written(repository: Path) -> None:
    (repository / "train.py").write_text("changed\n")
    (repository / "data" / "readme.txt").touch()
    (repository / "new.py").write_text("new\n")
    before = fingerprint(repository)
    captured()
    assert fingerprint(repository) == before


def test_nothing_that_a_repository_configures_is_run(
    repository: Path, git: Git, tmp_path: Path
) -> None:
    proof = tmp_path / "proof"
    trap = tmp_path / "trap.sh"
    trap.write_text(f"#!/bin/sh\necho \"$0 $*\" >> '{proof}'\ncat\n")
    trap.chmod(0o755)
    hooks = tmp_path / "hooks"
    hooks.mkdir()
    shutil.copy(trap, hooks / "post-index-change")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "private.txt").write_text("not ours\n")
    (repository / ".gitattributes").write_text(
        "*.py filter=evil diff=evil\n*.txt filter=also diff=evil\n"
    )
    git("add", ".")
    git("commit", "-q", "-m", "attributes")
    included = repository / ".git" / "more"
    included.write_text(f'[filter "also"]\n\tprocess = {trap}\n\trequired = true\n')
    for name, value in (
        ("core.fsmonitor", str(trap)),
        ("core.hooksPath", str(hooks)),
        ("core.pager", str(trap)),
        ("core.worktree", str(elsewhere)),
        ("diff.external", str(trap)),
        ("diff.evil.command", str(trap)),
        ("diff.evil.textconv", str(trap)),
        ("filter.evil.clean", str(trap)),
        ("filter.evil.required", "true"),
        ("include.path", "more"),
    ):
        git("config", name, value)
    (repository / "train.py").write_text("changed\n")
    (repository / "data" / "readme.txt").write_text("changed too\n")
    (repository / "new.txt").write_text("new\n")
    what = captured()
    assert b"+changed\n" in what["diff.patch"]
    assert b"+changed too\n" in what["diff.patch"]
    assert what.untracked == {"new.txt": b"new\n"}
    assert not proof.exists(), proof.read_text()


def test_settings_of_the_user_do_not_change_the_form_of_the_patch(
    repository: Path, git: Git, tmp_path: Path
) -> None:
    for name, value in (
        ("diff.noprefix", "true"),
        ("color.ui", "always"),
        ("diff.mnemonicPrefix", "true"),
        ("diff.renames", "copies"),
        ("diff.context", "0"),
        ("diff.wordRegex", "."),
        ("diff.submodule", "log"),
        ("diff.orderFile", "nowhere"),
        ("status.showUntrackedFiles", "no"),
    ):
        git("config", name, value)
    (repository / "moved.py").write_text((repository / "train.py").read_text())
    (repository / "train.py").unlink()
    git("add", "-A")
    (repository / "new.py").write_text("new\n")
    assert rebuilt(repository, tmp_path / "clone", captured()) == tree(repository)


def test_before_the_first_commit_everything_is_a_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for kind in ("sha1", "sha256"):
        folder = tmp_path / kind
        folder.mkdir()
        run_git(folder, "init", "-q", "-b", "main", f"--object-format={kind}")
        (folder / "staged.py").write_text("staged\n")
        run_git(folder, "add", ".")
        (folder / "new.py").write_text("new\n")
        monkeypatch.chdir(folder)
        what = captured()
        code = what.json("code.json")
        assert (code["commit"], code["branch"], code["dirty"]) == (None, "main", True)
        assert b"+staged\n" in what["diff.patch"]
        assert what.untracked == {"new.py": b"new\n"}


def test_a_worktree_and_a_submodule_are_repositories(
    repository: Path, git: Git, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    git("worktree", "add", "-q", "-b", "other", str(tmp_path / "worktree"))
    git("submodule", "--quiet", "add", str(repository), "sub")
    for folder, branch in ((tmp_path / "worktree", "other"), (repository / "sub", "main")):
        (folder / "train.py").write_text("changed\n")
        monkeypatch.chdir(folder)
        what = captured()
        code = what.json("code.json")
        assert (code["root"], code["branch"]) == (str(folder), branch)
        assert b"+changed\n" in what["diff.patch"]
    monkeypatch.chdir(repository)
    what = captured()
    assert what.json("code.json")["submodules"] == {"sub": git("rev-parse", "HEAD")}
    assert b"Subproject commit" in what["diff.patch"]
    assert b"+changed\n" not in what["diff.patch"]


def test_a_detached_head_has_no_branch(repository: Path, git: Git) -> None:
    git("checkout", "-q", "--detach")
    code = captured().json("code.json")
    assert (code["commit"], code["branch"]) == (git("rev-parse", "HEAD"), None)


def test_a_bare_repository_is_no_working_tree(
    repository: Path, git: Git, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    git("clone", "-q", "--bare", ".", str(tmp_path / "bare.git"))
    monkeypatch.chdir(tmp_path / "bare.git")
    what = captured()
    assert what.json("code.json")["git"] is False
    assert "no git repository" in what.json("capture.json")["parts"]["diff"]["why"]


def test_files_in_conflict_are_in_the_patch(repository: Path, git: Git) -> None:
    git("checkout", "-q", "-b", "theirs")
    (repository / "train.py").write_text("theirs\n")
    git("commit", "-q", "-am", "theirs")
    git("checkout", "-q", "main")
    (repository / "train.py").write_text("ours\n")
    git("commit", "-q", "-am", "ours")
    with pytest.raises(Exception, match="merge"):
        git("merge", "-q", "theirs")
    what = captured()
    assert b"+<<<<<<< HEAD" in what["diff.patch"]
    assert b"Unmerged" not in what["diff.patch"]


def test_the_repository_of_a_hook_is_not_taken_for_ours(
    repository: Path, git: Git, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    run_git(other, "init", "-q")
    for name, value in (
        ("GIT_DIR", other / ".git"),
        ("GIT_WORK_TREE", other),
        ("GIT_INDEX_FILE", "nowhere"),
    ):
        monkeypatch.setenv(name, str(value))
    (repository / "train.py").write_text("changed\n")
    what = captured()
    assert what.json("code.json")["root"] == str(repository)
    assert b"+changed\n" in what["diff.patch"]


def test_a_repository_kept_elsewhere_is_named_by_the_environment(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (repository / ".git").rename(tmp_path / "kept")
    assert captured().json("code.json")["git"] is False
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "kept"))
    monkeypatch.setenv("GIT_WORK_TREE", str(repository))
    code = captured().json("code.json")
    assert (code["root"], code["dirty"]) == (str(repository), False)


def test_without_git_commit_and_branch_are_known_all_the_same(
    repository: Path, git: Git, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = git("rev-parse", "HEAD")
    monkeypatch.setenv("PATH", str(tmp_path))
    what = captured()
    code = what.json("code.json")
    assert (code["commit"], code["branch"], code["dirty"]) == (commit, "main", None)
    parts = what.json("capture.json")["parts"]
    assert "git program was not found" in parts["diff"]["why"]
    assert parts["environment"]["captured"] is True


def test_a_git_that_does_not_answer_is_stopped_with_what_it_started(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = tmp_path / "bin" / "git"
    slow.parent.mkdir()
    # The sleeps keep the pipe open for as long as they live: this test would not end.
    slow.write_text("#!/bin/sh\nsleep 600 &\nsleep 600\n")
    slow.chmod(0o755)
    monkeypatch.setenv("PATH", f"{slow.parent}:{os.environ['PATH']}")
    monkeypatch.setattr("headrace.tracking.capture.git.TIMEOUT", 0.3)
    what = captured()
    assert "took longer" in what.json("capture.json")["parts"]["diff"]["why"]
    assert what.json("code.json")["dirty"] is None


def test_what_is_not_text_or_too_large_is_named_and_left_out(
    repository: Path, git: Git, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (repository / "weights.bin").write_bytes(b"\0" * 100)
    (repository / "long.txt").write_text("")
    git("add", ".")
    git("commit", "-q", "-m", "second")
    (repository / "weights.bin").write_bytes(b"\0\1" * 100)
    (repository / "long.txt").write_text("line\n" * 40_000)
    (repository / "train.py").write_text("changed\n")
    (repository / "new.bin").write_bytes(b"\0")
    (repository / "new.txt").write_text("x" * ((1 << 20) + 1))
    (repository / "link.txt").symlink_to("/etc/hostname")
    (repository / "tab\t.txt").write_text("x")
    nested = repository / "nested"
    nested.mkdir()
    run_git(nested, "init", "-q")
    (nested / "file").touch()
    monkeypatch.setenv("HEADRACE_CAPTURE_LIMIT", "100000")
    what = captured()
    assert what.left_out == {
        "weights.bin": "binary",
        "long.txt": "larger than 100000 bytes",
        "new.bin": "binary",
        "new.txt": "larger than 1048576 bytes",
        "link.txt": "not a regular file",
        "tab\t.txt": "no artifact can have its name",
        "nested/": "a repository of its own",
    }
    assert rebuilt(repository, tmp_path / "clone", what)["train.py"] == (False, b"changed\n")


def test_all_together_keeps_to_the_limit(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (repository / "train.py").write_text("changed\n" * 100)
    for name in "abcdef":
        (repository / name).write_text("x" * 1000)
    monkeypatch.setenv("HEADRACE_CAPTURE_LIMIT", "4000")
    what = captured()
    size = len(what["diff.patch"]) + sum(map(len, what.untracked.values()))
    assert 3000 < size <= 4000
    assert set(what.untracked) | set(what.left_out) == set("abcdef")
    assert "HEADRACE_CAPTURE_LIMIT" in what.left_out["f"]
    monkeypatch.setenv("HEADRACE_CAPTURE_LIMIT", "0")
    assert captured().left_out.keys() == {"train.py", *"abcdef"}


def test_ignored_files_and_what_tools_make_are_not_captured(repository: Path) -> None:
    (repository / ".gitignore").write_text("*.log\nout/\n")
    (repository / "run.log").write_text("x")
    (repository / "out").mkdir()
    (repository / "out" / "x.txt").write_text("x")
    for folder in ("my-store", "mlruns", "deep/.headrace"):
        (repository / folder).mkdir(parents=True)
        (repository / folder / "x.txt").write_text("x")
    (repository / "my-store" / "headrace.db").write_bytes(b"")
    what = captured()
    assert set(what.untracked) == {".gitignore"}
    assert what.left_out == {
        "my-store/": "2 files that a tool made",
        "mlruns/": "1 files that a tool made",
        "deep/.headrace/": "1 files that a tool made",
    }


def test_files_whose_name_says_secret_are_not_captured(repository: Path, git: Git) -> None:
    (repository / "server.pem").write_text("x\n")
    git("add", ".")
    (repository / ".env").write_text("HARMLESS=1\n")
    (repository / ".env.example").write_text("HARMLESS=1\n")
    (repository / ".aws").mkdir()
    (repository / ".aws" / "config").write_text("x")
    what = captured()
    assert "diff.patch" not in what
    assert set(what.left_out) == {"server.pem", ".env", ".aws/config"}
    assert set(what.untracked) == {".env.example"}


def test_secrets_are_scrubbed_and_counted(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "verysecretvalue")
    (repository / "train.py").write_text("print('hello')\n" * 20 + "key = 'AKIA" + "Q" * 16 + "'\n")
    (repository / "new.py").write_text("login('verysecretvalue')\npassword = 'hunter2!'\n")
    what = captured()
    assert b"+key = '[scrubbed:aws-key]'" in what["diff.patch"]
    assert (
        what["untracked/new.py"]
        == b"login('[scrubbed:environment]')\npassword = '[scrubbed:password]'\n"
    )
    code = what.json("code.json")
    assert code["scrubbed"] == {"aws-key": 1, "environment": 1, "password": 1}
    assert "may not apply" in code["patch_note"]
    # This one was only added, so it does.
    assert rebuilt(repository, tmp_path / "clone", what)["train.py"][1].endswith(b"aws-key]'\n")


def test_the_diff_can_be_left_out_and_the_commit_kept(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (repository / "train.py").write_text("changed\n")
    (repository / "new.py").write_text("new\n")
    monkeypatch.setenv("HEADRACE_CAPTURE", "-diff")
    what = captured()
    assert "diff.patch" not in what
    assert not what.untracked
    assert what.json("code.json")["dirty"] is True
    monkeypatch.setenv("HEADRACE_CAPTURE", "diff")
    assert set(captured().documents) == {"diff.patch", "untracked/new.py", "capture.json"}
    monkeypatch.setenv("HEADRACE_CAPTURE", "off")
    assert list(capture.documents()) == []
