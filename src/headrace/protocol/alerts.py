"""Alerts that the code of a run raises: declarations."""

from __future__ import annotations

from headrace.errors import InvalidParameter
from headrace.protocol.ingest import RaiseAlert
from headrace.protocol.operation import NATIVE_PREFIXES, Empty, Interface, operation

#: Characters.
MAX_TITLE, MAX_TEXT = 250, 10_000
#: From the least to the worst.
SEVERITIES = ("info", "warn", "error", "critical")


def check_alert(title: str, text: str, severity: str) -> None:
    """Refuse an alert that cannot be one.

    Raises:
        InvalidParameter: A title without 1 to 250 characters, a text with over 10,000, or a severity
            other than ``info``, ``warn``, ``error`` and ``critical``.
    """
    if not 1 <= len(title) <= MAX_TITLE:
        raise InvalidParameter(
            f"Invalid title of an alert: '{title[:60]}' has {len(title)} characters; give 1 to "
            f"{MAX_TITLE}, and the rest as text."
        )
    if len(text) > MAX_TEXT:
        raise InvalidParameter(
            f"The text of alert '{title[:60]}' has {len(text)} characters; at most {MAX_TEXT} are "
            "allowed. Log it as an artifact, and say where it is."
        )
    if severity not in SEVERITIES:
        raise InvalidParameter(
            f"Invalid severity '{severity[:60]}' of alert '{title[:60]}': give one of "
            f"{', '.join(SEVERITIES)}."
        )


class Alerts(Interface):
    """What runs say about themselves."""

    @operation("POST", "/runs/alert", permission="run:edit", prefixes=NATIVE_PREFIXES)
    def raise_alert(self, request: RaiseAlert) -> Empty:
        """Raise an alert of a run: an event ``run.alert.raised``.

        Raises:
            NotFound: There is no such run.
            InvalidParameter: It is deleted; or see `check_alert`.
        """
        raise NotImplementedError
