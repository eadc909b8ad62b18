"""The JetStream stream that a bridge publishes to: made, checked, and asked for the place in the log."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from headrace.errors import InvalidParameter, InvalidState

if TYPE_CHECKING:  # an extra: headrace.events.bridges.nats imports it when it connects
    from nats.js import JetStreamContext
    from nats.js.api import RawStreamMsg, StreamConfig

#: Says which event a message is: ``<source>/<number>``. JetStream drops a second one within its window.
MSG_ID = "Nats-Msg-Id"

_STREAM = re.compile(r"[^\s.*>/\\\x00-\x1f]{1,255}")
_PREFIX = re.compile(r"[^\s.*>\x00-\x1f]+(\.[^\s.*>\x00-\x1f]+)*")
_NAME_IN_USE = 10058
_SUBJECTS_OVERLAP = 10065


class StreamOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Which stream, and how it is made where it is not there. One that is there is used as it is.

    Attributes:
        name: The stream's.
        prefix: An event is published on ``<prefix>.<type>``.
        replicas: In a cluster: servers that keep a copy of each message.
        max_age: Seconds that messages are kept; 0: for ever.
        max_bytes: Size at which the oldest messages go; 0: none.
        duplicate_window: Seconds within which JetStream drops a message with an id that it has seen.
    """

    name: str = "HEADRACE"
    prefix: str = "headrace.events"
    replicas: int = 1
    max_age: float = 0.0
    max_bytes: int = 0
    duplicate_window: float = 120.0

    def __post_init__(self) -> None:
        if not _STREAM.fullmatch(self.name):
            raise InvalidParameter(
                f"'{self.name}' is no name of a stream: give one without spaces and . * > / \\."
            )
        if not _PREFIX.fullmatch(self.prefix):
            raise InvalidParameter(
                f"'{self.prefix}' is no prefix of subjects: give words with dots between, such as headrace.events."
            )

    @property
    def subjects(self) -> str:
        """The subjects of all events, as a wildcard."""
        return f"{self.prefix}.>"


class Place(NamedTuple):
    """What a stream holds.

    Attributes:
        number: Of the last event in it; None when it holds none.
        source: Which log that event is from; empty when there is none.
        last_seq: The stream's number of the last message that it was ever given; 0 when none.
        forgotten: It held messages, and holds none now.
    """

    number: int | None
    source: str
    last_seq: int
    forgotten: bool


async def ensure_stream(stream: JetStreamContext, options: StreamOptions) -> None:
    """Make the stream where it is not there, and check one that is.

    Raises:
        InvalidState: The stream does not take our subjects or forgets what is read, or another stream takes
            our subjects.
    """
    from nats.js.errors import APIError, NotFoundError

    try:
        found = await stream.stream_info(options.name)
    except NotFoundError:
        try:
            found = await stream.add_stream(_config(options))
        except APIError as error:
            if error.err_code == _SUBJECTS_OVERLAP:
                raise InvalidState(
                    f"Another stream takes subjects that begin with {options.prefix}, so '{options.name}' cannot be "
                    "made: give that one with --stream, or another --subject-prefix."
                ) from error
            if error.err_code != _NAME_IN_USE:
                if error.code == 503:
                    raise  # not now
                raise InvalidState(
                    f"Stream '{options.name}' cannot be made: {error.description}. Make it yourself, or change "
                    "--replicas, --max-age or --max-bytes."
                ) from error
            found = await stream.stream_info(options.name)  # another bridge made it meanwhile
    _check(found.config, options)


async def read_place(stream: JetStreamContext, options: StreamOptions) -> Place:
    """How far the stream is. What is stored while this looks is either in the answer, or makes the stream's
    last number another one than the answer's.

    Raises:
        InvalidState: The last message on our subjects was published by somebody else.
    """
    while True:
        # First the number, then the message: the other way round, one that is stored between the two
        # would be counted and not seen.
        info = await stream.stream_info(options.name)
        last_seq = info.state.last_seq
        last = await _last_message(stream, options)
        if last is None:
            return Place(None, "", last_seq, bool(last_seq) and not info.state.messages)
        if last.seq is None or last.seq > last_seq:
            continue
        source, slash, number = (last.headers or {}).get(MSG_ID, "").rpartition("/")
        if not slash or not number.isascii() or not number.isdigit():
            raise InvalidState(
                f"Message {last.seq} of stream '{options.name}', on {last.subject}, is no event of headrace, so the "
                "place in the log cannot be read from the stream: give another --stream or --subject-prefix."
            )
        return Place(int(number), source, last_seq, False)


def takes(pattern: str, subjects: str) -> bool:
    """Whether a stream's subject takes everything that another pattern stands for.

    Args:
        pattern: With ``*`` for one word and, at its end, ``>`` for one and more.
        subjects: The same.
    """
    given, wanted = pattern.split("."), subjects.split(".")
    for place, word in enumerate(given):
        if place >= len(wanted):
            return False
        if word == ">":
            return True
        if wanted[place] == ">" or word not in ("*", wanted[place]):
            return False
    return len(given) == len(wanted)


async def _last_message(stream: JetStreamContext, options: StreamOptions) -> RawStreamMsg | None:
    from nats.js.errors import NotFoundError

    try:
        return await stream.get_last_msg(options.name, options.subjects)
    except NotFoundError:
        return None


def _config(options: StreamOptions) -> StreamConfig:
    from nats.js.api import DiscardPolicy, RetentionPolicy, StorageType, StreamConfig

    window = options.duplicate_window
    return StreamConfig(
        name=options.name,
        description="The event log of headrace, in its order",
        subjects=[options.subjects],
        retention=RetentionPolicy.LIMITS,
        storage=StorageType.FILE,
        discard=DiscardPolicy.OLD,
        num_replicas=options.replicas,
        max_age=options.max_age,
        max_bytes=options.max_bytes or -1,
        # JetStream refuses a window that is longer than messages live.
        duplicate_window=min(window, options.max_age) if options.max_age else window,
    )


def _check(config: StreamConfig, options: StreamOptions) -> None:
    from nats.js.api import RetentionPolicy

    subjects = config.subjects or []
    if not any(takes(one, options.subjects) for one in subjects):
        raise InvalidState(
            f"Stream '{options.name}' takes {', '.join(subjects) or 'no subjects'}, and not {options.subjects}: add that to "
            "its subjects (nats stream edit), or give another --stream or --subject-prefix."
        )
    if config.retention not in (None, RetentionPolicy.LIMITS):
        raise InvalidState(
            f"Stream '{options.name}' forgets messages that were read (its retention is '{config.retention}'), and with "
            "them the place in the log: give a stream with retention 'limits'. Others may take from it as a source."
        )
