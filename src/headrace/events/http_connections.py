"""What httpcore speaks HTTP over: connections to addresses that were checked, and to no others."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from typing import Any

import httpcore

from headrace.events.dialing import Dialer, Target

#: Bytes that are written at once.
_WHOLE = 65_536


class CheckedBackend(httpcore.AsyncNetworkBackend):
    """Where httpcore gets the connections to one target from."""

    def __init__(self, dialer: Dialer, target: Target) -> None:
        """Take whom to connect to; what httpcore asks for is the same."""
        self._dialer = dialer
        self._target = target

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Any = None,
    ) -> httpcore.AsyncNetworkStream:
        """A connection to a checked address of the target."""
        sock, _ = await self._dialer.dial(self._target)
        try:
            return Stream(*await asyncio.open_connection(sock=sock))
        except BaseException:  # cleans up, raises again
            sock.close()
            raise


class Stream(httpcore.AsyncNetworkStream):
    """A connection, as httpcore wants it. Timeouts are those of the whole exchange, not of each step."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Take a connection of asyncio's."""
        self._reader = reader
        self._writer = writer
        self._unsent = bytearray()

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """What has come, at most so much; empty at the end."""
        if self._unsent:
            # An error of writing is none yet: the other side may have answered all the same.
            with contextlib.suppress(OSError):
                await self._flush()
        return await self._reader.read(max_bytes)

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """Take it to be sent: a small request goes out whole, when its answer is asked for.

        Raises:
            httpcore.WriteError: The other side does not listen; it may have answered all the same.
        """
        self._unsent += buffer
        if len(self._unsent) >= _WHOLE:
            try:
                await self._flush()
            except OSError as error:
                raise httpcore.WriteError(error) from error

    async def _flush(self) -> None:
        unsent, self._unsent = self._unsent, bytearray()
        self._writer.write(unsent)
        await self._writer.drain()

    async def aclose(self) -> None:
        """Drop the connection: there is nothing left to say, and nobody to wait for."""
        self._writer.transport.abort()

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Encrypt; the certificate must be good for the name.

        Raises:
            ssl.SSLError: It is not.
        """
        try:
            await self._writer.start_tls(ssl_context, server_hostname=server_hostname)
        except BaseException:  # cleans up, raises again
            await self.aclose()
            raise
        return self

    def get_extra_info(self, info: str) -> Any:
        """``ssl_object``, and ``is_readable``: whether the other side closed it."""
        if info == "is_readable":
            return self._reader.at_eof() or self._writer.is_closing()
        return self._writer.get_extra_info(info)
