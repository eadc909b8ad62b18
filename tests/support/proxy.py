"""A real HTTP server on loopback that passes requests on, or treats them badly, as it is told."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx

#: ``(method, path, body)`` to a status to answer with instead, or ``"drop"``: pass it on and lose the
#: answer, or ``"cut"``: close without either; None passes it on.
Rule = Callable[[str, str, bytes], int | str | None]


class Proxy:
    """Between a client and a server.

    Attributes:
        url: Its address.
        rule: What happens to each request.
        seen: ``(method, path)`` of each request.
    """

    def __init__(self, upstream: str, rule: Rule | None = None) -> None:
        self.upstream = upstream
        self.rule = rule
        self.seen: list[tuple[str, str]] = []
        self._http = httpx.Client(timeout=60)
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_one(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                path = self.path
                proxy.seen.append((self.command, path))
                rule = proxy.rule and proxy.rule(self.command, path, body)
                if isinstance(rule, int):
                    self.send_response(rule)
                    self.send_header("Content-Length", "0")
                    self.end_headers()
                    return
                if rule != "cut":
                    kept = {
                        name: value
                        for name, value in self.headers.items()
                        if name.lower() not in ("host", "connection", "content-length")
                    }
                    answer = proxy._http.request(
                        self.command, proxy.upstream + path, content=body, headers=kept
                    )
                if rule in ("cut", "drop"):
                    self.connection.shutdown(socket.SHUT_RDWR)
                    self.close_connection = True
                    return
                self.send_response(answer.status_code)
                for name, value in answer.headers.items():
                    if name.lower() in ("content-type", "etag", "last-modified"):
                        self.send_header(name, value)
                self.send_header("Content-Length", str(len(answer.content)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(answer.content)

            do_GET = do_POST = do_PUT = do_HEAD = do_DELETE = handle_one  # noqa: N815

            def log_message(self, *_: Any) -> None: ...

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
        self._http.close()
