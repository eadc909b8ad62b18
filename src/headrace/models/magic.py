"""What a file is, told by its bytes: nothing of it is run, and no name or ending is believed."""

from __future__ import annotations

import io
import json
import pickletools
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from headrace.errors import InvalidModel

HDF5 = b"\x89HDF\r\n\x1a\n"

#: JSON that describes a model is smaller than this; what is larger is not read.
MAX_JSON = 256 * 1024 * 1024

#: A pickle that describes tensors is smaller than this: the numbers lie beside it.
MAX_PICKLE = 64 * 1024 * 1024

#: What a pickle of tensors asks for. Nothing else is needed, and none of these runs what a file says.
_TENSOR_GLOBALS = frozenset(
    {
        "collections OrderedDict",
        "torch._utils _rebuild_tensor_v2",
        "torch._utils _rebuild_parameter",
        "torch.storage UntypedStorage",
        "torch Size",
        "torch device",
    }
    | {
        f"torch {name}Storage"
        for name in ("Double", "Float", "Half", "BFloat16", "Long", "Int", "Short", "Char", "Byte", "Bool")
    }
)  # fmt: skip

#: How a pickle names what it imports otherwise than by GLOBAL. torch.save never does.
_OTHER_IMPORTS = frozenset({"STACK_GLOBAL", "INST", "OBJ", "EXT1", "EXT2", "EXT4"})


def head(path: Path, size: int = 64) -> bytes:
    """The first bytes of a file."""
    with path.open("rb") as file:
        return file.read(size)


def is_pickle(path: Path) -> bool:
    """Whether a file is a pickle: of protocol 2 or later by its mark, of an older one by its text."""
    first = head(path, 2)
    if first[:1] == b"\x80" and first[1:2] <= b"\x05":
        return True
    if first[:1] not in b"(cilpdI}]":
        return False
    with path.open("rb") as file:
        try:
            for _ in pickletools.genops(file.read(MAX_PICKLE)):
                pass
        except (ValueError, IndexError, UnicodeError, KeyError):
            return False
    return True


def zip_members(source: Path | IO[bytes]) -> frozenset[str] | None:
    """Names of a zip archive's members; None for what is no zip archive."""
    try:
        with zipfile.ZipFile(source) as archive:
            return frozenset(archive.namelist())
    except (zipfile.BadZipFile, OSError, NotImplementedError):
        return None


def has_pickle_inside(members: frozenset[str]) -> bool:
    """Whether a zip archive's members are those that torch.save writes, or name a pickle outright."""
    return any(name.rsplit("/", 1)[-1].endswith((".pkl", ".pickle", ".joblib")) for name in members)


def tensors_only(pickled: bytes) -> bool:
    """Whether a pickle can make nothing but tensors, containers, numbers and text.

    Answers False for every pickle that it cannot follow to its end.
    """
    try:
        for opcode, argument, _ in pickletools.genops(pickled):
            if opcode.name in _OTHER_IMPORTS:
                return False
            if opcode.name == "GLOBAL" and argument not in _TENSOR_GLOBALS:
                return False
    except (ValueError, IndexError, UnicodeError, KeyError):
        return False
    return True


def saved_tensors_only(source: Path | bytes) -> bool:
    """Whether an archive of torch.save holds tensors and nothing else."""
    try:
        with zipfile.ZipFile(
            io.BytesIO(source) if isinstance(source, bytes) else source
        ) as archive:
            pickles = [each for each in archive.infolist() if each.filename.endswith(".pkl")]
            if len(pickles) != 1 or pickles[0].file_size > MAX_PICKLE:
                return False
            return tensors_only(archive.read(pickles[0]))
    except (zipfile.BadZipFile, OSError, NotImplementedError, RuntimeError):
        return False


def read_json(source: Path | bytes, name: str) -> Any:
    """A JSON document.

    Raises:
        InvalidModel: It is none, or too large or too deep to be looked at.
    """
    size = source.stat().st_size if isinstance(source, Path) else len(source)
    if size > MAX_JSON:
        raise InvalidModel(
            f"'{name}' has {size} bytes; a model's description has at most {MAX_JSON}."
        )
    try:
        return json.loads(source.read_bytes() if isinstance(source, Path) else source)
    except (ValueError, RecursionError):
        raise InvalidModel(f"'{name}' is not JSON.") from None


def json_objects(document: Any) -> Iterator[dict[str, Any]]:
    """Every object of a JSON document, whatever it lies in."""
    waiting = [document]
    while waiting:
        found = waiting.pop()
        if isinstance(found, dict):
            yield found
            waiting.extend(found.values())
        elif isinstance(found, list):
            waiting.extend(found)


def unknown(path: Path, wanted: str) -> InvalidModel:
    """The error for a file that is not what its flavor opens."""
    return InvalidModel(f"'{path.name}' is not {wanted}.")
