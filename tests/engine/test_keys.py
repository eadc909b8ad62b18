"""The cache of key numbers stays small, and right."""

from __future__ import annotations

import pytest

from headrace.engine import Engine, keys
from support.api import Api, pairs, point


def test_more_keys_than_are_remembered_are_all_found(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keys, "_MOST", 10)
    engine = Engine(database_url, artifact_root="mlflow-artifacts:", compact=False)
    api = Api(engine)
    experiment = api.new_experiment()
    run_id = api.new_run(experiment)
    names = [f"k{number:02}" for number in range(40)]
    for name in names * 2:
        api.log_batch(run_id=run_id, metrics=[point(name, 1)], params=pairs(**{name: "v"}))
        api.run(run_id)
    data = api.run(run_id).data
    assert sorted(data.metrics) == sorted(data.params) == names
    for kind in ("metric", "param"):
        assert api.search_keys(experiment_ids=[experiment], kind=kind).keys == tuple(names)
    cache = engine._keys
    assert max(len(cache.ids), len(cache.names), len(cache.discovered)) <= 10 + len(names) + 1
    engine.close()
