"""Headers that say what a file is and how a browser must treat it."""

from __future__ import annotations

import mimetypes
import posixpath
import unicodedata
import urllib.parse

#: Kinds of files that people read as text, whatever the platform's table says (or lacks).
_TEXT = frozenset(
    [
        "cfg",
        "cnf",
        "conf",
        "csv",
        "err",
        "hocon",
        "ini",
        "js",
        "json",
        "log",
        "md",
        "mjs",
        "patch",
        "properties",
        "py",
        "r",
        "rst",
        "sh",
        "sql",
        "toml",
        "tsv",
        "txt",
        "xml",
        "yaml",
        "yml",
    ]
)
_TEXT_NAMES = frozenset(("MLmodel", "MLproject"))


def media_type(path: str) -> str:
    """The Content-Type of a file, by its name."""
    name = posixpath.basename(path)
    if name in _TEXT_NAMES or name.rpartition(".")[2].lower() in _TEXT:
        return "text/plain; charset=utf-8"
    return mimetypes.guess_type(name)[0] or "application/octet-stream"


def content_headers(path: str) -> dict[str, str]:
    """Headers of a download. Always an attachment: nothing that was uploaded runs in our origin."""
    name = posixpath.basename(path)
    # RFC 6266: an ASCII name for old clients, the true one in UTF-8 for the rest.
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode() or "download"
    plain = plain.replace("\\", "_").replace('"', "_")
    disposition = f'attachment; filename="{plain}"'
    if plain != name:
        disposition += f"; filename*=UTF-8''{urllib.parse.quote(name, safe='')}"
    return {"content-type": media_type(path), "content-disposition": disposition}
