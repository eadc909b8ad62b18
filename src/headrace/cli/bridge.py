"""``headrace events bridge``: the event log to a message broker."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Any

import click

from headrace.cli.choices import SPAN
from headrace.cli.store import must_exist, store_option
from headrace.client.stores import open_store, resolve
from headrace.errors import InvalidParameter
from headrace.protocol.events import EventPage, ListEvents
from headrace.protocol.store import Store

if TYPE_CHECKING:
    import ssl

_FILE = click.Path(exists=True, dir_okay=False)


@click.command()
@click.argument(
    "servers", nargs=-1, required=True, metavar="NATS_URL...", envvar="HEADRACE_NATS_URL"
)
@click.option(
    "--stream",
    default="HEADRACE",
    show_default=True,
    help="JetStream stream; made where it is not there.",
)
@click.option(
    "--subject-prefix",
    "prefix",
    default="headrace.events",
    show_default=True,
    help="An event is published on PREFIX.TYPE, such as headrace.events.run.failed.",
)
@click.option(
    "-a",
    "--after",
    type=click.IntRange(min=0),
    help="Publish nothing up to this number.  [default: go on where the stream is; a new one gets all that is kept]",
)
@click.option("--once", is_flag=True, help="Stop at the end of the log.")
@click.option(
    "--skip-trimmed",
    is_flag=True,
    help="Go on where events were removed from the log before they were published.",
)
@click.option(
    "--replicas",
    type=click.IntRange(1, 5),
    default=1,
    show_default=True,
    help="Of a stream that is made.",
)
@click.option(
    "--max-age",
    type=SPAN,
    help="Of a stream that is made: how long it keeps messages, 30d.  [default: for ever]",
)
@click.option(
    "--max-mb",
    type=click.FloatRange(min=0),
    help="Of a stream that is made: megabytes at which the oldest messages go.",
)
@click.option(
    "--duplicate-window",
    type=SPAN,
    default="2m",
    show_default=True,
    help="Of a stream that is made: how long JetStream knows ids of messages.",
)
@click.option("--creds", type=_FILE, help="Credentials file (JWT and seed).")
@click.option("--tls-ca", type=_FILE, help="Authorities to trust, PEM.")
@click.option("--tls-cert", type=_FILE, help="Our certificate, PEM.")
@click.option("--tls-key", type=_FILE, help="Its key, PEM.")
@store_option  # fmt: skip
def bridge(
    servers: tuple[str, ...],
    stream: str,
    prefix: str,
    after: int | None,
    once: bool,
    skip_trimmed: bool,
    replicas: int,
    max_age: int | None,
    max_mb: float | None,
    duplicate_window: int,
    creds: str | None,
    tls_ca: str | None,
    tls_cert: str | None,
    tls_key: str | None,
    store_uri: str | None,
) -> None:
    """Publish the event log to NATS JetStream, in order, until SIGTERM or Ctrl-C.

    NATS_URL is nats://[user:password@]host:port or tls://…; give those of a cluster one after the other, or
    in HEADRACE_NATS_URL with spaces between.

    The place in the log is read from the stream itself: start it again, here or on another machine, and it
    goes on. A server that goes away is waited for, on either side.
    """
    # Here, because the other commands of the group need none of it.
    from headrace.events.bridges.bridge import Bridge
    from headrace.events.bridges.nats import NatsOptions, NatsPublisher
    from headrace.events.bridges.nats_stream import StreamOptions

    publisher = NatsPublisher(
        NatsOptions(servers=servers, credentials=creds, tls=_tls(tls_ca, tls_cert, tls_key)),
        StreamOptions(
            name=stream,
            prefix=prefix,
            replicas=replicas,
            max_age=(max_age or 0) / 1000,
            max_bytes=round((max_mb or 0) * 1_000_000),
            duplicate_window=duplicate_window / 1000,
        ),
    )
    must_exist(resolve(store_uri))
    log = _Log(store_uri)
    one = Bridge(log.read, publisher, after=after, skip_trimmed=skip_trimmed)

    def stop(number: int, frame: Any) -> None:
        # A second signal does what it does by itself: nobody waits for a server that hangs.
        signal.signal(
            number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL
        )
        one.stop()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    try:
        one.run(once=once)
    finally:
        log.close()
        if one.position is not None:
            click.echo(f"Stream {stream} has the log up to number {one.position}.", err=True)


class _Log:
    """The event log of a store that is opened when it is first read, and may be away then."""

    def __init__(self, uri: str | None) -> None:
        self._uri = uri
        self._store: Store | None = None

    def read(self, request: ListEvents) -> EventPage:
        if self._store is None:
            # No repeated requests: the bridge tries again itself, and says that it does.
            self._store = open_store(self._uri, retries=0)
        return self._store.list_events(request)

    def close(self) -> None:
        if self._store is not None:
            self._store.close()


def _tls(
    authorities: str | None, certificate: str | None, key: str | None
) -> ssl.SSLContext | None:
    """What ``--tls-…`` says; None for the machine's own trust."""
    if key and not certificate:
        raise click.UsageError("--tls-key needs --tls-cert.")
    if not authorities and not certificate:
        return None
    import ssl

    try:
        context = ssl.create_default_context(cafile=authorities)
        if certificate:
            context.load_cert_chain(certificate, key)
    except (ssl.SSLError, OSError) as error:
        raise InvalidParameter(
            f"The files of --tls-ca, --tls-cert and --tls-key cannot be used: {error}. Give PEM files that belong "
            "together."
        ) from None
    return context
