"""Archives and compressed files, looked into without unpacking them anywhere.

Whoever opens a file later may read it otherwise than `zipfile` does: PyTorch ignores the mark of encryption and the
checksum. So whatever differs between one reader and another is reported, and never opened.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import struct
import tarfile
import tempfile
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from typing import IO, Any, BinaryIO, cast

from headrace.models.inspection.numeric import leads_out

ZIP = (b"PK\x03\x04", b"PK\x05\x06", b"PK\x07\x08")
#: By their first bytes: what can be unpacked here.
_COMPRESSED: dict[bytes, Callable[..., Any]] = {
    b"\x1f\x8b": gzip.open,
    b"BZh": bz2.open,
    b"\xfd7zXZ\x00": lzma.open,
}
_ZSTD = b"\x28\xb5\x2f\xfd"
#: By their first bytes: what cannot.
OPAQUE = {
    b"7z\xbc\xaf\x27\x1c": "7z",
    b"Rar!\x1a\x07": "RAR",
    b"\x04\x22\x4d\x18": "LZ4",
    b"MSCF": "a cabinet",
    b"LZIP": "lzip",
    b"ZF\x00": "joblib of before 0.10",
}
#: Bytes that are unpacked from one file, and from all files of a model.
MOST_MEMBER = 1 << 30
MOST_TOTAL = 4 << 30
MOST_MEMBERS = 100_000
#: More than this many bytes may come out of one only so many times over.
_FREE = 64 << 20
_MOST_RATIO = 200
_IN_MEMORY = 8 << 20
#: Bytes of a header in a tar archive that is more than a block.
_MOST_HEADER = 8 << 10
_LOCAL_HEADER = struct.Struct("<4s5H3I2H")


class Bomb(ValueError):
    """More comes out than a model needs."""


class Budget:
    """What may still be unpacked."""

    def __init__(self, most: int = MOST_TOTAL) -> None:
        self.left = most

    def take(self, count: int) -> None:
        """Count bytes that came out.

        Raises:
            Bomb: There are too many.
        """
        self.left -= count
        if self.left < 0:
            raise Bomb(f"more than {MOST_TOTAL:,} bytes come out of its archives")


def is_zip(stream: BinaryIO, head: bytes) -> bool:
    """Whether some reader takes a file for a zip archive; the stream is left at its beginning."""
    found = head.startswith(ZIP) or zipfile.is_zipfile(stream)
    stream.seek(0)
    return found


def is_tar(head: bytes) -> bool:
    return head[257:262] == b"ustar"


def is_compressed(head: bytes) -> bool:
    """Whether a file may be compressed; some kinds are known for sure only when something comes out."""
    return head.startswith((*_COMPRESSED, _ZSTD)) or _is_zlib(head) or _is_lzma(head)


def _is_zlib(head: bytes) -> bool:
    """Whether two bytes are a header of zlib (RFC 1950), with whatever window and level."""
    if len(head) < 2:
        return False
    return head[0] & 0x8F == 0x08 and (head[0] << 8 | head[1]) % 31 == 0


def _is_lzma(head: bytes) -> bool:
    """Whether bytes are a header of LZMA of before xz, as liblzma tells: it has no mark of its own."""
    if len(head) < 13 or head[0] >= 225:
        return False
    if not any(head):  # numbers: to liblzma, an empty stream every few bytes, without end
        return False
    window, size = int.from_bytes(head[1:5], "little"), head[5:13]
    return window.bit_count() <= 2 and (
        size == b"\xff" * 8 or int.from_bytes(size, "little") < 1 << 38
    )


def unpacked(
    stream: BinaryIO, head: bytes, size: int, budget: Budget
) -> tuple[BinaryIO, int, str | None]:
    """What comes out of a compressed file, its size, and why it ended too early if it did.

    Whoever opens it reads what comes out before it is found to be damaged, so that is looked at too.

    Raises:
        Bomb: Too much.
    """
    damaged: list[str] = []

    def pieces() -> Iterator[bytes]:
        try:
            yield from _pieces(stream, head)
        except Bomb:
            raise
        except Exception as error:  # noqa: BLE001 - each library has its own
            damaged.append(str(error) or "it ends too early")

    out = spooled(pieces(), budget, max(_FREE, _MOST_RATIO * size))
    length = out.seek(0, 2)
    out.seek(0)
    return out, length, damaged[0] if damaged else None


def _pieces(stream: BinaryIO, head: bytes) -> Iterator[bytes]:
    if _is_zlib(head):
        machine = zlib.decompressobj()
        while part := stream.read(1 << 16):
            while part:
                yield machine.decompress(part, 1 << 20)
                part = machine.unconsumed_tail
        return
    if head.startswith(_ZSTD):
        import zstandard

        with zstandard.ZstdDecompressor().stream_reader(stream, read_across_frames=True) as source:
            while part := source.read(1 << 20):
                yield part
        return
    opener = next(
        (opener for magic, opener in _COMPRESSED.items() if head.startswith(magic)), lzma.open
    )
    with opener(stream, "rb") as source:
        while part := source.read1(1 << 20):  # what comes out before an error counts
            yield part


def pieces(content: IO[bytes]) -> Iterator[bytes]:
    """A stream in pieces."""
    while part := content.read(1 << 20):
        yield part


def spooled(pieces: Iterator[bytes], budget: Budget, most: int = MOST_MEMBER) -> BinaryIO:
    """Pieces in a temporary file, in memory as long as it is small; from its beginning.

    Raises:
        Bomb: There are too many of them.
    """
    out = tempfile.SpooledTemporaryFile(_IN_MEMORY)  # noqa: SIM115 - the caller reads it
    total = 0
    for piece in pieces:
        total += len(piece)
        budget.take(len(piece))
        if total > min(most, MOST_MEMBER):
            out.close()
            raise Bomb(f"more than {min(most, MOST_MEMBER):,} bytes come out of it")
        out.write(piece)
    out.seek(0)
    return cast(BinaryIO, out)


def zip_problems(archive: zipfile.ZipFile, size: int) -> list[str]:
    """What readers of zip archives could disagree about, or choke on."""
    problems = []
    members = archive.infolist()
    names = [member.filename for member in members]
    if len(members) > MOST_MEMBERS:
        problems.append(f"it has {len(members):,} members")
    doubled = next((name for name, count in Counter(names).items() if count > 1), None)
    if doubled is not None:
        problems.append(f"'{doubled}' is in it twice")
    total = sum(member.file_size for member in members)
    if total > _FREE and total > _MOST_RATIO * max(size, 1):
        problems.append(f"{total:,} bytes come out of {size:,}")
    for member in members:
        problem = _member_problem(member)
        if problem:
            problems.append(f"'{member.filename}' {problem}")
    return problems[:20]


def _member_problem(member: zipfile.ZipInfo) -> str | None:
    if member.flag_bits & 0x1:
        return "is marked as encrypted, which some readers ignore"
    if member.compress_type not in (
        zipfile.ZIP_STORED,
        zipfile.ZIP_DEFLATED,
        zipfile.ZIP_BZIP2,
        zipfile.ZIP_LZMA,
    ):
        return "is packed in a way that nobody can look into"
    if leads_out(member.filename):
        return "names a place outside the archive"
    if (member.external_attr >> 16) & 0o170000 == 0o120000:
        return "is a symbolic link"
    if member.compress_type == zipfile.ZIP_STORED and member.compress_size != member.file_size:
        return "has another size than it claims"
    return None


def member_pieces(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> Iterator[bytes]:
    """The bytes of a member.

    Raises:
        ValueError: It is damaged.
    """
    try:
        with archive.open(member) as source:
            while part := source.read(1 << 20):
                yield part
    except (
        zipfile.BadZipFile,
        zlib.error,
        lzma.LZMAError,
        RuntimeError,
        NotImplementedError,
        EOFError,
        OSError,
    ) as error:
        raise ValueError(str(error) or "it is damaged") from None


def member_head(archive: zipfile.ZipFile, member: zipfile.ZipInfo, most: int) -> bytes:
    """The first bytes of a member.

    Raises:
        ValueError: It is damaged.
    """
    for piece in member_pieces(archive, member):
        return piece[:most]
    return b""


def stored(stream: BinaryIO, member: zipfile.ZipInfo) -> BinaryIO | None:
    """A member that is not compressed, as it lies in its archive; None when it is.

    Raises:
        ValueError: It is damaged.
    """
    if member.compress_type != zipfile.ZIP_STORED:
        return None
    stream.seek(member.header_offset)
    header = stream.read(_LOCAL_HEADER.size)
    if len(header) < _LOCAL_HEADER.size or not header.startswith(ZIP[0]):
        raise ValueError("it has no header")
    *_, name, extra = _LOCAL_HEADER.unpack(header)
    start = member.header_offset + _LOCAL_HEADER.size + name + extra
    return cast(BinaryIO, io.BufferedReader(_Window(stream, start, member.file_size)))


class _Window(io.RawIOBase):
    """A part of a stream, as a stream."""

    def __init__(self, stream: BinaryIO, start: int, size: int) -> None:
        self._stream = stream
        self._start = start
        self._size = size
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence]
        self._at = max(0, base + offset)
        return self._at

    def readinto(self, buffer: Any) -> int:
        self._stream.seek(self._start + self._at)
        part = self._stream.read(max(0, min(len(buffer), self._size - self._at)))
        buffer[: len(part)] = part
        self._at += len(part)
        return len(part)


class BoundedHeader(tarfile.TarInfo):
    """A member of a tar archive whose additional headers (long names, pax) are short.

    tarfile reads them into memory whatever their size, and until Python 3.13 searches them in the square of it
    (CVE-2024-6232).
    """

    def _proc_pax(self, archive: tarfile.TarFile) -> Any:
        self._check_length()
        return super()._proc_pax(archive)  # type: ignore[misc]

    def _proc_gnulong(self, archive: tarfile.TarFile) -> Any:
        self._check_length()
        return super()._proc_gnulong(archive)  # type: ignore[misc]

    def _check_length(self) -> None:
        if (
            self.size > _MOST_HEADER
        ):  # no HeaderError: behind the first member tarfile takes that for the end
            raise tarfile.ReadError(f"a header has {self.size:,} bytes")


def tar_members(stream: BinaryIO) -> Iterator[tuple[tarfile.TarInfo, IO[bytes] | None]]:
    """The members of a tar archive, with the content of files.

    Raises:
        ValueError: It is damaged, or has too many.
    """
    try:
        with tarfile.open(fileobj=stream, mode="r:", tarinfo=BoundedHeader) as archive:
            for count, member in enumerate(archive):
                if count > MOST_MEMBERS:
                    raise ValueError(f"it has more than {MOST_MEMBERS:,} members")
                yield member, archive.extractfile(member) if member.isreg() else None
    except (tarfile.TarError, EOFError, OSError) as error:
        raise ValueError(str(error) or "it is damaged") from None


def tar_problem(member: tarfile.TarInfo) -> str | None:
    """Why a member is not one that a model has."""
    if not (member.isreg() or member.isdir()):
        return "is a link or a device"
    if leads_out(member.name.rstrip("/") or "."):
        return "names a place outside the archive"
    return None
