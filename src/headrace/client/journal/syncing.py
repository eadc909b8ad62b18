"""Shipping journals from wherever they lie: what ``headrace sync`` does."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from headrace.client.journal.destination import Destination
from headrace.client.journal.directory import claim
from headrace.client.journal.reader import segments
from headrace.client.journal.records import Origin
from headrace.client.journal.shipping import Shipment, Watcher
from headrace.client.journal.sources import DAMAGED, REJECTED, STAGED, Stored, origin_of, remove
from headrace.errors import HeadraceError, Unavailable
from headrace.protocol.ingest import Rejection

if TYPE_CHECKING:
    from headrace.client.transfer import Progress

#: How often a request is repeated before a store counts as away.
_RETRIES = 3
_INSIDE = (STAGED, DAMAGED, REJECTED, "console")


class Synced(msgspec.Struct, kw_only=True):
    """What became of journals.

    Attributes:
        journals: Number of those that were shipped.
        runs: Ids of the runs that something was shipped for.
        points: Metric points.
        records: Other records but artifacts.
        artifacts: Files.
        rejected: Things that the store refused.
        damaged: Segments that could not be read to their end.
        live: Journals that were skipped because their process runs.
        left: Journals that were not shipped whole, with the reason.
    """

    journals: int = 0
    runs: set[str] = msgspec.field(default_factory=set)
    points: int = 0
    records: int = 0
    artifacts: int = 0
    rejected: int = 0
    damaged: int = 0
    live: list[str] = msgspec.field(default_factory=list)
    left: dict[str, str] = msgspec.field(default_factory=dict)

    @property
    def complete(self) -> bool:
        """Whether all that is in the journals has arrived."""
        return not (self.left or self.rejected or self.damaged)


def find_journals(place: Path) -> Iterator[Path]:
    """The journals in a folder at any depth, or the folder itself when it is one."""
    for folder, names, _ in os.walk(place):
        names[:] = sorted(name for name in names if name not in _INSIDE)
        if any(segments(Path(folder))):
            names.clear()
            yield Path(folder)


class Sync:
    """Ships journals to where they belong, or to one store."""

    def __init__(
        self,
        uri: str | None = None,
        *,
        keep: bool = False,
        tell: Callable[[str], None],
        begin: Callable[[Path, int], Callable[[int], None]] | None = None,
        progress: Progress | None = None,
    ) -> None:
        """Prepare.

        Args:
            uri: The store; None: for each journal the one that it names.
            keep: Remove nothing.
            tell: Told about what cannot be shipped.
            begin: Called with a journal and its size in bytes; what it gives is called with the number
                of bytes that are done.
            progress: Told about uploads.
        """
        self._uri = uri
        self._keep = keep
        self._tell = tell
        self._begin = begin
        self._progress = progress
        self._destinations: dict[str, Destination] = {}
        self._away: dict[str, str] = {}

    def run(self, places: Iterable[Path]) -> Synced:
        """Ship what is in some folders now."""
        found = Synced()
        self._away.clear()
        seen: set[Path] = set()
        for place in places:
            for folder in find_journals(place):
                seen.add(folder.resolve())
        # A run that began in one journal may go on in a later one, which must find it at the store.
        for folder in sorted(seen, key=lambda one: (_made(one), one)):
            self._one(folder, found)
        return found

    def close(self) -> None:
        """Let go of the stores."""
        for destination in self._destinations.values():
            destination.close()

    def _one(self, folder: Path, found: Synced) -> None:
        try:
            origin = origin_of(folder)
        except (HeadraceError, OSError) as error:
            found.left[str(folder)] = str(error)
            return
        if origin is None and _is_empty(folder):
            return
        lock = claim(folder)
        writable = os.access(folder, os.W_OK)
        if lock is None and writable:
            if folder.exists():
                found.live.append(str(folder))
            return
        try:
            if origin is None:
                self._quarantine(folder, found, keep=self._keep or lock is None)
            else:
                self._ship(folder, origin, found, keep=self._keep or not writable)
        finally:
            if lock is not None:
                os.close(lock)

    def _ship(self, folder: Path, origin: Origin, found: Synced, *, keep: bool) -> None:
        uri = self._uri or origin.uri
        if uri in self._away:
            found.left[str(folder)] = self._away[uri]
            return
        destination = self._destinations.setdefault(uri, Destination(uri, _RETRIES))
        source = Stored(folder, origin, keep=keep)
        shipment = Shipment(source, destination, watcher=_Told(self._tell), progress=self._progress)
        sizes = {one.number: one.position for one in source.segments()}
        report = self._begin(folder, sum(sizes.values())) if self._begin else None
        try:
            while shipment.step():
                if report is not None:
                    number, offset = shipment.position >> 32, shipment.position & 0xFFFFFFFF
                    before = sum(size for one, size in sizes.items() if one < number)
                    report(before + offset)
        except (HeadraceError, OSError) as error:
            reason = getattr(error, "message", None) or str(error)
            found.left[str(folder)] = reason
            if destination.native is None or isinstance(error, Unavailable):
                self._away[uri] = reason
        else:
            if not shipment.at_end:
                found.left[str(folder)] = "it is an incomplete copy"
            elif not keep:
                source.finish_all()
                remove(folder)
        finally:
            source.close()
            if report is not None:
                report(sum(sizes.values()))
        totals = shipment.totals
        found.journals += 1
        found.runs |= totals.runs
        found.points += totals.points
        found.records += totals.steps
        found.artifacts += totals.artifacts
        found.rejected += totals.rejected
        found.damaged += totals.damaged

    def _quarantine(self, folder: Path, found: Synced, *, keep: bool) -> None:
        """Nothing says where a journal belongs: the beginning of every segment is damaged."""
        found.damaged += len(segments(folder))
        self._tell(
            f"The journal {folder} is damaged from its beginning: nothing in it can be read."
        )
        if not keep:
            (folder / DAMAGED).mkdir(exist_ok=True)
            for _, path in segments(folder):
                path.rename(folder / DAMAGED / path.name)


class _Told(Watcher):
    """Passes on what there is to say."""

    def __init__(self, tell: Callable[[str], None]) -> None:
        self._tell = tell

    def rejected(self, rejection: Rejection) -> None:
        self._tell(
            f"Run {rejection.run_id}: {rejection.what} was not recorded: {rejection.message}"
        )

    def complain(self, message: str) -> None:
        self._tell(message)


def _made(folder: Path) -> int:
    """When a journal was begun; what cannot be read comes first, to be told of."""
    try:
        origin = origin_of(folder)
    except (HeadraceError, OSError):
        return 0
    return 0 if origin is None else origin.made


def _is_empty(folder: Path) -> bool:
    """Whether no segment was ever written to: its process was killed when it began."""
    for _, path in segments(folder):
        with contextlib.suppress(FileNotFoundError), path.open("rb") as stream:
            while chunk := stream.read(1 << 20):
                if chunk.strip(b"\0"):
                    return False
    return True
