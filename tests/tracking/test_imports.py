"""What importing headrace costs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import headrace

HEAVY = {"numpy", "pandas", "sqlalchemy", "starlette", "httpx", "granian", "obstore", "alembic"}


def loaded(code: str, folder: Path) -> set[str]:
    """Names of the modules that a fresh interpreter has loaded after some code."""
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys; print('modules:', *sys.modules)"],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return set(done.stdout.rpartition("modules:")[2].split())


def test_importing_headrace_loads_only_itself(tmp_path: Path) -> None:
    assert loaded("import headrace", tmp_path) - loaded("pass", tmp_path) <= {
        "headrace",
        "__future__",
    }


def test_naming_the_api_loads_nothing_heavy(tmp_path: Path) -> None:
    found = loaded("import headrace; headrace.start_run, headrace.Client, headrace.data", tmp_path)
    assert not found & HEAVY
    assert "msgspec" in found


def test_logging_through_a_server_loads_no_engine(
    tmp_path: Path, server: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = server().url  # type: ignore[operator]
    found = loaded(
        f"import headrace; headrace.set_tracking_uri({url!r})\n"
        "with headrace.start_run(): headrace.log_metric('a', 1); headrace.log_param('b', 2)",
        tmp_path,
    )
    assert found & HEAVY == {"httpx"}
    assert not any(name.startswith(("headrace.engine", "headrace.server")) for name in found)


def test_every_name_is_there() -> None:
    for name in dir(headrace):
        assert getattr(headrace, name) is not None or name.startswith("_")
    assert set(headrace.tracking.__all__) < set(headrace.__all__)
    assert headrace.MlflowException is headrace.HeadraceError
    assert headrace.MlflowClient is headrace.Client
    assert headrace.__version__


@pytest.mark.parametrize("name", ["autolog", "nothing"])
def test_what_is_not_offered_is_an_attribute_error(name: str) -> None:
    with pytest.raises(AttributeError, match=name):
        getattr(headrace, name)
