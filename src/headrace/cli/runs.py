"""``headrace runs``."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import click

from headrace.cli import columns, lookup
from headrace.cli.choices import VIEW, split_ids, tags_option
from headrace.cli.compare import compare
from headrace.cli.diff import diff
from headrace.cli.each import each
from headrace.cli.logs import logs
from headrace.cli.output import (
    duration,
    is_terminal,
    json_option,
    moment,
    plain_run,
    print_fields,
    print_json,
    print_table,
    status_of,
)
from headrace.cli.store import ask, opened, store_option
from headrace.entities import Run, RunStatus, ViewType
from headrace.errors import HeadraceError, NotFound
from headrace.protocol.console import ConsolePage, Consoles
from headrace.protocol.experiments import Experiments
from headrace.protocol.runs import Runs
from headrace.protocol.stops import Stops
from headrace.protocol.store import Store

#: For how wide a page the columns of a table are chosen that is not for a terminal.
_PIPED_WIDTH = 200
_PARENT = "mlflow.parentRunId"

experiment_option = click.option(
    "-x",
    "--experiment",
    "--experiment-id",
    "experiments",
    multiple=True,
    envvar=["HEADRACE_EXPERIMENT_ID", "MLFLOW_EXPERIMENT_ID"],
    help="Experiment, by id or name; may be repeated.  [default: all]",
)
filter_option = click.option("-f", "--filter", "filter_string", default="", help="For example: metrics.loss < 0.1 AND params.model = 'cnn'")  # fmt: skip
order_option = click.option("-o", "--order-by", multiple=True, help="For example: 'metrics.loss ASC'; may be repeated.")  # fmt: skip
view_option = click.option("-v", "--view", type=VIEW, default="active_only", show_default=True)


@click.group()
def runs() -> None:
    """List, show, compare, stop, delete, restore and export runs, and read their output.

    A run is named by its id or by the beginning of it, as tables show it.
    """


@runs.command("list")
@experiment_option
@filter_option
@order_option
@view_option
@click.option("-l", "--limit", "--max-results", type=click.IntRange(min=0), default=50, show_default=True, help="At most so many; 0 for all.")  # fmt: skip
@click.option("-c", "--columns", "chosen", help="Columns, between commas: run_name,status,metrics.loss,params.lr,tags.team.  [default: what fits and differs]")  # fmt: skip
@json_option
@store_option
def list_runs(
    experiments: tuple[str, ...],
    filter_string: str,
    order_by: tuple[str, ...],
    view: ViewType,
    limit: int,
    chosen: str | None,
    as_json: bool,
    store_uri: str | None,
) -> None:
    """List runs, newest first unless --order-by says otherwise.

    On a terminal the metrics and params are shown that fit and that differ between the runs.
    """
    with opened(store_uri) as store:
        ids = lookup.experiment_ids(store, experiments, view)
        found = list(
            lookup.search_runs(
                store,
                ids,
                filter_string=filter_string,
                order_by=order_by,
                view=view,
                limit=limit + 1 if limit else None,
            )
        )
    more = bool(limit) and len(found) > limit
    found = found[:limit] if limit else found
    if as_json:
        print_json([plain_run(run) for run in found])
        return
    if not found:
        click.echo("No runs.", err=True)
        return
    page = _page()
    notes = []
    if chosen:
        page = columns.Page(page.width, whole=True)
        names = [name.strip() for name in chosen.split(",") if name.strip()]
    else:
        names, skipped = columns.choose(found, page, columns.mentioned(filter_string, order_by))
        if skipped:
            notes.append(f"{skipped} more columns: choose with --columns, or see runs show")
    if more:
        notes.append(f"more than {limit} runs: raise --limit, or narrow with --filter")
    headers, rows = columns.table(found, names, page)
    # Notes are for people; a pipe gets the table alone.
    print_table(headers, rows, caption="; ".join(notes) if is_terminal() else "")


@runs.command()
@click.argument("run", required=False)
@click.option("-r", "--run-id", help="As RUN.")
@json_option
@store_option
def show(run: str | None, run_id: str | None, as_json: bool, store_uri: str | None) -> None:
    """Show one run: what went in, and the last value of every metric."""
    with opened(store_uri) as store:
        found = lookup.find_run(store, _given(run, run_id))
        lines = _console_lines(store, found.info.run_id)
    if as_json:
        inputs = [
            {"name": one.dataset.name, "digest": one.dataset.digest, "source": one.dataset.source,
             "source_type": one.dataset.source_type, "tags": {tag.key: tag.value for tag in one.tags}}
            for one in found.inputs.dataset_inputs
        ]  # fmt: skip
        print_json(
            {
                **plain_run(found),
                "seen_time": found.info.seen_time,
                "console_lines": lines,
                "datasets": inputs,
            }
        )
        return
    _print_run(found, lines)


@runs.command()
@click.option("-x", "--experiment", "--experiment-id", envvar=["HEADRACE_EXPERIMENT_ID", "MLFLOW_EXPERIMENT_ID"], help="Experiment, by id or name.")  # fmt: skip
@click.option("-n", "--experiment-name", envvar=["HEADRACE_EXPERIMENT_NAME", "MLFLOW_EXPERIMENT_NAME"], help="Experiment by name; made when it is not there.")  # fmt: skip
@click.option("--run-name", help="[default: a random one]")
@click.option("--description", help="Kept as the tag mlflow.note.content.")
@click.option("--status", type=click.Choice(["RUNNING", "FINISHED", "FAILED", "KILLED"], case_sensitive=False), default="FINISHED", show_default=True)  # fmt: skip
@click.option("--parent-run-id", help="The run that this one is nested in.")
@tags_option
@json_option
@store_option
def create(
    experiment: str | None,
    experiment_name: str | None,
    run_name: str | None,
    description: str | None,
    status: str,
    parent_run_id: str | None,
    tags: dict[str, str],
    as_json: bool,
    store_uri: str | None,
) -> None:
    """Create a run, for results that another program made, and print its id."""
    if experiment is not None and experiment_name is not None:
        raise click.UsageError("Give --experiment or --experiment-name, not both.")
    if description is not None:
        tags = {**tags, "mlflow.note.content": description}
    with opened(store_uri, create=True) as store:
        if parent_run_id is not None:
            tags = {**tags, _PARENT: lookup.find_run(store, parent_run_id).info.run_id}
        if experiment_name is not None:
            try:
                experiment_id = ask(
                    store, Experiments.get_experiment_by_name, experiment_name=experiment_name
                ).experiment.experiment_id
            except NotFound:
                experiment_id = ask(
                    store, Experiments.create_experiment, name=experiment_name
                ).experiment_id
        else:
            experiment_id = lookup.find_experiment(store, experiment or "0").experiment_id
        run: Run = ask(
            store,
            Runs.create_run,
            experiment_id=experiment_id,
            run_name=run_name,
            tags=[{"key": key, "value": value} for key, value in tags.items()],
            start_time=_now(),
        ).run
        status = status.upper()
        if status != RunStatus.RUNNING:
            ask(store, Runs.update_run, run_id=run.info.run_id, status=status, end_time=_now())
    if as_json:
        print_json({"run_id": run.info.run_id, "experiment_id": experiment_id})
    else:
        click.echo(run.info.run_id)


@runs.command()
@click.argument("run_ids", nargs=-1, metavar="RUN...")
@click.option("-r", "--run-id", "more", multiple=True, callback=split_ids, help="As RUN.")
@store_option
def delete(run_ids: tuple[str, ...], more: tuple[str, ...], store_uri: str | None) -> None:
    """Put runs into the trash."""
    each(run_ids + more, Runs.delete_run, "is in the trash", store_uri)


@runs.command()
@click.argument("run_ids", nargs=-1, metavar="RUN...")
@click.option("-r", "--run-id", "more", multiple=True, callback=split_ids, help="As RUN.")
@store_option
def restore(run_ids: tuple[str, ...], more: tuple[str, ...], store_uri: str | None) -> None:
    """Take runs out of the trash."""
    each(run_ids + more, Runs.restore_run, "is active again", store_uri)


@runs.command()
@click.argument("run_ids", nargs=-1, metavar="RUN...")
@click.option("-r", "--run-id", "more", multiple=True, callback=split_ids, help="As RUN.")
@click.option("--reason", default="", help="Why, for people; kept with the run.")
@store_option
def stop(
    run_ids: tuple[str, ...], more: tuple[str, ...], reason: str, store_uri: str | None
) -> None:
    """Ask runs to stop.

    Their processes hear of it within seconds, and end as after Ctrl-C, unless they were told to ignore it.
    """
    each(run_ids + more, Stops.stop_run, "was asked to stop", store_uri, reason=reason)


@runs.command()
@click.argument("run_ids", nargs=-1, metavar="[RUN]...")
@experiment_option
@filter_option
@order_option
@view_option
@click.option("-l", "--limit", type=click.IntRange(min=0), default=0, help="At most so many.  [default: all]")  # fmt: skip
@click.option("-O", "--output", type=click.Path(dir_okay=False, path_type=Path), help="File to write.  [default: standard output]")  # fmt: skip
@click.option("--format", "kind", type=click.Choice(["csv", "parquet", "json", "jsonl"]), help="[default: by the file's ending, else csv]")  # fmt: skip
@store_option
def export(
    run_ids: tuple[str, ...],
    experiments: tuple[str, ...],
    filter_string: str,
    order_by: tuple[str, ...],
    view: ViewType,
    limit: int,
    output: Path | None,
    kind: str | None,
    store_uri: str | None,
) -> None:
    """Write runs as a table: CSV, Parquet, JSON or JSON Lines.

    One row a run, with a column for every metric (its last value), param and tag that any of them has.
    """
    from headrace.cli.export import export_runs, format_of

    kind = kind or format_of(output)
    if run_ids and (experiments or filter_string or order_by or limit):
        raise click.UsageError("Name runs, or search for them, not both.")
    with opened(store_uri) as store:
        if run_ids:
            found = (lookup.find_run(store, one) for one in dict.fromkeys(run_ids))
            count = export_runs(found, kind, output)
        else:
            searched = lookup.search_runs(
                store,
                lookup.experiment_ids(store, experiments, view),
                filter_string=filter_string,
                order_by=order_by,
                view=view,
                limit=limit or None,
            )
            count = export_runs(searched, kind, output)
    if output is not None:
        click.echo(f"Wrote {count} runs to {output}.")


runs.add_command(compare)
runs.add_command(diff)
runs.add_command(logs)
# The names that MLflow's command line has for the same.
runs.add_command(list_runs, "search")
runs.add_command(show, "describe")


def _page() -> columns.Page:
    if is_terminal():
        return columns.Page(shutil.get_terminal_size().columns)
    return columns.Page(_PIPED_WIDTH, whole=True)


def _given(run: str | None, run_id: str | None) -> str:
    if (run is None) == (run_id is None):
        raise click.UsageError("Give one run.")
    return run or run_id or ""


def _console_lines(store: Store, run_id: str) -> int | None:
    """How many lines a run has printed; None where the store keeps none."""
    try:
        page: ConsolePage = ask(store, Consoles.get_console, run_id=run_id, limit=0)
    except HeadraceError:
        return None  # an MLflow server
    return page.total


def _print_run(run: Run, console_lines: int | None) -> None:
    info, data = run.info, run.data
    print_fields(
        (
            ("run", info.run_id),
            ("name", info.run_name),
            ("experiment", info.experiment_id),
            ("user", info.user_id),
            ("status", status_of(run)),
            ("stage", info.lifecycle_stage),
            ("started", moment(info.start_time)),
            *([] if info.seen_time is None else [("last seen", moment(info.seen_time))]),
            ("ended", moment(info.end_time)),
            ("took", duration(info.start_time, info.end_time)),
            *([("log lines", console_lines)] if console_lines else []),
            ("artifacts", info.artifact_uri),
            *_origin(data.tags),
        )
    )
    if data.param_list:
        click.echo()
        print_fields(sorted(data.params.items()), title="params")
    if data.metric_list:
        click.echo()
        print_table(
            ("metrics", "last", "step", "time"),
            [
                (one.key, one.value, one.step, moment(one.timestamp))
                for one in sorted(data.metric_list, key=lambda metric: metric.key)
            ],
        )
    if data.tag_list:
        click.echo()
        print_fields(sorted(data.tags.items()), title="tags")
    if run.inputs.dataset_inputs:
        click.echo()
        print_table(
            ("datasets", "digest", "source", "tags"),
            [
                (one.dataset.name, one.dataset.digest, f"{one.dataset.source_type}: {one.dataset.source}",
                 ", ".join(f"{tag.key}={tag.value}" for tag in one.tags))
                for one in run.inputs.dataset_inputs
            ],
        )  # fmt: skip


def _origin(tags: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """What a run was started with, as far as its tags tell."""
    if command := tags.get("headrace.command"):
        yield "command", command
    if commit := tags.get("mlflow.source.git.commit"):
        branch = tags.get("mlflow.source.git.branch")
        dirty = tags.get("mlflow.source.git.dirty", "").lower() == "true"
        yield (
            "commit",
            commit
            + (f" on {branch}" if branch else "")
            + (", with changes: see headrace/diff.patch" if dirty else ""),
        )


def _now() -> int:
    return time.time_ns() // 1_000_000
