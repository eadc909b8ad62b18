"""What is captured as a whole: switches, failures, the moment, the entry, the machine."""

from __future__ import annotations

import base64
import json
import logging
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest

from headrace.tracking import capture
from headrace.tracking.capture import switches
from headrace.tracking.capture.repository import Repository, without_login

from .conftest import Captured, Git, captured

DUMP = """
import base64, json, sys
from headrace.tracking import capture
found = {one.path: base64.b64encode(one.content).decode() for one in capture.documents()}
found["tags"] = capture.tags()
open(sys.argv[-1], "w").write(json.dumps(found))
"""


def run(
    arguments: list[str], folder: Path, **environment: str
) -> tuple[dict[str, Any], dict[str, str]]:
    """What a program captures of itself: ``code.json`` and the tags."""
    out = folder / "out.json"
    subprocess.run(
        [sys.executable, *arguments, str(out)],
        cwd=folder,
        check=True,
        env={**os.environ, **environment},
    )
    found = json.loads(out.read_text())
    out.unlink()
    code = base64.b64decode(found.get("headrace/code.json", "e30="))
    return json.loads(code), found["tags"]


def test_scripts_modules_and_commands_are_told_apart(repository: Path, git: Git) -> None:
    (repository / "deep").mkdir()
    (repository / "deep" / "train.py").write_text(DUMP)
    (repository / "pack").mkdir()
    (repository / "pack" / "__init__.py").touch()
    (repository / "pack" / "__main__.py").write_text(DUMP)
    git("add", ".")
    git("commit", "-q", "-m", "code")
    git("remote", "add", "origin", "https://me:pw@host/x.git")
    code, tags = run(["deep/train.py", "--password", "hunter2"], repository)
    assert (code["kind"], code["entry"], code["working_directory"]) == (
        "script",
        "deep/train.py",
        ".",
    )
    assert code["command"][1:4] == ["deep/train.py", "--password", "[scrubbed:option]"]
    assert code["remote"] == "https://host/x.git"
    assert tags == {
        "mlflow.user": tags["mlflow.user"],
        "mlflow.source.name": "deep/train.py",
        "mlflow.source.type": "LOCAL",
        "mlflow.source.git.commit": git("rev-parse", "HEAD"),
        "mlflow.source.git.branch": "main",
        "mlflow.source.git.repoURL": "https://host/x.git",
    }
    code, _ = run(["-m", "pack"], repository)
    assert (code["kind"], code["module"], code["entry"]) == ("module", "pack", "pack/__main__.py")
    code, tags = run(["-c", DUMP], repository)
    assert (code["kind"], tags["mlflow.source.name"]) == ("command", "-c")
    code, tags = run(["-c", DUMP], repository, HEADRACE_CAPTURE="-code")
    assert code == {}
    assert "mlflow.source.git.commit" not in tags


def test_outside_of_git_the_entry_file_itself_is_captured(tmp_path: Path) -> None:
    script = tmp_path / "train.py"
    script.write_text(f"# password = 'hunter2!'{DUMP}")
    code, tags = run([str(script)], tmp_path)
    assert (code["git"], code["entry_file"]) == (False, "code/train.py")
    assert code["scrubbed"] == {"password": 1}
    assert "mlflow.source.git.commit" not in tags


def test_an_entry_file_that_git_ignores_is_not_captured_and_that_is_said(repository: Path) -> None:
    (repository / ".gitignore").write_text("*.local.py\n")
    (repository / "my.local.py").write_text(DUMP)
    code, _ = run(["my.local.py"], repository)
    assert "ignores the entry file" in code["entry_note"]
    assert "entry_file" not in code


def test_what_the_program_changes_after_the_start_is_not_seen(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    documents = capture.documents()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OMP_NUM_THREADS", "4")
    what = Captured(documents)
    assert what.json("code.json")["root"] == str(repository)
    assert what.json("environment.json")["variables"]["OMP_NUM_THREADS"] == "3"


def test_a_part_that_fails_is_a_note_and_the_others_go_on(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (repository / ".git" / "index").write_bytes(b"damaged")
    what = captured()
    parts = what.json("capture.json")["parts"]
    assert parts["diff"]["captured"] is False
    assert "git" in parts["diff"]["why"]
    assert what.json("code.json")["commit"] is not None
    assert {"requirements.txt", "environment.json", "host.json", "seeds.json"} <= set(
        what.documents
    )
    assert all(parts[part]["milliseconds"] >= 0 for part in parts)


def test_a_folder_that_is_gone_fails_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    what = captured()
    assert what.json("code.json")["git"] is False
    assert "mlflow.user" in capture.tags()


@pytest.mark.parametrize(
    ("setting", "kept"),
    [
        ("", set(capture.PARTS)),
        ("on", set(capture.PARTS)),
        ("OFF", set()),
        ("none", set()),
        ("code, host", {"code", "host"}),
        ("-diff,-environment", set(capture.PARTS) - {"diff", "environment"}),
        ("all,-system_metrics", set(capture.PARTS) - {"system-metrics"}),
        ("code,diff,-diff", {"code"}),
    ],
)
def test_parts_are_kept_and_left_out(
    setting: str, kept: set[str], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("HEADRACE_CAPTURE", setting)
    assert {part for part in capture.PARTS if capture.enabled(part)} == kept
    assert not caplog.records


@pytest.mark.parametrize(
    ("setting", "kept"), [("of", set()), ("-dif", set(capture.PARTS)), ("code,hosts", {"code"})]
)
def test_a_word_that_is_no_part_is_warned_about_once(
    setting: str, kept: set[str], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    switches._warn_parts.cache_clear()
    monkeypatch.setenv("HEADRACE_CAPTURE", setting)
    for _ in range(2):
        assert {part for part in capture.PARTS if capture.enabled(part)} == kept
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert "system-metrics" in record.getMessage()


def test_a_bad_limit_is_warned_about_and_the_default_holds(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("HEADRACE_CAPTURE_LIMIT", "lots")
    assert capture.Settings.of_environment().limit == switches.DEFAULT_LIMIT
    assert "lots" in caplog.text


def test_the_machine_is_described() -> None:
    host = captured().json("host.json")
    assert host["cpu"]["logical_cores"] == os.cpu_count()
    assert host["memory"]["total"] == psutil.virtual_memory().total
    assert host["kernel"].startswith(os.uname().sysname)
    assert host["disk"]["total"] > 0


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://host/x.git", "https://host/x.git"),
        ("https://me:pw@host/x.git", "https://host/x.git"),
        ("https://token@host:8443/x.git?private=1", "https://host:8443/x.git"),
        ("https://me:p@w@host/x", "https://host/x"),
        ("https://me:p/w@host/x", "https://host/x"),
        ("ssh://git@host:22/x", "ssh://git@host:22/x"),
        ("ssh://git:pw@host/x", "ssh://git@host/x"),
        ("git@host:me/x.git", "git@host:me/x.git"),
        ("/srv/x.git", "/srv/x.git"),
        ("ext::sh -c secret", None),
    ],
)
def test_remotes_are_named_without_logins(url: str, shown: str | None) -> None:
    assert without_login(url) == shown


def test_the_remote_is_the_one_of_the_branch(repository: Path, git: Git) -> None:
    found = Repository.find(repository)
    assert found is not None
    assert found.remote("main") is None
    git("remote", "add", "first", "https://host/first")
    assert found.remote("main") == "https://host/first"
    git("remote", "add", "origin", "https://host/origin")
    assert found.remote("main") == "https://host/origin"
    git("config", "branch.main.remote", "first")
    assert found.remote("main") == "https://host/first"
    assert found.remote("other") == "https://host/origin"
