"""The layout of journal files, version 1.

A journal is a folder of **segments**, ``000001.journal`` and so on: files of a fixed size that start as
zeros and fill from the front. A segment is a sequence of records, each a multiple of 32 bytes (a
*slot*), and needs no other segment to be understood. Numbers are little-endian.

The first slot is the file's header::

    8s   "headrace"
    u32  version (1)
    u32  number of the segment, from 1
    i64  milliseconds since the Unix epoch when it was made
    u32  0
    u32  checksum

A **point** is one slot::

    i64  step
    i64  milliseconds since the Unix epoch
    f64  value
    u32  series, below 2**24
    u32  checksum

Every other record is a head slot and as many more as its payload takes::

    i64  length of the payload in bytes
    i64  kind: a `Kind`
    i64  0
    u32  0xff000000
    u32  checksum of this slot
    ...  payload, then zeros up to the last four bytes of a slot
    u32  checksum of these slots, unless the payload is empty

The **checksum** is zlib's CRC-32 of all bytes before it in its stretch, begun at `RESIDUE`. CRC-32 over
bytes and their own checksum is a constant, whatever the bytes; `RESIDUE` is that constant. So the
checksum of a whole stretch of records is `RESIDUE` again exactly when no record in it is damaged (but
for one in 2**32), and a reader checks a megabyte with one call.

A slot of zeros was never written: a segment ends where zeros begin, or the file does. Bytes that are
not zero further on are damage.

A new layout gets a new version; every version ever written is read (docs/internals/journal.md).
"""

from __future__ import annotations

import struct
from enum import IntEnum
from zlib import crc32

VERSION = 1
SLOT = 32
#: CRC-32 of anything followed by its own CRC-32.
RESIDUE = 0x2144DF1C
#: Series numbers stay below, so that the highest byte of a slot's fourth field tells records apart.
SERIES_LIMIT = 1 << 24
#: Of a payload, in bytes.
MAX_PAYLOAD = 32 << 20

_MAGIC = b"headrace"
_HEADER = struct.Struct("<8sIIqI")
_HEAD = struct.Struct("<qqqI")
_MARK = 0xFF000000
_CRC = struct.Struct("<I")

#: A point without its checksum: ``pack_point(step, milliseconds, value, series)``.
pack_point = struct.Struct("<qqdI").pack
#: A slot from its first 28 bytes and its checksum.
seal = struct.Struct("<28sI").pack


class Kind(IntEnum):
    """What the payload of a record is, as MessagePack."""

    #: A `headrace.client.journal.records.Origin`: where the records go. First in each segment.
    ORIGIN = 1
    #: ``[number, run id, key]``: what a point's series number means in this segment.
    SERIES = 2
    #: A `headrace.protocol.ingest.AnyStep`.
    STEP = 3
    #: A `headrace.client.journal.records.StagedArtifact`: a file to upload.
    ARTIFACT = 4


def header(number: int, created: int) -> bytes:
    """The first slot of a segment."""
    slot = _HEADER.pack(_MAGIC, VERSION, number, created, 0)
    return seal(slot, crc32(slot, RESIDUE))


def read_header(slot: bytes) -> tuple[int, int]:
    """The version and number in a segment's first slot.

    Raises:
        ValueError: It is damaged, or not a journal.
    """
    if len(slot) < SLOT or slot[:8] != _MAGIC:
        raise ValueError("not a headrace journal")
    version: int = _HEADER.unpack_from(slot)[1]
    number: int = _HEADER.unpack_from(slot)[2]
    if crc32(slot[:SLOT], RESIDUE) != RESIDUE:
        raise ValueError("its header is damaged")
    return version, number


def record(kind: Kind, payload: bytes) -> bytes:
    """A record that is no point."""
    head = _HEAD.pack(len(payload), kind, 0, _MARK)
    slot = seal(head, crc32(head, RESIDUE))
    if not payload:
        return slot
    padded = payload + bytes(-(len(payload) + 4) % SLOT)
    return slot + padded + _CRC.pack(crc32(padded, RESIDUE))


def size_of(length: int) -> int:
    """Bytes that a record with a payload of this length takes."""
    return SLOT + (-(-(length + 4) // SLOT) * SLOT if length else 0)


def read_head(slot: bytes) -> tuple[int, int]:
    """The kind and the payload's length in the head of a record that is no point."""
    length, kind, _, _ = _HEAD.unpack_from(slot)
    return kind, length
