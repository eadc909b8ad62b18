"""What a working tree has that its commit has not: the patch, and the files that git does not know."""

from __future__ import annotations

import posixpath
import re
import stat
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from headrace.artifacts.paths import artifact_path
from headrace.errors import InvalidParameter
from headrace.tracking.capture.git import Git
from headrace.tracking.capture.names import is_config_name, is_secret_name
from headrace.tracking.capture.scrub import (
    Counts,
    scrub,
    scrub_values,
)

#: Bytes of one file that git does not know.
FILE_LIMIT = 1 << 20
#: Files that git does not know, at most so many.
COUNT_LIMIT = 500

#: The trees without files, which stand in for a commit before the first, by git's kinds of hash.
EMPTY_TREES = {
    "sha1": "4b825dc642cb6eb9a060e54bf8d69288fbee4904",
    "sha256": "6ef19b41225c5369f1c104d45d8d85efa9b057b53b14b4b9b939dd74decc5321",
}

_DIFF = (
    "diff", "--raw", "-z", "--patch", "-U3", "--no-color", "--no-ext-diff", "--no-textconv", "--no-renames",
    "--full-index", "--src-prefix=a/", "--dst-prefix=b/", "--submodule=short", "--ignore-submodules=dirty",
    "-O/dev/null",
)  # fmt: skip
_SECTION = b"diff --git "
_UNMERGED = re.compile(rb"^\* Unmerged path [^\n]*\n?", re.MULTILINE)
_ESCAPE = re.compile(rb"\\([0-7]{3}|.)", re.DOTALL)
_ESCAPES = {
    b"a": b"\a",
    b"b": b"\b",
    b"t": b"\t",
    b"n": b"\n",
    b"v": b"\v",
    b"f": b"\f",
    b"r": b"\r",
}
#: Folders that tools fill.
_TOOLS = frozenset(
    (".headrace", "mlruns", "mlartifacts", "wandb", "__pycache__", "node_modules", ".ipynb_checkpoints",
     ".venv", "venv", "site-packages", ".tox", ".nox", ".pytest_cache", ".mypy_cache", ".ruff_cache", ".hypothesis")
)  # fmt: skip
_STORE = "headrace.db"
_SECRET = "its name says that it holds secrets"


class LeftOut(msgspec.Struct, frozen=True):
    """A file that was not captured, and why."""

    path: str
    why: str


class Changes(msgspec.Struct, kw_only=True):
    """What was found, scrubbed.

    Attributes:
        dirty: A file that git knows differs from the commit.
        patch: For ``git apply``.
        untracked: Files that git does not know and does not ignore: how many there are.
        files: Those that are captured, by path.
        left_out: Those of both kinds that are not.
        scrubs: In the files.
        patch_scrubs: In the patch.
    """

    dirty: bool = False
    patch: bytes = b""
    untracked: int = 0
    files: dict[str, bytes] = msgspec.field(default_factory=dict)
    left_out: list[LeftOut] = msgspec.field(default_factory=list)
    scrubs: Counts = msgspec.field(default_factory=Counter)
    patch_scrubs: Counts = msgspec.field(default_factory=Counter)


def changes(git: Git, root: Path, base: str, limit: int, secrets: dict[str, bytes]) -> Changes:
    """What a working tree has that a commit has not.

    Args:
        git: For this working tree.
        root: Its top.
        base: The commit, or `EMPTY_TREES`' before the first.
        limit: Bytes of the patch and the files together.
        secrets: Values that must not be captured, see `scrub.secret_values`.

    Raises:
        GitFailed: Git could not say.
    """
    found = Changes()
    answer = git.run([*_DIFF, base, "--"], 4 * limit + (1 << 20))
    names, patch = _names(answer.data)
    sections = list(patch_sections(patch))
    if not answer.whole and sections:
        sections.pop()  # it may be cut
    found.dirty = bool(sections) or not answer.whole
    kept: list[bytes] = []
    size = 0
    for path, section in sections:
        why = (_SECRET if is_secret_name(path) else "") or _no_content(section, root / path, limit)
        if not why and size + len(section) > limit:
            why = _over(limit)
        if why:
            found.left_out.append(LeftOut(path, why))
            continue
        size += len(section)
        kept.append(_clean(path, section, secrets, found.patch_scrubs))
    if not answer.whole:
        seen = {path for path, _ in sections}
        found.left_out += (LeftOut(path, _over(limit)) for path in names if path not in seen)
    found.patch = b"".join(kept)
    _add_untracked(git, root, found, limit - size, limit, secrets)
    return found


def read_text(path: Path, limit: int) -> bytes | str:
    """The content of a file of text, else why it is not captured.

    A link is not followed: it may lead out of the repository.
    """
    try:
        about = path.lstat()
        if not stat.S_ISREG(about.st_mode):
            return "not a regular file"
        if about.st_size > limit:
            return f"larger than {limit} bytes"
        with path.open("rb") as stream:
            content = stream.read(limit + 1)
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    if len(content) > limit:
        return f"larger than {limit} bytes"
    if b"\0" in content[:8000]:  # git's rule
        return "binary"
    return content


def _names(data: bytes) -> tuple[list[str], bytes]:
    """The paths that ``--raw -z`` lists, and the patch behind them."""
    names: list[str] = []
    place = 0
    while data[place : place + 1] == b":":
        start = data.find(b"\0", place) + 1
        end = data.find(b"\0", start)
        if not start or end < 0:
            return names, b""
        names.append(_text(data[start:end]))
        place = end + 1
    return list(dict.fromkeys(names)), data[place:].lstrip(b"\0")


def patch_sections(patch: bytes) -> Iterator[tuple[str, bytes]]:
    """The part of a patch for each file. Lines of content begin with a sign, so they begin none."""
    if b"* Unmerged path " in patch:
        patch = _UNMERGED.sub(b"", patch)
    start = 0 if patch.startswith(_SECTION) else patch.find(b"\n" + _SECTION) + 1
    while patch.startswith(_SECTION, start):
        end = patch.find(b"\n" + _SECTION, start) + 1 or len(patch)
        section = patch[start:end]
        yield _path(section), section
        start = end


def _path(section: bytes) -> str:
    """The path in ``diff --git a/path b/path``: the same twice, as renames are not looked for."""
    names = section[len(_SECTION) : section.find(b"\n")].rstrip(b"\n")
    half = names[: (len(names) - 1) // 2]
    if half.startswith(b'"'):
        half = _ESCAPE.sub(_unescaped, half[1:-1])
    return _text(half[2:])


def _unescaped(match: re.Match[bytes]) -> bytes:
    code = match[1]
    return bytes([int(code, 8) & 255]) if len(code) == 3 else _ESCAPES.get(code, code)


def _text(path: bytes) -> str:
    return path.decode("utf-8", "surrogateescape")


def _no_content(section: bytes, path: Path, limit: int) -> str:
    """Why a section of a patch tells no content; empty when it does."""
    header = section.partition(b"\n@@")[0]
    if b"\nBinary files " not in header:
        return ""
    try:
        too_large = path.lstat().st_size > limit
    except OSError:
        too_large = False
    return f"larger than {limit} bytes" if too_large else "binary"


def refusal(path: str) -> str:
    """Why a file is not captured whatever it holds; empty when its name says nothing against it."""
    if is_secret_name(path):
        return _SECRET
    try:
        artifact_path(path)
    except InvalidParameter:
        return "no artifact can have its name"
    return ""


def _over(limit: int) -> str:
    return f"more than {limit} bytes in all (HEADRACE_CAPTURE_LIMIT)"


def _clean(path: str, content: bytes, secrets: dict[str, bytes], counts: Counts) -> bytes:
    return scrub(scrub_values(content, secrets, counts), counts, config=is_config_name(path))


def _add_untracked(
    git: Git, root: Path, found: Changes, left: int, limit: int, secrets: dict[str, bytes]
) -> None:
    answer = git.run(["ls-files", "-z", "--others", "--exclude-standard"], 8 << 20)
    listed = answer.data.split(b"\0")[:-1]
    found.untracked = len(listed)
    made_by_tools = _made_by_tools(root)
    folders: Counter[str] = Counter()
    for path in sorted(map(_text, listed)):
        tool = made_by_tools(path)
        if tool:
            folders[tool] += 1
            continue
        content = _untracked(root, path)
        if isinstance(content, bytes) and len(found.files) >= COUNT_LIMIT:
            content = f"more than {COUNT_LIMIT} files"
        if isinstance(content, bytes) and len(content) > left:
            content = _over(limit)
        if isinstance(content, str):
            found.left_out.append(LeftOut(path, content))
            continue
        left -= len(content)
        found.files[path] = _clean(path, content, secrets, found.scrubs)
    for folder, count in folders.items():
        found.left_out.append(LeftOut(f"{folder}/", f"{count} files that a tool made"))
    if not answer.whole:
        found.left_out.append(LeftOut("…", "there are more files than were looked at"))


def _untracked(root: Path, path: str) -> bytes | str:
    if path.endswith("/"):
        return "a repository of its own"
    return refusal(path) or read_text(root / path, FILE_LIMIT)


def _made_by_tools(root: Path) -> Callable[[str], str]:
    """Tells the folder, on the way to a path, that a tool or a store of headrace fills; else nothing."""
    known: dict[str, str] = {"": ""}

    def of(folder: str) -> str:
        if folder not in known:
            above, _, name = folder.rpartition("/")
            known[folder] = of(above) or (
                folder if name in _TOOLS or (root / folder / _STORE).is_file() else ""
            )
        return known[folder]

    return lambda path: of(posixpath.dirname(path.rstrip("/")))
