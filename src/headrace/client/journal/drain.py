"""The drain: a thread that ships what its process logs, and what dead processes left."""

from __future__ import annotations

import logging
import queue
import random
import threading
import time
from collections import deque
from collections.abc import Callable

from headrace.client.environment import number
from headrace.client.journal.adoption import Adoption
from headrace.client.journal.cutting import position
from headrace.client.journal.destination import Destination
from headrace.client.journal.listening import Listener
from headrace.client.journal.shipping import Shipment, Watcher
from headrace.client.journal.sources import Live
from headrace.client.journal.writer import Writer
from headrace.errors import (
    HeadraceError,
    InternalError,
    PermissionDenied,
    Unauthenticated,
)
from headrace.protocol.ingest import Batch, Ingested, Rejection

_log = logging.getLogger("headrace")

#: Seconds between two looks at the journal.
_INTERVAL = 0.25
#: Seconds until a store that is away is asked again: at first, and at most.
_SOON, _LATE = 0.2, 15.0
#: Seconds without any answer after which nobody waits for a store, unless for a time that they said.
_STUCK = 15.0
#: Seconds between two looks for journals of dead processes.
_LOOK = 30.0
_KEPT_REJECTIONS = 1000

_HEARTBEAT = 15.0
_LOST_AFTER = 90.0


def accepted(writer: Writer) -> int:
    """Position up to which a journal was written."""
    segment = writer.current
    if not segment.number:  # no room anywhere: what is lost is counted, not waited for
        segments = writer.segments
        if not segments:
            return 0
        segment = max(segments, key=lambda one: one.number)
    return position(segment.number, segment.position)


class _Waiter:
    """Somebody who waits until a position has arrived, or until it is known that it cannot now."""

    def __init__(self, goal: int, patient: bool) -> None:
        self.goal = goal
        self.patient = patient
        # Its put cannot be interrupted halfway by a signal handler that comes here as well.
        self.answer: queue.SimpleQueue[bool] = queue.SimpleQueue()


class Drain(Watcher):
    """Ships one writer's journal to one store.

    Attributes:
        done: Position up to which everything has arrived.
        before: Called before each look at the journal.
        listener: Hears that runs are to stop.
        rejections: What the store could not apply.
    """

    def __init__(self, writer: Writer, destination: Destination) -> None:
        """Prepare; `start` begins.

        Args:
            writer: Whose journal.
            destination: Where to.
        """
        self.done = accepted(writer)  # its origin alone
        self.before: list[Callable[[], None]] = []
        self.rejections: deque[Rejection] = deque(maxlen=_KEPT_REJECTIONS)
        self.destination = destination
        self._writer = writer
        self._heartbeat = max(number("HEARTBEAT_SECONDS", _HEARTBEAT), 0.1)
        self.listener = Listener(destination, self._heartbeat)
        silence = max(number("LOST_AFTER", _LOST_AFTER), 2 * self._heartbeat)
        self._shipment = Shipment(
            Live(writer),
            destination,
            watcher=self,
            alive=self._due,
            silence=int(silence * 1000),
        )
        self._adoption = Adoption(writer, destination)
        self._alive: dict[str, None] = {}
        self._beaten = 0.0
        self._waiters: list[_Waiter] = []
        self._wake: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._stopping = False
        self._thread: threading.Thread | None = None
        self._tries = 0
        self._retry_at = 0.0
        self._away = False
        self._sent_before = 0
        self._complained: set[str] = set()
        self._look_at = 0.0
        self._heard = 0.0
        self._stuck = False

    # For other threads.

    def start(self) -> None:
        """Begin, unless that was done."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="headrace-drain", daemon=True)
            try:
                self._thread.start()
            except RuntimeError:  # the interpreter is ending, or there are too many threads
                self._thread = None

    def stop(self, timeout: float) -> bool:
        """End; whether it did in that time."""
        self._stopping = True
        self._wake.put(None)
        if self._thread is not None:
            self._thread.join(timeout)
            return not self._thread.is_alive()
        return True

    def begin(self, run_id: str) -> None:
        """Send signs of life for a run from now on."""
        self._alive[run_id] = None  # one step, because other threads begin and end runs as well
        self._beaten = 0.0

    def end(self, run_id: str) -> None:
        """Send none any more."""
        self._alive.pop(run_id, None)

    @property
    def watches(self) -> bool:
        """Whether there are runs that signs of life are sent for."""
        return bool(self._alive)

    def wait(self, goal: int, timeout: float | None) -> bool:
        """Wait until a position has arrived.

        Args:
            goal: The position.
            timeout: Seconds; None waits until it has arrived or the store is known to be away, or does
                not answer.
        """
        if self.done >= goal:
            return True
        waiter = _Waiter(goal, timeout is not None)
        self._waiters.append(waiter)
        self.start()
        try:
            if self._thread is None:
                return self._drain_here(goal, timeout)
            self._wake.put(None)
            if timeout is None:
                return self._patiently(waiter)
            return waiter.answer.get(timeout=timeout)
        except queue.Empty:
            return self.done >= goal
        finally:
            self._waiters.remove(waiter)

    def _patiently(self, waiter: _Waiter) -> bool:
        """Wait as long as the store shows signs of life."""
        begun = time.monotonic()
        while True:
            # A store that was found stuck before is not waited for once more.
            since = self._heard if self._stuck else max(begun, self._heard)
            try:
                left = since + _STUCK - time.monotonic()
                return waiter.answer.get(timeout=min(max(left, 0.1), 1.0))
            except queue.Empty:
                if left <= 0:
                    self._stuck = True
                    self.destination.reachable = False
                    raise

    def connect(self, timeout: float) -> bool | None:
        """Wait until it is known what kind of store it is; None if that is not known in time."""
        if not self.destination.reachable:
            self.wait(_NEVER, timeout)
        return self.destination.native if self.destination.reachable else None

    def remains(self) -> int:
        """Number of records that wait."""
        return self._shipment.remains()

    def adopt(self, deadline: float) -> None:
        """Ship what dead processes left, until then at the latest; only when the thread has ended."""
        try:
            self._adoption.look()
            while time.monotonic() < deadline and self._adoption.step():
                pass
        except (HeadraceError, OSError) as error:
            _log.debug("Journals of other processes wait: %s", error)
        finally:
            self._adoption.close()

    # The thread.

    def _run(self) -> None:
        while not self._stopping:
            busy = self._turn()
            if busy:
                continue
            pause = _INTERVAL
            if self._tries:
                pause = min(max(self._retry_at - time.monotonic(), 0.01), 1.0)
            try:
                self._wake.get(timeout=pause)
                while True:
                    self._wake.get_nowait()
            except queue.Empty:
                pass
            if self._waiters:
                self._retry_at = 0.0

    def _drain_here(self, goal: int, timeout: float | None) -> bool:
        """Without a thread, in the caller's."""
        deadline = time.monotonic() + (30.0 if timeout is None else timeout)
        while self.done < goal and time.monotonic() < deadline:
            if not self._turn() and (timeout is None or self._stopping):
                break
            if self._tries:
                time.sleep(0.05)
        return self.done >= goal

    def _turn(self) -> bool:
        """Do the next thing; whether there may be more to do at once."""
        self.collect()
        try:
            self._writer.prepare()
            if self._tries and time.monotonic() < self._retry_at:
                return False
            busy = self._ship()
        except (HeadraceError, OSError) as error:
            self._failed(error)
            return False
        except Exception as error:  # noqa: BLE001 - a defect must neither end the thread nor be silent
            if type(error).__name__ not in self._complained:
                self._complained.add(type(error).__name__)
                _log.exception("The drain of the journal failed; it tries again.")
            self._failed(error)
            return False
        self._answer()
        return busy

    def _ship(self) -> bool:
        goal = accepted(self._writer)
        due = bool(self._due())
        if self._shipment.step():
            self._succeeded()
            if due:
                self._beaten = time.monotonic()
            return True
        # Nothing was left when it looked, later than when the goal was taken.
        self.done = max(self.done, goal, self._shipment.position)
        self._succeeded()
        if self._away:
            self._say_back()
        if self._due():
            self._shipment.beat()
            self._beaten = time.monotonic()
        if self._stopping or self._waiters:
            return False
        self.listener.listen(tuple(self._alive))
        return self._adopt()

    def _adopt(self) -> bool:
        now = time.monotonic()
        if now >= self._look_at:
            self._look_at = now + _LOOK * random.uniform(0.8, 1.2)
            self._adoption.look()
        return self._adoption.step()

    def _due(self) -> tuple[str, ...]:
        """The runs, if it is time for a sign of life."""
        if self._alive and time.monotonic() - self._beaten >= self._heartbeat:
            return tuple(self._alive)
        return ()

    def collect(self) -> None:
        for hook in tuple(self.before):
            try:
                hook()
            except Exception as error:  # noqa: BLE001 - whatever it collects, points must be shipped
                name = f"{type(error).__name__} in {hook}"
                if name not in self._complained:
                    self._complained.add(name)
                    _log.warning("Collecting output failed: %s: %s", type(error).__name__, error)

    # What it says.

    def _succeeded(self) -> None:
        self._tries = 0
        self._heard, self._stuck = time.monotonic(), False
        self.done = max(self.done, self._shipment.position)
        self.destination.reachable = True

    def _failed(self, error: Exception) -> None:
        self._stuck = False
        self.destination.reachable = False
        self._shipment.disconnect()
        pause = min(_SOON * 2 ** min(self._tries, 10), _LATE) * random.uniform(0.5, 1.0)
        self._tries += 1
        self._retry_at = time.monotonic() + pause
        if not self._away:
            self._away = True
            self._sent_before = self._shipment.totals.records
            _log.warning(
                "%s Nothing stops: what is logged %s and is sent when the store is back%s.",
                _sentence(error, self.destination.shown),
                f"is kept in {self._writer.folder}" if self._writer.folder else "is kept in memory",
                _remedy(error),
            )
        # Whoever waits has been told why by then.
        self._answer(away=True)

    def _say_back(self) -> None:
        sent = self._shipment.totals.records - self._sent_before
        self._away = False
        _log.warning(
            "%s is back; %s record%s sent.",
            self.destination.shown,
            f"{sent:,}",
            "" if sent == 1 else "s",
        )

    def _answer(self, *, away: bool = False) -> None:
        known = bool(self.destination.reachable)
        for waiter in tuple(self._waiters):
            if self.done >= waiter.goal:
                waiter.answer.put(True)
            elif (waiter.goal == _NEVER and (known or away)) or (away and not waiter.patient):
                waiter.answer.put(False)

    # As a watcher.

    def rejected(self, rejection: Rejection) -> None:
        self.rejections.append(rejection)
        super().rejected(rejection)

    def answered(self, batch: Batch, answer: Ingested) -> None:
        self.listener.answered(batch, answer, self._alive)

    def busy(self) -> None:
        self._heard = time.monotonic()
        self.collect()
        if self._due():
            try:
                self._shipment.beat()
            except (HeadraceError, OSError):
                return  # the upload will find out
            self._beaten = time.monotonic()


#: No position: wait only until it is known what kind of store it is.
_NEVER = 1 << 63


def _sentence(error: Exception, where: str) -> str:
    text = getattr(error, "message", None) or str(error) or type(error).__name__
    text = text.rstrip()
    return f"{where} does not take records now: {text}{'' if text.endswith('.') else '.'}"


def _remedy(error: Exception) -> str:
    if isinstance(error, Unauthenticated | PermissionDenied):
        return (
            "; set HEADRACE_TRACKING_USERNAME and HEADRACE_TRACKING_PASSWORD, or "
            "HEADRACE_TRACKING_TOKEN, and send the rest with 'headrace sync'"
        )
    if isinstance(error, InternalError):
        return "; see the server's log"
    return ""
