"""What lies in a model's folder, found out without opening a file of it.

Nothing but folders and plain files: a symbolic link could lead out of the folder, or to another file on each
visit; opening a fifo waits for ever; a device is the machine's.
"""

from __future__ import annotations

import errno
import os
import stat
from io import BufferedReader
from pathlib import Path

import msgspec

from headrace.errors import InvalidModel, NotFound, PolicyViolation

#: Files and folders that one model may have.
MOST_ENTRIES = 100_000
MOST_DEPTH = 40
#: The signature of a model; see `headrace.models.signing`.
SIGNATURE = "model.sig"
#: What may come into a folder after it was registered or signed: the signature, and a note that registries
#: leave on download. Neither a digest nor a signature covers them, and no loader opens them.
LATER = frozenset((SIGNATURE, "registered_model_meta"))
#: Bytes of one file. Sparse ones claim what no disk holds.
MOST_BYTES = 1 << 42
#: A fifo that took a file's place must not make us wait.
_PLAIN = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class Entry(msgspec.Struct, frozen=True):
    """A file of a model.

    Attributes:
        path: Relative to the folder, with slashes.
        size: In bytes.
    """

    path: str
    size: int


def files_of(folder: Path) -> list[Entry]:
    """A model's files, by path.

    Raises:
        NotFound: There is no such folder.
        PolicyViolation: Something in it is neither a folder nor a plain file.
        InvalidModel: It has more than any model has, or names that no model has.
    """
    # The last component may be a link: that is how the loader named it.
    if not folder.is_dir():
        raise NotFound(f"There is no model folder '{folder}'.")
    found: list[Entry] = []
    count = 0
    todo = [("", 0)]
    while todo:
        below, depth = todo.pop()
        if depth > MOST_DEPTH:
            raise InvalidModel(
                f"'{below}' in the model's folder is more than {MOST_DEPTH} folders deep."
            )
        with os.scandir(folder / below) as entries:
            for entry in entries:
                count += 1
                if count > MOST_ENTRIES:
                    raise InvalidModel(
                        f"The model's folder has more than {MOST_ENTRIES:,} files and folders."
                    )
                path = f"{below}/{entry.name}" if below else entry.name
                about = entry.stat(follow_symlinks=False)
                if stat.S_ISDIR(about.st_mode):
                    todo.append((path, depth + 1))
                else:
                    _check(path, about)
                    found.append(Entry(path, about.st_size))
    return sorted(found, key=lambda entry: entry.path)


def open_plain(file: Path) -> BufferedReader:
    """A file of a model, read only.

    Raises:
        PolicyViolation: It is no plain file (any more).
    """
    try:
        stream = os.fdopen(os.open(file, _PLAIN), "rb")
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
        raise PolicyViolation(f"'{file}' is a symbolic link: it was not opened.") from None
    if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
        stream.close()
        raise PolicyViolation(f"'{file}' is not a file: it was not opened.")
    return stream


def _check(path: str, about: os.stat_result) -> None:
    mode = about.st_mode
    if stat.S_ISLNK(mode):
        raise PolicyViolation(
            f"'{path}' in the model's folder is a symbolic link, which may lead anywhere: nothing was opened. "
            "Put the file itself there (cp -L) if you trust where it leads."
        )
    if not stat.S_ISREG(mode):
        raise PolicyViolation(
            f"'{path}' in the model's folder is {_kind(mode)}, not a file: nothing was opened."
        )
    if about.st_size > MOST_BYTES:
        raise InvalidModel(
            f"'{path}' in the model's folder claims {about.st_size:,} bytes, more than a model has."
        )
    try:
        path.encode()
    except UnicodeEncodeError:
        raise InvalidModel(f"The name {path!r} in the model's folder is not UTF-8.") from None


def _kind(mode: int) -> str:
    if stat.S_ISFIFO(mode):
        return "a fifo"
    if stat.S_ISSOCK(mode):
        return "a socket"
    return "a device"
