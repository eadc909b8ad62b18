"""``headrace server``: serve a store over HTTP."""

from __future__ import annotations

import click

from headrace.cli.choices import SPAN
from headrace.cli.outcome import complain

_IGNORED = "Understood so that a start script carries over; ignored."


def _environment(name: str, mlflow: str | None = None) -> list[str]:
    return [f"HEADRACE_{name}", f"MLFLOW_{mlflow or name}"]


@click.command()
@click.option(
    "--store",
    "--backend-store-uri",
    "store",
    metavar="URI",
    envvar=["HEADRACE_STORE", "HEADRACE_BACKEND_STORE_URI", "MLFLOW_BACKEND_STORE_URI"],
    help="Directory, sqlite:///path or postgresql://… [default: the nearest .headrace directory upward "
    "from here, else a new one here]",
)
@click.option(
    "--artifacts",
    "--artifacts-destination",
    "artifacts",
    metavar="URI",
    envvar=["HEADRACE_ARTIFACTS", "HEADRACE_ARTIFACTS_DESTINATION", "MLFLOW_ARTIFACTS_DESTINATION"],
    help="Folder or bucket (s3://, gs://, az://) behind the artifact proxy. [default: the folder "
    "'artifacts' beside the store's database]",
)
@click.option(
    "--default-artifact-root",
    metavar="URI",
    envvar=_environment("DEFAULT_ARTIFACT_ROOT"),
    help="Where new experiments keep artifacts. [default: this server's proxy, or with "
    "--no-serve-artifacts what --artifacts says]",
)
@click.option(
    "--serve-artifacts/--no-serve-artifacts",
    default=True,
    envvar=_environment("SERVE_ARTIFACTS"),
    show_default=True,
    help="Let clients reach artifacts through this server.",
)
@click.option(
    "--allowed-artifacts",
    metavar="URIS",
    default="",
    envvar=["HEADRACE_ALLOWED_ARTIFACTS"],
    help="More folders and buckets, separated by commas, whose artifacts the server may reach for its "
    "clients when an experiment is kept there; * for all. Its own it always may.",
)
@click.option(
    "-h", "--host", default="127.0.0.1", envvar=_environment("HOST"), show_default=True,
    help="Address to listen on; 0.0.0.0 for all.",
)  # fmt: skip
@click.option(
    "-p", "--port", type=click.IntRange(0, 65535), default=5000, envvar=_environment("PORT"),
    show_default=True, help="Port to listen on; 0 takes a free one and prints it.",
)  # fmt: skip
@click.option(
    "-w", "--workers", type=click.IntRange(1, 256), default=1, envvar=_environment("WORKERS"),
    show_default=True, help="Processes. One is enough for most; on SQLite one is fastest.",
)  # fmt: skip
@click.option(
    "--static-prefix",
    metavar="PATH",
    default="",
    envvar=_environment("STATIC_PREFIX"),
    help="Path that a reverse proxy puts before ours, such as /tracking.",
)
@click.option(
    "--allowed-hosts",
    metavar="NAMES",
    default="",
    envvar=_environment("SERVER_ALLOWED_HOSTS"),
    help="Host names to answer to, separated by commas, * matching any text. Localhost and private "
    "addresses are always among them.",
)
@click.option(
    "--cors-allowed-origins",
    metavar="ORIGINS",
    default="",
    envvar=_environment("SERVER_CORS_ALLOWED_ORIGINS"),
    help="Origins whose pages may use this server, separated by commas, * for all. Localhost always may.",
)
@click.option(
    "--x-frame-options",
    default="SAMEORIGIN",
    envvar=_environment("SERVER_X_FRAME_OPTIONS"),
    show_default=True,
    help="SAMEORIGIN, DENY or NONE.",
)
@click.option(
    "--disable-security-middleware",
    is_flag=True,
    envvar=_environment("SERVER_DISABLE_SECURITY_MIDDLEWARE"),
    help="Check neither Host nor Origin; only behind something that does.",
)
@click.option(
    "--max-body",
    type=click.IntRange(min=1024),
    metavar="BYTES",
    default=32 * 1024 * 1024,
    envvar=["HEADRACE_MAX_BODY"],
    show_default=True,
    help="Largest JSON request. Artifacts have no limit.",
)
@click.option(
    "--webhook-allowed-targets",
    metavar="TARGETS",
    default="",
    envvar=["HEADRACE_WEBHOOK_ALLOWED_TARGETS"],
    help="Hosts and networks, separated by commas, that webhooks may send to though they are not public, and "
    "without TLS: ci.example.org, *.corp.example, 10.1.0.0/16.",
)
@click.option(
    "--webhook-keep-days",
    type=click.FloatRange(min=0),
    metavar="DAYS",
    default=30.0,
    envvar=["HEADRACE_WEBHOOK_KEEP_DAYS"],
    show_default=True,
    help="How long delivered messages of webhooks are remembered.",
)
@click.option(
    "--keep-events",
    type=SPAN,
    envvar=["HEADRACE_KEEP_EVENTS"],
    help="Remove events from the log that are older: 400d, 12h.  [default: keep them]",
)
@click.option(
    "--keep-events-mb",
    type=click.FloatRange(min=1),
    envvar=["HEADRACE_KEEP_EVENTS_MB"],
    help="Remove the oldest events when the log takes more megabytes.  [default: keep them]",
)
@click.option(
    "--access-log/--no-access-log",
    default=True,
    envvar=["HEADRACE_ACCESS_LOG"],
    show_default=True,
    help="Write one JSON line per request to standard error.",
)
@click.option(
    "--log-level",
    type=click.Choice(["debug", "info", "warning", "error"]),
    default="info",
    envvar=["HEADRACE_LOG_LEVEL"],
    show_default=True,
    help="Least important lines to write; requests are info.",
)
@click.option(
    "--registry-store-uri", hidden=True, envvar="MLFLOW_REGISTRY_STORE_URI", help=_IGNORED
)
@click.option("--gunicorn-opts", hidden=True, envvar="MLFLOW_GUNICORN_OPTS", help=_IGNORED)
@click.option("--uvicorn-opts", hidden=True, envvar="MLFLOW_UVICORN_OPTS", help=_IGNORED)
@click.option("--waitress-opts", hidden=True, help=_IGNORED)
@click.option("--expose-prometheus", hidden=True, envvar="MLFLOW_EXPOSE_PROMETHEUS", help=_IGNORED)
@click.option("--dev", is_flag=True, hidden=True, help=_IGNORED)
def server(
    store: str | None,
    artifacts: str | None,
    default_artifact_root: str | None,
    serve_artifacts: bool,
    allowed_artifacts: str,
    host: str,
    port: int,
    workers: int,
    static_prefix: str,
    allowed_hosts: str,
    cors_allowed_origins: str,
    x_frame_options: str,
    disable_security_middleware: bool,
    max_body: int,
    webhook_allowed_targets: str,
    webhook_keep_days: float,
    keep_events: int | None,
    keep_events_mb: float | None,
    access_log: bool,
    log_level: str,
    **ignored: str | bool | None,
) -> None:
    """Serve a store over HTTP, for headrace and MLflow clients.

    Stops on SIGTERM or Ctrl-C after answering what it accepted; a second signal ends it at once.
    MLflow's options and environment variables are understood; HEADRACE_… come first.
    """
    # Loaded here: `headrace --help` and the other commands need none of it.
    from headrace.engine.location import locate
    from headrace.server.serve import leave, serve
    from headrace.server.settings import Settings

    for name, value in ignored.items():
        if value:
            complain(f"warning: --{name.replace('_', '-')} has no meaning here and is ignored.")
    if static_prefix and (not static_prefix.startswith("/") or static_prefix.endswith("/")):
        raise click.BadParameter(
            f"'{static_prefix}' must start with a slash and not end with one.",
            param_hint="--static-prefix",
        )
    location = locate(store)
    destination = _absolute(artifacts) if artifacts else location.artifacts
    root = _absolute(default_artifact_root) if default_artifact_root else None
    settings = Settings(
        database_url=location.database_url,
        artifact_root=root or ("mlflow-artifacts:" if serve_artifacts else destination),
        artifacts=destination if serve_artifacts else None,
        allowed_artifacts=tuple(
            one if one == "*" else _absolute(one) for one in _listed(allowed_artifacts)
        ),
        host=host,
        port=port,
        workers=workers,
        static_prefix=static_prefix,
        security=not disable_security_middleware,
        allowed_hosts=(*_listed(allowed_hosts), host),
        allowed_origins=_listed(cors_allowed_origins),
        frame_options=x_frame_options,
        max_body=max_body,
        webhook_targets=_listed(webhook_allowed_targets),
        webhook_days=webhook_keep_days,
        keep_events_ms=keep_events,
        keep_events_bytes=None if keep_events_mb is None else round(keep_events_mb * 1_000_000),
        access_log=access_log,
        log_level=log_level,
    )

    def ready(url: str) -> None:
        where = destination if serve_artifacts else "not served"
        click.echo(
            f"headrace server on {url} · store {_shown(location.database_url)} · artifacts {where}"
        )

    leave(serve(settings, ready))


def _absolute(uri: str) -> str:
    """An artifact URI that means the same from every directory."""
    from headrace.artifacts.locations import local_folder

    folder = local_folder(uri)
    return uri if folder is None else folder.resolve().as_uri()


def _listed(text: str) -> tuple[str, ...]:
    return tuple(part for part in (part.strip() for part in text.split(",")) if part)


def _shown(url: str) -> str:
    """A database URL without its password."""
    from sqlalchemy import make_url

    return make_url(url).render_as_string(hide_password=True)
