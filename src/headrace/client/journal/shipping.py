"""Shipping one journal: cut, send, go on; each record once, and none left out unseen."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from headrace.client.journal.cutting import Cut, Cutter, place, position
from headrace.client.journal.destination import Destination, Route
from headrace.client.journal.format import SLOT, Kind
from headrace.client.journal.reader import Damage, Payload, Points, records
from headrace.client.journal.records import StagedArtifact
from headrace.client.journal.sources import REJECTED, Source, Stretch, begin
from headrace.client.journal.staging import staged_file, unstage
from headrace.errors import (
    AlreadyExists,
    BadRequest,
    Conflict,
    HeadraceError,
    InvalidParameter,
    InvalidState,
    NotFound,
    RequestTooLarge,
    Unavailable,
)
from headrace.protocol.ingest import (
    AnyStep,
    Batch,
    Ingested,
    LogArtifacts,
    Rejection,
    StoredFile,
)
from headrace.protocol.runs import GetRun, Runs

if TYPE_CHECKING:
    from headrace.artifacts import ArtifactStore
    from headrace.client.transfer import Progress

_log = logging.getLogger("headrace")

#: What a store says of a batch that it will never take. Anything else may be another tomorrow.
_REFUSED = (InvalidParameter, BadRequest, NotFound, InvalidState, AlreadyExists, Conflict)
#: How often a store may say that it is elsewhere than was thought, until that makes no sense.
_MOVES = 20
#: Requests that are spent to find what is refused in one batch.
_BUDGET = 200


class Totals:
    """What was shipped."""

    def __init__(self) -> None:
        self.runs: set[str] = set()
        self.points = 0
        self.steps = 0
        self.artifacts = 0
        self.rejected = 0
        self.damaged = 0

    @property
    def records(self) -> int:
        """All of them."""
        return self.points + self.steps + self.artifacts


class Watcher:
    """Told what happens on the way. This one does nothing but write warnings."""

    def rejected(self, rejection: Rejection) -> None:
        """The store cannot apply something, and never will."""
        _log.warning(
            "Run %s: %s was not recorded: %s",
            rejection.run_id,
            rejection.what,
            rejection.message,
        )

    def complain(self, message: str) -> None:
        """Something of the journal cannot be shipped."""
        _log.warning("%s", message)

    def answered(self, batch: Batch, answer: Ingested) -> None:
        """The store has answered."""

    def busy(self) -> None:
        """A file is being uploaded, and that may take a while."""


class _Moved(Exception):
    def __init__(self, to: int) -> None:
        self.to = to


class Shipment:
    """A journal on its way to a store.

    Used by one thread at a time.

    Attributes:
        position: Everything before has arrived, or was set aside.
        totals: What has arrived since this began; counted again where it is sent again.
        growing: More may come where a copy, or a journal that is being written, ends.
        at_end: Everything that is there was shipped.
    """

    def __init__(
        self,
        source: Source,
        destination: Destination,
        *,
        watcher: Watcher | None = None,
        alive: Callable[[], tuple[str, ...]] = tuple,
        silence: int = 90_000,
        progress: Progress | None = None,
    ) -> None:
        """Begin; nothing happens yet.

        Args:
            source: The journal.
            destination: The store.
            watcher: Told about what cannot be shipped.
            alive: Gives the runs to send signs of life for with the next batch.
            silence: Milliseconds after which these count as lost.
            progress: Told about uploads.
        """
        self.position = 0
        self.totals = Totals()
        self.growing = False
        self.at_end = True
        self._source = source
        self._destination = destination
        self._watcher = watcher or Watcher()
        self._alive = alive
        self._silence = silence
        self._progress = progress
        self._route: Route | None = None
        self._cutter: Cutter | None = None
        self._artifacts: dict[str, ArtifactStore] = {}
        self._seen: set[tuple[str, str]] = set()
        self._confirmed = 0

    def disconnect(self) -> None:
        """Ask the store anew how far it is, before anything else is sent."""
        self._route = None

    def remains(self) -> int:
        """Number of records that were not shipped yet; reads them."""
        count = 0
        number, offset = place(self.position)
        for segment in self._source.segments():
            start = offset if segment.number == number and offset > SLOT else SLOT
            if segment.number < number:
                continue
            for one in records(segment.read, start, segment.position, whole=self._source.whole):
                if isinstance(one, Points):
                    count += len(one.data) // SLOT
                elif isinstance(one, Payload):
                    count += one.kind in (Kind.STEP, Kind.ARTIFACT)
        return count

    def beat(self) -> None:
        """Send a sign of life of the runs."""
        self._connect()
        if self._destination.native:
            self._ingest(
                Batch(
                    writer=self._source.writer,
                    start=self.position,
                    end=self.position,
                    alive=self._alive(),
                    silence=self._silence,
                )
            )

    def step(self) -> bool:
        """Ship the next stretch; False when there is none now.

        Raises:
            HeadraceError: The store cannot take it now; nothing is lost, call again later.
            OSError: A file cannot be read, or written, now.
            Unsupported: A newer headrace wrote it.
        """
        for _ in range(_MOVES):
            self._connect()
            cut = self._next()
            if cut is None:
                return False
            try:
                self._deliver(cut)
            except _Moved as moved:
                self._seek(moved.to)
                continue
            except BaseException:  # raised again: it is cut anew then
                self._back_to(max(cut.start, self.position))
                raise
            return True
        raise Unavailable(
            f"{self._destination.shown} does not say how far it is, but ever new places."
        )

    def _connect(self) -> None:
        if self._route is not None:
            return
        start = self._first()
        reached = self._destination.connect(self._source.writer, start)
        route = self._destination.route(self._source.folder)
        reached = route.reached(reached)
        self._route = route
        if reached < self._confirmed:
            self._watcher.complain(
                f"The store at {self._destination.shown} has less of what was logged than it had "
                "(was it restored from a backup?). What is still in the journal is sent again."
            )
            self._confirmed = reached
        if reached != start:
            self._seek(reached)

    def _first(self) -> int:
        """Position of the next record to be sent."""
        if self._cutter is not None:
            return position(self._cutter.number, self._cutter.at)
        if self.position:
            return self.position
        segments = self._source.segments()
        return position(segments[0].number, SLOT) if segments else position(1, SLOT)

    # Cutting.

    def _next(self) -> Cut | None:
        """The next stretch with something in it."""
        while True:
            segment = self._segment()
            if segment is None:
                return None
            cutter = self._cutter
            assert cutter is not None
            sealed = segment.sealed  # before the position, which may grow until then
            stop = segment.position
            if cutter.damage is None and cutter.at < stop:
                cut = cutter.cut(stop, whole=self._source.whole)
                if not cut.empty:
                    return cut
                self.position = max(self.position, cut.end)
            if cutter.damage is not None:
                if self._source.live and segment is self._source.segments()[-1]:
                    self.growing = True  # caught in the middle of a write
                    cutter.damage = None
                    return None
                self._set_aside(segment, cutter.damage)
            elif not sealed:
                return None
            elif self._source.complete(segment.number, cutter.at):
                self._source.finish(segment.number)
            else:
                self.growing = True
                self.at_end = segment is self._source.segments()[-1]
                if not self._source.live and not self.at_end:
                    self._watcher.complain(
                        f"{self._source.folder} is a copy that was made while its process was writing: "
                        f"the rest of segment {segment.number} is missing. Copy it again."
                    )
                return None
            self._cutter = None

    def _segment(self) -> Stretch | None:
        """The segment that is cut now."""
        segments = self._source.segments()
        if self._cutter is None:
            number, _ = place(self.position)
            segment = next((one for one in segments if one.number >= number), None)
            if segment is not None:
                self._cutter = Cutter(segment.number, segment.read)
                self._cutter.damage = begin(segment, whole=self._source.whole)
                at, offset = place(self.position)
                if at == segment.number and offset > SLOT:
                    self._cutter.skip_to(offset, segment.position, whole=self._source.whole)
            return segment
        number = self._cutter.number
        return next((one for one in segments if one.number == number), None)

    def _set_aside(self, segment: Stretch, damage: Damage) -> None:
        kept = self._source.set_aside(segment.number)
        self.totals.damaged += 1
        self._watcher.complain(
            f"Segment {segment.number} of the journal {self._source.folder or self._source.writer} is "
            f"damaged at byte {damage.start:,} ({damage.reason}): {damage.lost:,} bytes could not be "
            "read. What was logged before, and in other segments, is not affected."
            + (f" The file is kept as {kept}." if kept else "")
        )

    def _back_to(self, start: int) -> None:
        if self._cutter is not None and self._cutter.number == place(start)[0]:
            self._cutter.skip_to(place(start)[1], 0, whole=self._source.whole)

    def _seek(self, to: int) -> None:
        """Go on from where the store is, as far as that is still here."""
        for segment in self._source.segments():
            if segment.number < place(to)[0] and segment.sealed:
                self._source.finish(segment.number)
        self._cutter = None
        self.position = to

    # Sending.

    def _deliver(self, cut: Cut) -> None:
        # What passes through a server's proxy, the server tells itself.
        stored = [one for one in cut.artifacts if self._upload(one)]
        told = _stored_files(self._source.folder, stored)
        if cut.unreadable is not None:
            self._reject(cut, cut.unreadable.reason, cut.unreadable.data)
        self._send(cut, [_BUDGET], told)
        for artifact in cut.artifacts:
            if not self._source.keep:
                unstage(staged_file(self._source.folder, artifact))

    def _send(self, cut: Cut, budget: list[int], more: tuple[AnyStep, ...] = ()) -> None:
        batch = cut.batch(self._source.writer, self._alive(), self._silence)
        if more:
            batch = msgspec.structs.replace(batch, operations=(*batch.operations, *more))
        try:
            self._ingest(batch)
        except RequestTooLarge as error:
            if cut.points + cut.steps < 2:
                self._leave_out(cut, batch, error)
                return
        except _REFUSED as error:
            if budget[0] == _BUDGET:
                self._check_content(cut, error)
            budget[0] -= 1
            if cut.points + cut.steps < 2 or budget[0] <= 0:
                self._leave_out(cut, batch, error)
                return
        else:
            self._arrived(cut, batch)
            return
        for half in cut.split():
            self._send(half, budget)

    def _ingest(self, batch: Batch) -> None:
        assert self._route is not None
        answer = self._route.ingest(batch)
        self._watcher.answered(batch, answer)
        for rejection in answer.rejected:
            key = (rejection.run_id, rejection.what)
            self.totals.rejected += 1
            if key not in self._seen:
                if len(self._seen) < 10_000:
                    self._seen.add(key)
                self._watcher.rejected(rejection)
        if batch.start < batch.end:
            if answer.position != batch.end:
                raise _Moved(answer.position)
            self._confirmed = batch.end

    def _arrived(self, cut: Cut, batch: Batch) -> None:
        self.position = cut.end
        self.totals.points += cut.points
        self.totals.steps += cut.steps
        self.totals.artifacts += len(cut.artifacts)
        self.totals.runs.update([one.run_id for one in batch.series])
        self.totals.runs.update([one.run_id for one in batch.operations])
        self.totals.runs.update([one.run_id for one in cut.artifacts])

    def _check_content(self, cut: Cut, error: HeadraceError) -> None:
        """Make sure that it is what a batch holds that is refused, and not every batch."""
        try:
            self._ingest(Batch(writer=self._source.writer, start=cut.start, end=cut.start))
        except _REFUSED:
            raise Unavailable(
                f"{self._destination.shown} refuses everything: {error.message}"
            ) from error

    def _leave_out(self, cut: Cut, batch: Batch, error: HeadraceError) -> None:
        """Keep what the store refuses in a file, and go past it."""
        content = msgspec.json.encode({"error": error.wire(), "batch": batch})
        self._reject(cut, error.message, content)
        empty = Batch(writer=self._source.writer, start=cut.start, end=cut.end)
        self._ingest(empty)
        self.position = cut.end

    def _reject(self, cut: Cut, reason: str, content: bytes) -> None:
        self.totals.rejected += 1
        number, offset = place(cut.start)
        kept: Path | None = None
        if self._source.folder is not None:
            try:
                folder = self._source.folder / REJECTED
                folder.mkdir(exist_ok=True)
                kept = folder / f"{number:06}-{offset:08x}"
                kept.write_bytes(content)
            except OSError:
                kept = None
        count = max(cut.points + cut.steps, 1)
        self._watcher.complain(
            f"{self._destination.shown} cannot take {count:,} record{'s' if count > 1 else ''} "
            f"({reason}). " + (f"They are kept in {kept}." if kept else "They are lost.")
        )

    # Files.

    def _upload(self, artifact: StagedArtifact) -> bool:
        """Upload a file; whether it went to where no server saw it."""
        from headrace.client.transfer import upload

        file = staged_file(self._source.folder, artifact)
        if not file.is_file():
            self._keep_file(artifact, file, "it is not in the journal any more")
            return False
        try:
            store = self._artifact_store(artifact.run_id)
            upload(store, file, artifact.path, _Watched(self._watcher, self._progress))
        except _REFUSED as error:
            self._keep_file(artifact, file, error.message)
            return False
        return not store.uri.startswith("mlflow-artifacts:")

    def _artifact_store(self, run_id: str) -> ArtifactStore:
        from headrace.client.artifacts import artifacts_at

        found = self._artifacts.get(run_id)
        if found is None:
            assert self._route is not None
            if len(self._artifacts) > 100:
                self._artifacts.clear()
            request = GetRun(run_id=self._route.run_id(run_id))
            info = self._destination.ask(Runs.get_run, request).run.info
            found = artifacts_at(info.artifact_uri, self._destination.store)
            self._artifacts[run_id] = found
        return found

    def _keep_file(self, artifact: StagedArtifact, file: Path, reason: str) -> None:
        where = ""
        if self._source.folder is not None and file.is_file() and not self._source.keep:
            folder = self._source.folder / REJECTED
            folder.mkdir(exist_ok=True)
            where = f" It is kept as {file.rename(folder / file.name)}."
        self.totals.rejected += 1
        self._watcher.complain(
            f"Run {artifact.run_id}: the file '{artifact.path}' was not uploaded: {reason}.{where}"
        )


def _stored_files(
    folder: Path | None, artifacts: Sequence[StagedArtifact]
) -> tuple[LogArtifacts, ...]:
    """What is told of files that were uploaded, by run."""
    runs: dict[str, list[StoredFile]] = {}
    for one in artifacts:
        size = staged_file(folder, one).stat().st_size
        runs.setdefault(one.run_id, []).append(StoredFile(path=one.path, size=size))
    return tuple(LogArtifacts(run_id=run, artifacts=tuple(files)) for run, files in runs.items())


class _Watched:
    """Lets signs of life go out during a long upload."""

    def __init__(self, watcher: Watcher, progress: Progress | None) -> None:
        self._watcher = watcher
        self._progress = progress
        self._next = time.monotonic() + 1

    def __call__(self, path: str, done: int, total: int) -> Any:
        if self._progress is not None:
            self._progress(path, done, total)
        if time.monotonic() > self._next:
            self._next = time.monotonic() + 1
            self._watcher.busy()
