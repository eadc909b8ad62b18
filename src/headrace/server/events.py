"""The event log over HTTP: pages, long polls, and Server-Sent Events from the same route.

One task per process, the `Hub`, reads the tail of the log when it has grown, encodes each event once and
hands the bytes to everybody whose filter they pass. Who is behind reads pages by himself until he has
caught up with the hub, and joins it then: so the log is read once for a thousand listeners, and a
listener that joins misses nothing and sees nothing twice.

Format of the stream: https://html.spec.whatwg.org/multipage/server-sent-events.html
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import msgspec

from headrace.engine import Engine
from headrace.engine.events.feed import Move
from headrace.engine.events.log import Stretch, checked
from headrace.errors import Gone, HeadraceError, InvalidParameter, Unavailable
from headrace.protocol.cloudevents import Row, encode_event, encode_page
from headrace.protocol.event_filter import EventFilter
from headrace.protocol.events import Events, ListEvents
from headrace.protocol.operation import operation_of
from headrace.protocol.wire import decode_query, encode
from headrace.server.bridge import Bridge
from headrace.server.exchange import Exchange, Handler, Reply, Send, Stream
from headrace.server.operations import Authorise, query_pairs

_log = logging.getLogger("headrace.server")

_OPERATION = operation_of(Events.list_events)
#: Events of one read of the hub, and of one who catches up.
_TAIL, _PAGE = 1_000, 2_000
#: Every listener hears something after so many seconds, if only that there is nothing new.
_KEEP_ALIVE_S = 15
#: Bytes that wait for a listener that does not read; beyond that it is dropped.
_WAITING = 1 << 20
#: Seconds that a listener gets to read the last block when the server stops; then it is cut off.
_PARTING_S = 1.0
#: Seconds between two looks while an open transaction holds back what the hub has passed already.
_HELD_S = 0.05
_HELLO = b": headrace\nretry: 1000\n\n"
#: What Granian's `send` returns when there is nothing to wait for.
_SENT = "PyEmptyAwaitable"

#: An event on its way: the row, and its bytes in a stream.
_Frame = tuple[Row, bytes]


class Subscriber:
    """Somebody who is told of events by the hub. Everything happens on the event loop.

    Attributes:
        chosen: Only these events; None: all.
        signals: Wants to hear of runs that moved too.
        position: Number up to which it read by itself before it joined.
    """

    def __init__(self, chosen: EventFilter | None, signals: bool) -> None:
        self.chosen = chosen
        self.signals = signals
        self.position = 0

    def push(self, data: bytes) -> None:
        """Take bytes of the stream that are new."""
        raise NotImplementedError

    def keep_alive(self, position: int) -> None:
        """Nothing was pushed for a while, and everything up to `position` was looked at."""

    def end(self, reason: str) -> None:
        """Nothing more will come."""
        raise NotImplementedError


class Hub:
    """Reads the tail of the log once, for all subscribers of this process."""

    def __init__(self, engine: Engine) -> None:
        """Make a hub; it begins to read with the first subscriber."""
        self._engine = engine
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="headrace-tail")
        self._subscribers: dict[Subscriber, int] = {}
        self._streams: set[_Connection] = set()
        self._numbers = itertools.count()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._grown = asyncio.Event()
        self._woken = False
        self._moves: dict[Move, None] = {}
        self._leave: Callable[[], None] | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._closed: str | None = None  # why
        #: Number up to which subscribers were told; -1 while nobody is there.
        self.position = -1

    @property
    def listening(self) -> int:
        """How many subscribers there are."""
        return len(self._subscribers)

    async def begin(self) -> None:
        """Make sure that the hub reads, so that there is a position to join at."""
        if self._closed is not None:
            raise Unavailable("The server is stopping; connect again in a moment.")
        if self._leave is None:
            self._loop = asyncio.get_running_loop()
            self._leave = self._engine.feed.listen(self._hear)
            self._tasks = [
                self._loop.create_task(self._follow()),
                self._loop.create_task(self._sweep()),
            ]
        while self.position < 0:
            end = await self._in_thread(self._engine.log.end)
            if self.position < 0:  # nobody else was faster, and somebody has joined there
                self.position = end

    def join(self, subscriber: Subscriber, position: int) -> None:
        """Tell somebody of all events beyond a number from now on.

        Args:
            subscriber: Who.
            position: The number; not less than the hub's, which does not go back for anybody.
        """
        if self._closed is not None:
            subscriber.end(self._closed)
            return
        subscriber.position = position
        self._subscribers[subscriber] = next(self._numbers)

    def leave(self, subscriber: Subscriber) -> None:
        """Tell somebody no more."""
        self._subscribers.pop(subscriber, None)

    def begin_stream(self, connection: _Connection) -> None:
        """Note a stream, which may not be there yet where it can join."""
        self._streams.add(connection)
        if self._closed is not None:
            self._part((connection,), self._closed)

    def end_stream(self, connection: _Connection) -> None:
        """Forget a stream that is over."""
        self.leave(connection)
        self._streams.discard(connection)

    def close(self, reason: str = "the server is stopping") -> None:
        """End all streams and polls, and read no more. New ones are refused."""
        self._closed = reason
        if self._leave is not None:
            self._leave()
        for task in self._tasks:
            task.cancel()
        self._end_all(reason)
        self._part(tuple(self._streams), reason)
        self._thread.shutdown(wait=False)

    def _part(self, streams: tuple[_Connection, ...], reason: str) -> None:
        """End streams, and those whose peer does not read soon without it."""
        for one in streams:
            one.end(reason)
            asyncio.get_running_loop().call_later(_PARTING_S, one.cut)

    def _end_all(self, reason: str) -> None:
        for subscriber in list(self._subscribers):
            self.leave(subscriber)
            subscriber.end(reason)

    def _hear(self, moves: tuple[Move, ...] | None) -> None:
        """Called by the feed, in any thread."""
        if moves is not None:
            if any(one.signals for one in list(self._subscribers)):
                self._call(self._signal, moves)
        elif not self._woken:
            self._woken = True
            self._call(self._grown.set)

    def _call(self, function: Callable[..., Any], *arguments: Any) -> None:
        assert self._loop is not None
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody is there any more
            self._loop.call_soon_threadsafe(function, *arguments)

    async def _in_thread(self, function: Callable[..., Any], *arguments: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._thread, function, *arguments)

    async def _follow(self) -> None:
        while True:
            await self._grown.wait()
            # Both are cleared before the log is looked at, so that nothing is overlooked.
            self._woken = False
            self._grown.clear()
            try:
                await self._follow_once()
            except HeadraceError as error:
                _log.warning("The event log cannot be read: %s", error)
            except Exception:  # noqa: BLE001 - without this task nobody hears anything any more
                _log.exception("The event log cannot be read; trying again.")
            else:
                continue
            await asyncio.sleep(1)
            self._grown.set()

    async def _follow_once(self) -> None:
        try:
            await self._catch_up()
        except Gone:  # trimmed while we slept
            self.position = await self._in_thread(self._engine.log.end)
            self._end_all("events were trimmed before they could be sent")

    async def _catch_up(self) -> None:
        if not self._subscribers:
            end = await self._in_thread(self._engine.log.end)
            if not self._subscribers:  # nor has anybody joined meanwhile
                self.position = max(self.position, end)
                return
        while True:
            found: Stretch = await self._in_thread(self._engine.log.read, self.position, _TAIL)
            source = self._engine.log.source
            self._publish([(row, frame(row, source)) for row in found.rows])
            self.position = found.next
            if found.next >= found.last:
                return

    def _publish(self, frames: list[_Frame]) -> None:
        if not frames:
            return
        whole = b"".join([data for _, data in frames])
        chosen: dict[EventFilter, bytes] = {}
        first = frames[0][0].seq
        for subscriber in list(self._subscribers):
            wanted = subscriber.chosen
            if subscriber.position >= first:  # it joined ahead of us
                data = b"".join(
                    [
                        data
                        for row, data in frames
                        if row.seq > subscriber.position and (wanted is None or wanted.matches(row))
                    ]
                )
                if data:
                    subscriber.push(data)
                continue
            if wanted is None:
                subscriber.push(whole)
                continue
            some = chosen.get(wanted)
            if some is None:
                some = chosen[wanted] = b"".join(
                    [data for row, data in frames if wanted.matches(row)]
                )
            if some:
                subscriber.push(some)

    def _signal(self, moves: tuple[Move, ...]) -> None:
        everything = signal_frame(moves)
        for subscriber in list(self._subscribers):
            if subscriber.signals:
                wanted = subscriber.chosen
                if wanted is None or not (wanted.subjects or wanted.prefixes or wanted.experiments):
                    subscriber.push(everything)
                elif some := tuple(move for move in moves if concerns(wanted, move)):
                    subscriber.push(signal_frame(some))

    async def _sweep(self) -> None:
        """Sign of life to every subscriber, each in its own second."""
        for second in itertools.count():
            await asyncio.sleep(1)
            turn = second % _KEEP_ALIVE_S
            for subscriber, number in list(self._subscribers.items()):
                if number % _KEEP_ALIVE_S == turn:
                    subscriber.keep_alive(self.position)


class _Connection(Subscriber):
    """A Server-Sent Events stream."""

    def __init__(self, chosen: EventFilter | None, signals: bool, send: Send) -> None:
        super().__init__(chosen, signals)
        self._send = send
        self._waiting: list[bytes] = []
        self._size = 0
        self._sending: asyncio.Task[None] | None = None
        #: Nothing is pushed any more, though it may not be sent yet.
        self.ended = False
        self.over: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    @property
    def blocked(self) -> bool:
        """Whether the peer has not read all that was sent."""
        return self._sending is not None

    async def write(self, data: bytes) -> None:
        """Push, and wait until the peer has read, or nobody waits for it any more."""
        self.push(data)
        sending = self._sending
        if sending is not None:
            await asyncio.wait((sending, self.over), return_when=asyncio.FIRST_COMPLETED)
            if sending.done():
                sending.result()

    def push(self, data: bytes) -> None:
        if self.ended:
            return
        if self._sending is not None:
            self._waiting.append(data)
            self._size += len(data)
            if self._size > _WAITING:
                self._waiting.clear()
                self.end("you do not read as fast as events come; connect again, with the last id")
            return
        sent = self._send({"type": "http.response.body", "body": data, "more_body": True})
        if type(sent).__name__ != _SENT:
            self._sending = asyncio.get_running_loop().create_task(self._finish(sent))

    async def _finish(self, sent: Awaitable[None]) -> None:
        """Wait until the peer has read, then send what has gathered."""
        await sent
        while self._waiting:
            data = b"".join(self._waiting)
            self._waiting.clear()
            self._size = 0
            await self._send({"type": "http.response.body", "body": data, "more_body": True})
        self._sending = None
        if self.ended:
            self.cut()

    def keep_alive(self, position: int) -> None:
        if self._sending is None:
            # A block with an id and no data is no event, but moves the client's last id.
            self.push(b":\nid: %d\n\n" % max(position, self.position))

    def end(self, reason: str) -> None:
        if self.ended:
            return
        last = b"event: end\ndata: " + encode({"reason": reason}) + b"\n\n"
        if self._sending is None:
            self.push(last)
        else:
            self._waiting.append(last)
        self.ended = True
        if self._sending is None:
            self.cut()

    def cut(self) -> None:
        """Wait no longer for the peer."""
        if not self.over.done():
            self.over.set_result(None)

    def stop(self) -> None:
        """The peer is gone."""
        self.ended = True
        if self._sending is not None:
            self._sending.cancel()


class _Poll(Subscriber):
    """A long poll: it is over when something passes its filter."""

    def __init__(self, chosen: EventFilter | None) -> None:
        super().__init__(chosen, signals=False)
        self.ended = False
        self.over: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def push(self, data: bytes) -> None:
        if not self.over.done():
            self.over.set_result(None)

    def end(self, reason: str) -> None:
        self.ended = True
        self.push(b"")


class EventsHandler:
    """``GET /events``."""

    def __init__(self, engine: Engine, hub: Hub, bridge: Bridge, authorise: Authorise) -> None:
        self._engine = engine
        self._hub = hub
        self._bridge = bridge
        self._authorise = authorise

    async def __call__(self, exchange: Exchange) -> Reply | Stream:
        exchange.operation = _OPERATION.name
        request = decode_query(_OPERATION, query_pairs(exchange.query), exchange.path_fields)
        assert isinstance(request, ListEvents)
        self._authorise(exchange, _OPERATION.permission, request)
        chosen = checked(request)
        if b"text/event-stream" in exchange.headers.get(b"accept", b""):
            exchange.operation = "follow_events"
            return await self._stream(exchange, request, chosen)
        return Reply(await self._page(request, chosen))

    async def _read(self, after: int | None, limit: int, chosen: EventFilter | None) -> Stretch:
        found: Stretch = await self._bridge.wait(
            self._engine.run(self._engine.log.read, after, limit, chosen)
        )
        return found

    async def _start(self, request: ListEvents) -> int | None:
        if request.after is None and request.since is not None:
            since: int = await self._bridge.wait(
                self._engine.run(self._engine.log.first_since, request.since)
            )
            return since
        return request.after

    async def _page(self, request: ListEvents, chosen: EventFilter | None) -> bytes:
        after = await self._start(request)
        deadline = asyncio.get_running_loop().time() + request.wait
        poll = _Poll(chosen)
        while True:
            if request.wait and not poll.ended:
                await self._hub.begin()
            found = await self._read(after, request.limit, chosen)
            left = deadline - asyncio.get_running_loop().time()
            if found.rows or left <= 0 or poll.ended or not request.limit:
                return encode_page(
                    found.rows, self._engine.log.source,
                    next=found.next, last=found.last, oldest=found.oldest,
                )  # fmt: skip
            if found.next < max(found.last, self._hub.position):
                if found.next == after:
                    await asyncio.sleep(_HELD_S)
                after = found.next
                continue
            after = found.next
            poll = _Poll(chosen)
            self._hub.join(poll, found.next)
            try:
                await asyncio.wait((poll.over,), timeout=left)
            finally:
                self._hub.leave(poll)

    async def _stream(
        self, exchange: Exchange, request: ListEvents, chosen: EventFilter | None
    ) -> Stream:
        after = await self._start(request)
        given = exchange.headers.get(b"last-event-id")
        if given:
            if not given.isdigit() or len(given) > 18:
                raise InvalidParameter(
                    f"Last-Event-ID '{given[:60].decode('latin-1')}' is no number of an event."
                )
            after = int(given)
        await self._hub.begin()
        # Read before the answer begins, so that a cursor that is none is an error and not a stream.
        if after is not None:
            first = await self._read(after, _PAGE, chosen)
        else:
            # The hub may be behind what was committed before this request.
            end: int = await self._bridge.wait(self._engine.run(self._engine.log.end))
            now = max(end, self._hub.position)
            first = Stretch([], now, now, 0)

        async def run(send: Send) -> None:
            await self._run(exchange, request, chosen, first, send)

        return Stream(
            run,
            content_type=b"text/event-stream; charset=utf-8",
            headers=((b"cache-control", b"no-store"), (b"x-accel-buffering", b"no")),
        )

    async def _run(
        self,
        exchange: Exchange,
        request: ListEvents,
        chosen: EventFilter | None,
        found: Stretch,
        send: Send,
    ) -> None:
        gone = asyncio.ensure_future(_disconnected(exchange.receive))
        connection = _Connection(chosen, request.signals, send)
        self._hub.begin_stream(connection)
        try:
            await connection.write(_HELLO)
            source = self._engine.log.source
            while not (gone.done() or connection.ended):
                if found.rows:
                    await connection.write(b"".join([frame(row, source) for row in found.rows]))
                if found.next >= self._hub.position:
                    break
                before, found = found.next, await self._read(found.next, _PAGE, chosen)
                if found.next == before:
                    await asyncio.sleep(_HELD_S)
            if not (gone.done() or connection.ended):
                # Where it joins, even when nothing passed its filter, or nothing happens for long.
                connection.push(b"id: %d\n\n" % found.next)
                self._hub.join(connection, found.next)
            await asyncio.wait((gone, connection.over), return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._hub.end_stream(connection)
            blocked = connection.blocked
            connection.stop()
            listening = not gone.done()
            gone.cancel()
        if listening and not blocked:
            await send({"type": "http.response.body", "body": b"", "more_body": False})


def frame(row: Row, source: str) -> bytes:
    """An event in a stream."""
    return b"id: %d\ndata: %b\n\n" % (row.seq, encode_event(row, source))


def signal_frame(moves: Iterable[Move]) -> bytes:
    """Runs that moved, in a stream: they have no id, and are not told again."""
    runs = [
        {"run_id": move.run_id, "experiment_id": str(move.experiment_id), "what": move.what}
        for move in moves
    ]
    return b"event: moved\ndata: " + msgspec.json.encode({"runs": runs}) + b"\n\n"


def concerns(wanted: EventFilter, move: Move) -> bool:
    """Whether a run that moved is one that a filter is about."""
    subject = f"run/{move.run_id}"
    if (wanted.subjects or wanted.prefixes) and not (
        subject in wanted.subjects or subject.startswith(wanted.prefixes)
    ):
        return False
    return not wanted.experiments or move.experiment_id in wanted.experiments


def event_routes(
    engine: Engine, hub: Hub, *, bridge: Bridge, authorise: Authorise
) -> dict[str, dict[str, Handler]]:
    """The handlers that take the place of the operation's own."""
    handler = EventsHandler(engine, hub, bridge, authorise)
    return {path: {method: handler} for method, path in _OPERATION.routes()}


def _disconnected(receive: Callable[[], Awaitable[Any]]) -> Coroutine[Any, Any, None]:
    async def wait() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass

    return wait()
