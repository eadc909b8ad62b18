"""What a server is told when it starts."""

from __future__ import annotations

import msgspec

#: Largest JSON body, bytes, after decompression: a full import_runs request is about half of it.
MAX_BODY = 32 * 1024 * 1024


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """A server's configuration, complete and checked; workers get a copy.

    Attributes:
        database_url: Where the store is, for `headrace.engine.Engine`.
        artifact_root: URI below which experiments keep artifacts unless they name a location;
            ``mlflow-artifacts:`` sends clients through this server.
        artifacts: URI of the folder or bucket behind the artifact proxy; None turns the proxy off.
        allowed_artifacts: More places where clients may have the server list, read and presign the
            artifacts of runs, with its credentials; ``*`` for all that it can reach.
        host: Address to bind.
        port: TCP port; 0 takes a free one.
        workers: Processes that answer requests.
        static_prefix: Path that a reverse proxy puts before ours, such as ``/tracking``; may be empty.
        security: Check Host and Origin headers.
        allowed_hosts: Host names accepted beside localhost and private addresses; ``*`` in them
            matches any text, a lone ``*`` accepts every name.
        allowed_origins: Origins that may write and read across origins, beside localhost; a lone
            ``*`` accepts every one.
        frame_options: Value of X-Frame-Options; ``NONE`` sends no such header.
        max_body: Largest JSON body in bytes, after decompression.
        webhook_targets: Hosts and networks that webhooks may send to though they are not public, and without TLS.
        webhook_days: Days that delivered messages are remembered.
        keep_events_ms: Events of at least this age go, milliseconds; None: whatever their age.
        keep_events_bytes: The oldest events go until the rest takes at most so many bytes; None: all stay.
        access_log: Write one line per request to standard error.
        log_level: ``debug``, ``info``, ``warning`` or ``error``.
    """

    database_url: str
    artifact_root: str
    artifacts: str | None
    allowed_artifacts: tuple[str, ...] = ()
    host: str = "127.0.0.1"
    port: int = 5000
    workers: int = 1
    static_prefix: str = ""
    security: bool = True
    allowed_hosts: tuple[str, ...] = ()
    allowed_origins: tuple[str, ...] = ()
    frame_options: str = "SAMEORIGIN"
    max_body: int = MAX_BODY
    webhook_targets: tuple[str, ...] = ()
    webhook_days: float = 30.0
    keep_events_ms: int | None = None
    keep_events_bytes: int | None = None
    access_log: bool = True
    log_level: str = "info"
