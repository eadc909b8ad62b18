"""The ``headrace`` command: one file per noun, loaded when it is used.

A noun file translates arguments into operations and answers into text; behaviour lives below. Exit
codes are in `headrace.cli.outcome`.
"""

from __future__ import annotations

import importlib
import io
import sys
from typing import Any

import click

#: Command -> one line of help, so that ``headrace --help`` loads no noun file.
COMMANDS = {
    "server": "Serve a store over HTTP, for headrace and MLflow clients.",
    "experiments": "List, show, create, rename, delete and restore experiments.",
    "runs": "List, show, compare, delete, restore and export runs, and read their output.",
    "events": "Follow, list, replay and trim the log of everything that happens.",
    "webhooks": "List, create, change and try webhooks, and see what became of their deliveries.",
    "artifacts": "List, download and upload the files of runs.",
    "rules": "List, apply, test, switch and delete rules, and see what fired.",
    "models": "List, log, register, compare, check and evaluate models, and move their aliases.",
    "sync": "Ship what was logged offline, or left behind, to its store.",
    "db": "Check, upgrade and downgrade a store's database schema.",
    "gc": "Remove deleted runs and experiments for good, files included.",
    "doctor": "Check this setup and say what to do.",
}
#: Names that MLflow users type.
_ALIASES = {"ui": "server"}


class LazyGroup(click.Group):
    """A group whose subcommands are imported on first use, and whose errors are one line on stderr."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        name = _ALIASES.get(cmd_name, cmd_name)
        if name not in COMMANDS:
            return None
        command: click.Command = getattr(importlib.import_module(f"headrace.cli.{name}"), name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def invoke(self, ctx: click.Context) -> Any:
        for stream in (sys.stdout, sys.stderr):
            # A name that the terminal's encoding lacks is shown with escapes, not as a crash.
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(errors="backslashreplace")
        from headrace.cli.outcome import (
            reported,
        )  # loads the error classes only when a command runs

        with reported(ctx):
            return super().invoke(ctx)


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="headrace", message="headrace %(version)s")
def main() -> None:
    """Track machine-learning experiments, and look at what was tracked.

    A store is a directory, sqlite:///…, postgresql://… or the http(s):// address of a server. Without
    --store it is HEADRACE_TRACKING_URI, else MLFLOW_TRACKING_URI, else the nearest .headrace directory
    upward from here.
    """
