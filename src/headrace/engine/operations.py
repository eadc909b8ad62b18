"""All operations of the store over one transaction."""

from __future__ import annotations

from headrace.engine.logged_models import LoggedModelOperations
from headrace.engine.metrics.reading import MetricOperations
from headrace.engine.search.operations import SearchOperations
from headrace.engine.trash import TrashOperations


class Session(TrashOperations, SearchOperations, MetricOperations, LoggedModelOperations):
    """The store's operations, each running in the transaction that the session was given.

    `TrashOperations` stands on the inputs', runs' and experiments' operations.
    """
