"""The client that ``headrace models`` asks."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from headrace.cli.store import must_exist, store_option
from headrace.client import Client
from headrace.client.stores import resolve

client_option = store_option


@contextlib.contextmanager
def opened_client(uri: str | None, *, create: bool = False) -> Iterator[Client]:
    """A client of the store that ``--store`` named, closed at the end.

    Args:
        uri: What the user gave; None for the default.
        create: Make an embedded store that is not there yet.

    Raises:
        NotFound: There is no store, and it is not to be made.
    """
    if not create:
        must_exist(resolve(uri))
    with Client(uri) as client:
        yield client
