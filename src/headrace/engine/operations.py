"""All operations of the store over one transaction."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from headrace.engine.batch import prepare
from headrace.engine.ingest import IngestOperations
from headrace.engine.metrics.reading import MetricOperations
from headrace.engine.registry.operations import RegistryOperations
from headrace.engine.rules.replay import ReplayOperations
from headrace.engine.search.operations import SearchOperations
from headrace.engine.stops import StopOperations
from headrace.engine.trash import TrashOperations
from headrace.engine.webhooks.deliveries import DeliveryOperations

#: Operations that begin with work which needs no database, and is done before the transaction: the
#: function that does it, and the session's method that takes its result in the place of the request.
PREPARED: dict[str, tuple[Callable[[Any], Any], str]] = {"ingest": (prepare, "ingest_prepared")}


class Session(
    TrashOperations,
    IngestOperations,
    StopOperations,
    SearchOperations,
    MetricOperations,
    RegistryOperations,
    DeliveryOperations,
    ReplayOperations,
):
    """The store's operations, each running in the transaction that the session was given.

    `TrashOperations` stands on the inputs', runs', experiments' and logged models' operations.
    """
