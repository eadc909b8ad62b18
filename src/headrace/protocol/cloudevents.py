"""Rows of the event log as CloudEvents 1.0, in JSON.

Format: https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/formats/json-format.md. A row's data is
JSON already and is passed on as it is: a replay encodes hundreds of thousands of events a second.
"""

from __future__ import annotations

import datetime
import functools
import time
from collections.abc import Iterable
from typing import NamedTuple

import msgspec

from headrace.entities import Event
from headrace.protocol.events import CloudEvent

_text = msgspec.json.Encoder().encode


class Row(NamedTuple):
    """A row of the event log, as it is kept.

    Attributes:
        seq: Its number.
        time: Milliseconds since the Unix epoch.
        type: What happened.
        subject: To what.
        actor: Who did it; empty when unknown.
        experiment_id: Number of the experiment that the change belongs to, None when to none.
        data: A JSON object.
    """

    seq: int
    time: int
    type: str
    subject: str
    actor: str
    experiment_id: int | None
    data: str


def source_of(log_id: str) -> str:
    """The ``source`` of a log's events.

    Args:
        log_id: The log's UUID.
    """
    return f"urn:headrace:{log_id}"


def encode_event(row: Row, source: str) -> bytes:
    """A row as a CloudEvent in JSON."""
    seq, moment, type, subject, actor, experiment, data = row
    more = ""
    if actor:
        more = f',"actor":{_quoted(actor)}'
    if experiment is not None:
        more += f',"experimentid":"{experiment}"'
    return (
        f'{{"specversion":"1.0","id":"{seq}","source":"{source}","type":"{type}",'
        f'"subject":{_quoted(subject)},"time":"{rfc3339(moment)}","datacontenttype":"application/json",'
        f'"workspace":"default"{more},"data":{data}}}'
    ).encode()


def encode_page(rows: Iterable[Row], source: str, *, next: int, last: int, oldest: int) -> bytes:
    """A stretch of the log as `headrace.protocol.events.EventPage` in JSON."""
    events = b",".join([encode_event(row, source) for row in rows])
    ends = f'"next":{next},"last":{last},"oldest":{oldest}}}'.encode()
    return b'{"events":[' + events + b"]," + ends


def event_of(given: CloudEvent) -> Event:
    """An event from its CloudEvents form."""
    return Event(
        seq=int(given.id),
        time=_milliseconds(given.time),
        type=given.type,
        subject=given.subject,
        actor=given.actor,
        experiment_id=given.experimentid,
        source=given.source,
        data=given.data,
    )


def cloud_event_of(event: Event) -> CloudEvent:
    """The CloudEvents form of an event; the inverse of `event_of`."""
    return CloudEvent(
        specversion="1.0",
        id=str(event.seq),
        source=event.source,
        type=event.type,
        subject=event.subject,
        time=rfc3339(event.time),
        datacontenttype="application/json",
        workspace="default",
        actor=event.actor,
        experimentid=event.experiment_id,
        data=event.data,
    )


def rfc3339(moment: int) -> str:
    """Milliseconds since the Unix epoch as ``2026-11-25T22:32:11.123Z``."""
    return f"{_second(moment // 1000)}.{moment % 1000:03d}Z"


@functools.lru_cache(maxsize=64)  # events come by the thousand a second
def _second(moment: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(moment))


@functools.lru_cache(maxsize=4096)
def _quoted(text: str) -> str:
    return _text(text).decode()


def _milliseconds(text: str) -> int:
    # Written by `rfc3339`; fromisoformat reads it in 0.2 µs.
    return round(datetime.datetime.fromisoformat(text).timestamp() * 1000)
