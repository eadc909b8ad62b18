"""The trash really empties, on every store."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from headrace.engine import schema
from headrace.errors import InvalidParameter, NotFound
from support.api import Api, pairs, point, unique
from support.backend import Backend


def full_run(api: Api, experiment: str) -> str:
    """A run with something in every table that holds rows of runs."""
    run_id = api.new_run(experiment, run_name="full")
    metric = {**point("m", 1.0), "model_id": "m-1", "dataset_name": "d", "dataset_digest": "1"}
    api.log_batch(run_id=run_id, metrics=[point("m", 2.0, 1), metric], params=pairs(p="1"))
    dataset = {"name": unique("d"), "digest": "1", "source_type": "local", "source": "{}"}
    api.log_inputs(run_id=run_id, datasets=[{"dataset": dataset}], models=[{"model_id": "m-1"}])
    api.log_outputs(run_id=run_id, models=[{"model_id": "m-2"}])
    return run_id


def rows_of_run(backend: Backend, number: int) -> dict[str, int]:
    counts = {}
    for table in schema.metadata.tables.values():
        if "run_id" in table.c:
            found = backend.rows(
                sa.select(sa.func.count()).select_from(table).where(table.c.run_id == number)
            )
            counts[table.name] = found[0][0]
    return counts


def run_number(backend: Backend, run_id: str) -> int:
    return int(backend.rows(sa.select(schema.run.c.id).where(schema.run.c.uuid == run_id))[0][0])


def test_a_purged_run_leaves_no_row(api: Api, backend: Backend) -> None:
    experiment = api.new_experiment()
    run_id, other = full_run(api, experiment), full_run(api, experiment)
    number = run_number(backend, run_id)
    before = rows_of_run(backend, number)
    filled = {name for name, count in before.items() if count}
    assert filled >= {"param", "tag", "metric_summary", "run_dataset", "run_model"}
    api.delete_run(run_id=run_id)
    dry = api.purge_trash(run_ids=[run_id], dry_run=True)
    assert dry.run_ids == (run_id,)
    assert rows_of_run(backend, number) == before
    gone = api.purge_trash(run_ids=[run_id])
    assert gone.run_ids == (run_id,)
    assert gone.experiment_ids == ()
    assert [uri.rpartition("/")[0].rpartition("/")[2] for uri in gone.artifact_uris] == [run_id]
    assert not any(rows_of_run(backend, number).values())
    with pytest.raises(NotFound):
        api.get_run(run_id=run_id)
    assert api.history(run_id, "m") == []
    assert api.history(other, "m") != []
    assert len(api.search_datasets(experiment_ids=[experiment]).dataset_summaries) == 1


def test_a_purged_experiment_leaves_no_row(api: Api, backend: Backend) -> None:
    name = unique("purged")
    experiment = api.new_experiment(name=name, tags=pairs(a="1"))
    runs = {full_run(api, experiment) for _ in range(3)}
    numbers = [run_number(backend, run_id) for run_id in runs]
    api.delete_run(run_id=min(runs))
    api.delete_experiment(experiment_id=experiment)
    gone = api.purge_trash(experiment_ids=[experiment])
    assert set(gone.run_ids) == runs
    assert gone.experiment_ids == (experiment,)
    assert len(gone.artifact_uris) == 4
    for number in numbers:
        assert not any(rows_of_run(backend, number).values())
    for table in schema.metadata.tables.values():
        column = table.c.id if table.name == "experiment" else table.c.get("experiment_id")
        if column is not None and table.name != "event":  # what happened stays told
            assert backend.rows(sa.select(table).where(column == int(experiment))) == [], table.name
    with pytest.raises(NotFound):
        api.get_experiment(experiment_id=experiment)
    with pytest.raises(NotFound):
        api.get_experiment_by_name(experiment_name=name)
    with pytest.raises(NotFound):
        api.restore_experiment(experiment_id=experiment)
    assert api.new_experiment(name=name) != experiment  # an id is never used twice


def test_what_is_not_in_the_trash_cannot_be_purged(api: Api) -> None:
    experiment = api.new_experiment()
    run_id, deleted = api.new_run(experiment), api.new_run(experiment)
    api.delete_run(run_id=deleted)
    for fields in (
        {"run_ids": [run_id]},
        {"run_ids": [deleted, run_id]},
        {"experiment_ids": [experiment]},
        {"run_ids": [deleted], "experiment_ids": [experiment]},
        {"run_ids": [deleted], "limit": 0},
        {"run_ids": [deleted], "older_than_ms": -1},
        {"run_ids": [deleted], "older_than_ms": 3_600_000},
        {"experiment_ids": ["../0"]},
    ):
        with pytest.raises(InvalidParameter):
            api.purge_trash(**fields)
    for fields in ({"run_ids": [deleted, "0" * 32]}, {"experiment_ids": ["987654321"]}):
        with pytest.raises(NotFound):
            api.purge_trash(**fields)
    assert api.run(run_id).info.lifecycle_stage == "active"
    assert api.run(deleted).info.lifecycle_stage == "deleted"


def test_only_what_is_old_enough_is_emptied(api: Api) -> None:
    run_id = api.new_run()
    api.delete_run(run_id=run_id)
    gone = api.purge_trash(older_than_ms=3_600_000)
    assert (gone.run_ids, gone.experiment_ids, gone.artifact_uris) == ((), (), ())
    assert api.run(run_id).info.lifecycle_stage == "deleted"


def test_emptying_in_small_steps_ends_with_nothing_left(api: Api) -> None:
    experiment, kept = api.new_experiment(), api.new_experiment()
    inside = {api.new_run(experiment) for _ in range(5)}
    alone = {api.new_run(kept) for _ in range(4)}
    stays = api.new_run(kept)
    for run_id in alone:
        api.delete_run(run_id=run_id)
    api.delete_experiment(experiment_id=experiment)
    gone: set[str] = set()
    experiments: set[str] = set()
    for _ in range(100):
        step = api.purge_trash(limit=2)
        assert len(step.run_ids) <= 2
        if not step.run_ids and not step.experiment_ids:
            break
        gone |= set(step.run_ids)
        experiments |= set(step.experiment_ids)
    else:
        pytest.fail("emptying the trash never ends")
    assert gone >= inside | alone
    assert experiment in experiments
    assert api.search_runs(experiment_ids=[kept], run_view_type="DELETED_ONLY").runs == ()
    assert api.run(stays).info.lifecycle_stage == "active"
    assert api.search_experiments(max_results=10, view_type="DELETED_ONLY").experiments == ()


def test_what_registered_versions_are_made_of_is_kept_until_they_are_deleted(api: Api) -> None:
    experiment, name = api.new_experiment(), unique("model")
    run_id, other = api.new_run(experiment), api.new_run(experiment)
    model_id = api.create_logged_model(experiment_id=experiment).model.model_id
    api.create_registered_model(name=name)
    api.create_model_version(name=name, source=f"runs:/{run_id}/model", run_id=run_id)
    api.create_model_version(name=name, source=f"models:/{model_id}", model_id=model_id)
    api.delete_logged_model(model_id=model_id)
    for run in (run_id, other):
        api.delete_run(run_id=run)
    for named in ({"run_ids": [run_id]}, {"logged_model_ids": [model_id]}):
        with pytest.raises(InvalidParameter, match=f"of the registered model '{name}'"):
            api.purge_trash(**named)
    everything = api.purge_trash()
    assert other in everything.run_ids
    assert run_id not in everything.run_ids
    assert model_id not in everything.logged_model_ids
    api.delete_experiment(experiment_id=experiment)
    with pytest.raises(InvalidParameter, match=f"version 1 of the registered model '{name}'"):
        api.purge_trash(experiment_ids=[experiment])
    api.delete_model_version(name=name, version="1")
    everything = api.purge_trash()
    assert run_id in everything.run_ids
    assert experiment not in everything.experiment_ids
    with pytest.raises(InvalidParameter, match=f"version 2 of the registered model '{name}'"):
        api.purge_trash(experiment_ids=[experiment])
    api.delete_model_version(name=name, version="2")
    purged = api.purge_trash(experiment_ids=[experiment])
    assert (purged.logged_model_ids, purged.experiment_ids) == ((model_id,), (experiment,))


def test_the_run_of_a_prompt_or_of_a_logged_model_is_not_kept(api: Api) -> None:
    experiment, name, prompt = api.new_experiment(), unique("model"), unique("prompt")
    asked, made = api.new_run(experiment), api.new_run(experiment)
    model_id = api.create_logged_model(experiment_id=experiment, source_run_id=made).model.model_id
    api.create_registered_model(name=name)
    api.create_model_version(name=name, source=f"models:/{model_id}", model_id=model_id)
    tags = pairs(**{"mlflow.prompt.is_prompt": "true"})
    api.create_registered_model(name=prompt, tags=tags)
    api.create_model_version(name=prompt, source="dummy-source", run_id=asked, tags=tags)
    for run in (asked, made):
        api.delete_run(run_id=run)
    assert set(api.purge_trash(run_ids=[asked, made]).run_ids) == {asked, made}
    assert api.get_lineage(name=name, version="1").lineage.run.gone
