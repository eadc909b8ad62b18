"""``headrace runs compare``."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import click
import msgspec

from headrace.cli import lookup
from headrace.cli.columns import SYSTEM_TAG
from headrace.cli.output import (
    duration,
    is_terminal,
    json_option,
    moment,
    print_json,
    print_table,
    status_of,
)
from headrace.cli.store import opened, store_option
from headrace.entities import Run


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that the runs may differ in: ``values`` in the order of the runs, None where absent."""

    kind: str
    key: str
    values: tuple[Any, ...]

    @property
    def differs(self) -> bool:
        """Whether two runs have different values; NaN is like NaN."""
        first = self.values[0]
        return any(
            value != first and not (value != value and first != first) for value in self.values[1:]
        )


@click.command()
@click.argument("run_ids", nargs=-1, required=True, metavar="RUN RUN...")
@click.option("--all", "everything", is_flag=True, help="Also what is the same in all of them.")
@json_option
@store_option
def compare(
    run_ids: tuple[str, ...], everything: bool, as_json: bool, store_uri: str | None
) -> None:
    """Put runs side by side and show what differs: attributes, params, metrics and tags."""
    if len(run_ids) < 2:
        raise click.UsageError("Give at least two runs.")
    with opened(store_uri) as store:
        runs = [lookup.find_run(store, one) for one in run_ids]
    rows = [row for row in rows_of(runs, system_tags=everything) if everything or row.differs]
    if as_json:
        print_json({"runs": [run.info.run_id for run in runs], "rows": rows})
        return
    if not rows:
        click.echo("The runs do not differ.")
        return
    cut = lookup.SHORT_ID if is_terminal() else None
    print_table(
        ("", *(run.info.run_id[:cut] for run in runs)),
        [(f"{row.kind}.{row.key}" if row.kind != "attribute" else row.key, *_shown(row)) for row in rows],
    )  # fmt: skip


def rows_of(runs: Sequence[Run], *, system_tags: bool) -> Iterator[Row]:
    """Everything that the runs could differ in, by kind and key.

    Args:
        runs: Two or more.
        system_tags: Also the tags under ``mlflow.``, which repeat attributes or differ by nature.
    """
    for name, read in _ATTRIBUTES.items():
        yield Row(kind="attribute", key=name, values=tuple(read(run) for run in runs))
    kinds = (
        ("params", [run.data.params for run in runs]),
        ("metrics", [run.data.metrics for run in runs]),
        ("tags", [run.data.tags for run in runs]),
    )
    for kind, sides in kinds:
        for key in sorted({key for side in sides for key in side}):
            if kind == "tags" and key.startswith(SYSTEM_TAG) and not system_tags:
                continue
            yield Row(kind=kind, key=key, values=tuple(side.get(key) for side in sides))
    data = [
        {one.dataset.name: one.dataset.digest for one in run.inputs.dataset_inputs} for run in runs
    ]
    for name in sorted({name for side in data for name in side}):
        yield Row(kind="datasets", key=name, values=tuple(side.get(name) for side in data))


_ATTRIBUTES: dict[str, Callable[[Run], Any]] = {
    "run_name": lambda run: run.info.run_name,
    "experiment_id": lambda run: run.info.experiment_id,
    "user_id": lambda run: run.info.user_id,
    "status": status_of,
    "start_time": lambda run: run.info.start_time,
    "duration": lambda run: (
        None if run.info.end_time is None else run.info.end_time - run.info.start_time
    ),
    "lifecycle_stage": lambda run: run.info.lifecycle_stage,
}


def _shown(row: Row) -> tuple[Any, ...]:
    if row.kind == "attribute" and row.key == "start_time":
        return tuple(moment(value) for value in row.values)
    if row.kind == "attribute" and row.key == "duration":
        return tuple(None if value is None else duration(0, value) for value in row.values)
    return row.values
