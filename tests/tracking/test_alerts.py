"""Alerts from code: through the journal, like everything that a run logs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import headrace
from headrace.errors import InvalidParameter
from headrace.protocol.events import Events, ListEvents


def alerts(client: headrace.Client, run_id: str) -> list[dict[str, Any]]:
    """Data of the alerts of a run."""
    request = ListEvents(subject=(f"run/{run_id}",), type=("run.alert.raised",))
    page = client._call(Events.list_events, subject=request.subject, type=request.type)
    return [one.data for one in page.events]


def test_an_alert_arrives_once(tracking_uri: str) -> None:
    headrace.set_tracking_uri(tracking_uri)
    client = headrace.Client(tracking_uri)
    with headrace.start_run() as run:
        headrace.alert("loss spike", text="5 sigma", severity="critical")
        run.alert("of the run")
        client.alert(run.info.run_id, "of the client", severity="info")
        headrace.alert("by id", run_id=run.info.run_id)
    found = alerts(client, run.info.run_id)
    assert {(one["title"], one["text"], one["severity"]) for one in found} == {
        ("loss spike", "5 sigma", "critical"),
        ("of the run", "", "warn"),
        ("of the client", "", "info"),
        ("by id", "", "warn"),
    }
    assert len(found) == 4


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("",), "0 characters"),
        (("x" * 251,), "251 characters"),
        (("x", "y" * 10_001), "10001 characters"),
        (("x", "", "loud"), "'loud'"),
        ((7,), "int"),
        (("a\0b",), "NUL"),
    ],
)
def test_what_is_no_alert_raises_at_once(
    tmp_path: Path, arguments: tuple[Any, ...], message: str
) -> None:
    headrace.set_tracking_uri(str(tmp_path / "store"))
    with headrace.start_run(), pytest.raises(InvalidParameter, match=message):
        headrace.alert(*arguments)


def test_an_alert_raised_offline_by_a_killed_process_is_synced_with_its_time(
    tracking_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = """
import os, signal, headrace
run = headrace.start_run()
headrace.alert("loss spike", severity="error")
print(run.info.run_id, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
    monkeypatch.setenv("HEADRACE_TRACKING_URI", tracking_uri)
    with monkeypatch.context() as offline:
        offline.setenv("HEADRACE_OFFLINE", "1")
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, timeout=100, check=False
        )
    run_id = done.stdout.strip()
    assert run_id, done.stderr
    for _ in range(2):
        subprocess.run(
            [sys.executable, "-m", "headrace", "sync"], check=True, capture_output=True, timeout=100
        )
    client = headrace.Client(tracking_uri)
    (alert,) = alerts(client, run_id)
    assert (alert["title"], alert["severity"]) == ("loss spike", "error")
    assert alert["raised_time"] >= client.get_run(run_id).info.start_time
