"""The ``--store`` option, and the store that it names."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import unquote

import click

from headrace.client.stores import open_store, resolve
from headrace.errors import NotFound
from headrace.protocol.operation import operation_of
from headrace.protocol.store import Store

F = TypeVar("F", bound=Callable[..., Any])

_SQLITE = "sqlite:///"

store_option: Callable[[F], F] = click.option(
    "--store",
    "--tracking-uri",
    "store_uri",
    metavar="URI",
    envvar=["HEADRACE_TRACKING_URI", "MLFLOW_TRACKING_URI"],
    help="Directory, sqlite:///…, postgresql://… or http(s)://… [default: HEADRACE_TRACKING_URI, "
    "else MLFLOW_TRACKING_URI, else the nearest .headrace directory]",
)


@contextlib.contextmanager
def opened(
    uri: str | None, *, create: bool = False, artifacts: str | None = None
) -> Iterator[Store]:
    """The store that ``--store`` named, closed at the end.

    Args:
        uri: What the user gave; None for the default.
        create: Make an embedded store that is not there yet. Only commands that put something in do
            so: a mistyped path must not answer like an empty store.
        artifacts: URI of the artifact root, where it is not beside the store's database.

    Raises:
        NotFound: There is no store, and it is not to be made.
    """
    if not create:
        must_exist(resolve(uri))
    store = open_store(uri, artifacts)
    try:
        yield store
    finally:
        store.close()


def must_exist(url: str) -> None:
    """Refuse an embedded store that is not there.

    Args:
        url: As `headrace.client.stores.resolve` answers it.
    """
    path = sqlite_file(url)
    if path is not None and not path.is_file():
        raise NotFound(
            f"No store at {path.parent}: log something first, or name another one with --store "
            "or HEADRACE_TRACKING_URI."
        )


def sqlite_file(url: str) -> Path | None:
    """The file of a SQLite store; None for other stores."""
    if not url.startswith(_SQLITE):
        return None
    return Path(unquote(url.removeprefix(_SQLITE).partition("?")[0]))


def ask(store: Store, method: Callable[..., Any], **fields: Any) -> Any:
    """Carry out one operation.

    Args:
        store: By whom.
        method: Its declaration, such as ``Runs.get_run``.
        fields: Of the request; None means *not given*.

    Raises:
        InvalidParameter: A field breaks its limit.
    """
    operation = operation_of(method)
    return store.call(operation, operation.build(**fields))
