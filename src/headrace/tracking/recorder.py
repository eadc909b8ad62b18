"""What a run of this process logs through: the journal, and the run's way into it."""

from __future__ import annotations

import itertools
import logging
import sys
from collections import deque
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple
from zlib import crc32

from headrace.client.base import RunOperations
from headrace.client.journal.format import RESIDUE, pack_point, seal
from headrace.client.journal.journals import Journal, journal_for
from headrace.client.journal.segment import Lane
from headrace.client.values import metric_value
from headrace.entities import KeyValue
from headrace.errors import InvalidParameter
from headrace.protocol.ingest import LogParams, SetTags, StartRun, Step
from headrace.protocol.limits import MAX_VALUE, check_key
from headrace.tracking.stopping import stopping

if TYPE_CHECKING:
    from headrace.tracking.active import ActiveRun

_log = logging.getLogger("headrace")

#: Points that are written to the journal with one call.
_GROUP = 1000
_INT64 = 2**63


class Point(NamedTuple):
    """One point: its time is in milliseconds since the Unix epoch."""

    key: str
    value: Any
    step: int
    time: int


class Recorder:
    """A run's way into the journal of its store. Thread-safe, and usable after a fork.

    Attributes:
        run: The run, when it was started in this process; else None.
        run_id: Its id.
        uri: The store.
        lane: Where points go. Taken afresh by `renew` when its ``write`` raises ValueError.
        shared: Other processes log to the run too.
        start: What creates the run, when it began in the journal.
    """

    __slots__ = ("_journal", "_params", "lane", "run", "run_id", "shared", "start", "uri")

    run: ActiveRun

    def __init__(self, uri: str, run_id: str, *, shared: bool = False) -> None:
        self.uri = uri
        self.run_id = run_id
        self.shared = shared
        self.start: StartRun | None = None
        self._journal: Journal = _heard(journal_for(uri))
        self.lane: Lane = self._journal.writer.lane(run_id)
        self._params: dict[str, str] = {}

    @property
    def journal(self) -> Journal:
        """The journal of this process."""
        journal = journal_for(self.uri)
        if journal is not self._journal:  # after a fork
            if self.start is not None:
                # The child's journal may arrive before the parent's, and must find the run.
                journal.step(self.start)
            self._journal = _heard(journal)
        return journal

    def renew(self, lane: Lane) -> None:
        """Take another lane, because this one is full, or was the parent's before a fork."""
        writer = self.journal.writer
        if lane.segment is writer.current:
            writer.turn(lane.segment)
        self.lane = writer.lane(self.run_id)

    def points(self, points: Iterable[Point]) -> None:
        """Journal points.

        Raises:
            InvalidParameter: A key, value, step or time that is none: no point of the call is logged,
                unless there are over 1000.
        """
        iterator = iter(points)
        while group := list(itertools.islice(iterator, _GROUP)):
            ready = []
            for point in group:
                if not -_INT64 <= point.step < _INT64:
                    raise InvalidParameter(
                        f"Invalid value for 'step': {point.step} does not fit 64 bits."
                    )
                if not 0 <= point.time < _INT64:
                    raise InvalidParameter(
                        f"Invalid value for 'timestamp': {point.time}; give milliseconds since the "
                        "Unix epoch."
                    )
                value = point.value
                if type(value) is not float:
                    later = on_device(point.key, value)
                    if later is not None:
                        check_key(point.key, "metric")
                        _waiting.append((self, point._replace(value=later)))
                        _resolve_in(self.journal)
                        continue
                    point = point._replace(value=metric_value(point.key, value))
                ready.append(point)
            self._write(ready)

    def _write(self, points: list[Point]) -> None:
        while True:
            lane = self.lane
            try:
                series, define = lane.series, self.journal.writer.define
                records = []
                for key, value, step, time in points:
                    number = series.get(key)
                    if number is None:
                        number = define(lane, key)
                    record = pack_point(step, time, value, number)
                    records.append(seal(record, crc32(record, RESIDUE)))
                lane.write(b"".join(records))
                return
            except ValueError:
                self.renew(lane)

    def step(self, step: Step) -> None:
        """Journal a step of the run."""
        self.journal.step(step)

    def params(self, params: Mapping[str, Any]) -> None:
        """Journal params.

        Raises:
            InvalidParameter: A key or value that is not acceptable, or a param that this process logged
                with another value. Nothing of the call is logged.
        """
        given = _text(params, "param")
        for key, value in given.items():
            before = self._params.get(key, value)
            if before != value:
                raise InvalidParameter(
                    f"Changing param values is not allowed. Param '{key}' of run '{self.run_id}' was "
                    f"already logged with value '{before[:200]}'; attempted to log '{value[:200]}'. "
                    "Start a new run, or log it under another key."
                )
        if given:
            self._params.update(given)
            self.step(LogParams(run_id=self.run_id, params=_pairs(given)))

    def tags(self, tags: Mapping[str, Any]) -> None:
        """Journal tags.

        Raises:
            InvalidParameter: A key or value that is not acceptable. Nothing of the call is logged.
        """
        given = _text(tags, "tag")
        if given:
            self.step(SetTags(run_id=self.run_id, tags=_pairs(given)))

    def future(self, synchronous: bool | None) -> RunOperations | None:
        """What a logging call returns: a `RunOperations` when it was asked not to wait."""
        return RunOperations(self.journal.flush) if synchronous is False else None


def _heard(journal: Journal) -> Journal:
    """A journal whose store can have its runs stopped here."""
    if stopping.heard not in journal.on_stop:
        journal.on_stop.append(stopping.heard)
    return journal


def _text(values: Mapping[str, Any], noun: str) -> dict[str, str]:
    found = {}
    for name, value in values.items():
        key, text = str(name), str(value)
        check_key(key, noun)
        if len(text) > MAX_VALUE:
            raise InvalidParameter(
                f"The value of {noun} '{key}' has {len(text)} characters; at most {MAX_VALUE} are "
                "allowed. Log it as an artifact instead."
            )
        if "\x00" in text or "\x00" in key:
            raise InvalidParameter(
                f"The {noun} '{key}' holds a NUL character, which no store can keep; remove it."
            )
        found[key] = text
    return found


def _pairs(values: Mapping[str, str]) -> tuple[KeyValue, ...]:
    return tuple(KeyValue(key, value) for key, value in values.items())


#: Types whose values `pack_point` takes as they are; NumPy's scalars join them when they are met.
PLAIN: set[type] = {float, int, bool}


def quick(value: Any) -> float:
    """A value of NumPy or of PyTorch's CPU as a float, as fast as that goes.

    Raises:
        TypeError: It is something else, and has to take the long way.
    """
    kind = type(value)
    if kind.__module__ == "numpy":
        numpy = sys.modules["numpy"]
        if issubclass(kind, numpy.floating | numpy.integer | numpy.bool_):
            PLAIN.add(kind)
            return float(value)
        if kind is numpy.ndarray and value.size == 1:
            return float(value.item())
    elif kind.__module__ == "torch" and value.is_cpu and value.numel() == 1:
        return float(value.item())
    raise TypeError


# Values that live on an accelerator. Asking one for its number waits until everything that was queued
# before is computed, which would cost the training loop more than all else here together. So the value
# is kept as it is now, and the background thread asks. Only these few are not in the journal yet when
# the call returns.

_waiting: deque[tuple[Recorder, Point]] = deque()


def on_device(key: str, value: Any) -> Any:
    """A value that has to be waited for, kept from changing; None for every other value.

    Raises:
        InvalidParameter: It has more than one element.
    """
    kind = type(value)
    module = kind.__module__.partition(".")[0]
    if module == "torch":
        if value.device.type == "cpu":
            return None
        elements = value.numel()
        kept = value.detach().clone() if elements == 1 else value
    elif module in ("jax", "jaxlib", "tensorflow", "cupy"):
        if not hasattr(value, "shape"):
            return None
        elements = 1
        for length in value.shape:
            elements *= length
        kept = value.copy() if module == "cupy" else value  # the others cannot be changed in place
    else:
        return None
    if elements != 1:
        raise InvalidParameter(
            f"Invalid value for metric '{key}': a {kind.__name__} of {elements} elements is not a number. "
            "Give a number, or an array of one element."
        )
    return kept


def _resolve_in(journal: Journal) -> None:
    if resolve not in journal.before_flush:
        journal.before_flush.append(resolve)


def resolve() -> None:
    """Journal the values that had to be waited for."""
    while _waiting:
        recorder, point = _waiting.popleft()
        try:
            value = metric_value(point.key, point.value)
        except InvalidParameter as error:
            _log.warning("Run %s: a point is lost. %s", recorder.run_id, error)
        else:
            recorder._write([point._replace(value=value)])


class _Recorders:
    """Recorders of runs that are logged to by id, without being started here."""

    def __init__(self) -> None:
        self.by_id: dict[tuple[str, str], Recorder] = {}

    def get(self, uri: str, run_id: str) -> Recorder:
        """The recorder for a run of a store."""
        found = self.by_id.get((uri, run_id))
        if found is None:
            if len(self.by_id) > 10_000:
                self.by_id.clear()
            found = self.by_id.setdefault((uri, run_id), Recorder(uri, run_id))
        return found


recorders = _Recorders()
