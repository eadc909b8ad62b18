"""The object graph of a server, built in one place."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from importlib.metadata import version as distribution_version
from pathlib import Path
from typing import Any

from headrace.artifacts import open_artifacts
from headrace.artifacts.locations import local_folder
from headrace.engine import Engine
from headrace.events.background import Background, Job
from headrace.events.retention import Retention
from headrace.events.rules.job import RulesJob
from headrace.events.targets import Targets
from headrace.events.webhooks.hooks import checker
from headrace.events.webhooks.job import WebhookJob
from headrace.events.webhooks.trial import OPERATIONS as TRIALS
from headrace.events.webhooks.trial import Trials
from headrace.protocol import openapi
from headrace.protocol.artifacts import Artifacts
from headrace.protocol.events import TrimEvents
from headrace.protocol.operation import Operation, operations_of
from headrace.protocol.store import Store
from headrace.server.app import App
from headrace.server.artifact_events import ArtifactEvents
from headrace.server.artifacts import ArtifactService, artifact_routes
from headrace.server.bridge import Bridge
from headrace.server.events import Hub, event_routes
from headrace.server.logs import LogWriter, set_up
from headrace.server.metrics import Metrics
from headrace.server.operations import allow_all, operation_routes
from headrace.server.pages import page_routes
from headrace.server.security import Policy
from headrace.server.settings import Settings

#: Artifact operations (listing a folder, presigning) that may run at once.
_ARTIFACT_THREADS = 8


def build(settings: Settings) -> App:
    """Open the store and put the application over it together.

    Raises:
        Unavailable: The database cannot be reached.
        SchemaMismatch: It was made by another version of headrace.
        InvalidParameter: A setting names no store or no artifact folder.
    """
    targets = Targets(settings.webhook_targets)
    proxied = None if settings.artifacts is None else open_artifacts(settings.artifacts)
    engine = Engine(
        settings.database_url, artifact_root=settings.artifact_root, actor="", served=True
    )
    engine.webhook_guard.check = checker(targets)
    trials = Trials(engine, targets)
    background = Background(engine, _jobs(engine, targets, settings))
    version = distribution_version("headrace")
    log = LogWriter()
    set_up(log, settings.log_level)
    bridge = Bridge()
    metrics = Metrics(version)
    hub = Hub(engine)
    threads = ThreadPoolExecutor(_ARTIFACT_THREADS, thread_name_prefix="headrace-artifacts")
    own = (settings.artifact_root, *([settings.artifacts] if settings.artifacts else ()))
    service = ArtifactService(engine, proxied, (*own, *settings.allowed_artifacts))
    operations = operations_of(Store) | operations_of(Artifacts)

    told = ArtifactEvents(engine)

    def submit_artifacts(operation: Operation, request: Any, actor: str) -> Future[Any]:
        return threads.submit(getattr(service, operation.name), request)

    def submit_store(operation: Operation, request: Any, actor: str) -> Future[Any]:
        submit = trials.submit if operation.name in TRIALS else engine.submit
        return submit(operation, request, actor)

    def document() -> dict[str, Any]:
        return openapi.document(
            operations.values(),
            version=version,
            static_prefix=settings.static_prefix,
            artifact_proxy=proxied is not None,
        )

    def metrics_page() -> bytes:
        return metrics.page(app.in_flight, bridge.waiting)

    def close() -> None:
        hub.close()
        background.close()
        trials.close()
        threads.shutdown()
        told.close()
        engine.close()
        log.close()

    routes = page_routes(
        version=version,
        static_prefix=settings.static_prefix,
        document=document,
        metrics_page=metrics_page,
        server_info=_server_info(settings),
    )
    for interface, submit in ((Store, submit_store), (Artifacts, submit_artifacts)):
        routes |= operation_routes(
            operations_of(interface).values(),
            submit,
            bridge=bridge,
            authorise=allow_all,
            max_body=settings.max_body,
        )
    routes |= event_routes(engine, hub, bridge=bridge, authorise=allow_all)
    app = App(
        routes,
        artifact_routes(proxied, service, told),
        policy=Policy(settings.allowed_hosts, settings.allowed_origins)
        if settings.security
        else None,
        authorise=allow_all,
        metrics=metrics,
        log=log if settings.access_log and settings.log_level in ("debug", "info") else None,
        static_prefix=settings.static_prefix,
        frame_options=settings.frame_options,
        end_streams=hub.close,
        close=close,
    )
    return app


def _jobs(engine: Engine, targets: Targets, settings: Settings) -> list[Callable[[], Job]]:
    """What one of the servers over a store does beside answering."""
    rules = None if settings.rules is None else Path(settings.rules)
    jobs: list[Callable[[], Job]] = [
        lambda: RulesJob(engine, file=rules, calls=settings.rule_calls),
        lambda: WebhookJob(engine, targets, keep_days=settings.webhook_days),
    ]
    keep = TrimEvents(older_than_ms=settings.keep_events_ms, keep_bytes=settings.keep_events_bytes)
    if keep != TrimEvents():
        jobs.append(lambda: Retention(engine, keep))
    return jobs


def _server_info(settings: Settings) -> dict[str, Any]:
    """What MLflow's clients read to choose how they transfer artifacts."""
    served = settings.artifacts is not None
    local = served and local_folder(settings.artifacts or "") is not None
    multipart = local or (settings.artifacts or "").startswith(("s3:", "s3a:"))
    return {
        "store_type": "SqlStore",
        "workspaces_enabled": False,
        "trace_archival_enabled": False,
        "multipart_uploads_enabled": multipart,
        "multipart_downloads_enabled": served and not local,
        "presigned_upload_run_id_supported": True,
        "presigned_upload_model_id_supported": True,
        "features_enabled": {"gateway": False},
    }
