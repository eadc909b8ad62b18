"""Formats that hold numbers: what in them is not numbers after all.

Each function says what is wrong with a file of its format, or nothing. They read headers; of the numbers they read nothing.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator
from pathlib import PurePosixPath, PureWindowsPath
from typing import Any, BinaryIO

NPY = b"\x93NUMPY"
HDF5 = b"\x89HDF\r\n\x1a\n"
_MOST_HEADER = 100 << 20
_MOST_NPY_HEADER = 1 << 20
#: A dataset that claims more than so many bytes, and so many times what is stored, is a bomb.
_MOST_CLAIMED = 4 << 30
_MOST_RATIO = 1000


class Wrong(ValueError):
    """A file is not what its beginning says. The message says why."""


def npy_has_objects(stream: BinaryIO) -> bool:
    """Whether an array of numpy holds Python objects, which are pickled behind its header, where the stream is left.

    Raises:
        Wrong: The header is none.
    """
    stream.read(len(NPY))
    version = stream.read(2)
    size = 2 if version[:1] == b"\x01" else 4
    raw = stream.read(size)
    if len(raw) < size:
        raise Wrong("its header is cut off")
    length = int.from_bytes(raw, "little")
    if length > _MOST_NPY_HEADER:
        raise Wrong(f"its header claims {length:,} bytes")
    try:
        header = ast.literal_eval(stream.read(length).decode("latin-1"))
        return _has_objects(header["descr"])
    except (ValueError, SyntaxError, KeyError, TypeError, RecursionError, MemoryError):
        raise Wrong("its header cannot be read") from None


def _has_objects(description: Any) -> bool:
    if isinstance(description, str):
        return "O" in description
    if isinstance(description, tuple):
        return any(_has_objects(part) for part in description[:1])
    return any(_has_objects(field[1]) for field in description)


def is_safetensors(head: bytes, size: int) -> bool:
    """Whether bytes begin as safetensors do: a length, and JSON of that length."""
    return len(head) > 8 and head[8:9] == b"{" and int.from_bytes(head[:8], "little") + 8 <= size


def check_safetensors(stream: BinaryIO, size: int) -> None:
    """Look at a header of safetensors.

    Raises:
        Wrong: Offsets lie outside the file, or over each other, or it is no header.
    """
    length = int.from_bytes(stream.read(8), "little")
    if length > _MOST_HEADER:
        raise Wrong(f"its header claims {length:,} bytes")
    try:
        header = json.loads(stream.read(length))
        offsets = sorted(
            tensor["data_offsets"] for name, tensor in header.items() if name != "__metadata__"
        )
        end = 0
        for start, stop in offsets:
            if start != end or stop < start:
                raise Wrong(
                    "its tensors lie over each other, or leave holes where something can hide"
                )
            end = stop
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise error if isinstance(error, Wrong) else Wrong("its header cannot be read") from None
    if end + 8 + length != size:
        raise Wrong(f"its tensors end at byte {end + 8 + length:,}, and the file at {size:,}")


def looks_like_onnx(head: bytes) -> bool:
    """Whether bytes begin as ONNX writes them: its version, then the producer, the graph or the operators."""
    return (
        len(head) > 4
        and head[0] == 0x08
        and head[1] < 0x20
        and head[2] in (0x12, 0x1A, 0x22, 0x3A, 0x42)
    )


def onnx_problems(stream: BinaryIO, size: int) -> tuple[list[str], list[str]]:
    """Files that an ONNX model takes its numbers from, and what is wrong with where they lie.

    Raises:
        Wrong: It is no ONNX.
    """
    used: list[str] = []
    problems: list[str] = []
    for location in _onnx_locations(stream, size):
        used.append(location)
        if leads_out(location):
            problems.append(f"takes numbers from '{location[:200]}', outside the model's folder")
    return used[:1000], list(dict.fromkeys(problems))[:20]


def leads_out(location: str) -> bool:
    """Whether a path that a file names lies outside the folder that it is meant for, on any system."""
    for path in (PurePosixPath(location), PureWindowsPath(location)):
        if path.is_absolute() or path.drive or ".." in path.parts:
            return True
    return not location or "\0" in location


#: Fields of messages that lead to tensors: a model's graph and functions; a graph's nodes, tensors and sparse ones; a
#: node's attributes; an attribute's tensors and graphs; a sparse tensor's two; a training's graphs.
_ONNX_PATHS: dict[str, dict[int, str]] = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "function": {7: "node", 11: "attribute"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "tensor": {13: "entry"},
}  # fmt: skip
_MOST_FIELDS = 5_000_000


def _onnx_locations(stream: BinaryIO, size: int) -> Iterator[str]:
    todo = [("model", 0, size)]
    count = [0]
    while todo:
        kind, start, end = todo.pop()
        if kind == "entry":
            yield from _entry(stream, start, end, count)
            continue
        for field, first, last in _fields(stream, start, end, count):
            below = _ONNX_PATHS[kind].get(field)
            if below is not None:
                todo.append((below, first, last))


def _entry(stream: BinaryIO, start: int, end: int, count: list[int]) -> Iterator[str]:
    """The value of an entry of external data, if it is a location."""
    if end - start > 1 << 16:
        raise Wrong("it takes numbers from a place whose name is too long")
    values = {}
    for field, first, last in _fields(stream, start, end, count):
        stream.seek(first)
        values[field] = stream.read(last - first)
    if values.get(1) == b"location":
        yield values.get(2, b"").decode("utf-8", "replace")


def _fields(
    stream: BinaryIO, start: int, end: int, count: list[int]
) -> Iterator[tuple[int, int, int]]:
    """The fields of a protobuf message that have a length: number, first byte, byte behind the last.

    Args:
        count: Fields of the whole file that were seen, of whatever kind; counted on.
    """
    at = start
    while at < end:
        count[0] += 1
        if count[0] > _MOST_FIELDS:
            raise Wrong("it has more parts than can be looked at")
        stream.seek(at)
        head = stream.read(20)
        key, used = _varint(head, 0)
        kind = key & 7
        if not key >> 3:  # zeros, such as arrays are full of, would be fields for ever
            raise Wrong("it is no protobuf")
        if kind == 0:
            _, used = _varint(head, used)
            at += used
        elif kind == 2:
            length, used = _varint(head, used)
            first = at + used
            at = first + length
            if at > end:
                raise Wrong("a part of it is longer than it is")
            yield key >> 3, first, at
        elif kind in (1, 5):
            at += used + (8 if kind == 1 else 4)
        elif kind in (3, 4):  # a group, of before: its fields count as the message's
            at += used
        else:
            raise Wrong("it is no protobuf")


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while at < len(data) and shift < 70:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
    raise Wrong("it is no protobuf")


def is_hdf5(stream: BinaryIO, size: int) -> bool:
    """Whether a file is HDF5: its mark lies at the beginning, or at any power of two from 512 on."""
    at = 0
    while at < size:
        stream.seek(at)
        if stream.read(8) == HDF5:
            stream.seek(0)
            return True
        at = at * 2 or 512
    stream.seek(0)
    return False


def hdf5_problems(stream: BinaryIO) -> list[str]:
    """What in an HDF5 file leads out of it, or claims more than it holds (CVE-2026-1669 and its like).

    Raises:
        Wrong: It cannot be read.
    """
    try:
        import h5py
    except ImportError:
        return ["is HDF5, and h5py, which could look into it, is not installed"]
    problems: list[str] = []
    try:
        with h5py.File(stream, "r") as file:
            _walk_hdf5(h5py, file, problems)
    except Exception as error:  # noqa: BLE001 - h5py raises whatever the file makes it raise
        raise Wrong(f"it is no HDF5 after all: {error}") from None
    return problems[:20]


def _walk_hdf5(h5py: Any, file: Any, problems: list[str]) -> None:
    todo, seen = [file], set()
    while todo:
        group = todo.pop()
        identity = h5py.h5o.get_info(group.id).addr
        if identity in seen:
            continue
        seen.add(identity)
        if len(seen) > 100_000:
            raise Wrong("it has more groups than can be looked at")
        for name in group:
            link = group.get(name, getlink=True)
            where = f"{group.name.rstrip('/')}/{name}"
            if not isinstance(link, h5py.HardLink):
                problems.append(
                    f"'{where}' is a link, to {getattr(link, 'filename', '') or link.path}"
                )
                continue
            member = group.get(name)
            if isinstance(member, h5py.Group):
                todo.append(member)
            elif isinstance(member, h5py.Dataset):
                _judge_dataset(member, where, problems)


def _judge_dataset(member: Any, where: str, problems: list[str]) -> None:
    if member.is_virtual or member.external:
        problems.append(f"'{where}' takes its numbers from another file")
        return
    claimed = int(member.size or 0) * member.dtype.itemsize
    stored = member.id.get_storage_size()
    if claimed > _MOST_CLAIMED and claimed > _MOST_RATIO * max(stored, 1):
        problems.append(f"'{where}' claims {claimed:,} bytes and holds {stored:,}")


def hdf5_is_model(stream: BinaryIO) -> bool:
    """Whether an HDF5 file holds a whole Keras model, not weights alone: it is searched for the name of its configuration."""
    before = b""
    while part := stream.read(1 << 20):
        if b"model_config" in before + part:
            return True
        before = part[-16:]
    return False
