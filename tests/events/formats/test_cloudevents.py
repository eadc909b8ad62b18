"""Both modes, as the official SDK reads them."""

from __future__ import annotations

import json

import pytest
from cloudevents.core.bindings.http import HTTPMessage, from_http
from cloudevents.core.formats.json import JSONFormat
from hypothesis import given
from hypothesis import strategies as st

from headrace.events.formats import build
from headrace.events.outgoing import Hook
from headrace.protocol.cloudevents import Row, encode_event

TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40)


@pytest.mark.parametrize("format", ["cloudevents", "cloudevents-binary"])
@given(actor=TEXT, name=TEXT)
def test_the_official_sdk_reads_the_same_event(format: str, actor: str, name: str) -> None:
    row = Row(
        9, 1_790_000_000_123, "run.created", f"run/{name}", actor, 4, json.dumps({"run_name": name})
    )
    hook = Hook(name="h", webhook_id="w", url="https://t.example/", format=format)
    sent = build(hook, encode_event(row, "urn:headrace:1"), "d", 1.0)
    for header, value in sent.headers.items():
        assert f"{header}{value}".isascii()
        assert f"{header}{value}".isprintable()
    # A receiver of structured mode gets none of the ce- headers.
    read = from_http(HTTPMessage(_lower(sent.headers), sent.body), JSONFormat())
    assert read.get_id() == "9"
    assert read.get_type() == "run.created"
    assert read.get_subject() == f"run/{name}"
    assert read.get_extension("actor") == actor
    assert read.get_extension("experimentid") == "4"
    assert read.get_data() == {"run_name": name}
    assert read.get_time().isoformat() == "2026-09-21T14:13:20.123000+00:00"  # type: ignore[union-attr]


def _lower(headers: dict[str, str]) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}
