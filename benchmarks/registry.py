"""Searching the model registry, server against server."""

from __future__ import annotations

import random
import statistics
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import sqlalchemy as sa

from benchmarks.harness.bench import Bench, say
from benchmarks.harness.connection import get
from benchmarks.harness.peer_rows import PeerRows
from benchmarks.harness.report import Row, compare
from benchmarks.harness.servers import HEADRACE, MLFLOW_BEST, Server
from headrace.engine import Engine, schema
from headrace.engine.database import parse_url

NAME = "registry"
VERSIONS, PAGE, TEAMS = 10, 100, 20
METHOD = (
    "Pages of 100 of a registry of 10,000 models with 10 versions each; every model has two tags and an alias, every version "
    "a tag, every tenth model a version in Production. p50 of requests one after the other over one connection, each with other "
    "values. The rows of both were written into the tables that the stores themselves made; `model-versions/search` and "
    "`registered-models/search` are asked as MLflow's client asks them, with its filter that leaves prompts out. MLflow is "
    "measured in its best case only."
)
_T0 = 1_700_000_000_000
_NO_PROMPTS = "tag.`mlflow.prompt.is_prompt` != 'true'"
_MODELS, _VERSIONS = (
    "/api/2.0/mlflow/registered-models/search",
    "/api/2.0/mlflow/model-versions/search",
)


class Search(NamedTuple):
    """A search to be measured: where, what it asks, given a random source, and how many it finds."""

    path: str
    fields: Callable[[random.Random, int], dict[str, Any]]
    count: int


SEARCHES = {
    "models by name": Search(
        _MODELS,
        lambda source, models: {
            "filter": _NO_PROMPTS,
            "order_by": source.choice(["name ASC", "name DESC"]),
        },
        PAGE,
    ),
    "models of a team, updated last first": Search(
        _MODELS,
        lambda source, models: {
            "filter": f"tags.team = 'team-{source.randrange(TEAMS)}' AND {_NO_PROMPTS}",
            "order_by": "last_updated_timestamp DESC",
        },
        PAGE,
    ),
    "versions, updated last first": Search(
        _VERSIONS, lambda source, models: {"filter": "version_number <= 10"}, PAGE
    ),
    "versions of a model": Search(
        _VERSIONS,
        lambda source, models: {"filter": f"name = 'model-{source.randrange(models):05}'"},
        VERSIONS,
    ),
}


def run(bench: Bench) -> Iterator[Row]:
    """p50 of each search on each database."""
    models = bench.size(10_000, 2_500)
    for database in bench.databases:
        page: dict[str, dict[str, float]] = {name: {} for name in SEARCHES}
        if bench.ours:
            folder = bench.folder("headrace-registry")
            url = bench.database(database, folder)
            try:
                _fill(url, models)
                bench.analyze()
                with bench.serve(HEADRACE, url, folder) as server:
                    _measure(bench, server, models, page)
            finally:
                bench.discard(database, folder)
        if bench.peer:
            _measure_peer(bench, database, models, page)
        for name, figures in page.items():
            yield compare(
                NAME,
                f"registry search, {models:,} models × {VERSIONS} versions, {name}, {database}",
                "ms",
                figures,
                more_is_better=False,
                times=10,
                at_most=20,
            )


def _measure_peer(
    bench: Bench, database: str, models: int, page: dict[str, dict[str, float]]
) -> None:
    folder = bench.folder("mlflow-registry")
    url = bench.database(database, folder)
    try:
        with PeerRows(bench, database, url, folder) as rows:
            _fill_peer(rows, models)
        with bench.serve(MLFLOW_BEST, url, folder) as server:
            _measure(bench, server, models, page)
    finally:
        bench.discard(database, folder)


def _measure(bench: Bench, server: Server, models: int, page: dict[str, dict[str, float]]) -> None:
    for name, search in SEARCHES.items():
        source = random.Random(7)
        times: list[float] = []
        with server.connect() as connection:
            for number in range(202):
                fields = {**search.fields(source, models), "max_results": PAGE}
                seconds, reply = connection.timed(get(server.port, search.path, fields))
                found = next(iter(reply.json().values()))
                if len(found) != search.count:
                    raise RuntimeError(f"{server.kind} answered {len(found)} of {search.count}")
                if number > 1:  # the first two warm it up
                    times.append(seconds)
                if len(times) >= 5 and sum(times) > 10:
                    break
        page[name][server.kind] = p50 = 1e3 * statistics.median(times)
        say(f"{server.kind}, {name}: p50 {p50:.1f} ms")


def _names(models: int) -> list[str]:
    return [f"model-{number:05}" for number in range(models)]


def _team(number: int) -> str:
    return f"team-{number % TEAMS}"


def _stage(model: int, version: int) -> bool:
    """Whether a version is in Production."""
    return model % 10 == 0 and version == 5


def _run(model: int, version: int) -> str:
    return f"{model:016x}{version:016x}"


def _fill(url: str, models: int) -> None:
    """Write the registry into a new store of headrace."""
    Engine(url, artifact_root="mlflow-artifacts:", compact=False).close()
    engine = sa.create_engine(parse_url(url), poolclass=sa.NullPool)
    pairs = [(model, version) for model in range(models) for version in range(1, VERSIONS + 1)]
    with engine.begin() as connection:

        def insert(table: sa.Table, rows: Iterable[dict[str, Any]]) -> None:
            connection.execute(table.insert(), list(rows))

        insert(
            schema.registered_model,
            (
                {
                    "id": number + 1,
                    "name": name,
                    "creation_time": _T0 + number,
                    "last_update_time": _T0 + number,
                    "last_version": VERSIONS,
                }
                for number, name in enumerate(_names(models))
            ),
        )
        tags = schema.registered_model_tag
        for key, value in (("team", _team), ("tier", str)):
            insert(
                tags,
                (
                    {"model_id": number + 1, "key": key, "value": value(number)}
                    for number in range(models)
                ),
            )
        insert(
            schema.model_alias,
            (
                {"model_id": number + 1, "alias": "champion", "version": 7}
                for number in range(models)
            ),
        )
        insert(
            schema.model_version,
            (
                {
                    "id": model * VERSIONS + version,
                    "model_id": model + 1,
                    "version": version,
                    "stage": 2 if _stage(model, version) else 0,
                    "creation_time": _T0 + model * VERSIONS + version,
                    "last_update_time": _T0 + model * VERSIONS + version,
                    "source": f"runs:/{_run(model, version)}/model",
                    "run_uuid": _run(model, version),
                }
                for model, version in pairs
            ),
        )
        insert(
            schema.model_version_tag,
            (
                {
                    "version_id": model * VERSIONS + version,
                    "key": "git",
                    "value": _run(model, version),
                }
                for model, version in pairs
            ),
        )
    engine.dispose()


def _fill_peer(rows: PeerRows, models: int) -> None:
    """Write the same registry into MLflow's tables."""
    space, names = "default", _names(models)
    pairs = [(model, version) for model in range(models) for version in range(1, VERSIONS + 1)]
    rows.insert(
        "registered_models",
        ((space, name, _T0 + number, _T0 + number, None) for number, name in enumerate(names)),
    )
    for key, value in (("team", _team), ("tier", str)):
        rows.insert(
            "registered_model_tags",
            ((space, key, value(number), name) for number, name in enumerate(names)),
        )
    rows.insert("registered_model_aliases", ((space, "champion", 7, name) for name in names))
    rows.insert(
        "model_versions",
        (
            (
                space,
                names[model],
                version,
                _T0 + model * VERSIONS + version,
                _T0 + model * VERSIONS + version,
                "Production" if _stage(model, version) else "None",
                f"runs:/{_run(model, version)}/model",
                _run(model, version),
                "READY",
            )
            for model, version in pairs
        ),
    )
    rows.insert(
        "model_version_tags",
        ((space, "git", _run(model, version), names[model], version) for model, version in pairs),
    )
