"""Journals of processes that died: whoever logs to the same store ships them."""

from __future__ import annotations

import contextlib
import logging
import os
from pathlib import Path

from headrace.client.journal.destination import Destination
from headrace.client.journal.directory import LOCK, claim, journal_directory, journals
from headrace.client.journal.records import Origin
from headrace.client.journal.shipping import Shipment
from headrace.client.journal.sources import Stored, origin_of, remove
from headrace.client.journal.writer import Writer
from headrace.errors import Unsupported

_log = logging.getLogger("headrace")


class Adoption:
    """Looks for journals that were left behind, and ships them piece by piece."""

    def __init__(self, writer: Writer, destination: Destination) -> None:
        """Prepare; nothing happens yet.

        Args:
            writer: This process's, whose own journal is not touched.
            destination: Only journals with the same one are shipped.
        """
        self._own = writer.folder
        self._destination = destination
        self._waiting: list[Path] = []
        self._not_ours: set[str] = set()
        self._current: tuple[Path, int, Stored, Shipment] | None = None

    def look(self) -> None:
        """Find out which journals there are."""
        if self._own is not None:
            directory = self._own.parent
        else:
            try:
                directory = journal_directory()
            except OSError:
                return
        self._waiting = [
            folder
            for folder in journals(directory)
            if folder != self._own and folder.name not in self._not_ours
        ]
        # The oldest is taken first: a run that began in one journal may go on in a later one.
        self._waiting.sort(key=_begun, reverse=True)

    def step(self) -> bool:
        """Ship one stretch of one journal; whether there may be more to do.

        Raises:
            HeadraceError: The store cannot take it now; nothing is lost.
            OSError: A journal cannot be read now.
        """
        if self._current is None and not self._take():
            return False
        assert self._current is not None
        folder, _, _, shipment = self._current
        try:
            if shipment.step():
                return True
        except Unsupported as error:
            _log.warning("The journal %s is left as it is: %s.", folder, error.message.rstrip("."))
            self._not_ours.add(folder.name)
        except BaseException:  # raised again; somebody may have more luck
            self.close()
            raise
        else:
            remove(folder)
            # It stays if something in it is kept for a person: no reason to come here again.
            self._not_ours.add(folder.name)
            _log.info(
                "Sent what another process left in %s: %d records.", folder, shipment.totals.records
            )
        self.close()
        return True

    def _take(self) -> bool:
        """Claim the next journal that is ours to ship."""
        while self._waiting:
            folder = self._waiting.pop()
            try:
                origin = origin_of(folder)
            except Unsupported:
                self._not_ours.add(folder.name)
                continue
            except OSError:
                continue
            if origin is None:
                continue  # just begun, or damaged from the start: `headrace sync` says so
            if origin.uri != self._destination.shown or not _is_this_machines(folder, origin):
                self._not_ours.add(folder.name)
                continue
            lock = claim(folder)
            if lock is None:
                continue  # its process lives
            source = Stored(folder, origin)
            self._current = (folder, lock, source, Shipment(source, self._destination))
            return True
        return False

    def close(self) -> None:
        """Let go of the journal that is being shipped; another process may go on."""
        if self._current is not None:
            _, lock, source, _ = self._current
            self._current = None
            source.close()
            with contextlib.suppress(OSError):
                os.close(lock)


def _begun(folder: Path) -> float:
    try:
        return (folder / LOCK).stat().st_mtime
    except OSError:
        return 0.0


def _is_this_machines(folder: Path, origin: Origin) -> bool:
    """Copies that somebody put here are for ``headrace sync``: more of them may come."""
    from headrace.client.journal.sources import is_copy

    return not is_copy(folder, origin)
