"""``headrace models``."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from headrace.cli.model_aliases import alias, approve, guard, history
from headrace.cli.model_evaluation import evaluate
from headrace.cli.model_safety import scan, sign, verify
from headrace.cli.model_store import client_option, opened_client
from headrace.cli.outcome import FAILED
from headrace.cli.output import json_option, moment, print_all, print_json, print_table, size
from headrace.errors import InvalidParameter

_PAGE = 1000


@click.group()
def models() -> None:
    """List, log, register, compare, check and evaluate models, and move their aliases.

    URI is models:/NAME/3, models:/NAME@ALIAS, models:/m-ID, runs:/RUN/NAME, or a folder.
    """


for _command in (alias, approve, evaluate, guard, history, scan, sign, verify):
    models.add_command(_command)


@models.command("list")
@click.argument("name", required=False)
@click.option(
    "-f", "--filter", "filter_string", default="", help="As in MLflow: \"name LIKE 'fraud%'\"."
)
@click.option(
    "-n",
    "--max",
    "limit",
    type=click.IntRange(1),
    default=100,
    show_default=True,
    help="At most so many.",
)
@json_option
@client_option
def list_(name: str | None, filter_string: str, limit: int, as_json: bool, store_uri: str | None) -> None:  # fmt: skip
    """List registered models; with NAME, its versions, newest first."""
    with opened_client(store_uri) as client:
        if name is None:
            models_found = client.search_registered_models(filter_string, max_results=limit)
            if as_json:
                print_json(models_found)
                return
            print_table(
                ("name", "latest", "aliases", "updated", "description"),
                [
                    (
                        one.name,
                        max((int(v.version) for v in one.latest_versions), default=None),
                        ", ".join(f"{a}={v}" for a, v in sorted(one.aliases.items())),
                        moment(one.last_updated_timestamp),
                        (one.description or "").partition("\n")[0],
                    )
                    for one in models_found
                ],
            )
            return
        both = [f"name = '{name}'", *([filter_string] if filter_string else [])]
        client.get_registered_model(name)  # NotFound, not an empty list
        versions = client.search_model_versions(
            " AND ".join(both), max_results=limit, order_by=["version_number DESC"]
        )
    if as_json:
        print_json(versions)
        return
    print_table(
        ("version", "aliases", "stage", "run", "by", "registered", "source"),
        [
            (
                int(one.version),
                ", ".join(one.aliases),
                None if one.current_stage == "None" else one.current_stage,
                (one.run_id or "")[:8],
                one.user_id,
                moment(one.creation_timestamp),
                one.source,
            )
            for one in versions
        ],
    )


@models.command()
@click.argument("uri")
@json_option
@client_option
def show(uri: str, as_json: bool, store_uri: str | None) -> None:
    """Show what is known of a model: its card."""
    with opened_client(store_uri) as client:
        if as_json:
            from headrace.models.facts import facts_of

            facts = facts_of(client, uri)
            print_json(
                {
                    "uri": facts.uri,
                    "location": facts.location,
                    "digest": facts.digest,
                    "size": facts.size,
                    "version": facts.version,
                    "logged_model": facts.logged,
                    "run_id": None if facts.run is None else facts.run.info.run_id,
                    "model": None if facts.model is None else facts.model.to_dict(),
                    "requirements": facts.requirements,
                    "params": facts.params,
                    "metrics": facts.metrics,
                    "problem": facts.problem or None,
                }
            )
            return
        from rich.markdown import Markdown

        from headrace.cli.output import is_terminal
        from headrace.models.card import render_card

        card = render_card(client, uri)
    if is_terminal():
        print_all(Markdown(card))
    else:
        click.echo(card, nl=False)


@models.command()
@click.argument("saved", metavar="FOLDER|ARCHIVE", type=click.Path(exists=True, path_type=Path))
@click.option("-n", "--name", default="model", show_default=True, help="Of the logged model.")
@click.option("-r", "--run-id", help="The run that made it; its experiment is the model's.")
@click.option("-x", "--experiment-id", default="0", show_default=True, help="Without a run.")
@click.option("--register", "registered", metavar="NAME", help="Register it too.")
@click.option("-t", "--type", "model_type", help="Any word.")
@json_option
@client_option
def log(
    saved: Path,
    name: str,
    run_id: str | None,
    experiment_id: str,
    registered: str | None,
    model_type: str | None,
    as_json: bool,
    store_uri: str | None,
) -> None:
    """Log a model that was saved before, a folder or a zip or tar archive of one, and print its URI."""
    from headrace.models.logging import Copied, log_model

    with _folder_of(saved) as folder, opened_client(store_uri, create=True) as client:
        if run_id:
            experiment_id = client.get_run(run_id).info.experiment_id
        info = log_model(
            client,
            Copied(folder),
            name,
            experiment_id=experiment_id,
            run_id=run_id,
            model_type=model_type,
            registered_model_name=registered,
        )
    if as_json:
        print_json(
            {
                "model_uri": info.model_uri,
                "model_id": info.model_id,
                "digest": info.digest,
                "registered_model_version": info.registered_model_version,
            }
        )
        return
    click.echo(info.model_uri)
    if registered:
        click.echo(f"models:/{registered}/{info.registered_model_version}")


@contextlib.contextmanager
def _folder_of(saved: Path) -> Iterator[Path]:
    """A model's folder; of an archive what is in it, as long as the block lasts."""
    if saved.is_dir():
        yield saved
        return
    from headrace.models.unpack import unpack

    with tempfile.TemporaryDirectory(prefix="headrace-model-") as temporary:
        folder = Path(temporary) / "model"
        unpack(saved, folder)
        yield folder


@models.command()
@click.argument("uri")
@click.argument("name")
@json_option
@client_option
def register(uri: str, name: str, as_json: bool, store_uri: str | None) -> None:
    """Make a version of the registered model NAME from a model, and print its URI."""
    from headrace.models.download import locate_model
    from headrace.models.logging import register as make_version

    with opened_client(store_uri) as client:
        found = locate_model(uri, client=client)
        version = make_version(
            client,
            name,
            uri,
            run_id=found.run_id,
            model_id=found.model_id,
            digest=found.digest,
        )
    if as_json:
        print_json(version)
        return
    click.echo(f"models:/{version.name}/{version.version}")


@models.command()
@click.argument("a", metavar="A")
@click.argument("b", metavar="B")
@json_option
@client_option
def diff(a: str, b: str, as_json: bool, store_uri: str | None) -> None:
    """Show what is different in model B from model A.

    Exit code 1 when the signature differs: whoever calls the one may not be able to call the other.
    """
    from headrace.models.diff import diff_models

    with opened_client(store_uri) as client:
        found = diff_models(client, a, b)
    if as_json:
        print_json(found)
    else:
        _print_diff(found)
    if found.breaks:
        click.get_current_context().exit(FAILED)


def _print_diff(found: Any) -> None:
    rows = [
        (part, one.key, one.a, one.b)
        for part in ("signature", "requirements", "flavors", "params", "metrics")
        for one in getattr(found, part)
    ]
    if found.size is not None:
        rows.append(("size", "bytes", found.size.a, found.size.b))
    for note in found.notes:
        click.echo(note, err=True)
    if not rows:
        same = "The folders are equal." if found.same_files else "Nothing that is compared differs."
        click.echo(same)
        return
    print_table(("what", "key", found.a, found.b), rows)


@models.command()
@click.argument("uri")
@click.argument("folder", type=click.Path(path_type=Path))
@json_option
@client_option
def download(uri: str, folder: Path, as_json: bool, store_uri: str | None) -> None:
    """Bring a model's folder here. What was recorded of it when it was logged is compared."""
    from headrace.models.download import fetch_model
    from headrace.models.hashing import folder_digest

    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InvalidParameter(
            f"{folder} is there already: name a folder that is not, or is empty."
        )
    with opened_client(store_uri) as client:
        fetched = fetch_model(uri, client=client, dst_path=folder)
    found = folder_digest(fetched.folder)
    if fetched.digest is not None and found.hash != fetched.digest:
        raise InvalidParameter(
            f"{uri} is not what was logged: its digest is {found.hash}, recorded was {fetched.digest}. It is in "
            f"{fetched.folder}; do not open it."
        )
    if as_json:
        print_json(
            {
                "uri": uri,
                "folder": str(fetched.folder),
                "size": found.size,
                "digest": found.hash,
                "recorded_digest": fetched.digest,
            }
        )
        return
    checked = "as recorded" if fetched.digest else "none was recorded"
    click.echo(f"{fetched.folder}: {size(found.size)}, {found.hash} ({checked})")


@models.command()
@click.argument("uri")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@client_option
def delete(uri: str, yes: bool, store_uri: str | None) -> None:
    """Delete a registered model (NAME), one of its versions (models:/NAME/3), or a logged model (models:/m-ID).

    A logged model goes into the trash; registered ones, and their versions, are gone. Files stay.
    """
    from headrace.protocol.model_uris import parse_model_uri

    with opened_client(store_uri) as client:
        if not uri.startswith("models:/"):
            client.get_registered_model(uri)
            _confirm(yes, f"Delete the registered model '{uri}' with all its versions?")
            client.delete_registered_model(uri)
            return
        parsed = parse_model_uri(uri)
        if parsed.model_id:
            client.delete_logged_model(parsed.model_id)
            return
        if not parsed.version:
            raise InvalidParameter(
                f"'{uri}' names no version by its number: delete models:/{parsed.name}/<number>."
            )
        _confirm(yes, f"Delete version {parsed.version} of '{parsed.name}'?")
        client.delete_model_version(parsed.name, parsed.version)


def _confirm(yes: bool, question: str) -> None:
    if not yes:
        click.confirm(question, abort=True)
