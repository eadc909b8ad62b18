"""``headrace doctor``: look at a setup and say what to do."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import sys
from collections.abc import Iterator

import click
from rich.table import Table
from rich.text import Text

from headrace.cli.finding import Finding, Level
from headrace.cli.outcome import FAILED
from headrace.cli.output import json_option, print_all, print_json
from headrace.cli.store import store_option

_OLDEST_PYTHON = (3, 11)
_REQUIREMENT = re.compile(r"([A-Za-z0-9_.-]+)(?:\[[^\]]*\])?\s*(?:>=\s*([0-9.]+))?")
#: What is not needed, and what it is good for.
_OPTIONAL = {
    "psycopg": "stores on PostgreSQL (pip install 'headrace[postgres]')",
    "pandas": "search_runs as a data frame",
    "pyarrow": "headrace runs export to Parquet",
    "pillow": "log_image of arrays (pip install 'headrace[images]')",
    "matplotlib": "log_figure",
}
#: Settings that headrace reads, as HEADRACE_… and as MLFLOW_….
SETTINGS = frozenset(
    (
        "ACTIVE_MODEL_ID",
        "ARTIFACTS_DESTINATION",
        "BACKEND_STORE_URI",
        "CAPTURE",
        "CAPTURE_LIMIT",
        "CONSOLE",
        "DEFAULT_ARTIFACT_ROOT",
        "ENABLE_SYSTEM_METRICS_LOGGING",
        "EXPERIMENT_ID",
        "EXPERIMENT_NAME",
        "FLUSH_TIMEOUT",
        "HEARTBEAT_SECONDS",
        "HOST",
        "HTTP_REQUEST_BACKOFF_FACTOR",
        "HTTP_REQUEST_MAX_RETRIES",
        "HTTP_REQUEST_TIMEOUT",
        "JOURNAL_DIR",
        "JOURNAL_MEMORY",
        "JOURNAL_SYNC",
        "LOST_AFTER",
        "OFFLINE",
        "ON_STOP",
        "PORT",
        "READ_FILES_HERE",
        "RUN_CONTEXT",
        "RUN_ID",
        "SERVER_ALLOWED_HOSTS",
        "SERVER_CORS_ALLOWED_ORIGINS",
        "SERVER_DISABLE_SECURITY_MIDDLEWARE",
        "SERVER_X_FRAME_OPTIONS",
        "SERVE_ARTIFACTS",
        "START_TIMEOUT",
        "STATIC_PREFIX",
        "SYSTEM_METRICS_NODE_ID",
        "SYSTEM_METRICS_SAMPLES_BEFORE_LOGGING",
        "SYSTEM_METRICS_SAMPLING_INTERVAL",
        "TRACKING_CLIENT_CERT_PATH",
        "TRACKING_INSECURE_TLS",
        "TRACKING_PASSWORD",
        "TRACKING_SERVER_CERT_PATH",
        "TRACKING_TOKEN",
        "TRACKING_URI",
        "TRACKING_USERNAME",
        "WORKERS",
    )
)
#: Settings under one of the prefixes only.
OWN_SETTINGS = frozenset(
    (
        "HEADRACE_ACCESS_LOG", "HEADRACE_ALLOWED_ARTIFACTS", "HEADRACE_ALLOW_PICKLE", "HEADRACE_ARTIFACTS", "HEADRACE_KEEP_EVENTS",
        "HEADRACE_KEEP_EVENTS_MB", "HEADRACE_LOG_LEVEL", "HEADRACE_MAX_BODY", "HEADRACE_MODEL_POLICY", "HEADRACE_NATS_URL",
        "HEADRACE_PUBLIC_URL", "HEADRACE_RULES", "HEADRACE_SIGNING_IDENTITY_TOKEN", "HEADRACE_SIGNING_PASSWORD", "HEADRACE_RULE_CALLS", "HEADRACE_SECRETS_KEY",
        "HEADRACE_STORE", "HEADRACE_WEBHOOK_ALLOWED_TARGETS", "HEADRACE_WEBHOOK_KEEP_DAYS",
        "HEADRACE_WEBHOOK_SECRET",
    )
)  # fmt: skip
MLFLOW_SETTINGS = frozenset(
    (
        "MLFLOW_ALLOW_PICKLE_DESERIALIZATION",
        "MLFLOW_WEBHOOK_SECRET_ENCRYPTION_KEY",
        "MLFLOW_S3_ENDPOINT_URL",
        "MLFLOW_S3_IGNORE_TLS",
        "MLFLOW_S3_UPLOAD_EXTRA_ARGS",
    )
)
_SECRET = re.compile(r"PASSWORD|TOKEN|SECRET|CREDENTIAL|_KEY$|PASSPHRASE")
#: Greedy: a password may hold what should have been percent-encoded.
_PASSWORD_IN_URI = re.compile(r"(://[^:/?#@\s]*:)\S*@|(?i:([?&](?:password|token|secret)=)[^&\s]*)")
_MARKS = {
    Level.OK: ("ok", "green"),
    Level.NOTE: ("note", "cyan"),
    Level.WARNING: ("warning", "yellow"),
    Level.PROBLEM: ("PROBLEM", "bold red"),
}


@click.command()
@json_option
@click.option(
    "--mask-envs", is_flag=True, hidden=True, help="As MLflow's; secrets are always masked."
)
@store_option
def doctor(as_json: bool, mask_envs: bool, store_uri: str | None) -> None:
    """Check this setup, from Python to the store's disk, and say what to do.

    The store is opened but not changed, but for a small file that is written beside it and removed.
    Exit code 1 when something is wrong.
    """
    from headrace.cli.doctor_store import store_findings  # loads what the store needs

    findings = [*_python(), *_packages(), *_environment(), *store_findings(store_uri)]
    if as_json:
        print_json(findings)
    else:
        _print(findings)
    if any(finding.level is Level.PROBLEM for finding in findings):
        click.get_current_context().exit(FAILED)


def _python() -> Iterator[Finding]:
    where = f"{platform.python_implementation()} {platform.python_version()} on {platform.platform(terse=True)}"
    if sys.version_info < _OLDEST_PYTHON:
        yield Finding.problem("python", where, "Use Python 3.11 or newer.")
    else:
        yield Finding.ok("python", where)


def _packages() -> Iterator[Finding]:
    yield Finding.ok("headrace", importlib.metadata.version("headrace"))
    good = []
    for line in importlib.metadata.requires("headrace") or ():
        match = _REQUIREMENT.match(line)
        if match is None or "extra ==" in line:
            continue
        name, least = match[1], match[2]
        try:
            version = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            yield Finding.problem(name, "not installed", f"pip install {name}")
            continue
        if least and _numbers(version) < _numbers(least):
            yield Finding.problem(
                name, f"{version} is older than {least}", f"pip install --upgrade {name}"
            )
        else:
            good.append(f"{name} {version}")
    if good:
        yield Finding.ok("dependencies", ", ".join(good))
    there, missing = [], []
    for name, purpose in _OPTIONAL.items():
        try:
            there.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            missing.append(f"{name} for {purpose}")
    if there:
        yield Finding.ok("optional", ", ".join(there))
    if missing:
        yield Finding.note("optional", "not installed: " + "; ".join(missing))


def _environment() -> Iterator[Finding]:
    for name in sorted(os.environ):
        prefix, _, setting = name.partition("_")
        if prefix not in ("HEADRACE", "MLFLOW") or not setting:
            continue
        shown = f"{name}={masked(name, os.environ[name])}"
        if setting in SETTINGS:
            ours = f"HEADRACE_{setting}"
            if prefix == "MLFLOW" and os.environ.get(ours):
                yield Finding.warning("environment", shown, f"Ignored: {ours} comes first.")
            else:
                yield Finding.ok("environment", shown)
        elif name in OWN_SETTINGS or name in MLFLOW_SETTINGS:
            yield Finding.ok("environment", shown)
        elif prefix == "MLFLOW":
            yield Finding.note(
                "environment", f"{shown} is MLflow's alone; headrace does not read it"
            )
        else:
            yield Finding.warning(
                "environment", shown, "No setting of headrace has that name: check the spelling."
            )


def masked(name: str, value: str) -> str:
    """A variable's value with what must not be shown replaced by stars."""
    if _SECRET.search(name):
        return "***"
    return _PASSWORD_IN_URI.sub(lambda m: f"{m[1]}***@" if m[1] else f"{m[2]}***", value)


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version)[:3])


def _print(findings: list[Finding]) -> None:
    table = Table(box=None, pad_edge=False, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True, style="bold")
    table.add_column(overflow="fold")
    for finding in findings:
        word, style = _MARKS[finding.level]
        detail = Text(finding.detail)
        if finding.remedy:
            detail.append(f"\n→ {finding.remedy}", style=style)
        table.add_row(Text(word, style=style), Text(finding.what), detail)
    print_all(table)
    problems = sum(finding.level is Level.PROBLEM for finding in findings)
    warnings = sum(finding.level is Level.WARNING for finding in findings)
    if problems or warnings:
        click.echo(f"\n{problems} problem(s), {warnings} warning(s).")
    else:
        click.echo("\nAll is well.")
