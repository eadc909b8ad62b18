"""The one place that decides which artifact paths are safe.

Every entry point (the server's proxy, the stores, the client, the CLI) passes paths through
`artifact_path` before anything is joined or opened.
"""

from __future__ import annotations

import re
import urllib.parse

from headrace.errors import InvalidParameter

#: Folder inside a local root where uploads lie until they are whole; no artifact may be named so.
STAGING = ".headrace-partial"

MAX_LENGTH = 4096
MAX_NAME_BYTES = 255

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_DRIVE = re.compile(r"[A-Za-z]:")


def artifact_path(path: str, *, root: bool = False) -> str:
    """The path in its normal form: relative POSIX, no ``.`` or empty parts, no trailing slash.

    Characters such as ``%``, ``#``, ``?`` and ``+`` are ordinary ones here: the path that comes in
    has been decoded by whoever carried it. It is refused when it, or anything that further rounds of
    percent-decoding make of it, leaves the root, because some later hop might decode once more.

    Args:
        path: As a user or a request gave it.
        root: Accept the empty path, which names the root itself.

    Raises:
        InvalidParameter: The path is absolute, climbs with ``..``, begins with a drive letter, holds
            a backslash, a control character or a name that is reserved or too long, is not valid
            Unicode, or is empty where a file is meant.
    """
    if len(path) > MAX_LENGTH:
        raise _refused(path, f"is longer than {MAX_LENGTH} characters")
    try:
        path.encode()
    except UnicodeEncodeError:
        raise _refused(path, "is not valid Unicode") from None
    form = path
    while True:
        _check(path, form)
        decoded = urllib.parse.unquote(form, errors="replace")
        if decoded == form:
            break
        form = decoded
    parts = [part for part in path.split("/") if part not in ("", ".")]
    for part in parts:
        if part == STAGING:
            raise _refused(path, f"uses the reserved name '{STAGING}'")
        if len(part.encode()) > MAX_NAME_BYTES:
            raise _refused(path, f"has a name longer than {MAX_NAME_BYTES} bytes")
    if not parts and not root:
        raise _refused(path, "names no file")
    return "/".join(parts)


def _check(path: str, form: str) -> None:
    if form.startswith("/"):
        raise _refused(path, "is absolute")
    if "\\" in form:
        raise _refused(path, "holds a backslash")
    if _CONTROL.search(form):
        raise _refused(path, "holds a control character")
    if _DRIVE.match(form):
        raise _refused(path, "begins with a drive letter")
    if ".." in form.split("/"):
        raise _refused(path, "climbs out with '..'")


def _refused(path: str, why: str) -> InvalidParameter:
    return InvalidParameter(
        f"Invalid path: {path[:200]!r} {why}. "
        "Give a path relative to the artifact root, with '/' between its parts."
    )
