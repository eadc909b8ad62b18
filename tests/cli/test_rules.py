"""``headrace rules``."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from headrace.client import Client

from .conftest import Headrace, NewRun

RULES = """
rules:
  - name: failed
    description: Somebody should look.
    when: {event: {types: run.failed}}
    severity: error
    then: [{notify: [chat]}]
  - name: high
    when: {metric: {key: loss, value: "> 10"}}
    then:
      - set_tag: {on: run, key: alarm, value: "loss {value}"}
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A file of two rules."""
    path = tmp_path / "rules.yaml"
    path.write_text(RULES)
    return path


def test_a_file_is_applied_again_and_again(headrace: Headrace, file: Path) -> None:
    assert headrace("rules", "apply", str(file)).stdout == "failed: created\nhigh: created\n"
    assert headrace("rules", "apply", str(file)).stdout == "failed: as it was\nhigh: as it was\n"
    file.write_text(RULES.replace("> 10", "> 20"))
    assert headrace("rules", "apply", str(file)).stdout == "failed: as it was\nhigh: changed\n"
    listed = headrace("rules", "list").stdout
    assert "Somebody should look." in listed
    assert [one["name"] for one in headrace.json("rules", "list")] == ["failed", "high"]


def test_show_prints_what_a_file_would_have(headrace: Headrace, file: Path, tmp_path: Path) -> None:
    headrace("rules", "apply", str(file))
    shown = headrace("rules", "show", "high").stdout
    document = shown.partition("\n\n")[2]
    (tmp_path / "again.yaml").write_text(document)
    again = headrace("rules", "apply", str(tmp_path / "again.yaml"))
    assert again.stdout == "high: as it was\n"
    assert headrace.json("rules", "show", "high")["spec"]["when"]["metric"]["value"] == "> 10"


def test_a_rule_is_switched_and_deleted(headrace: Headrace, file: Path) -> None:
    headrace("rules", "apply", str(file))
    headrace("rules", "disable", "high")
    assert "disabled" in headrace("rules", "list").stdout
    headrace("rules", "enable", "high")
    headrace("rules", "delete", "high")
    assert [one["name"] for one in headrace.json("rules", "list")] == ["failed"]
    assert headrace.json("rules", "firings") == []


def test_history_is_replayed_through_a_file(
    headrace: Headrace, file: Path, client: Client, new_run: NewRun
) -> None:
    calm = new_run("calm", metrics={"loss": 1.0})
    wild = new_run("wild", metrics={"loss": 99.0})
    client.set_terminated(calm, status="FAILED")
    said = headrace("rules", "test", str(file), "--since", "1h").stdout
    assert "failed: would have fired 1 times" in said
    assert "high: would have fired 1 times" in said
    assert "set_tag alarm=loss 99" in said
    assert re.search(r"high: loss is 99 \(loss > 10\), run wild", said)
    assert "Nothing was done." in said
    (failed, high) = headrace.json("rules", "test", str(file), "--since", "1h")
    assert [one["run_id"] for one in failed["firings"]] == [calm]
    assert [one["run_id"] for one in high["firings"]] == [wild]
    assert client.get_run(wild).data.tags.get("alarm") is None
    headrace("rules", "apply", str(file))
    again = headrace.json("rules", "test", "high", "--since", "2020-01-01")
    assert json.dumps(again[0]["firings"]) == json.dumps(high["firings"])


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("show", "nothing"), 3, "headrace rules list"),
        (("delete", "nothing"), 3, ""),
        (("test", "nothing"), 3, ""),
        (("apply", "nothing.yaml"), 2, "cannot be read"),
        (("test", "nothing", "--since", "yesterday"), 2, "2026-11-23"),
        (("firings", "--limit", "0"), 2, ""),
    ],
)
def test_what_is_wrong_is_said(
    headrace: Headrace, arguments: tuple[str, ...], code: int, says: str
) -> None:
    headrace("db", "upgrade")
    result = headrace("rules", *arguments, code=code)
    assert says in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("rules: [{name: a, when: {event: {types: run.faild}}}]", "rule 'a'.when.event: No event"),
        ("rules: [{nme: a}]", "rule 1"),
        ("rules: {", "is no YAML"),
        ("[" * 3000, "is no YAML"),
        ("name: 2024-99-99", "is no YAML"),
        ("{name: a, when: {all: &x [{any: *x}]}}", "holds itself"),
        ('{name: a, when: {silent: 5m}, description: "\\ud800"}', "no Unicode"),
        ("- 1", "a rule is a map of fields"),
        ("rules: 7", "rules are a list"),
        (
            "[{name: a, when: {silent: 1h}}, {name: a, when: {silent: 2h}}]",
            "two rules are called 'a'",
        ),
    ],
)
def test_a_broken_file_is_refused_whole(
    headrace: Headrace, tmp_path: Path, text: str, says: str
) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    assert says in headrace("rules", "apply", str(path), code=2).stderr
