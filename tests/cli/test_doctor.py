"""``headrace doctor``."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

import headrace as package
from headrace.cli.doctor import OWN_SETTINGS, SETTINGS

from .conftest import Headrace

SOURCES = Path(package.__file__).parent


def levels(findings: list[dict[str, Any]], what: str) -> set[str]:
    return {finding["level"] for finding in findings if finding["what"] == what}


def test_a_sound_store_is_found_sound(headrace: Headrace) -> None:
    headrace("experiments", "create", "one")
    findings = headrace.json("doctor")
    for what in ("python", "dependencies", "store", "schema", "store folder", "artifacts"):
        assert levels(findings, what) == {"ok"}, what
    assert "schema" in headrace("doctor").stdout


def test_a_store_that_is_not_there_yet_is_no_problem(headrace: Headrace, store: str) -> None:
    assert levels(headrace.json("doctor"), "store") == {"note"}
    assert not Path(store).exists()


def test_a_database_of_another_version_is_a_problem(headrace: Headrace) -> None:
    headrace("db", "upgrade")
    headrace("db", "downgrade", "base", "--yes")
    findings = headrace.json("doctor", code=1)
    assert levels(findings, "schema") == {"problem"}
    assert all(finding["remedy"] for finding in findings if finding["level"] == "problem")


def test_postgresql_is_looked_at(postgres) -> None:
    with postgres.database() as url:
        headrace = Headrace(url)
        headrace("db", "upgrade")
        findings = headrace.json("doctor")
    assert "ok" in levels(findings, "postgresql")
    assert levels(findings, "clock") == {"ok"}
    assert levels(findings, "schema") == {"ok"}


def test_a_server_is_looked_at(server, tmp_path: Path) -> None:
    findings = Headrace(server(tmp_path / "store").url).json("doctor")
    assert levels(findings, "server") == {"ok"}
    assert levels(findings, "store") == {"ok"}
    assert levels(findings, "clock") == {"ok"}


def test_credentials_without_encryption_are_a_warning(server, tmp_path: Path) -> None:
    url = server(tmp_path / "store").url
    assert "without encryption" not in Headrace(url)("doctor").stdout
    said = Headrace(url.replace("//", "//me:hunter2@"))("doctor").stdout
    assert "credentials travel without encryption" in said
    assert "hunter2" not in said


@pytest.mark.parametrize("uri", ["http://127.0.0.1:9", "mysql://x/y", "postgresql://u:secret@127.0.0.1:9/x"])  # fmt: skip
def test_a_store_that_cannot_be_reached_is_a_problem(uri: str) -> None:
    result = Headrace(uri)("doctor", code=1)
    assert "PROBLEM" in result.stdout
    assert "secret" not in result.output


def test_secrets_in_the_environment_are_not_shown(
    headrace: Headrace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEADRACE_TRACKING_PASSWORD", "hunter2")
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "hunter2")
    monkeypatch.setenv("MLFLOW_BACKEND_STORE_URI", "postgresql://me:hunter2@db/x")
    monkeypatch.setenv("HEADRACE_STORE", "postgresql://me:/@hunter2@db/x?password=hunter2&a=b")
    out = headrace("doctor").stdout
    assert "HEADRACE_TRACKING_PASSWORD=***" in out
    assert "postgresql://me:***@db/x" in out
    assert "HEADRACE_STORE=postgresql://me:***@db/x?password=***&a=b" in out
    assert "hunter2" not in out


def test_settings_that_have_no_effect_are_told(
    headrace: Headrace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HEADRACE_CAPTURE")
    monkeypatch.delenv("HEADRACE_JOURNAL_DIR")
    monkeypatch.setenv("MLFLOW_ENABLE_ASYNC_LOGGING", "true")
    monkeypatch.setenv("HEADRACE_TRACKING_URL", "typo")
    monkeypatch.setenv("HEADRACE_EXPERIMENT_NAME", "ours")
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "theirs")
    found = {
        finding["detail"].split("=")[0]: finding["level"]
        for finding in headrace.json("doctor")
        if finding["what"] == "environment"
    }
    assert found == {
        "HEADRACE_EXPERIMENT_NAME": "ok",
        "HEADRACE_TRACKING_URL": "warning",
        "MLFLOW_ENABLE_ASYNC_LOGGING": "note",
        "MLFLOW_EXPERIMENT_NAME": "warning",
    }


def test_every_setting_that_the_code_reads_is_known() -> None:
    read = set()
    for path in SOURCES.rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        read |= set(re.findall(r"\b(?:setting|number|flag|_environment)\(\"([A-Z_0-9]+)\"", text))
    assert read <= SETTINGS | {name.removeprefix("HEADRACE_") for name in OWN_SETTINGS}
