"""Pages of things that have a number, the latest first. A token is the number of the last one shown."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from typing import Any

from headrace.errors import InvalidParameter
from headrace.protocol.webhooks import MAX_PAGE

_MARK = "webhooks:"


def page_start(max_results: int, token: str) -> int | None:
    """The number below which the page begins; None: with the latest.

    Raises:
        InvalidParameter: The size is not from 1 to 1000, or the token is none.
    """
    if not 1 <= max_results <= MAX_PAGE:
        raise InvalidParameter(f"max_results must be from 1 to {MAX_PAGE}, got {max_results}.")
    if not token:
        return None
    try:
        text = base64.b64decode(token, altchars=b"-_", validate=True).decode()
        if text.startswith(_MARK) and len(text) < len(_MARK) + 19:
            return int(text.removeprefix(_MARK))
    except (ValueError, binascii.Error):
        pass
    raise InvalidParameter(
        f"Invalid page_token '{token[:60]}': it is not one that this store gave; leave it out to begin with the "
        "first page."
    )


def page_token(rows: Sequence[Any], max_results: int) -> str:
    """The token of the page after these rows, of which there is one more than are shown; else empty."""
    if len(rows) <= max_results:
        return ""
    return base64.urlsafe_b64encode(f"{_MARK}{rows[max_results - 1].id}".encode()).decode()
