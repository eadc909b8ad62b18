"""What a pickle would import and call, followed opcode by opcode without doing it.

`pickletools` decodes the opcodes; the stack and the memo are modelled here with what can be known: strings stand for
themselves, everything else for "something". Names that are put together at run time, or taken from
the memo of another pickle, come out as ``?``, which no list of safe names holds. What is damaged is followed as far as
`pickle` would go, for it acts on each opcode before it reads the next; what lies behind is looked through for names.
"""

from __future__ import annotations

import io
import os
import pickletools
import re
from collections.abc import Iterator
from typing import Any, BinaryIO, cast

import msgspec

#: A name that only running the pickle would tell.
UNKNOWN = "?"
#: Opcodes that call something, each by its own way.
_CALLS = frozenset(("REDUCE", "INST", "OBJ", "NEWOBJ", "NEWOBJ_EX", "BUILD"))
_STRINGS = frozenset(
    ("STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8")
)  # fmt: skip
_MOST_PROBED = 100_000
_MOST_OPCODES = 5_000_000
_MOST_IMPORTS = 10_000
_MOST_TAIL = 1 << 28
#: Bytes of one value that are kept, and of one line.
_MOST_VALUE = 1 << 22
_MOST_LINE = 1 << 20
#: Names in bytes that could not be followed: as text (GLOBAL, INST), and as two short strings (STACK_GLOBAL).
_TEXT_NAME = re.compile(rb"[ci]([A-Za-z_][\w.]{0,200})\n([A-Za-z_][\w.]{0,200})\n")
_STACK_NAME = re.compile(
    rb"[\x8cX](?:.|....)([A-Za-z_][\w.]{0,200})(?:\x94|q.|r....)?[\x8cX](?:.|....)([A-Za-z_][\w.]{0,200})(?:\x94|q.|r....)?\x93",
    re.DOTALL,
)  # fmt: skip


#: What pickles of tensors import; calling these, with whatever arguments, builds tensors and nothing else.
_TENSOR_NAMES = frozenset(
    (
        "collections.OrderedDict", "torch._utils._rebuild_tensor", "torch._utils._rebuild_tensor_v2",
        "torch._utils._rebuild_parameter", "torch.Size", "torch.device", "torch.storage.UntypedStorage",
        "torch.nn.parameter.Parameter", "__builtin__.set", "builtins.set",
    )
)  # fmt: skip
_TENSOR_TYPES = re.compile(
    r"torch\.(?:(?:Double|Float|Half|BFloat16|Long|Int|Short|Char|Byte|Bool|ComplexDouble|ComplexFloat|Untyped)Storage"
    r"|float64|float32|float16|bfloat16|int64|int32|int16|int8|uint8|bool|complex64|complex128)"
)  # fmt: skip


class Pickle(msgspec.Struct, kw_only=True):
    """What is known of a file read as pickles, one after the other.

    Attributes:
        imports: Full names, sorted; one of `UNKNOWN` parts cannot be told.
        calls: Opcodes that call something.
        opcodes: How many were followed.
        pickles: How many were followed to their end.
        broken: Why the last could not be followed to its end; None when it could.
        rest: Bytes behind the last one.
        nested: Byte strings in it that look like pickles themselves.
    """

    imports: tuple[str, ...] = ()
    calls: int = 0
    pickles: int = 0
    opcodes: int = 0
    broken: str | None = None
    rest: int = 0
    nested: tuple[bytes, ...] = ()

    @property
    def is_tensors(self) -> bool:
        """Whether it builds tensors and plain data, nothing else, as far as it goes and to its very end."""
        return (
            self.broken is None
            and self.pickles > 0
            and not self.rest
            and not self.nested
            and all(name in _TENSOR_NAMES or _TENSOR_TYPES.fullmatch(name) for name in self.imports)
        )


class _Machine:
    """A pickle machine that keeps strings and marks, and does nothing."""

    def __init__(self) -> None:
        self.imports: set[str] = set()
        self.nested: list[bytes] = []
        self.calls = 0
        self.memo: dict[int, Any] = {}
        self.stack: list[Any] = []

    def step(self, opcode: pickletools.OpcodeInfo, argument: Any) -> None:
        """Follow one opcode.

        Raises:
            IndexError: There is too little on the stack: `pickle` would stop here.
        """
        name = opcode.name
        if name in ("GLOBAL", "INST"):
            self._import(*argument.split(" ", 1))
        elif name == "STACK_GLOBAL":
            self._import(self.stack[-2], self.stack[-1])
        elif name.startswith("EXT"):
            self._import(None, None)
        elif name in ("BINBYTES", "BINBYTES8", "SHORT_BINBYTES", "BYTEARRAY8") and looks_pickled(
            argument
        ):
            self.nested.append(bytes(argument))
        elif name in ("STRING", "BINSTRING", "SHORT_BINSTRING"):
            raw = argument.encode("latin-1", "replace")
            if looks_pickled(raw):
                self.nested.append(raw)
        self._move(opcode, argument)
        if name in _CALLS:
            self.calls += 1

    def _move(self, opcode: pickletools.OpcodeInfo, argument: Any) -> None:
        """The stack and the memo after an opcode."""
        name = opcode.name
        if name in ("PUT", "BINPUT", "LONG_BINPUT"):
            self.memo[int(argument)] = self.stack[-1]
        elif name == "MEMOIZE":
            self.memo[len(self.memo)] = self.stack[-1]
        elif name in ("GET", "BINGET", "LONG_BINGET"):
            self.stack.append(self.memo.get(int(argument)))
        elif name == "DUP":
            self.stack.append(self.stack[-1])
        elif name == "MARK":
            self.stack.append(pickletools.markobject)
        elif name == "POP":
            self.stack.pop()
        elif name in _STRINGS:
            self.stack.append(argument)
        else:
            self._generic(opcode)

    def _generic(self, opcode: pickletools.OpcodeInfo) -> None:
        before = opcode.stack_before
        if pickletools.markobject in before:
            after_mark = before.index(pickletools.markobject)
            while self.stack.pop() is not pickletools.markobject:
                pass
            before = before[:after_mark]
        for _ in before:
            if self.stack.pop() is pickletools.markobject:
                raise IndexError("a mark where a value should be")
        self.stack.extend([None] * len(opcode.stack_after))

    def _import(self, module: Any, name: Any) -> None:
        known = [part if isinstance(part, str) and part else UNKNOWN for part in (module, name)]
        if len(self.imports) < _MOST_IMPORTS:
            self.imports.add(".".join(known))


class _Long(bytes):
    """The beginning of a value that is too long to keep; it says that it is whole."""

    claimed = 0

    def __len__(self) -> int:
        return self.claimed


class _Sparing:
    """A stream for `pickletools`, which would read values of any length into memory."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self.tell = stream.tell

    def read(self, count: int = -1) -> bytes:
        if count <= _MOST_VALUE:
            return self._stream.read(count)
        here = self._stream.tell()
        end = self._stream.seek(0, os.SEEK_END)
        self._stream.seek(here)
        value = _Long(self._stream.read(_MOST_VALUE))
        value.claimed = min(count, end - here)
        self._stream.seek(here + value.claimed)
        return value

    def readline(self, limit: int = _MOST_LINE) -> bytes:
        return self._stream.readline(limit)


def follow(
    stream: BinaryIO, *, most_bytes: int = _MOST_TAIL, most_opcodes: int = _MOST_OPCODES
) -> Pickle:
    """Follow the pickles in a stream, from where it stands.

    Args:
        stream: One that can seek. Read at most once, and its tail once more when it is broken.
        most_opcodes: So many are followed.
        most_bytes: Of what is broken, so much is looked through for names.
    """
    imports: set[str] = set()
    nested: list[bytes] = []
    found = Pickle()
    budget = min(most_opcodes, _MOST_OPCODES)
    while True:
        start = stream.tell()
        if not stream.read(1):
            break
        stream.seek(start)
        machine = _Machine()
        count, end, broken = _follow_one(stream, machine, budget)
        imports |= machine.imports
        nested += machine.nested
        found.calls += machine.calls
        budget -= count
        found.opcodes += count
        if broken is None:
            found.pickles += 1
            continue
        if count == 0 and found.pickles:  # no pickle any more: what else lies there
            broken = None
        stream.seek(end)
        names, found.rest = _names_in(stream, most_bytes)
        imports |= names
        found.broken = broken
        break
    found.imports, found.nested = tuple(sorted(imports)), tuple(nested[:100])
    return found


def looks_pickled(content: bytes | bytearray) -> bool:
    """Whether bytes begin as a pickle of protocol 2 or later does."""
    return len(content) > 2 and content[0] == 0x80 and content[1] <= 5


def begins_pickle(stream: BinaryIO) -> bool:
    """Whether a stream can be followed as a pickle until something is called, or to an end behind an import.

    The mark of protocol 2 is not asked for: `pickle` does not. Text can look like a pickle for a few letters; few
    texts can be executed as one. What goes on for very long without a call counts as one too. The stream is left at
    its beginning.
    """
    marked = looks_pickled(stream.read(3))
    stream.seek(0)
    machine = _Machine()
    count, _, broken = _follow_one(stream, machine, _MOST_PROBED)
    stream.seek(0)
    if machine.calls or (machine.imports and (marked or broken is None)):
        return True
    return count >= _MOST_PROBED or (broken is None and marked)


def may_be_pickle(head: bytes) -> bool:
    """Whether the beginning of a stream can be followed as a pickle until it is cut off."""
    machine = _Machine()
    count, _, broken = _follow_one(io.BytesIO(head), machine, _MOST_PROBED)
    if machine.calls or machine.imports or broken is None or count > 1000:
        return True
    return any(word in broken for word in ("newline", "remain", "exhausted"))


def _follow_one(stream: BinaryIO, machine: _Machine, most: int) -> tuple[int, int, str | None]:
    """Follow one pickle: how many opcodes, where it ended, and why if that is not its end."""
    count, end = 0, stream.tell()
    try:
        for opcode, argument, _ in pickletools.genops(cast(BinaryIO, _Sparing(stream))):
            if count >= most:
                return count, end, "it has more opcodes than are followed"
            if opcode.name == "STOP":
                machine.stack[-1]
                return count + 1, stream.tell(), None
            machine.step(opcode, argument)
            count += 1
            end = stream.tell()
    except Exception as error:  # noqa: BLE001 - pickletools raises whatever the bytes make it raise
        return count, end, str(error) or type(error).__name__
    return count, end, "it ends too early"


def _names_in(stream: BinaryIO, most: int) -> tuple[set[str], int]:
    """Names that bytes would import if they are pickles after all, and how many bytes there are."""
    found: set[str] = set()
    total = 0
    before = b""
    for part in _parts(stream, most):
        total += len(part)
        text = before + part
        for pattern in (_TEXT_NAME, _STACK_NAME):
            for match in pattern.finditer(text):
                if len(found) < _MOST_IMPORTS:
                    found.add(f"{match[1].decode()}.{match[2].decode()}")
        before = text[-1000:]
    return found, total


def _parts(stream: BinaryIO, most: int) -> Iterator[bytes]:
    while most > 0 and (part := stream.read(min(1 << 20, most))):
        most -= len(part)
        yield part
