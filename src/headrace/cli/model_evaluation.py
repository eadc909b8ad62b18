"""``headrace models evaluate``."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import click

from headrace.cli.model_store import client_option
from headrace.cli.outcome import FAILED
from headrace.cli.output import json_option, print_json, print_table
from headrace.cli.store import must_exist
from headrace.client.stores import resolve
from headrace.errors import InvalidParameter

if TYPE_CHECKING:
    from headrace.models.evaluation import Threshold

_THRESHOLD = re.compile(r"(.+?)\s*(>=|<=)\s*([^<>=]+)")


@click.command()
@click.argument("model", metavar="URI")
@click.argument("data", metavar="DATA")
@click.option("--targets", required=True, help="The column with what is true.")
@click.option(
    "--kind",
    type=click.Choice(["classification", "regression", "ranking", "forecasting"]),
    help="[default: told from the targets]",
)
@click.option(
    "--slice",
    "slices",
    multiple=True,
    metavar="COLUMN",
    help="Measure each value of it by itself; several between commas are taken together; may be repeated.",
)
@click.option(
    "--threshold",
    "thresholds",
    multiple=True,
    metavar="'METRIC>=VALUE'",
    help="What must hold (or <=); may be repeated.",
)
@click.option("--baseline", metavar="URI", help="A model to compare with.")
@click.option(
    "--max-loss",
    type=float,
    metavar="SHARE",
    help="Each metric of a threshold may be so much worse than the baseline's: 0.02 is 2 %.",
)
@click.option("--groups", metavar="COLUMN", help="Ranking: the queries.")
@click.option("--series", metavar="COLUMN", help="Forecasting: the series.")
@click.option("--time", metavar="COLUMN", help="Forecasting: the times.")
@click.option("--no-log", is_flag=True, help="Neither log the result nor set checks.")
@json_option
@client_option
def evaluate(
    model: str,
    data: str,
    targets: str,
    kind: str | None,
    slices: tuple[str, ...],
    thresholds: tuple[str, ...],
    baseline: str | None,
    max_loss: float | None,
    groups: str | None,
    series: str | None,
    time: str | None,
    no_log: bool,
    as_json: bool,
    store_uri: str | None,
) -> None:
    """Evaluate a model on DATA, a CSV or Parquet file; log the result to a run, and set a version's checks.

    Exit code 1 when a threshold is not met.
    """
    import headrace

    if (baseline is None) != (max_loss is None):
        raise InvalidParameter("--baseline and --max-loss go together.")
    must_exist(resolve(store_uri))
    if store_uri is not None:
        headrace.set_tracking_uri(store_uri)
    result = headrace.evaluate(
        model,
        data,
        targets,
        kind,
        slices=[tuple(one.split(",")) if "," in one else one for one in slices],
        thresholds=_parse(thresholds, max_loss),
        baseline=baseline,
        groups=groups,
        series=series,
        time=time,
        log=not no_log,
    )
    if as_json:
        print_json({"metrics": result.metrics, "checks": result.checks, "passed": result.passed})
    else:
        _print(result)
    if not result.passed:
        click.get_current_context().exit(FAILED)


def _parse(given: tuple[str, ...], max_loss: float | None) -> dict[str, Threshold]:
    from headrace.models.evaluation import Threshold

    limits: dict[str, dict[str, Any]] = {}
    for one in given:
        match = _THRESHOLD.fullmatch(one.strip())
        try:
            metric, sign, value = match.groups() if match else (one, "", "")
            limits.setdefault(metric, {})["min" if sign == ">=" else "max"] = float(value)
        except ValueError:
            raise InvalidParameter(
                f"'{one}' is no threshold: write 'METRIC>=VALUE' or 'METRIC<=VALUE'."
            ) from None
    return {
        metric: Threshold(**limit, max_loss_vs_baseline=max_loss, relative=max_loss is not None)
        for metric, limit in limits.items()
    }


def _print(result: Any) -> None:
    print_table(("metric", "value"), sorted(result.metrics.items()))
    if result.checks:
        print_table(
            ("check", "passed", "value", "why"),
            [
                (name, "yes" if one.passed else "no", one.value, one.why)
                for name, one in result.checks.items()
            ],
        )
