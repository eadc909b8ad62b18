"""What people read."""

from __future__ import annotations

import json
from email import message_from_bytes, policy
from typing import Any

import pytest

from headrace.events.formats import build
from headrace.events.outgoing import Hook
from headrace.protocol.cloudevents import Row, encode_event


def sent(
    format: str, type: str, data: dict[str, Any], subject: str = "run/ab12", **hook: str
) -> Any:
    hook = {"url": "https://t.example/", **hook}
    row = Row(1, 1_790_000_000_123, type, subject, "ann", 3, json.dumps(data))
    one = Hook(name="h", webhook_id="w", format=format, **hook)
    body = build(one, encode_event(row, "urn:headrace:1"), "d-1", 1_790_000_000).body
    return body if format == "mail" else json.loads(body)


def embed(type: str, data: dict[str, Any], subject: str = "run/ab12") -> Any:
    return sent("discord", type, data, subject)["embeds"][0]


def plain(text: str) -> str:
    return text.replace("\\", "")


@pytest.mark.parametrize(
    ("type", "data", "title", "colour"),
    [
        ("run.failed", {"after": {"status": "FAILED"}}, "Run ab12 failed", 0xD92D20),
        ("run.finished", {}, "Run ab12 finished", 0x22A06B),
        ("run.lost", {"silence": 300_000}, "Run ab12 gives no sign of life for 5 min", 0xD92D20),
        ("metric.nonfinite", {"nan": ["loss"]}, "NaN in loss of run ab12", 0xE2B203),
        ("run.created", {"run_name": "brave-mill"}, "Run brave-mill created", 0x3B82F6),
        ("run.alert.raised", {"title": "spike", "severity": "critical"}, "spike", 0x8B0000),
        ("rule.fired", {"title": "loss is up", "severity": "error"}, "loss is up", 0xD92D20),
        ("rule.fired", {"title": "loss is up", "severity": "?"}, "loss is up", 0xE2B203),
        ("rule.resolved", {"title": "loss is up"}, "Resolved: loss is up", 0x22A06B),
    ],
)
def test_a_title_and_a_colour_say_what_happened(
    type: str, data: dict[str, Any], title: str, colour: int
) -> None:
    shown = embed(type, data)
    assert (plain(shown["title"]), shown["color"]) == (title, colour)


def test_facts_say_what_changed_where_and_who_did_it() -> None:
    data = {"before": {"status": "RUNNING"}, "after": {"status": "FAILED"}}
    facts = {plain(one["name"]): plain(one["value"]) for one in embed("run.failed", data)["fields"]}
    assert facts == {"Run": "ab12", "Experiment": "3", "By": "ann", "status": "RUNNING → FAILED"}


def test_a_link_is_there_when_the_servers_address_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "url" not in embed("run.failed", {})
    monkeypatch.setenv("HEADRACE_PUBLIC_URL", "https://ml.example/headrace/")
    link = "https://ml.example/headrace/#/experiments/3/runs/ab12"
    assert embed("run.failed", {})["url"] == link
    blocks = sent("slack", "run.failed", {})["attachments"][0]["blocks"]
    assert blocks[-1]["elements"][0]["url"] == link
    card = sent("teams", "run.failed", {})["attachments"][0]["content"]
    assert card["actions"][0]["url"] == link
    monkeypatch.setenv("HEADRACE_PUBLIC_URL", "javascript:alert(1)")
    assert "url" not in embed("run.failed", {})


def test_a_template_says_it_in_its_own_words() -> None:
    data = {"title": "a<b", "severity": "warn"}
    template = "*{{ event.data.severity | upper }}* {{ title }}"
    slack = sent("slack", "rule.fired", data, template=template)
    assert slack["attachments"][0]["blocks"][0]["text"]["text"] == "*WARN* a&lt;b"
    discord = sent("discord", "rule.fired", data, template=template)
    assert discord["embeds"][0]["description"] == "*WARN* a\\<b"


def test_mail_reads_like_mail() -> None:
    raw = sent(
        "mail",
        "rule.fired",
        {"title": "Verlust über 3", "text": "seit 5 min", "severity": "warn"},
        url="smtp://m.example?to=a@x.example,b@y.example&from=h@z.example",
    )
    mail = message_from_bytes(raw, policy=policy.SMTP)
    assert mail["Subject"] == "Verlust über 3"
    assert mail["To"] == "a@x.example, b@y.example"
    assert mail["Message-ID"] == "<d-1@z.example>"
    assert mail["Date"] == "Mon, 21 Sep 2026 14:13:20 +0000"
    assert mail.get_content().splitlines()[:3] == ["seit 5 min", "", "Run: ab12"]


def test_github_gets_at_most_ten_fields_and_64_kilobytes() -> None:
    url = "https://api.github.com/repos/o/r/dispatches"
    made = sent("github", "run.tags.set", {"after": {"t": "x" * 90_000}}, url=url, secret="t")
    assert made["event_type"] == "run.tags.set"
    assert len(made["client_payload"]) <= 10
    assert len(json.dumps(made)) < 64_000
