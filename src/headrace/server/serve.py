"""The serving process: socket, event loop, signals, workers.

One worker (the default) is one process: Granian's I/O threads and the application share it, which
starts in half the time and memory of a supervisor with a child. More workers are spawned processes
below Granian's supervisor; they share one listening socket and, through the database, all state.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import functools
import logging
import multiprocessing
import os
import signal
import socket
import sys
import tempfile
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NoReturn

from granian._granian import SocketHolder
from granian.constants import HTTPModes, Interfaces
from granian.http import HTTP1Settings
from granian.server import embed, mp

from headrace.errors import InvalidParameter
from headrace.server.settings import Settings

if TYPE_CHECKING:
    from headrace.server.app import App

_log = logging.getLogger("headrace.server")

_BACKLOG = 1024
#: A stopping server waits so many seconds for the requests that it accepted.
GRACE_SECONDS = 30.0
#: Once all are answered it waits so many seconds for peers to read their answers.
_READ_SECONDS = 5.0
_HTTP1 = HTTP1Settings(header_read_timeout=30_000, max_buffer_size=1024 * 1024)
_COMMON: dict[str, Any] = {
    "interface": Interfaces.ASGI,
    "http": HTTPModes.http1,
    "http1_settings": _HTTP1,
    "websockets": False,
    "backlog": _BACKLOG,
    "log_enabled": False,
}


def serve(settings: Settings, ready: Callable[[str], None]) -> int:
    """Serve until SIGTERM or SIGINT; a second signal ends the process at once.

    When it returns, the store is closed and the log is written, but threads of Granian may still run: end
    the process by `leave`.

    Args:
        settings: What to serve.
        ready: Called once, with the server's URL, when requests are answered.

    Returns:
        Exit code: 0 when every accepted request was answered, 1 when some took longer than the grace
        period or the workers could not be kept running.

    Raises:
        Unavailable: The database cannot be reached.
        SchemaMismatch: The database was made by another version of headrace.
        InvalidParameter: The address is taken or is none, or the store or the artifact folder is none.
    """
    listener = _listen(settings.host, settings.port)
    port = listener.getsockname()[1]
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    url = f"http://{host}:{port}"
    if settings.workers > 1:
        return _serve_many(settings, listener, lambda: ready(url))
    return asyncio.run(_serve_alone(settings, listener, lambda: ready(url)))


def leave(code: int) -> NoReturn:
    """End a process that has served, as the interpreter would, but without taking the interpreter apart.

    Granian's threads (Rust) outlive the serving by a moment: they give back what they hold of Python, for
    which they take the GIL. To a thread that asks for it while the interpreter is being finalised,
    CPython before 3.14 answers with pthread_exit. That unwinds through Rust's frames, and Rust aborts the
    process, SIGABRT, after a stop without fault (https://github.com/PyO3/pyo3/pull/4874,
    https://github.com/python/cpython/issues/87135). Nobody can wait for those threads. So the process
    ends while they still may have the GIL; all that finalisation would do besides is done here.

    Args:
        code: The exit code.
    """
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):  # nobody reads it any more
            if stream is not None:
                stream.flush()
    os._exit(code)


def _listen(host: str, port: int) -> socket.socket:
    try:
        # Lowest first is IPv4 before IPv6: clients of "localhost" try 127.0.0.1.
        family = min(found[0] for found in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
        listener = socket.create_server((host, port), family=family, backlog=_BACKLOG)
    except socket.gaierror:
        raise InvalidParameter(
            f"'{host}' is no address of this machine: give --host 127.0.0.1 or 0.0.0.0."
        ) from None
    except OverflowError:
        raise InvalidParameter(f"Port {port} does not exist: give one from 0 to 65535.") from None
    except OSError as error:
        raise InvalidParameter(
            f"Cannot listen on {host}:{port}: {os.strerror(error.errno or 0)}. "
            "Choose another with --port (0 takes a free one)."
        ) from None
    listener.setblocking(False)
    return listener


class _Server(embed.Server):
    """Granian in this process, on a socket that is already listening."""

    _shd: Any

    def __init__(self, target: Any, listener: socket.socket) -> None:
        super().__init__(target, **_COMMON)
        self._listener = listener

    def _init_shared_socket(self) -> None:
        self._ssp = None
        # detach, because the holder closes the descriptor itself.
        self._shd = SocketHolder(self._listener.detach(), False, _BACKLOG)  # type: ignore[call-arg]


async def _serve_alone(
    settings: Settings, listener: socket.socket, ready: Callable[[], None]
) -> int:
    # If set, it is somebody else's: one process keeps its counters in memory.
    os.environ.pop("PROMETHEUS_MULTIPROC_DIR", None)
    from headrace.server.compose import build

    app = build(settings)
    server = _Server(app, listener)
    loop = asyncio.get_running_loop()
    stopping = asyncio.Event()

    def stop() -> None:
        if stopping.is_set():
            os._exit(1)
        stopping.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    serving = loop.create_task(server.serve())
    ready()
    waiting = loop.create_task(stopping.wait())
    await asyncio.wait((serving, waiting), return_when=asyncio.FIRST_COMPLETED)
    app.end_streams()
    if not serving.done():
        server.stop()  # type: ignore[no-untyped-call]
        cutting = loop.create_task(_cut_off(app))
        await asyncio.wait((serving,), timeout=GRACE_SECONDS)
        cutting.cancel()
    waiting.cancel()
    if serving.done():
        serving.result()
        return 0
    _log.warning("Stopped with %d requests unanswered after %g s.", app.in_flight, GRACE_SECONDS)
    app.close()
    os._exit(1)  # the threads of those requests would keep the process


async def _cut_off(app: App) -> None:
    """End a stopping process that has answered every request, though a peer does not read its answer.

    Granian waits for such a peer without end, and has no way to close its connection.
    """
    idle, step = 0.0, 0.25
    while idle < _READ_SECONDS:
        await asyncio.sleep(step)
        idle = 0.0 if app.in_flight else idle + step
    app.close()
    leave(0)


class _Supervisor(mp.MPServer):
    """Granian's supervisor over workers that share a listening socket."""

    _shd: Any
    _sfd: Any

    def __init__(self, settings: Settings, listener: socket.socket) -> None:
        super().__init__(
            "headrace",
            workers=settings.workers,
            respawn_failed_workers=True,
            workers_kill_timeout=int(GRACE_SECONDS),
            **_COMMON,
        )
        self._listener = listener

    def _init_shared_socket(self) -> None:
        self._listener.set_inheritable(True)
        self._sso = self._listener
        self._sfd = self._listener.fileno()
        self._ssp = None
        self._shd = SocketHolder(self._sfd, False, _BACKLOG)  # type: ignore[call-arg]

    def signal_handler_interrupt(self, *args: Any, **kwargs: Any) -> None:
        if self.interrupt_signal:
            for worker in self.wrks:
                worker.kill()  # type: ignore[no-untyped-call]
            os._exit(1)
        super().signal_handler_interrupt()  # type: ignore[no-untyped-call]


def _serve_many(settings: Settings, listener: socket.socket, ready: Callable[[], None]) -> int:
    _try_store(settings)
    # Spawned, not forked: the parent has threads, and a copy of their locks may never open again.
    multiprocessing.set_start_method("spawn", force=True)
    with tempfile.TemporaryDirectory(prefix="headrace-metrics-") as counters:
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = counters
        server = _Supervisor(settings, listener)
        loaded = multiprocessing.Semaphore(0)
        threading.Thread(
            target=_when_loaded, args=(loaded, settings.workers, ready), daemon=True
        ).start()
        try:
            server.serve(
                spawn_target=_work,
                target_loader=functools.partial(_load_worker, settings, loaded),
                wrap_loader=False,
            )
        except SystemExit as stopped:
            return int(stopped.code or 0)
    return 0


def _work(*arguments: Any) -> None:
    """The life of a worker process."""
    mp.MPServer._spawn_asgi_lifespan_worker(*arguments)
    leave(0)


def _when_loaded(loaded: Any, workers: int, ready: Callable[[], None]) -> None:
    for _ in range(workers):
        loaded.acquire()
    ready()


def _try_store(settings: Settings) -> None:
    """Fail here, in words, rather than in every worker; an empty database gets its schema."""
    from headrace.artifacts import open_artifacts
    from headrace.engine import Engine

    if settings.artifacts is not None:
        open_artifacts(settings.artifacts)
    Engine(
        settings.database_url, artifact_root=settings.artifact_root, compact=False, served=True
    ).close()


def _load_worker(settings: Settings, loaded: Any) -> Any:
    """Build the application in a worker process."""
    from headrace.server.compose import build

    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_stop_with, args=(parent,), daemon=True).start()
    app = build(settings)
    cutting: list[asyncio.Task[None]] = []  # the loop itself keeps no task alive

    def stop() -> None:
        # Granian waits for answers under way, and streams do not end by themselves. It has its own handler
        # for both signals; the one for SIGINT stays.
        app.end_streams()
        cutting.append(asyncio.get_running_loop().create_task(_cut_off(app)))
        os.kill(os.getpid(), signal.SIGINT)

    def started() -> None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop)

    app.started = started
    loaded.release()
    return app


def _stop_with(parent: Any) -> None:
    """A worker whose supervisor is gone stops too, and lets the port go."""
    parent.join()
    os.kill(os.getpid(), signal.SIGTERM)
