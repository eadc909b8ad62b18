"""Connections."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest
from psycopg import sql

from headrace.engine import Engine, database
from headrace.errors import SchemaMismatch, Unavailable
from headrace.protocol.experiments import CreateExperiment, GetExperiment
from support.api import Api, pairs, point
from support.postgres import Postgres


def test_connections_that_postgresql_cut_while_idle_are_made_anew(
    postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "_IDLE_SECONDS", 0.0)
    with postgres.database() as url:
        _cut_and_go_on(url)


def _cut_and_go_on(url: str) -> None:
    engine = Engine(url, artifact_root="mlflow-artifacts:", compact=False)
    default = GetExperiment(experiment_id="0")
    engine.get_experiment(default)
    others = "datname = current_database() AND pid <> pg_backend_pid()"
    with psycopg.connect(url, autocommit=True) as administrator:
        administrator.execute(
            f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {others}"
        )
        left = sql.SQL("SELECT count(*) FROM pg_stat_activity WHERE {}").format(sql.SQL(others))
        while administrator.execute(left).fetchone() != (0,):
            pass  # they end when they get to it
    assert engine.get_experiment(default).experiment.name == "Default"
    assert engine.create_experiment(CreateExperiment(name="after")).experiment_id == "1"
    engine.close()


def test_writers_share_a_run_whatever_isolation_the_database_has_by_default(
    postgres: Postgres,
) -> None:
    with postgres.database() as url:
        with psycopg.connect(url, autocommit=True) as administrator:
            administrator.execute(
                sql.SQL(
                    "ALTER DATABASE {} SET default_transaction_isolation = serializable"
                ).format(sql.Identifier(urlsplit(url).path[1:]))
            )
        engine = Engine(url, artifact_root="mlflow-artifacts:", compact=False)
        api = Api(engine)
        run_id = api.new_run()

        def work(number: int) -> None:
            for i in range(10):
                step = number * 10 + i
                api.log_batch(
                    run_id=run_id, metrics=[point("m", step, step)], params=pairs(**{f"p{i}": "1"})
                )

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(work, range(8)))
        assert len(api.history(run_id, "m")) == 80
        assert api.run(run_id).data.metrics == {"m": 79.0}
        engine.close()


def test_a_closed_store_answers_nothing_more(database_url: str) -> None:
    engine = Engine(database_url, artifact_root="mlflow-artifacts:", compact=False)
    engine.close()
    engine.close()
    with pytest.raises(Unavailable, match="closed"):
        engine.get_experiment(GetExperiment(experiment_id="0"))
    with pytest.raises(Unavailable, match="closed"):
        engine.create_experiment(CreateExperiment(name="late"))


def test_a_file_that_is_no_database_is_refused_in_words(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("not a database\n" * 1000)
    with pytest.raises(SchemaMismatch, match="not a database"):
        Engine(f"sqlite:///{path}", artifact_root="mlflow-artifacts:")
    assert path.read_text() == "not a database\n" * 1000
