"""Alerts of a run, by way of the journal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from headrace.client.values import now_ms
from headrace.errors import InvalidParameter
from headrace.protocol.alerts import check_alert
from headrace.protocol.ingest import RaiseAlert
from headrace.protocol.limits import refuse_nul

if TYPE_CHECKING:
    from headrace.tracking.recorder import Recorder


def raise_alert(recorder: Recorder, title: str, text: str, severity: str) -> None:
    """Journal an alert of a run.

    Raises:
        InvalidParameter: See `headrace.protocol.alerts.check_alert`; or what is no text.
    """
    for name, value in (("title", title), ("text", text), ("severity", severity)):
        if not isinstance(value, str):
            raise InvalidParameter(
                f"Invalid {name} of an alert: {str(value)[:100]!r} is {type(value).__name__}; give text."
            )
        refuse_nul(value)
    check_alert(title, text, severity)
    recorder.step(
        RaiseAlert(run_id=recorder.run_id, title=title, text=text, severity=severity, time=now_ms())
    )
