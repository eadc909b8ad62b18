"""``headrace experiments``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from headrace.cli import lookup
from headrace.cli.choices import VIEW, tags_option
from headrace.cli.outcome import printable
from headrace.cli.output import (
    json_option,
    moment,
    plain_experiment,
    print_fields,
    print_json,
    print_table,
)
from headrace.cli.store import ask, opened, store_option
from headrace.entities import Experiment, ViewType
from headrace.protocol.experiments import Experiments
from headrace.protocol.store import Store

F = TypeVar("F", bound=Callable[..., Any])


def one_experiment(command: F) -> F:
    """The experiment that a command is about: an argument (id or name), or MLflow's options."""
    for option in (
        click.argument("experiment", required=False),
        click.option("-x", "--experiment-id", help="Its id."),
        click.option("-n", "--experiment-name", help="Its name."),
    ):
        command = option(command)
    return command


@click.group()
def experiments() -> None:
    """List, show, create, rename, delete and restore experiments.

    Where EXPERIMENT is asked for, all digits are an id and anything else a name; a name of digits
    goes to --experiment-name.
    """


@experiments.command("list")
@click.option("-f", "--filter", "filter_string", default="", help="For example: name LIKE 'cnn%' AND tags.team = 'vision'")  # fmt: skip
@click.option("-o", "--order-by", multiple=True, help="For example: 'name ASC'; may be repeated.")
@click.option("-v", "--view", type=VIEW, default="active_only", show_default=True)
@click.option("-l", "--limit", "--max-results", type=click.IntRange(min=0), default=100, show_default=True, help="At most so many; 0 for all.")  # fmt: skip
@json_option
@store_option
def list_experiments(
    filter_string: str,
    order_by: tuple[str, ...],
    view: ViewType,
    limit: int,
    as_json: bool,
    store_uri: str | None,
) -> None:
    """List experiments, newest first."""
    found: list[Experiment] = []
    more = False
    with opened(store_uri) as store:
        for one in lookup.all_experiments(store, view, filter_string, order_by):
            if limit and len(found) == limit:
                more = True
                break
            found.append(one)
    if as_json:
        print_json([plain_experiment(one) for one in found])
        return
    if not found:
        click.echo("No experiments.", err=True)
        return
    print_table(
        ("id", "name", "stage", "created", "last update", "tags"),
        [
            (
                one.experiment_id,
                one.name,
                one.lifecycle_stage,
                moment(one.creation_time),
                moment(one.last_update_time),
                ", ".join(f"{key}={value}" for key, value in one.tags.items()),
            )
            for one in found
        ],
        caption=f"More than {limit}: raise --limit, or narrow with --filter." if more else "",
    )


@experiments.command()
@one_experiment
@json_option
@click.option("--output", type=click.Choice(("table", "json")), hidden=True, help="As MLflow's.")
@store_option
def show(
    experiment: str | None,
    experiment_id: str | None,
    experiment_name: str | None,
    as_json: bool,
    output: str | None,
    store_uri: str | None,
) -> None:
    """Show one experiment."""
    with opened(store_uri) as store:
        found = _named(store, experiment, experiment_id, experiment_name)
    if as_json or output == "json":
        print_json(plain_experiment(found))
        return
    print_fields(
        (
            ("id", found.experiment_id),
            ("name", found.name),
            ("stage", found.lifecycle_stage),
            ("created", moment(found.creation_time)),
            ("last update", moment(found.last_update_time)),
            ("artifacts", found.artifact_location),
            *((f"tags.{key}", value) for key, value in sorted(found.tags.items())),
        )
    )


@experiments.command()
@click.argument("name", required=False)
@click.option("-n", "--experiment-name", help="As NAME.")
@click.option(
    "-l", "--artifact-location", help="URI to keep its artifacts at.  [default: the store's]"
)
@tags_option
@json_option
@store_option
def create(
    name: str | None,
    experiment_name: str | None,
    artifact_location: str | None,
    tags: dict[str, str],
    as_json: bool,
    store_uri: str | None,
) -> None:
    """Create an experiment and print its id."""
    with opened(store_uri, create=True) as store:
        created = ask(
            store,
            Experiments.create_experiment,
            name=_one_of("a name", name, experiment_name),
            artifact_location=artifact_location,
            tags=[{"key": key, "value": value} for key, value in tags.items()],
        )
    if as_json:
        print_json({"experiment_id": created.experiment_id})
    else:
        click.echo(created.experiment_id)


@experiments.command()
@click.argument("arguments", nargs=-1, metavar="EXPERIMENT NEW_NAME")
@click.option("-x", "--experiment-id", help="Its id.")
@click.option("--new-name", help="As NEW_NAME.")
@store_option
def rename(
    arguments: tuple[str, ...],
    experiment_id: str | None,
    new_name: str | None,
    store_uri: str | None,
) -> None:
    """Give an experiment another name."""
    rest = list(arguments)
    experiment = rest.pop(0) if experiment_id is None and rest else None
    if new_name is None and rest:
        new_name = rest.pop(0)
    if rest or new_name is None:
        raise click.UsageError("Give the experiment and its new name.")
    with opened(store_uri) as store:
        found = _named(store, experiment, experiment_id, None)
        ask(
            store,
            Experiments.update_experiment,
            experiment_id=found.experiment_id,
            new_name=new_name,
        )
    click.echo(f"Experiment {found.experiment_id} is now called {new_name}.")


@experiments.command()
@one_experiment
@store_option
def delete(
    experiment: str | None,
    experiment_id: str | None,
    experiment_name: str | None,
    store_uri: str | None,
) -> None:
    """Put an experiment, and with it its runs, into the trash."""
    with opened(store_uri) as store:
        found = _named(store, experiment, experiment_id, experiment_name)
        ask(store, Experiments.delete_experiment, experiment_id=found.experiment_id)
    click.echo(
        f"Experiment {found.experiment_id} ({printable(found.name)}) is in the trash; "
        f"headrace experiments restore {found.experiment_id} takes it out."
    )


@experiments.command()
@one_experiment
@store_option
def restore(
    experiment: str | None,
    experiment_id: str | None,
    experiment_name: str | None,
    store_uri: str | None,
) -> None:
    """Take an experiment out of the trash."""
    with opened(store_uri) as store:
        found = _named(store, experiment, experiment_id, experiment_name)
        ask(store, Experiments.restore_experiment, experiment_id=found.experiment_id)
    click.echo(f"Experiment {found.experiment_id} ({printable(found.name)}) is active again.")


@experiments.command()
@one_experiment
@click.option("-o", "--filename", type=click.Path(dir_okay=False, path_type=Path), help="File to write.  [default: standard output]")  # fmt: skip
@store_option
def csv(
    experiment: str | None,
    experiment_id: str | None,
    experiment_name: str | None,
    filename: Path | None,
    store_uri: str | None,
) -> None:
    """Write an experiment's active runs as CSV. `headrace runs export` can do more."""
    from headrace.cli.export import export_runs  # only this command needs it

    with opened(store_uri) as store:
        found = _named(store, experiment, experiment_id, experiment_name)
        runs = lookup.search_runs(store, [found.experiment_id])
        count = export_runs(runs, "csv", filename)
    if filename is not None:
        click.echo(f"Wrote {count} runs to {filename}.")


# The names that MLflow's command line has for the same.
experiments.add_command(list_experiments, "search")
experiments.add_command(show, "get")


def _named(
    store: Store, given: str | None, experiment_id: str | None, name: str | None
) -> Experiment:
    """The one experiment that argument and options name together."""
    one = _one_of("an experiment", given, experiment_id, name)
    if given is not None:
        return lookup.find_experiment(store, one)
    if name is not None:
        found = ask(store, Experiments.get_experiment_by_name, experiment_name=one)
    else:
        found = ask(store, Experiments.get_experiment, experiment_id=one)
    experiment: Experiment = found.experiment
    return experiment


def _one_of(what: str, *given: str | None) -> str:
    values = [value for value in given if value is not None]
    if len(values) != 1:
        raise click.UsageError(
            f"Give {what}." if not values else f"Give {what} once, not {len(values)} times."
        )
    return values[0]
