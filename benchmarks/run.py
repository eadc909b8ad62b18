"""The command: which benchmarks to run, on what, and what to do with the figures."""

from __future__ import annotations

import argparse
import json
import shlex
import signal
import sys
import time
import traceback
from pathlib import Path
from typing import Any

from benchmarks import (
    artifact_proxy,
    disk,
    enforcement,
    events,
    footprint,
    history,
    log_batch,
    log_metric,
    logging_calls,
    logging_drain,
    logging_start,
    models,
    models_io,
    registry,
    rules,
    search,
    startup,
    webhooks,
)
from benchmarks.harness import machine, page
from benchmarks.harness.bench import POSTGRES, SQLITE, Bench
from benchmarks.harness.peer import peer_python
from benchmarks.harness.report import Row, show
from benchmarks.harness.tools import versions

_SERVERS = (
    log_batch,
    log_metric,
    search,
    history,
    disk,
    events,
    footprint,
    startup,
    artifact_proxy,
    models_io,
    webhooks,
    rules,
    registry,
    enforcement,
    models,
)
#: Measured against other tools than MLflow too, in a table of their own.
_LOGGERS = (logging_calls, logging_drain, logging_start)
BENCHMARKS = {module.NAME: module for module in (*_SERVERS, *_LOGGERS)}
_RESULTS = Path(__file__).parent / "results"
_PAGE = Path(__file__).parent.parent / "docs" / "benchmarks.md"


def main(arguments: list[str] | None = None) -> None:
    """Run benchmarks, print the table, keep the figures; exit code 1 when one could not be run."""
    # Whoever ends the command by SIGTERM ends its servers, too.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    options = _parse(sys.argv[1:] if arguments is None else arguments)
    databases = tuple(
        name for name in (SQLITE, POSTGRES) if name.lower() in options.databases.split(",")
    )
    peer = None if options.only == "headrace" else peer_python()
    failed = []
    rows: list[Row] = []
    command = shlex.join([".venv/bin/python", "-m", "benchmarks", *sys.argv[1:]])
    facts = machine.facts(Path(sys.executable), peer, command)
    for name in options.names or BENCHMARKS:
        start = time.monotonic()
        print(f"{name} ...", file=sys.stderr, flush=True)
        bench = Bench(
            peer,
            ours=options.only != "mlflow",
            quick=options.quick,
            million=options.million,
            databases=databases,
            tools=tuple(options.tools.split(",")) if options.tools else (),
        )
        mine: list[Row] = []
        try:
            with bench:
                mine.extend(BENCHMARKS[name].run(bench))
        # One benchmark that cannot run must not cost the hour that the others took.
        except Exception:  # noqa: BLE001
            traceback.print_exc()
            failed.append(name)
        rows += mine
        if mine and not options.quick and options.only is None and not options.tools:
            more = {"tools": versions(bench)} if name in {one.NAME for one in _LOGGERS} else {}
            _keep(name, facts | more, mine)
        print(f"{name} took {time.monotonic() - start:.0f} s", file=sys.stderr, flush=True)
    loggers = {module.NAME for module in _LOGGERS}
    show(
        [row for row in rows if row.benchmark not in loggers],
        [row for row in rows if row.benchmark in loggers],
    )
    if options.page:
        _write_page()
    if failed:
        sys.exit(f"Could not be run: {', '.join(failed)}")


def _parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description="Measure headrace and MLflow side by side."
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"any of {', '.join(BENCHMARKS)}")
    parser.add_argument(
        "--quick", action="store_true", help="try the harness; figures mean nothing"
    )
    parser.add_argument("--million", action="store_true", help="search a million runs, too")
    parser.add_argument(
        "--only", choices=("headrace", "mlflow"), help="measure one side (mlflow: and other peers)"
    )
    parser.add_argument("--databases", default="sqlite,postgresql", help="default: %(default)s")
    parser.add_argument(
        "--page", action="store_true", help="rewrite docs/benchmarks.md from the figures kept"
    )
    parser.add_argument(
        "--tools",
        default="",
        help="which peers log, such as mlflow,wandb,trackio,aim,tensorboardX; default: all",
    )
    options = parser.parse_args(arguments)
    unknown = set(options.names) - set(BENCHMARKS)
    if unknown:
        parser.error(
            f"no benchmark {', '.join(sorted(unknown))}; there are {', '.join(BENCHMARKS)}"
        )
    return options


def _keep(name: str, facts: dict[str, Any], rows: list[Row]) -> None:
    """Keep the figures of a benchmark; those of a database that was not measured now stay."""
    _RESULTS.mkdir(exist_ok=True)
    path = _RESULTS / f"{name}.json"
    fresh = [row.to_json() for row in rows]
    measured = {row["what"] for row in fresh}
    before = json.loads(path.read_text())["rows"] if path.exists() else []
    kept = {"facts": facts, "rows": [row for row in before if row["what"] not in measured] + fresh}
    path.write_text(json.dumps(kept, indent=1))


def _write_page() -> None:
    """Rewrite those parts of the page for which figures are kept."""
    written = False
    for modules, write in ((_SERVERS, page.write), (_LOGGERS, page.write_logging)):
        facts, rows = _kept([module.NAME for module in modules])
        if rows:
            write(_PAGE, facts, rows, {module.NAME: module.METHOD for module in modules})
            written = True
    if not written:
        sys.exit("No figures kept: run the benchmarks without --quick first.")
    print(f"wrote {_PAGE}")


def _kept(names: list[str]) -> tuple[dict[str, Any], list[Row]]:
    """The newest figures of these benchmarks, in the order of the table."""
    facts: dict[str, Any] = {}
    rows: list[Row] = []
    for name in names:
        path = _RESULTS / f"{name}.json"
        if path.exists():
            kept = json.loads(path.read_text())
            facts = kept["facts"]
            rows += [Row(**row) for row in kept["rows"]]
    return facts, rows


if __name__ == "__main__":
    main()
