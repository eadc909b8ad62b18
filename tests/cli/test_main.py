"""The command itself: help, errors, exit codes, pipes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

import headrace as package
from headrace.cli import COMMANDS, main


def run(*arguments: str, **options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "headrace", *arguments], capture_output=True, text=True, **options
    )


def test_help_lists_every_command_and_imports_none() -> None:
    code = (
        "import sys; from headrace.cli import main; main(['--help'], standalone_mode=False); "
        "sys.stderr.write(' '.join(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    for name in COMMANDS:
        assert name in done.stdout
        assert f"headrace.cli.{name}" not in done.stderr.split()
    assert not {"rich", "msgspec", "sqlalchemy", "httpx", "numpy"} & set(done.stderr.split())


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_itself(name: str) -> None:
    result = CliRunner().invoke(main, [name, "--help"])
    assert result.exit_code == 0, result.output
    assert "Usage:" in result.output


def test_ui_is_another_word_for_server() -> None:
    assert "Serve a store" in CliRunner().invoke(main, ["ui", "--help"]).output


def test_version_is_the_packages() -> None:
    assert run("--version").stdout == f"headrace {package.__version__}\n"


def test_an_unknown_command_is_a_usage_error() -> None:
    done = run("runz")
    assert done.returncode == 2
    assert "runz" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_store_that_is_not_there_is_not_made_by_reading(tmp_path: Path) -> None:
    done = run("runs", "list", "--store", str(tmp_path / "nowhere"))
    assert done.returncode == 3
    assert done.stderr.startswith("headrace: No store at ")
    assert len(done.stderr.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_a_place_where_no_store_can_be_is_said_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = run("experiments", "create", "x", "--store", str(tmp_path / "file" / "store"))
    assert done.returncode in (1, 4)
    assert done.stderr.startswith("headrace: ")
    assert len(done.stderr.splitlines()) == 1


def test_a_server_that_is_away_is_told_apart_by_its_exit_code(tmp_path: Path) -> None:
    environment = {**os.environ, "HEADRACE_HTTP_REQUEST_MAX_RETRIES": "0"}
    done = run("runs", "list", "--store", "http://127.0.0.1:9", env=environment)
    assert done.returncode == 4
    assert "Traceback" not in done.stderr


def test_a_uri_that_names_no_store_is_a_usage_error() -> None:
    done = run("runs", "list", "--store", "mysql://host/name")
    assert done.returncode == 2
    assert "mysql" in done.stderr


@pytest.mark.parametrize("variable", ["HEADRACE_TRACKING_URI", "MLFLOW_TRACKING_URI"])
def test_the_store_may_come_from_the_environment(tmp_path: Path, variable: str) -> None:
    environment = {**os.environ, variable: str(tmp_path / "store")}
    assert run("experiments", "create", "mine", env=environment).stdout == "1\n"
    assert "mine" in run("experiments", "list", "--store", str(tmp_path / "store")).stdout


def test_the_nearest_headrace_directory_is_the_default_store(tmp_path: Path) -> None:
    below = tmp_path / "a" / "b"
    below.mkdir(parents=True)
    assert run("experiments", "create", "here", "--store", str(tmp_path / ".headrace")).stdout
    assert "here" in run("experiments", "list", cwd=below).stdout
    assert list(below.iterdir()) == []


def test_a_reader_that_goes_away_is_met_with_silence(tmp_path: Path) -> None:
    store = str(tmp_path / "store")
    for number in range(3):
        run("experiments", "create", f"experiment {number}", "--store", store)
    read, write = os.pipe()
    os.close(read)
    try:
        done = subprocess.run(
            [sys.executable, "-m", "headrace", "experiments", "list", "--store", store],
            stdout=write,
            stderr=subprocess.PIPE,
            text=True,
        )
    finally:
        os.close(write)
    assert done.stderr == ""


def test_a_name_that_the_terminal_cannot_show_is_escaped(tmp_path: Path) -> None:
    store = str(tmp_path / "store")
    run("experiments", "create", "日本", "--store", store)
    done = subprocess.run(
        [sys.executable, "-m", "headrace", "experiments", "list", "--store", store],
        env={**os.environ, "PYTHONIOENCODING": "latin-1"},
        capture_output=True,
        check=True,
    )
    assert rb"\u65e5\u672c" in done.stdout


def test_completion_knows_the_commands() -> None:
    environment = {
        **os.environ,
        "_HEADRACE_COMPLETE": "bash_complete",
        "COMP_WORDS": "headrace exp",
        "COMP_CWORD": "1",
    }
    script = Path(sys.executable).parent / "headrace"
    done = subprocess.run([script], env=environment, capture_output=True, text=True)
    assert "experiments" in done.stdout
