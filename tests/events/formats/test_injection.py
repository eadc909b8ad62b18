"""Whatever an event holds, it stays text: no markup, mention, header or JSON of its own."""

from __future__ import annotations

import json
import re
from email import message_from_bytes, policy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.events.formats import build
from headrace.events.outgoing import Hook
from headrace.protocol.cloudevents import Row, encode_event

NASTY = [
    "<!channel> <@U1> <https://evil.example|here>", "@everyone <@1> [a](https://evil.example) **b**",
    '","admin":true,"x":"', '"}], "admin": [{"x":"', "\r\nBcc: evil@evil.example\r\n\r\nhello", "{{DATE(2026-01-01,SHORT)}}",
    "<at>Ann</at> ![x](https://evil.example/x.png)", "```\n# big\n> quote", "‮\u0000\u001b[31m", "x" * 9000,
    "😀" * 3000, "{{ secret }}{% for x in y %}", "${oops} \ue000tQQ==\ue001", "line\u2028two\u0085three\nfour",
    "\\", '\\"', "&amp;lt;",
]  # fmt: skip
TEXT = st.one_of(
    st.sampled_from(NASTY),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=80),
    st.lists(st.sampled_from(NASTY), min_size=2, max_size=3).map("".join),
)
URLS = {"mail": "smtps://mail.example?to=a@x.example&from=b@y.example"}
TYPES = st.sampled_from(
    ["rule.fired", "run.created", "run.alert.raised", "metric.nonfinite", "run.tags.set"]
)


def event_of(type: str, one: str, two: str) -> bytes:
    data = {
        "title": one,
        "text": two,
        "run_name": one,
        "name": two,
        "severity": two,
        "group": one,
        "tags": {one: two},
        "nan": [one],
        "before": {one: two},
        "after": {one: one},
        "values": {two: [one, {one: two}]},
    }
    row = Row(1, 1_790_000_000_123, type, f"run/{one}", two, 3, json.dumps(data))
    return encode_event(row, "urn:headrace:1")


def body(format: str, raw: bytes, template: str = "") -> bytes:
    url = URLS.get(format, "https://t.example/")
    hook = Hook(name="h", webhook_id="w", url=url, format=format, template=template)
    return build(hook, raw, "d", 1.0).body


def texts(value: Any) -> list[str]:
    """Every text in a JSON value."""
    if isinstance(value, dict):
        return [text for one in value.values() for text in texts(one)]
    if isinstance(value, list):
        return [text for one in value for text in texts(one)]
    return [value] if isinstance(value, str) else []


@given(type=TYPES, one=TEXT, two=TEXT)
def test_slack_shows_plain_text(type: str, one: str, two: str) -> None:
    sent = json.loads(body("slack", event_of(type, one, two)))
    assert sent["parse"] == "none"
    assert not sent["mrkdwn"]
    blocks = sent["attachments"][0]["blocks"]
    for text in texts(sent):
        assert not re.search("[<>]", text)
        assert not re.search("&(?!amp;|lt;|gt;)", text)
    for block in blocks:
        assert set(block) <= {"type", "text", "fields", "elements"}
        for element in [block.get("text"), *block.get("fields", [])]:
            if element:
                assert element["type"] == "plain_text"
                most = 150 if block["type"] == "header" else 3000 if "text" in block else 2000
                assert 1 <= len(element["text"].encode("utf-16-le")) // 2 <= most


@given(type=TYPES, one=TEXT, two=TEXT)
def test_teams_shows_plain_text(type: str, one: str, two: str) -> None:
    raw = body("teams", event_of(type, one, two))
    assert len(raw) < 28_000
    card = json.loads(raw)["attachments"][0]["content"]
    assert "entities" not in card["msteams"]
    for block in card["body"]:
        items = block["items"] if block["type"] == "Container" else [block]
        for item in items:
            assert item["type"] == "RichTextBlock"
            for run in item["inlines"]:
                assert run["type"] == "TextRun"
                assert run["text"]
                assert "{{" not in run["text"]
    assert "actions" not in card


@given(type=TYPES, one=TEXT, two=TEXT)
def test_discord_mentions_nobody_and_keeps_its_limits(type: str, one: str, two: str) -> None:
    sent = json.loads(body("discord", event_of(type, one, two)))
    assert set(sent) == {"embeds", "allowed_mentions"}
    assert sent["allowed_mentions"] == {"parse": []}
    (embed,) = sent["embeds"]
    assert set(embed) == {"title", "description", "color", "timestamp", "footer", "fields"}
    shown = [embed["title"], embed["description"]]
    for field in embed["fields"]:
        assert 1 <= len(field["name"]) <= 256
        assert 1 <= len(field["value"]) <= 1024
        shown += [field["name"], field["value"]]
    for text in shown:
        assert not re.search(r"(?<!\\)(?:\\\\)*[*_`~|<@\[#>:]", text), text
    total = sum(len(text.encode("utf-16-le")) // 2 for text in [*shown, embed["footer"]["text"]])
    assert total <= 6000


@pytest.mark.parametrize("template", ["", "{{ title }}\n{{ text }}\n{{ event.data.text }}"])
@given(type=TYPES, one=TEXT, two=TEXT)
def test_mail_has_the_headers_that_it_should_have(
    template: str, type: str, one: str, two: str
) -> None:
    mail = message_from_bytes(body("mail", event_of(type, one, two), template), policy=policy.SMTP)
    assert {name.lower() for name in mail.keys()} <= {  # noqa: SIM118 - a message is no dict
        "from", "to", "subject", "date", "message-id", "auto-submitted", "x-headrace-event-type",
        "x-headrace-event-id", "content-type", "content-transfer-encoding", "mime-version",
    }  # fmt: skip
    assert mail["To"] == "a@x.example"
    assert not mail.is_multipart()
    assert mail.get_content_type() == "text/plain"


TEMPLATE = """{"a": "{{ title }} and {{ event.data.text }}", "b": {{ event.data.title | tojson }},
"{{ event.data.name }}": [ {{ event.data.values }}, {{ 1 }}, {{ event.nothing | default(none) }} ],
"c": {{ event.data.tags | tojson }} }"""


@given(one=TEXT, two=TEXT)
def test_values_cannot_change_the_structure_of_json(one: str, two: str) -> None:
    one, two = one[:500], two[:500]  # a template makes 64 KiB at most
    sent = json.loads(body("json", event_of("rule.fired", one, two), TEMPLATE))
    listed = [{two: [one, {one: two}]}, 1, None]
    expected = {"b": one, two: listed, "c": {one: two}}
    first = sent.pop("a") if two != "a" else None
    assert first is None or first.endswith(f" and {two}")
    if two not in ("a", "b", "c"):
        assert sent == expected


@given(one=TEXT)
def test_values_in_templates_of_chats_are_escaped(one: str) -> None:
    raw = event_of("rule.fired", one, "x")
    template = "*{{ event.data.title }}* <https://ours.example|ours>"
    slack = json.loads(body("slack", raw, template))
    text = slack["attachments"][0]["blocks"][0]["text"]["text"]
    assert text.count("<") <= 1
    discord = json.loads(body("discord", raw, "{{ event.data.title }}"))
    text = discord["embeds"][0]["description"]
    assert not re.search(r"(?<!\\)(?:\\\\)*[*_`~|<@\[#>:]", text)
    teams = json.loads(body("teams", raw, "{{ event.data.title }}"))
    text = teams["attachments"][0]["content"]["body"][0]["text"]
    assert not re.search(r"(?<!\\)(?:\\\\)*[*_`\[<#]", text)
