"""Everything a tracking store can do.

`headrace.engine.Engine` is one over a database, `headrace.client.remote.RemoteStore` one over HTTP.
They raise the same errors and pass the same suite (tests/conformance).
"""

from __future__ import annotations

from headrace.protocol.console import Consoles
from headrace.protocol.events import Events
from headrace.protocol.experiments import Experiments
from headrace.protocol.ingest import Ingest
from headrace.protocol.logged_models import LoggedModels
from headrace.protocol.metrics import Metrics
from headrace.protocol.rules import Rules
from headrace.protocol.runs import Runs
from headrace.protocol.trash import Trash


class Store(Experiments, Runs, Ingest, Consoles, Metrics, LoggedModels, Trash, Events, Rules):
    """The tracking operations together."""

    def close(self) -> None:
        """Release connections and threads. Further calls are errors."""
