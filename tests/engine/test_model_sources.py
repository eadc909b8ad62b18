"""What a served store lets be registered: nothing of the server's own disk but what is the run's."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from headrace.engine import Engine
from headrace.errors import InvalidParameter
from support.api import Api


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Api]:
    engine = Engine(
        f"sqlite:///{tmp_path / 'h.db'}", artifact_root=(tmp_path / "a").as_uri(), served=True
    )
    yield Api(engine)
    engine.close()


def test_a_local_source_must_lie_in_the_runs_own_folder(api: Api) -> None:
    api.create_registered_model(name="m")
    run, other = api.new_run(), api.new_run()
    uri = api.run(run).info.artifact_uri
    folder = uri.removeprefix("file://")

    def register(source: str, **fields: str) -> str:
        made = api.create_model_version(name="m", source=source, **fields).model_version
        return str(made.source)

    for good in (f"{uri}/model", f"{folder}/model", folder, f"file:{folder}/a%20b"):
        assert register(good, run_id=run) == good
    for bad in (
        f"{uri}/../secret",
        f"{uri}/%2e%2e/%252e%252e/secret",
        f"{folder}-of-others/model",
        "/etc/passwd",
        "etc/passwd",
        "file:///etc/passwd",
        f"file://elsewhere{folder}/model",
        f"{uri}/a\x01b",
    ):
        with pytest.raises(InvalidParameter):
            register(bad, run_id=run)
    for fields in ({}, {"run_id": other}, {"run_id": "nobody"}, {"model_id": "m-1"}):
        with pytest.raises(InvalidParameter):
            register(f"{uri}/model", **fields)


def test_what_the_server_proxies_must_be_the_runs_own(tmp_path: Path) -> None:
    engine = Engine(
        f"sqlite:///{tmp_path / 'p.db'}", artifact_root="mlflow-artifacts:", served=True
    )
    api = Api(engine)
    api.create_registered_model(name="m")
    run = api.new_run()
    uri = api.run(run).info.artifact_uri
    api.create_model_version(name="m", source=f"{uri}/model", run_id=run)
    path = uri.partition(":")[2]
    for bad in (
        f"mlflow-artifacts:{path}x/model",
        f"mlflow-artifacts://host{path}/model",
        f"https://host/api/2.0/mlflow-artifacts/artifacts{path}/model",
        f"https://host/ajax-api/2.0/mlflow-artifacts/artifacts{path}/model",
        f"https://host/api/2.0/mlflow%2Dartifacts/artifacts{path}/model",
    ):
        with pytest.raises(InvalidParameter):
            api.create_model_version(name="m", source=bad, run_id=run)
    engine.close()
