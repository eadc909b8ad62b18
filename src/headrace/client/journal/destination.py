"""The store that journals are shipped to, and the way into it."""

from __future__ import annotations

import logging
import os
import re
from pathlib import Path
from typing import Any, Protocol

from headrace.client.stores import is_remote, open_store
from headrace.errors import (
    EndpointNotFound,
    InvalidParameter,
    MethodNotAllowed,
    NotFound,
    Unavailable,
    Unsupported,
)
from headrace.protocol.experiments import Experiments
from headrace.protocol.ingest import Batch, Ingest, Ingested
from headrace.protocol.operation import operation_of
from headrace.protocol.store import Store

_USER_INFO = re.compile(r"(?<=//)[^/?#]*@")
_PASSWORD = re.compile(r"(?<=//)([^:/?#@]*):[^/?#]*@")
_PASSWORD_FIELD = re.compile(r"(?i)(?<=[?&])(password|token|secret)=[^&#]*&?")


def without_credentials(uri: str) -> str:
    """A tracking URI as it may be written to a file.

    The user's name stays in a database's URL: it is part of the address. Bytes of a path that are no
    UTF-8 are escaped.
    """
    uri = uri.encode(errors="backslashreplace").decode()
    if is_remote(uri):
        return _USER_INFO.sub("", uri).rstrip("/")
    if "://" not in uri and not uri.startswith("file:"):
        return os.path.abspath(uri)  # noqa: PTH100 - as text
    return _PASSWORD_FIELD.sub("", _PASSWORD.sub(r"\1@", uri)).rstrip("?&")


def _not_of_the_drain(record: logging.LogRecord) -> bool:
    """Not a line for each of the drain's requests, which come several times a second."""
    return record.threadName != "headrace-drain" or record.levelno > logging.INFO


class Route(Protocol):
    """A way for one journal into a store. Keeps `Ingest.ingest`'s promises."""

    def reached(self, position: int) -> int:
        """How far it is, by what `Destination.connect` answered and what it knows itself."""

    def ingest(self, batch: Batch) -> Ingested:
        """Apply a batch, once."""

    def run_id(self, run_id: str) -> str:
        """What the store calls a run."""


#: What a server answers that does not have an operation.
_LACKS = (EndpointNotFound, MethodNotAllowed, NotFound, Unsupported)


class Destination:
    """A store that is opened when it is needed.

    Attributes:
        uri: With credentials, if there are any.
        shown: Without them.
        native: Whether it takes batches, as headrace's stores do; None while that is not known.
        reachable: Whether it could be asked the last time; None before the first.
    """

    def __init__(self, uri: str, retries: int = 0) -> None:
        """Name a store; nothing happens yet.

        Args:
            uri: As for `open_store`.
            retries: How often a request to a server is repeated before `Unavailable` is raised.
        """
        self.uri = uri
        self.shown = without_credentials(uri)
        self.native: bool | None = None
        self.reachable: bool | None = None
        self._retries = retries
        self._store: Store | None = None

    @property
    def store(self) -> Store:
        """The store.

        Raises:
            InvalidParameter: The URI names none.
            Unavailable: Its database cannot be reached.
        """
        if self._store is None:
            self._store = open_store(self.uri, retries=self._retries)
            logging.getLogger("httpx").addFilter(_not_of_the_drain)
        return self._store

    def ask(self, method: Any, request: Any) -> Any:
        """Carry out an operation."""
        return self.store.call(operation_of(method), request)

    def connect(self, writer: str, start: int) -> int:
        """Find out what kind of store it is, and how far it is with a writer.

        Returns:
            The position it has reached; ``start`` if it does not say.
        """
        if self.native is not False:
            beat = Batch(writer=writer, start=start, end=start)
            try:
                position = self._beat(beat)
            except _LACKS as error:
                self._check_tracking(error)
                # Once more: it may have been a proxy that answered, before the server was there.
                try:
                    position = self._beat(beat)
                except _LACKS:
                    self.native = False
                    return start
            self.native = True
            return position
        return start

    def _beat(self, beat: Batch) -> int:
        answer: Ingested = self.ask(Ingest.ingest, beat)
        return answer.position

    def _check_tracking(self, cause: Exception) -> None:
        """Anything may answer at an address; data go only to what speaks MLflow's protocol."""
        from headrace.protocol.experiments import SearchExperiments

        try:
            self.ask(Experiments.search_experiments, SearchExperiments(max_results=1))
        except (*_LACKS, InvalidParameter) as error:
            raise Unavailable(
                f"{self.shown} is no tracking server ({error.message}). Check the tracking URI."
            ) from cause

    def route(self, folder: Path | None) -> Route:
        """The way for a journal; call `connect` before."""
        if self.native is False:
            from headrace.client.journal.mlflow import MlflowRoute

            return MlflowRoute(self, folder)
        return _Native(self)

    def close(self) -> None:
        """Let go of the store."""
        if self._store is not None:
            self._store.close()
            self._store = None


class _Native:
    def __init__(self, destination: Destination) -> None:
        self._destination = destination

    def reached(self, position: int) -> int:
        return position

    def ingest(self, batch: Batch) -> Ingested:
        answer: Ingested = self._destination.ask(Ingest.ingest, batch)
        return answer

    def run_id(self, run_id: str) -> str:
        return run_id
