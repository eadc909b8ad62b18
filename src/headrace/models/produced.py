"""What this machine's user wrote himself: a record of the digests of the models that he saved.

Opening one's own pickle is running one's own code, so `headrace.models.audit` lets it pass. What is on record
is the digest of a whole folder: one byte more, less or other, and it is a stranger's.

The record is a file of lines in the user's state folder (``$XDG_STATE_HOME/headrace/produced`` or
``~/.local/state/headrace/produced``), the newest last, at most `MOST` of them. Each line carries a keyed
MAC (HMAC-SHA256); the key lies beside, readable by the user alone. Who can write the record but not read the key, through a restored backup or a shared
folder, cannot add to it. Who can read the key can run code as this user already.

Losing the record loses nothing but ease: models of before then need a word from the loader.
"""

from __future__ import annotations

import fcntl
import hashlib
import hmac
import os
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

#: Models on record; the oldest are forgotten.
MOST = 10_000
_RECORD = "models"
_KEY = "key"
_LOCK = "lock"
_KEY_BYTES = 32
_VERSION = b"headrace-produced-1"


def remember(digest: str) -> bool:
    """Put a model on record that this process has just written.

    Args:
        digest: Its folder's digest.

    Returns:
        Whether it is on record. False when there is no place for one, because the user has no home or it is full or read-only:
        saving a model must not fail for that.
    """
    try:
        folder = _folder()
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with _locked(folder):
            key = _key(folder, make=True)
            if key is None:
                return False
            line = _line(key, digest)
            record = folder / _RECORD
            flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
            file = os.open(record, flags, 0o600)
            try:
                size = os.fstat(file).st_size
                # A line that a full disk or a crash has cut ends here.
                cut = size and os.pread(file, 1, size - 1) != b"\n"
                os.write(file, b"\n" + line if cut else line)
            finally:
                os.close(file)
            if size > 2 * MOST * len(line):
                _shorten(record)
    except OSError:
        return False
    return True


def is_produced(digest: str) -> bool:
    """Whether a model of that digest is on record, with a MAC of this user's key."""
    try:
        folder = _folder()
        key = _key(folder, make=False)
        if key is None:
            return False
        content = (folder / _RECORD).read_bytes()
    except OSError:
        return False
    wanted = _mac(key, digest)
    start = content.rfind(b" " + wanted + b"\n")
    # The MAC says all: who can make it for this digest has the key.
    return start >= 0


def _folder() -> Path:
    state = os.environ.get("XDG_STATE_HOME")
    try:
        base = Path(state) if state else Path.home() / ".local" / "state"
    except RuntimeError as error:
        raise OSError(str(error)) from None
    return base / "headrace" / "produced"


def _line(key: bytes, digest: str) -> bytes:
    return f"{int(time.time())} {_shown(digest)} ".encode() + _mac(key, digest) + b"\n"


def _shown(digest: str) -> str:
    """A digest as it stands in the record, for people: the MAC alone is looked up."""
    return "".join(letter for letter in digest if letter.isalnum() or letter in ":-+/=")[:100]


def _mac(key: bytes, digest: str) -> bytes:
    return hmac.new(key, _VERSION + b"\0" + digest.encode(), hashlib.sha256).hexdigest().encode()


def _key(folder: Path, *, make: bool) -> bytes | None:
    """The user's key. One that others could have read or written counts for nothing, and is made anew."""
    path = folder / _KEY
    try:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return _make_key(path) if make else None
    with os.fdopen(file, "rb") as stream:
        about = os.fstat(stream.fileno())
        private = about.st_uid == os.getuid() and not about.st_mode & 0o077
        key = stream.read(_KEY_BYTES + 1) if stat.S_ISREG(about.st_mode) else b""
    if private and len(key) == _KEY_BYTES:
        return key
    return _make_key(path) if make else None


def _make_key(path: Path) -> bytes:
    """Called with the lock held."""
    key = os.urandom(_KEY_BYTES)
    unborn = path.with_name(f".{os.urandom(8).hex()}")
    file = os.open(unborn, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        os.write(file, key)
        os.fsync(file)
    finally:
        os.close(file)
    unborn.replace(path)
    return key


def _shorten(record: Path) -> None:
    """Keep the newest lines. Called with the lock held; readers see the old file or the new one."""
    lines = record.read_bytes().splitlines(keepends=True)
    unborn = record.with_name(f".{os.urandom(8).hex()}")
    with os.fdopen(os.open(unborn, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as stream:
        stream.writelines(lines[-MOST:])
    unborn.replace(record)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    lock = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)
