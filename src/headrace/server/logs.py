"""Log lines: one JSON object each, on standard error, written by a thread of their own.

Serving never waits for whoever reads the log: lines are handed over in memory, written together every
few milliseconds, and when nobody reads them, dropped and counted. A line tells its ``time`` (UTC),
``level`` and ``event``; a request's line also method, path, status, ms, bytes, actor and request_id.
"""

from __future__ import annotations

import logging
import os
import threading
import time
import traceback
from typing import Any

import msgspec

#: Lines that may wait for the writer.
_MOST_WAITING = 20_000
_PAUSE_SECONDS = 0.05
_encode = msgspec.json.Encoder().encode


class LogWriter:
    """Writes lines to a file descriptor from a thread of its own."""

    def __init__(self, descriptor: int = 2) -> None:
        self._descriptor = descriptor
        self._lines: list[bytes] = []
        self._dropped = 0
        self._wake = threading.Event()
        self._closed = False
        self._second = (0, "")
        self._thread = threading.Thread(target=self._run, name="headrace-log", daemon=True)
        self._thread.start()

    def write(self, level: str, event: str, fields: dict[str, Any]) -> None:
        """Hand over one line; never blocks."""
        if len(self._lines) >= _MOST_WAITING:
            self._dropped += 1
            return
        line = {"time": self._now(), "level": level, "event": event, **fields}
        self._lines.append(_encode(line))
        if not self._wake.is_set():
            self._wake.set()

    def close(self) -> None:
        """Write what waits, for five seconds at most, and stop."""
        self._closed = True
        self._wake.set()
        self._thread.join(5.0)

    def _now(self) -> str:
        now = time.time()
        whole = int(now)
        second, text = self._second
        if second != whole:
            text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(whole))
            self._second = (whole, text)
        return f"{text}.{int((now - whole) * 1000):03d}Z"

    def _run(self) -> None:
        while True:
            self._wake.wait()
            if not self._closed:
                time.sleep(_PAUSE_SECONDS)  # more lines gather; one write carries them all
            self._wake.clear()
            closed = self._closed  # looked at after clear(), or the wake of close() may get lost
            lines, self._lines = self._lines, []
            dropped, self._dropped = self._dropped, 0
            if dropped:
                told = {"time": self._now(), "level": "warning", "event": "log lines dropped"}
                lines.append(_encode({**told, "count": dropped}))
            if lines:
                self._put(b"\n".join(lines) + b"\n")
            if closed:
                return

    def _put(self, data: bytes) -> None:
        view = memoryview(data)
        try:
            while view:
                view = view[os.write(self._descriptor, view) :]
        except OSError:
            pass  # nobody reads the log any more; serving goes on


class JsonHandler(logging.Handler):
    """Sends the records of Python's logging the same way."""

    def __init__(self, writer: LogWriter) -> None:
        super().__init__()
        self._writer = writer

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record; a record that cannot be formatted is logging's own affair."""
        try:
            fields: dict[str, Any] = {"logger": record.name, "message": record.getMessage()}
            request_id = getattr(record, "request_id", None)
            if request_id is not None:
                fields["request_id"] = request_id
            if record.exc_info and record.exc_info[1] is not None:
                fields["traceback"] = "".join(traceback.format_exception(record.exc_info[1]))
            self._writer.write(record.levelname.lower(), "log", fields)
        except Exception:  # noqa: BLE001 - logging's contract: emit reports through handleError
            self.handleError(record)


def set_up(writer: LogWriter, level: str) -> None:
    """Send this process's log to the writer, from a level up."""
    root = logging.getLogger()
    root.handlers[:] = [JsonHandler(writer)]
    root.setLevel(level.upper())
    for noisy in ("httpx", "httpcore", "alembic", "asyncio"):
        logging.getLogger(noisy).setLevel(max(logging.WARNING, root.level))
