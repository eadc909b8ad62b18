"""The client: everything a tracking store can do, under the names that MLflow's client has."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

from headrace.client.events import EventCalls
from headrace.client.experiments import ExperimentCalls
from headrace.client.journal.journals import sync_before
from headrace.client.logged_models import LoggedModelCalls
from headrace.client.metrics import MetricCalls
from headrace.client.model_versions import ModelVersionCalls
from headrace.client.stores import open_store, resolve
from headrace.client.tables import TableCalls
from headrace.client.trash import TrashCalls
from headrace.protocol.store import Store


class Client(
    ExperimentCalls,
    MetricCalls,
    TableCalls,  # over images, documents, files, runs
    LoggedModelCalls,  # over files too
    TrashCalls,
    EventCalls,
    ModelVersionCalls,  # over registered models
):
    """A tracking store, embedded or behind a server.

    Thread-safe, and usable after a fork. Names and arguments are those of ``mlflow.MlflowClient``. Every
    call returns when what it changed is durable, and raises a `headrace.errors.HeadraceError`: `NotFound`
    for an unknown id, `InvalidParameter` for a value that is not acceptable or a write to something
    deleted, `Unavailable` when the store cannot be reached.
    """

    def __init__(self, tracking_uri: str | os.PathLike[str] | None = None) -> None:
        """Open a store.

        Args:
            tracking_uri: A directory, ``sqlite:///path``, ``postgresql://…``, or ``http(s)://…``. None
                means the environment (``HEADRACE_TRACKING_URI``, else ``MLFLOW_TRACKING_URI``), else the
                nearest ``.headrace`` directory upward from here, made here if there is none.

        Raises:
            InvalidParameter: The URI names no store.
            Unavailable: The database cannot be reached.
        """
        self._tracking_uri = resolve(tracking_uri)
        self._begin(open_store(tracking_uri))

    def _begin(self, store: Store) -> None:
        super().__init__(store)

    def _call(self, method: Callable[..., Any], **fields: Any) -> Any:
        # What this process logged before is there when the store is asked.
        sync_before(self._tracking_uri)
        return super()._call(method, **fields)

    @property
    def tracking_uri(self) -> str:
        """The store's address: a server's, or a database's URL."""
        return self._tracking_uri

    def close(self) -> None:
        """Release the store; further calls raise `Unavailable`. Optional: it happens at exit too."""
        self._store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Client({re.sub('//[^/@]*@', '//***@', self._tracking_uri)!r})"
