"""The event log in a NATS JetStream stream.

Each event is one message on ``<prefix>.<type>``: its CloudEvents JSON (structured mode), its attributes as
headers too, so that a consumer can choose without parsing.

Many messages are under way at once, and still none gets in before one that comes earlier: each says which
number and id the stream's last message must have (``Nats-Expected-Last-Sequence``, ``-Msg-Id``), so when
one is lost or refused the server refuses those after it. For the same reason two bridges, or one and what
a dead one left in the network, cannot put an event in twice, however long after.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import logging
import ssl
import threading
from collections.abc import Coroutine, Sequence
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

import msgspec

from headrace.errors import (
    Conflict,
    HeadraceError,
    InvalidParameter,
    InvalidState,
    PermissionDenied,
    Unavailable,
    Unsupported,
)
from headrace.events.bridges.attributes import header_attributes
from headrace.events.bridges.nats_stream import (
    MSG_ID,
    Place,
    StreamOptions,
    ensure_stream,
    read_place,
)
from headrace.protocol.events import CloudEvent
from headrace.protocol.wire import encode

if TYPE_CHECKING:  # an extra: imported when it connects
    from nats.aio.client import Client
    from nats.js import JetStreamContext
    from nats.js.api import PubAck

T = TypeVar("T")

_log = logging.getLogger(__name__)

#: Messages that are under way, and not confirmed, at most.
_WINDOW = 256
#: Seconds to connect.
_CONNECT_S = 5
#: Seconds until a message, or a question about the stream, must be answered.
_ANSWER_S = 10.0
#: Bytes of a message's headers beside their names and values.
_HEADER_LINES = 16
#: Another message came between: the last one has another id, or another number, than it should have.
_OUT_OF_TURN = (10070, 10071)


class NatsOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Which NATS server, and how it knows us.

    Attributes:
        servers: ``nats://[user:password@]host:port`` or ``tls://…``; of a cluster several, tried in turn.
        credentials: Path of a credentials file (JWT and seed).
        tls: For TLS, where the server's certificate is not signed by an authority that the machine trusts, or
            wants one of ours.
    """

    servers: tuple[str, ...]
    credentials: str | None = None
    tls: ssl.SSLContext | None = None

    def __post_init__(self) -> None:
        for one in self.servers:
            if not one.startswith(("nats://", "tls://")) or not _shown(one):
                raise InvalidParameter(
                    f"'{_shown(one)}' is no address of a NATS server: give nats://host:port or tls://host:port."
                )
        if not self.servers:
            raise InvalidParameter("Give the address of a NATS server: nats://host:port.")


class NatsPublisher:
    """A `headrace.events.bridges.bridge.Publisher` to JetStream."""

    def __init__(self, options: NatsOptions, stream: StreamOptions | None = None) -> None:
        """Make a publisher; nothing is connected yet.

        Raises:
            Unsupported: nats-py is not installed.
        """
        if importlib.util.find_spec("nats") is None:
            raise Unsupported(
                "A bridge to NATS needs nats-py: pip install 'headrace[nats]' installs it."
            )
        self._options = options
        self._stream_options = stream or StreamOptions()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._client: Client | None = None
        self._stream: JetStreamContext | None = None
        self._place = Place(None, "", 0, False)
        self._confirmed: Place | None = None  # what is still known of a stream that has forgotten
        self._under_way: list[asyncio.Future[PubAck]] = []
        self._complaint = ""  # what the server said last without being asked

    def open(self) -> None:
        """Connect, and make or check the stream."""
        self.close()
        self._complaint = ""
        # The loop runs by itself between calls too: the server's pings are to be answered.
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(
            target=self._loop.run_forever, name="headrace-nats", daemon=True
        )
        self._thread.start()
        self._do(self._connect())

    def last_published(self) -> int | None:
        """Number of the last event in the stream.

        A stream that has dropped all that it held (by its age limit, say) is where it was when this publisher
        last knew.
        """
        place = self._do(self._read_place())
        if place.number is None and place.forgotten:
            if self._confirmed is not None and self._confirmed.last_seq <= place.last_seq:
                place = self._confirmed._replace(last_seq=place.last_seq)
            else:
                _log.warning(
                    "Stream '%s' has dropped all that it held, and with it the place in the log, which is published "
                    "from its beginning, or from --after on. Nats-Msg-Id says what is there again.",
                    self._stream_options.name,
                )
        self._place = place
        return place.number

    def publish(self, events: Sequence[CloudEvent]) -> None:
        """Publish events, many of them under way at a time."""
        if events:
            self._do(self._publish(events))

    def close(self) -> None:
        """Disconnect. Does nothing when it is not connected."""
        loop, self._loop = self._loop, None
        if loop is None or self._thread is None:
            return
        client, self._client = self._client, None
        asyncio.run_coroutine_threadsafe(_close(client), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        self._thread.join()
        loop.close()

    def _do(self, work: Coroutine[Any, Any, T]) -> T:
        if self._loop is None:
            work.close()
            raise Unavailable("The publisher is not open.")
        from nats.errors import Error

        try:
            return asyncio.run_coroutine_threadsafe(work, self._loop).result()
        except (Error, OSError, TimeoutError) as error:
            raise self._meaning(error) from error

    async def _connect(self) -> None:
        import nats

        problem: Exception | None = None
        for server in self._options.servers:
            try:
                # It does not reconnect by itself: what it would still send then is what the bridge has
                # given up, and publishes anew.
                self._client = await nats.connect(
                    server,
                    name="headrace bridge",
                    allow_reconnect=False,
                    max_reconnect_attempts=1,  # of the first connection too; 0 means for ever
                    reconnect_time_wait=0,
                    connect_timeout=_CONNECT_S,
                    error_cb=self._complained,
                    closed_cb=self._closed,
                    user_credentials=self._options.credentials,
                    tls=self._options.tls,
                )
                break
            except (nats.errors.Error, OSError, TimeoutError) as error:
                problem = error
        else:
            assert problem is not None
            raise problem
        self._stream = self._client.jetstream(timeout=_ANSWER_S)
        await ensure_stream(self._stream, self._stream_options)

    async def _read_place(self) -> Place:
        assert self._stream is not None
        return await read_place(self._stream, self._stream_options)

    async def _publish(self, events: Sequence[CloudEvent]) -> None:
        if self._place.source not in ("", events[0].source):
            raise InvalidState(
                f"Stream '{self._stream_options.name}' holds the events of another log, {self._place.source}, under "
                f"{self._stream_options.prefix}, and this one is {events[0].source}: give each log a --stream or a "
                "--subject-prefix of its own."
            )
        try:
            await self._send(events)
            last = await self._confirm(0)
        finally:
            self._give_up()
        self._place = Place(int(events[-1].id), events[-1].source, last, False)
        self._confirmed = self._place

    async def _send(self, events: Sequence[CloudEvent]) -> None:
        assert self._client is not None
        assert self._stream is not None
        name, prefix = self._stream_options.name, self._stream_options.prefix
        most = self._client.max_payload
        for offset, event in enumerate(events):
            body = encode(event)
            headers = {
                MSG_ID: f"{event.source}/{event.id}",
                "Nats-Expected-Stream": name,
                "Nats-Expected-Last-Sequence": str(self._place.last_seq + offset),
                "content-type": "application/cloudevents+json",
                **header_attributes(event),
            }
            if offset:
                # The number alone fits again one message after somebody else's.
                headers["Nats-Expected-Last-Msg-Id"] = f"{event.source}/{events[offset - 1].id}"
            size = len(body) + sum(len(one) + len(value) + 4 for one, value in headers.items())
            if size + _HEADER_LINES > most:
                await self._confirm(0)
                raise InvalidState(
                    f"Event {event.id}, {event.type} of {event.subject}, has {size} bytes and the NATS server takes "
                    f"{most}: raise its max_payload, or leave the event out with --after {event.id}."
                )
            self._under_way.append(
                await self._stream.publish_async(f"{prefix}.{event.type}", body, headers=headers)
            )
            if len(self._under_way) >= _WINDOW:
                await self._confirm(_WINDOW // 2)

    async def _confirm(self, rest: int) -> int:
        """Wait until no more than so many are under way; the stream's number of the last that was confirmed.

        Raises:
            Error: What became of the first that failed.
        """
        due = self._under_way[: len(self._under_way) - rest]
        # They are confirmed in their order: when the last one is, few others are left to be waited for.
        for some in (due[-1:], due):
            waiting = [one for one in some if not one.done()]
            if waiting:
                await asyncio.wait(waiting, timeout=_ANSWER_S)
        last = self._place.last_seq
        for one in due:
            if not one.done():
                raise TimeoutError(f"a message was not confirmed within {_ANSWER_S:g} seconds")
            last = one.result().seq
        del self._under_way[: len(due)]
        return last

    def _give_up(self) -> None:
        """Forget what is under way."""
        for one in self._under_way:
            if not one.cancel():
                one.exception()  # the first one that failed has been told; these followed from it
        self._under_way.clear()

    async def _complained(self, error: Exception) -> None:
        from nats.js.errors import APIError

        if isinstance(error, APIError):
            # A refused message: nats-py (2.16) raises here what it means to give to the future. What comes
            # after it is refused too.
            self._fail(error)
        else:
            self._complaint = str(error)

    async def _closed(self) -> None:
        from nats.errors import ConnectionClosedError

        self._fail(ConnectionClosedError())

    def _fail(self, error: Exception) -> None:
        for one in self._under_way:
            if not one.done():
                one.set_exception(error)

    def _meaning(self, error: Exception) -> HeadraceError:
        """The error of ours that one of NATS's stands for."""
        from nats.errors import AuthorizationError, InvalidUserCredentialsError, NoServersError
        from nats.js.errors import APIError, NoStreamResponseError, ServiceUnavailableError

        where = f"NATS at {', '.join(map(_shown, self._options.servers))}"
        name = self._stream_options.name
        said = f"{error} {self._complaint}".lower()
        if isinstance(error, APIError) and error.err_code in _OUT_OF_TURN:
            return Conflict(
                f"Somebody else publishes to stream '{name}' too: another bridge? One is enough, though two do no harm."
            )
        if isinstance(error, AuthorizationError | InvalidUserCredentialsError) or (
            "authorization violation" in said
        ):
            return PermissionDenied(f"{where} does not let us in: check user, password or --creds.")
        if "permissions violation" in said:
            return PermissionDenied(
                f"{where} does not allow what a bridge does: {self._complaint or error}. It publishes on "
                f"{self._stream_options.subjects}, asks $JS.API.STREAM.* about '{name}' and listens on _INBOX.>."
            )
        if isinstance(error, ServiceUnavailableError | NoStreamResponseError):
            return Unavailable(
                f"JetStream of {where} does not answer: is it starting, or not enabled (nats-server -js)?"
            )
        if isinstance(error, APIError):
            return Unavailable(f"{where} refuses: {error.description} ({error.err_code}).")
        why = self._complaint if isinstance(error, NoServersError) else str(error)
        return Unavailable(f"{where} cannot be reached: {why or type(error).__name__}.")


async def _close(client: Client | None) -> None:
    """Disconnect, and end what the client left running."""
    if client is not None:
        # What the network does to a goodbye is no news.
        with contextlib.suppress(Exception):
            await asyncio.wait_for(client.close(), _CONNECT_S)
    left = asyncio.all_tasks() - {asyncio.current_task()}
    for one in left:
        one.cancel()
    await asyncio.gather(*left, return_exceptions=True)


def _shown(server: str) -> str:
    """An address without the password that may be in it; empty when there is no host in it."""
    try:
        parts = urlsplit(server)
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        return ""
    return f"{parts.scheme}://{parts.hostname}{port}" if parts.hostname else ""
