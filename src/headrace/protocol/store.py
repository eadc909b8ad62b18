"""Everything a tracking store can do.

`headrace.engine.Engine` is one over a database, `headrace.client.remote.RemoteStore` one over HTTP.
They raise the same errors and pass the same suite (tests/conformance).
"""

from __future__ import annotations

from headrace.protocol.alerts import Alerts
from headrace.protocol.console import Consoles
from headrace.protocol.events import Events
from headrace.protocol.experiments import Experiments
from headrace.protocol.ingest import Ingest
from headrace.protocol.lineage import Lineages
from headrace.protocol.logged_models import LoggedModels
from headrace.protocol.metrics import Metrics
from headrace.protocol.mlflow_webhook_api import MlflowWebhooks
from headrace.protocol.model_aliases import ModelAliases
from headrace.protocol.model_versions import ModelVersions
from headrace.protocol.registered_models import RegisteredModels
from headrace.protocol.rules import Rules
from headrace.protocol.runs import Runs
from headrace.protocol.stops import Stops
from headrace.protocol.trash import Trash
from headrace.protocol.webhooks import Webhooks


class Store(
    Experiments,
    Runs,
    Ingest,
    Alerts,
    Stops,
    Consoles,
    Metrics,
    LoggedModels,
    RegisteredModels,
    ModelVersions,
    ModelAliases,
    Lineages,
    Trash,
    Events,
    Webhooks,
    MlflowWebhooks,
    Rules,
):
    """The tracking operations together."""

    def close(self) -> None:
        """Release connections and threads. Further calls are errors."""
