"""``headrace events``."""

from __future__ import annotations

import datetime
import itertools
import time
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import click

from headrace.cli.bridge import bridge
from headrace.cli.choices import SPAN
from headrace.cli.outcome import printable
from headrace.cli.output import json_option, moment, print_json, print_table
from headrace.cli.store import must_exist, store_option
from headrace.client.client import Client
from headrace.client.event_cursor import After
from headrace.client.events import EventStream
from headrace.client.stores import resolve
from headrace.entities import Event
from headrace.errors import InvalidParameter, Unavailable
from headrace.protocol.catalogue import EVENT_TYPES, matching_types
from headrace.protocol.cloudevents import cloud_event_of
from headrace.protocol.wire import encode

F = TypeVar("F", bound=Callable[..., Any])

_SHOWN = 120


def chosen(command: F) -> F:
    """The options that choose events."""
    for option in (
        click.option("-t", "--type", "types", multiple=True, metavar="GLOB", help="Only these types, such as run.failed or 'run.*'; may be repeated."),
        click.option("-s", "--subject", "subjects", multiple=True, help="Only about this, such as run/<run_id>, or 'run/*'."),
        click.option("-r", "--run-id", "runs", multiple=True, help="Only about this run."),
        click.option("-x", "--experiment-id", "experiments", multiple=True, help="Only of this experiment."),
        click.option("--actor", "actors", multiple=True, help="Only what this user did."),
    ):  # fmt: skip
        command = option(command)
    return command


@click.group()
def events() -> None:
    """Follow, list, replay and trim the log of everything that happens.

    Every event has a number. Who has seen N goes on with --after N, and misses nothing.
    `headrace events types` lists what there is.
    """


events.add_command(bridge)


@events.command()
@chosen
@click.option("-a", "--after", type=click.IntRange(min=0), help="Begin after this number.  [default: with what happens now]")  # fmt: skip
@click.option("-n", "--last", type=click.IntRange(min=0), default=0, help="Show so many of the latest first.")  # fmt: skip
@json_option
@store_option
def tail(after: int | None, last: int, as_json: bool, store_uri: str | None, **choice: Any) -> None:
    """Print events as they happen, until Ctrl-C; --json prints one CloudEvent a line.

    A server that goes away is waited for.
    """
    with _client(store_uri) as client:
        begin: After = "now" if after is None else after
        if after is None and last:
            recent, begin = _recent(client, last, choice)
            for event in recent:
                _print(event, as_json)
        with _stream(client, begin, True, choice) as stream:
            for event in stream:
                _print(event, as_json)


@events.command("list")
@chosen
@click.option("-a", "--after", type=click.IntRange(min=0), help="Begin after this number.  [default: the oldest that is kept]")  # fmt: skip
@click.option("--since", type=SPAN, help="Only what happened in the last 30m, 12h, 7d.")
@click.option("-l", "--limit", type=click.IntRange(min=0), default=100, show_default=True, help="At most so many; 0 for all.")  # fmt: skip
@json_option
@store_option
def list_events(
    after: int | None,
    since: int | None,
    limit: int,
    as_json: bool,
    store_uri: str | None,
    **choice: Any,
) -> None:
    """List events, oldest first. --json prints an array of CloudEvents."""
    with _client(store_uri) as client:
        begin: After = "oldest" if after is None else after
        with _stream(client, begin, False, choice, since=since) as stream:
            found = list(itertools.islice(stream, limit or None))
            more = bool(limit) and len(found) == limit and next(stream, None) is not None
    if as_json:
        print_json([cloud_event_of(one) for one in found])
        return
    if not found:
        click.echo("No events.", err=True)
        return
    print_table(
        ("number", "time", "type", "subject", "actor", "data"),
        [
            (str(one.seq), moment(one.time), one.type, one.subject, one.actor, _short(one))
            for one in found
        ],
        caption=f"More follow: --after {found[-1].seq} goes on." if more else "",
    )


@events.command()
@chosen
@click.option("-a", "--after", type=click.IntRange(min=0), help="Begin after this number.  [default: the oldest that is kept]")  # fmt: skip
@click.option("--until", type=click.IntRange(min=1), help="End with this number.  [default: the end of the log]")  # fmt: skip
@click.option("--since", type=SPAN, help="Only what happened in the last 30m, 12h, 7d.")
@click.option("--speed", type=click.FloatRange(min=0, min_open=True), help="Keep the pauses between events: 1 as they were, 60 an hour in a minute.  [default: as fast as it goes]")  # fmt: skip
@click.option("--to", "target", metavar="URL", help="POST each there as a CloudEvent; stops at the first that is not taken.")  # fmt: skip
@store_option
def replay(
    after: int | None,
    until: int | None,
    since: int | None,
    speed: float | None,
    target: str | None,
    store_uri: str | None,
    **choice: Any,
) -> None:
    """Play events again, in their order: one CloudEvent a line, or each to a URL.

    For a new consumer that must catch up, and for tests of one. The log is only read.
    """
    send = _sender(target) if target else _print_line
    count = 0
    with _client(store_uri) as client:
        begin: After = "oldest" if after is None else after
        with _stream(client, begin, False, choice, since=since) as stream:
            for event in _paced(stream, speed):
                if until is not None and event.seq > until:
                    break
                send(event)
                count += 1
    if target:
        click.echo(f"Sent {count} events to {target}.", err=True)


@events.command()
@click.option("--older-than", type=SPAN, help="Events of at least this age: 90d, 12h.")
@click.option("--keep-mb", type=click.FloatRange(min=0), help="The oldest, until the rest takes at most so many megabytes.")  # fmt: skip
@click.option("--dry-run", is_flag=True, help="Only say what would go.")
@json_option
@store_option
def trim(
    older_than: int | None,
    keep_mb: float | None,
    dry_run: bool,
    as_json: bool,
    store_uri: str | None,
) -> None:
    """Remove the oldest events for good. Who has not read them is told so when he comes."""
    if older_than is None and keep_mb is None:
        raise click.UsageError("Give --older-than, --keep-mb or both.")
    with _client(store_uri) as client:
        keep = None if keep_mb is None else round(keep_mb * 1_000_000)
        done = client.trim_events(older_than_ms=older_than, keep_bytes=keep, dry_run=dry_run)
    if as_json:
        print_json({"trimmed": done.trimmed, "oldest": done.oldest})
    else:
        word = "would go" if dry_run else "are gone"
        click.echo(
            f"{done.trimmed} events {word}; the oldest that is left is number {done.oldest}."
        )


@events.command()
@click.argument("glob", default="*")
@json_option
def types(glob: str, as_json: bool) -> None:
    """List the types of events, or those that GLOB stands for."""
    names = matching_types(glob)
    found = [one for name, one in EVENT_TYPES.items() if name in names]
    if as_json:
        print_json(found)
        return
    print_table(
        ("type", "subject", "when"),
        [
            (
                one.name,
                one.subject,
                one.meaning + (" (nothing writes it yet)" if one.planned else ""),
            )
            for one in found
        ],
    )


def _client(store_uri: str | None) -> Client:
    must_exist(resolve(store_uri))
    return Client(store_uri)


def _stream(
    client: Client, after: After, follow: bool, choice: dict[str, Any], since: int | None = None
) -> EventStream:
    subjects = [*choice["subjects"], *(f"run/{run}" for run in choice["runs"])]
    return client.events(
        choice["types"] or None,
        after=after,
        subjects=subjects or None,
        experiment_ids=choice["experiments"] or None,
        actors=choice["actors"] or None,
        since=None if since is None else time.time_ns() // 1_000_000 - since,
        follow=follow,
    )


def _recent(client: Client, count: int, choice: dict[str, Any]) -> tuple[list[Event], int]:
    """The last events that are chosen, and the number after which the next ones come."""
    end = client.end_of_events()
    back = count
    while True:
        # Looking back further and further: the end of a long log is not worth reading all of it.
        begin: After = "oldest" if end.last - back < end.oldest else end.last - back
        with _stream(client, begin, False, choice) as stream:
            found = list(stream)
        if len(found) >= count or begin == "oldest":
            return found[-count:], stream.position or 0
        back *= 8


def _paced(stream: EventStream, speed: float | None) -> Iterator[Event]:
    """Events with the pauses that were between them, divided by `speed`."""
    first: Event | None = None
    began = time.monotonic()
    for event in stream:
        first = first or event
        if speed is not None:
            due = began + (event.time - first.time) / 1000 / speed
            time.sleep(max(0.0, due - time.monotonic()))
        yield event


def _sender(url: str) -> Callable[[Event], None]:
    """POSTs events to a URL, in the structured mode of CloudEvents."""
    import httpx  # only for --to

    if not url.startswith(("http://", "https://")):
        raise InvalidParameter(f"'{url}' is no URL to send to: give http:// or https://.")
    http = httpx.Client(timeout=30)

    def send(event: Event) -> None:
        try:
            response = http.post(
                url,
                content=encode(cloud_event_of(event)),
                headers={"Content-Type": "application/cloudevents+json; charset=utf-8"},
            )
        except httpx.TransportError as error:
            raise Unavailable(
                f"{url} did not take event {event.seq}: {error}. Go on with --after {event.seq - 1}."
            ) from None
        if not response.is_success:
            raise Unavailable(
                f"{url} answered event {event.seq} with {response.status_code}. Go on with --after "
                f"{event.seq - 1}."
            )

    return send


def _print(event: Event, as_json: bool) -> None:
    if as_json:
        _print_line(event)
        return
    at = datetime.datetime.fromtimestamp(event.time / 1000).strftime("%H:%M:%S.%f")[:-3]
    actor = f" by {event.actor}" if event.actor else ""
    line = f"{event.seq}  {at}  {event.type}  {event.subject}{actor}  {_short(event)}"
    click.echo(printable(line).rstrip())


def _print_line(event: Event) -> None:
    click.echo(encode(cloud_event_of(event)).decode())


def _short(event: Event) -> str:
    text = encode(event.data).decode() if event.data else ""
    return text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"
