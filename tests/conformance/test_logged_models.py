"""Logged models over the protocol, on every store."""

from __future__ import annotations

import math
from typing import Any

import pytest

from headrace.entities import LoggedModelState
from headrace.errors import InvalidParameter, NotFound
from support.api import Api, pairs, unique
from support.backend import Backend

DIGEST = "sha256:" + "1" * 64
READY = {"status": "LOGGED_MODEL_READY"}


def new_model(api: Api, experiment: str, **fields: Any) -> str:
    return str(api.create_logged_model(experiment_id=experiment, **fields).model.model_id)


def point(key: str, value: float, model_id: str, step: int = 0, **dataset: str) -> dict[str, Any]:
    return {
        "key": key, "value": value, "timestamp": 100 + step, "step": step, "model_id": model_id,
        **{f"dataset_{field}": text for field, text in dataset.items()},
    }  # fmt: skip


def found(api: Api, experiment: str, filter: str = "", **fields: Any) -> list[str]:
    page = api.search_logged_models(experiment_ids=[experiment], filter=filter, **fields)
    return [model.name for model in page.models]


def test_a_new_model_is_pending_and_has_a_place_below_its_experiment(api: Api) -> None:
    experiment = api.new_experiment()
    run_id = api.new_run(experiment)
    model = api.create_logged_model(
        experiment_id=experiment,
        name="tree",
        model_type="classifier",
        source_run_id=run_id,
        params=pairs(depth="3", a="x"),
        tags=pairs(team="one"),
    ).model
    assert (model.name, model.status, model.model_type) == ("tree", "PENDING", "classifier")
    assert model.source_run_id == run_id
    assert model.params == {"a": "x", "depth": "3"}
    assert model.tags == {"team": "one"}
    assert model.model_id.startswith("m-")
    assert len(model.model_id) == 34
    assert model.model_uri == f"models:/{model.model_id}"
    place = api.get_experiment(experiment_id=experiment).experiment.artifact_location
    assert model.artifact_location == f"{place}/models/{model.model_id}/artifacts"
    assert model.creation_timestamp == model.last_updated_timestamp
    assert model == api.get_logged_model(model_id=model.model_id).model
    assert api.create_logged_model(experiment_id=experiment).model.name  # some name


@pytest.mark.parametrize(
    "fields",
    [
        {"name": "a/b"},
        {"name": "a.b"},
        {"name": "it's"},
        {"name": "x" * 501},
        {"params": pairs(a="1") + pairs(a="1")},
        {"params": [{"key": "", "value": "1"}]},
        {"tags": [{"key": "k" * 256}]},
        {"tags": pairs(a="x" * 100_001)},
        {"source_run_id": "no/run"},
        {"experiment_id": "x"},
    ],
)
def test_what_a_model_cannot_be_made_of(api: Api, fields: dict[str, Any]) -> None:
    with pytest.raises(InvalidParameter):
        api.create_logged_model(**{"experiment_id": "0", **fields})


def test_models_need_an_active_experiment(api: Api) -> None:
    experiment = api.new_experiment()
    model_id = new_model(api, experiment)
    api.delete_experiment(experiment_id=experiment)
    with pytest.raises(InvalidParameter):
        new_model(api, experiment)
    assert api.get_logged_model(model_id=model_id).model.model_id == model_id  # as in MLflow
    with pytest.raises(NotFound):
        new_model(api, "999999999")


def test_the_life_of_a_model_is_events(api: Api, backend: Backend) -> None:
    experiment = api.new_experiment()
    model_id = new_model(api, experiment, name="m", params=pairs(p="1"), tags=pairs(t="1"))
    for _ in range(2):  # what changes nothing is no event
        ready = api.finalize_logged_model(model_id=model_id, **READY, digest=DIGEST).model
        api.set_logged_model_tags(model_id=model_id, tags=pairs(t="2", u="3"))
        api.log_logged_model_params(model_id=model_id, params=pairs(p="1", q="2"))
    assert (ready.status, ready.digest) == ("READY", DIGEST)
    api.delete_logged_model_tag(model_id=model_id, tag_key="u")
    for _ in range(2):
        api.delete_logged_model(model_id=model_id)
    for _ in range(2):
        api.restore_logged_model(model_id=model_id)
    api.delete_logged_model(model_id=model_id)
    api.purge_trash(logged_model_ids=[model_id])
    assert backend.events(f"logged_model/{model_id}") == [
        (
            "logged_model.created",
            {
                "experiment_id": experiment,
                "name": "m",
                "model_type": None,
                "source_run_id": None,
                "params": {"p": "1"},
                "tags": {"t": "1"},
            },
        ),
        (
            "logged_model.updated",
            {
                "name": "m",
                "before": {"status": "PENDING", "digest": None},
                "after": {"status": "READY", "digest": DIGEST},
            },
        ),
        (
            "logged_model.updated",
            {"name": "m", "before": {"tags": {"t": "1"}}, "after": {"tags": {"t": "2", "u": "3"}}},
        ),
        (
            "logged_model.updated",
            {"name": "m", "before": {"params": {}}, "after": {"params": {"q": "2"}}},
        ),
        (
            "logged_model.updated",
            {"name": "m", "before": {"tags": {"u": "3"}}, "after": {"tags": {"u": None}}},
        ),
        ("logged_model.deleted", {"name": "m"}),
        ("logged_model.restored", {"name": "m"}),
        ("logged_model.deleted", {"name": "m"}),
        ("logged_model.purged", {"name": "m"}),
    ]


def test_a_digest_does_not_change(api: Api) -> None:
    model_id = new_model(api, api.new_experiment())
    for bad in ("1" * 64, "sha256:" + "1" * 63, "sha256:" + "G" * 64):
        with pytest.raises(InvalidParameter, match="sha256"):
            api.finalize_logged_model(model_id=model_id, **READY, digest=bad)
    api.finalize_logged_model(model_id=model_id, **READY, digest=DIGEST)
    with pytest.raises(InvalidParameter, match="does not change"):
        api.finalize_logged_model(model_id=model_id, **READY, digest=DIGEST.replace("1", "2"))
    failed = api.finalize_logged_model(model_id=model_id, status="LOGGED_MODEL_UPLOAD_FAILED").model
    assert (failed.status, failed.info.status) == ("FAILED", LoggedModelState.FAILED)
    assert failed.digest == DIGEST


def test_params_do_not_change(api: Api) -> None:
    model_id = new_model(api, api.new_experiment(), params=pairs(a="1"))
    with pytest.raises(InvalidParameter, match="'a'"):
        api.log_logged_model_params(model_id=model_id, params=pairs(b="1", a="2"))
    assert api.get_logged_model(model_id=model_id).model.params == {"a": "1"}


def test_what_is_not_there_is_not_found(api: Api) -> None:
    nobody = "m-" + "0" * 32
    for call in (
        lambda: api.get_logged_model(model_id=nobody),
        lambda: api.finalize_logged_model(model_id=nobody, **READY),
        lambda: api.delete_logged_model(model_id=nobody),
        lambda: api.restore_logged_model(model_id=nobody),
        lambda: api.set_logged_model_tags(model_id=nobody, tags=pairs(a="1")),
        lambda: api.log_logged_model_params(model_id=nobody, params=pairs(a="1")),
        lambda: api.delete_logged_model_tag(model_id=nobody, tag_key="a"),
        lambda: api.purge_trash(logged_model_ids=[nobody]),
    ):
        with pytest.raises(NotFound, match="Logged model with ID"):
            call()
    model_id = new_model(api, api.new_experiment())
    with pytest.raises(NotFound, match="No tag with key 'a'"):
        api.delete_logged_model_tag(model_id=model_id, tag_key="a")


def test_a_deleted_model_is_hidden_until_it_is_asked_for(api: Api) -> None:
    experiment = api.new_experiment()
    model_id = new_model(api, experiment, name="gone")
    api.delete_logged_model(model_id=model_id)
    assert found(api, experiment) == []
    with pytest.raises(NotFound):
        api.get_logged_model(model_id=model_id)
    assert api.get_logged_model(model_id=model_id, allow_deleted=True).model.info.deleted
    api.restore_logged_model(model_id=model_id)
    assert found(api, experiment) == ["gone"]


def test_metrics_of_a_model_come_from_any_run(api: Api) -> None:
    experiment = api.new_experiment()
    one, two = api.new_run(experiment), api.new_run(experiment)
    model_id = new_model(api, experiment)
    points = [
        point("acc", 0.5, model_id, 1, name="d", digest="1"),
        point("acc", math.nan, model_id, 0),
    ]
    for _ in range(2):  # what is logged twice is there once
        api.log_batch(run_id=one, metrics=points)
    api.log_metric(run_id=two, **point("loss", math.inf, model_id))
    seen = [
        (one.key, repr(one.value), one.step, one.run_id, one.dataset_name, one.dataset_digest)
        for one in api.get_logged_model(model_id=model_id).model.metrics
    ]
    assert seen == [
        ("acc", "nan", 0, one, None, None),
        ("acc", "0.5", 1, one, "d", "1"),
        ("loss", "inf", 0, two, None, None),
    ]
    # They are the run's as well; a purged run takes them along.
    assert api.run(two).data.metrics == {"loss": math.inf}
    api.delete_run(run_id=one)
    api.purge_trash(run_ids=[one])
    assert [one.key for one in api.get_logged_model(model_id=model_id).model.metrics] == ["loss"]


@pytest.fixture(scope="module")
def zoo(backend: Backend) -> tuple[Api, str]:
    """Three models, a, b and c, made in this order."""
    api = Api(backend.store)
    experiment = api.new_experiment()
    run_id = api.new_run(experiment)
    for number, name in enumerate("abc"):
        model_id = new_model(
            api,
            experiment,
            name=name,
            model_type="" if name == "c" else "tree",
            source_run_id=run_id if name == "a" else "",
            params=pairs(depth=str(10**number)),
            tags=[{"key": "a.b c", "value": name.upper()}],
        )
        if name != "c":
            metrics = [
                point("acc", number, model_id, 1, name="d", digest="1"),
                point("acc", -number, model_id, 2, name="d", digest="2"),
                point("acc", 9 - number, model_id, 3, name="e", digest="1"),
            ]
            api.log_batch(run_id=run_id, metrics=metrics)
            api.finalize_logged_model(model_id=model_id, **READY)
    return api, experiment


@pytest.mark.parametrize(
    ("filter", "names"),
    [
        ("name = 'a'", "a"),
        ("name IN ('a', 'c')", "ca"),
        ("name LIKE '%B%'", ""),
        ("name ILIKE '%B%' OR NOT name != 'c'", "cb"),
        ("model_type = 'tree'", "ba"),
        ("model_type IS NULL", "c"),
        ("source_run_id IS NOT NULL", "a"),
        ("status = 'READY'", "ba"),
        ("status = 1", "c"),
        ("status IN ('PENDING', 'LOGGED_MODEL_READY')", "cba"),
        ("attributes.creation_timestamp > 1 AND last_updated_timestamp_ms > 1", "cba"),
        ("creation_time < 100", ""),
        ("lifecycle_stage = 'active'", "cba"),
        ("lifecycle_stage = 'deleted'", ""),
        ("artifact_location LIKE '%/models/m-%/artifacts'", "cba"),
        ("params.depth = '10'", "b"),
        ("params.depth >= 10", "cb"),
        ("params.none IS NULL", "cba"),
        ("tags.`a.b c` != 'A'", "cb"),
        ('tags."a.b c" IN ("A")', "a"),
        ("metrics.acc > 8", "a"),
        ("metrics.acc <= -1", "b"),
        ("metrics.acc IS NULL", "c"),
        ("metrics.none > 0", ""),
        ("metrics.acc > 8 AND metrics.acc < 1", "a"),
    ],
)
def test_filters(zoo: tuple[Api, str], filter: str, names: str) -> None:
    assert "".join(found(*zoo, filter)) == names


@pytest.mark.parametrize(
    "filter",
    [
        "nonsense = 'a'",
        "status = 'DONE'",
        "status LIKE 'R%'",
        "status > 1",
        "metrics.acc.min = 'x'",
        "metrics.`acc`.max > 1",
        "dataset.name = 'd'",
        "name = a",
        "experiment_id = 'x'",
        "name = 'a",
    ],
)
def test_filters_that_cannot_be(zoo: tuple[Api, str], filter: str) -> None:
    with pytest.raises(InvalidParameter, match="Invalid filter"):
        found(*zoo, filter)


def test_metrics_may_be_searched_on_data_sets(zoo: tuple[Api, str]) -> None:
    on_d, on_e, on_none = ([{"dataset_name": name}] for name in "dex")
    assert found(*zoo, "metrics.acc > 5", datasets=on_d) == []
    assert found(*zoo, "metrics.acc > 5", datasets=[*on_d, *on_e]) == ["b", "a"]
    second = [{"dataset_name": "d", "dataset_digest": "2"}]
    assert found(*zoo, "metrics.acc < 0", datasets=second) == ["b"]
    assert found(*zoo, datasets=second) == ["b", "a"]  # any metric on it will do
    assert found(*zoo, datasets=on_none) == []
    with pytest.raises(InvalidParameter, match="dataset_name"):
        found(*zoo, datasets=[{"dataset_digest": "1"}])


@pytest.mark.parametrize(
    ("order", "names"),
    [
        ({"field_name": "name"}, "abc"),
        ({"field_name": "attributes.name", "ascending": False}, "cba"),
        ({"field_name": "creation_timestamp"}, "abc"),
        ({"field_name": "model_type"}, "bac"),
        ({"field_name": "status", "ascending": False}, "bac"),
        ({"field_name": "metrics.acc"}, "bac"),  # the latest, on e
        ({"field_name": "metrics.acc", "dataset_name": "d"}, "bac"),
        ({"field_name": "metrics.acc", "dataset_name": "d", "dataset_digest": "1"}, "abc"),
        ({"field_name": "metrics.acc", "ascending": False}, "abc"),
        ({"field_name": "metrics.none"}, "cba"),
    ],
)
def test_orders(zoo: tuple[Api, str], order: dict[str, Any], names: str) -> None:
    assert "".join(found(*zoo, order_by=[order])) == names
    # The same page by page.
    api, experiment = zoo
    paged, token = "", ""
    while True:
        page = api.search_logged_models(
            experiment_ids=[experiment], order_by=[order], max_results=1, page_token=token
        )
        paged += "".join(model.name for model in page.models)
        token = page.next_page_token
        if not token:
            break
    assert paged == names


def test_searches_that_cannot_be(zoo: tuple[Api, str]) -> None:
    api, experiment = zoo
    for field in ("params.depth", "tags.x", "nonsense", ""):
        with pytest.raises(InvalidParameter, match="Invalid order by field name"):
            found(*zoo, order_by=[{"field_name": field}])
    with pytest.raises(InvalidParameter, match="experiment_ids"):
        api.search_logged_models()
    with pytest.raises(InvalidParameter, match="max_results"):
        found(*zoo, max_results=50_001)
    token = api.search_logged_models(experiment_ids=[experiment], max_results=1).next_page_token
    with pytest.raises(InvalidParameter, match="another search"):
        found(*zoo, "name = 'a'", page_token=token)
    assert found(api, "999999999") == []
    assert len(found(*zoo, max_results=0)) == 3


def test_a_purged_experiment_takes_its_models(api: Api) -> None:
    experiment = api.new_experiment(name=unique("purged"))
    kept, gone = (new_model(api, experiment, params=pairs(a="1"), tags=pairs(b="2")) for _ in "ab")
    with pytest.raises(InvalidParameter, match="not in the trash"):
        api.purge_trash(logged_model_ids=[gone])
    api.delete_logged_model(model_id=gone)
    dry = api.purge_trash(logged_model_ids=[gone], dry_run=True)
    purged = api.purge_trash(logged_model_ids=[gone])
    assert dry == purged
    assert purged.logged_model_ids == (gone,)
    assert purged.logged_model_uris[0].endswith(f"/{experiment}/models/{gone}/artifacts")
    with pytest.raises(NotFound):
        api.get_logged_model(model_id=gone, allow_deleted=True)
    api.delete_experiment(experiment_id=experiment)
    purged = api.purge_trash(experiment_ids=[experiment])
    assert (purged.logged_model_ids, purged.experiment_ids) == ((kept,), (experiment,))


def test_an_experiment_goes_when_all_its_models_did(api: Api) -> None:
    experiment = api.new_experiment()
    models = {new_model(api, experiment) for _ in range(3)}
    api.delete_experiment(experiment_id=experiment)
    first = api.purge_trash(experiment_ids=[experiment], limit=2)
    assert (len(first.logged_model_ids), first.experiment_ids) == (2, ())
    second = api.purge_trash(experiment_ids=[experiment], limit=2)
    assert second.experiment_ids == (experiment,)
    assert {*first.logged_model_ids, *second.logged_model_ids} == models


@pytest.mark.parametrize("key", ["a/b", "..", ".", "/a", "a//b", "a%2Fb", "a?b#c", "a\nb"])
def test_a_tag_is_deleted_whatever_it_is_called_and_nothing_else(api: Api, key: str) -> None:
    model_id = new_model(api, api.new_experiment())
    api.set_logged_model_tags(model_id=model_id, tags=[*pairs(kept="1"), {"key": key}])
    api.delete_logged_model_tag(model_id=model_id, tag_key=key)
    assert api.get_logged_model(model_id=model_id).model.tags == {"kept": "1"}
