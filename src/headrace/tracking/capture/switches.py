"""What is captured, as the environment says: ``HEADRACE_CAPTURE`` and ``HEADRACE_CAPTURE_LIMIT``.

``HEADRACE_CAPTURE`` is ``on`` (the default), ``off``, or parts between commas: ``code,environment``
captures these alone, ``-diff,-console`` everything but these.
"""

from __future__ import annotations

import functools
import logging

from headrace.client.environment import number, setting
from headrace.errors import InvalidParameter

#: Everything that can be switched. Console and system metrics are captured by their own packages,
#: which ask `enabled` too.
PARTS = ("code", "diff", "environment", "host", "console", "system-metrics", "seeds")
#: Bytes of the patch and the untracked files together, unless ``HEADRACE_CAPTURE_LIMIT`` says else.
DEFAULT_LIMIT = 10 << 20

_ON = frozenset(("on", "all", "true", "1"))
_OFF = frozenset(("off", "none", "false", "0"))
_logger = logging.getLogger("headrace")


def enabled(part: str) -> bool:
    """Whether a part of `PARTS` is to be captured. Asked anew each time: the setting may change."""
    return part in enabled_parts()


def enabled_parts() -> frozenset[str]:
    """The parts that are to be captured.

    A word that names no part is warned about once. Where it was to be kept nothing takes its place:
    who mistypes ``off`` gets nothing captured, not everything.
    """
    text = setting("CAPTURE")
    words = [word.strip().lower().replace("_", "-") for word in (text or "").split(",")]
    kept: set[str] = set()
    dropped: set[str] = set()
    chosen = False
    for word in filter(None, words):
        name = word.removeprefix("-")
        if word in _ON:
            kept.update(PARTS)
            chosen = True
        elif word in _OFF:
            dropped.update(PARTS)
        elif name != word:
            dropped.add(name)
        else:
            kept.add(name)
            chosen = True
    unknown = sorted((kept | dropped).difference(PARTS))
    if unknown:
        _warn_parts(text or "", ", ".join(unknown))
    return frozenset((kept if chosen else set(PARTS)).intersection(PARTS) - dropped)


def capture_limit() -> int:
    """Bytes that the patch and the untracked files may have together. A bad value is warned about
    once, and the default holds."""
    try:
        return int(number("CAPTURE_LIMIT", DEFAULT_LIMIT))
    except InvalidParameter as error:
        _warn_once(error.message)
        return DEFAULT_LIMIT


@functools.cache
def _warn_parts(text: str, unknown: str) -> None:
    _logger.warning(
        "HEADRACE_CAPTURE is '%s', but there is no part %s: give on, off, or of %s some to keep, or "
        "with a minus before them some to leave out.",
        text,
        unknown,
        ", ".join(PARTS),
    )


@functools.cache
def _warn_once(message: str) -> None:
    _logger.warning("%s", message)
