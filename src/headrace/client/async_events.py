"""Following the event log in asyncio."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from types import TracebackType
from typing import Self

import httpx
import msgspec

from headrace.client.event_cursor import Cursor
from headrace.client.remote import RemoteStore
from headrace.client.transport import open_async_http
from headrace.entities import Event
from headrace.errors import Unavailable
from headrace.protocol.events import EventPage, Events, ListEvents
from headrace.protocol.operation import operation_of
from headrace.protocol.store import Store

_LIST = operation_of(Events.list_events)


class AsyncEventStream:
    """`EventStream` for asyncio: ``async for event in client.aevents()``."""

    def __init__(self, store: Store, cursor: Cursor) -> None:
        self._store = store
        self._cursor = cursor
        self._http: httpx.AsyncClient | None = None
        self._closed = False

    @property
    def position(self) -> int | None:
        """See `EventStream.position`."""
        return self._cursor.position

    def __aiter__(self) -> AsyncIterator[Event]:
        return self

    async def __anext__(self) -> Event:
        while not self._cursor.ready:
            request = None if self._closed else self._cursor.ask()
            if request is None:
                raise StopAsyncIteration
            try:
                self._cursor.take(await self._call(request))
            except Unavailable as error:
                await asyncio.sleep(self._cursor.failed(error))
        return self._cursor.ready.popleft()

    async def _call(self, request: ListEvents) -> EventPage:
        store = self._store
        if not isinstance(store, RemoteStore):
            page: EventPage = await asyncio.to_thread(
                store.call, _LIST, msgspec.structs.replace(request, wait=min(request.wait, 1.0))
            )
            return page
        if self._http is None:
            self._http = open_async_http(store.uri_with_credentials)
        method, path, content = store.message(_LIST, request)
        try:
            response = await self._http.request(method, path, **content)
        except httpx.TransportError as error:
            raise Unavailable(f"{store.uri} cannot be reached for its events: {error}.") from error
        answer: EventPage = store.answer(_LIST, response)
        return answer

    async def close(self) -> None:
        """Read no more, and let the connection go."""
        self._closed = True
        if self._http is not None:
            await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()
