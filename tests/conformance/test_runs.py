"""Runs, params and tags, on every store."""

from __future__ import annotations

import pytest

from headrace.errors import InvalidParameter, NotFound
from support.api import Api, pairs


def test_a_new_run_is_running_and_named(api: Api) -> None:
    experiment = api.new_experiment()
    made = api.create_run(
        experiment_id=experiment, user_id="ann", start_time=123, tags=pairs(a="1", b="")
    ).run
    info = made.info
    assert info.run_id == info.run_uuid
    assert len(info.run_id) == 32
    assert info.experiment_id == experiment
    assert (info.user_id, info.start_time, info.end_time) == ("ann", 123, None)
    assert (info.status, info.lifecycle_stage) == ("RUNNING", "active")
    assert info.artifact_uri.endswith(f"/{experiment}/{info.run_id}/artifacts")
    assert info.run_name  # a random one
    assert made.data.tags == {"a": "1", "b": "", "mlflow.runName": info.run_name}
    assert api.run(info.run_id) == made
    assert api.get_run(run_uuid=info.run_id).run == made


def test_a_run_starts_now_unless_told(api: Api) -> None:
    assert api.run(api.new_run()).info.start_time > 1_600_000_000_000
    assert api.run(api.new_run(start_time=0)).info.start_time == 0


def test_the_run_name_and_its_tag_are_one_thing(api: Api) -> None:
    experiment = api.new_experiment()
    by_name = api.run(api.new_run(experiment, run_name="one"))
    assert by_name.data.tags == {"mlflow.runName": "one"}
    tag = [{"key": "mlflow.runName", "value": "two"}]
    by_tag = api.run(api.new_run(experiment, tags=tag))
    assert by_tag.info.run_name == "two"
    both = api.run(api.new_run(experiment, run_name="two", tags=tag))
    assert both.info.run_name == "two"
    with pytest.raises(InvalidParameter):
        api.create_run(experiment_id=experiment, run_name="other", tags=tag)
    run_id = by_name.info.run_id
    api.set_tag(run_id=run_id, key="mlflow.runName", value="three")
    assert api.run(run_id).info.run_name == "three"
    assert api.update_run(run_id=run_id, run_name="four").run_info.run_name == "four"
    assert api.run(run_id).data.tags == {"mlflow.runName": "four"}
    api.log_batch(run_id=run_id, tags=[{"key": "mlflow.runName", "value": "five"}])
    assert api.run(run_id).info.run_name == "five"


def test_update_changes_what_is_given(api: Api) -> None:
    run_id = api.new_run(run_name="kept", start_time=5)
    info = api.update_run(run_id=run_id, status="FINISHED", end_time=9).run_info
    assert (info.status, info.end_time, info.run_name, info.start_time) == (
        "FINISHED",
        9,
        "kept",
        5,
    )
    info = api.update_run(run_uuid=run_id, status="RUNNING").run_info
    assert (info.status, info.end_time) == ("RUNNING", 9)
    assert api.update_run(run_id=run_id).run_info == info
    assert api.update_run(run_id=run_id, run_name="").run_info.run_name == "kept"
    for status in ("SCHEDULED", "FAILED", "KILLED"):
        assert api.update_run(run_id=run_id, status=status).run_info.status == status


@pytest.mark.parametrize(
    "fields",
    [
        {"status": "BOGUS"},
        {"status": 7},
        {"end_time": -1},
        {"end_time": 1.5},
        {"end_time": "late"},
        {"end_time": 2**63},
        {"run_name": "x" * 100_001},
        {"run_name": "a\x00b"},
        {"run_name": 5},
    ],
)
def test_bad_updates_change_nothing(api: Api, fields: dict) -> None:
    run_id = api.new_run()
    before = api.run(run_id)
    good = {"status": "FINISHED"} if "status" not in fields else {"end_time": 3}
    with pytest.raises(InvalidParameter):
        api.update_run(run_id=run_id, **good, **fields)
    assert api.run(run_id) == before


@pytest.mark.parametrize(
    "fields",
    [
        {"start_time": -1},
        {"start_time": 2**63},
        {"start_time": 0.5},
        {"start_time": "now"},
        {"start_time": float("nan")},
        {"user_id": 5},
        {"user_id": "\x00"},
        {"run_name": ["a"]},
        {"run_name": "a\x00"},
        {"tags": [{"key": "../a", "value": ""}]},
        {"tags": [{"key": "k" * 251, "value": ""}]},
        {"tags": [{"key": "a", "value": None}, {"value": "b"}]},
        {"tags": "a=b"},
        {"tags": [{"key": "a", "value": "\x00"}]},
    ],
)
def test_a_bad_new_run_is_refused_and_leaves_nothing(api: Api, fields: dict) -> None:
    experiment = api.new_experiment()
    with pytest.raises(InvalidParameter):
        api.create_run(experiment_id=experiment, **fields)
    assert api.search_runs(experiment_ids=[experiment], run_view_type="ALL").runs == ()


def test_a_run_needs_an_experiment_that_is_there(api: Api) -> None:
    with pytest.raises(InvalidParameter, match="experiment_id"):
        api.create_run()
    with pytest.raises(NotFound):
        api.create_run(experiment_id="987654321")


def test_params_are_kept_and_never_change(api: Api) -> None:
    run_id = api.new_run()
    api.log_param(run_id=run_id, key="lr", value="0.1")
    api.log_param(run_uuid=run_id, key="empty")
    api.log_param(run_id=run_id, key="lr", value="0.1")  # the same again changes nothing
    with pytest.raises(InvalidParameter, match="lr"):
        api.log_param(run_id=run_id, key="lr", value="0.2")
    with pytest.raises(InvalidParameter):
        api.log_param(run_id=run_id, key="lr", value="")
    assert api.run(run_id).data.params == {"lr": "0.1", "empty": ""}


def test_tags_are_set_replaced_and_deleted(api: Api) -> None:
    run_id = api.new_run(run_name="n")
    api.set_tag(run_id=run_id, key="a", value="1")
    api.set_tag(run_uuid=run_id, key="a", value="2")
    api.set_tag(run_id=run_id, key="empty")
    assert api.run(run_id).data.tags == {"a": "2", "empty": "", "mlflow.runName": "n"}
    api.delete_tag(run_id=run_id, key="a")
    with pytest.raises(NotFound):
        api.delete_tag(run_id=run_id, key="a")
    with pytest.raises(NotFound):
        api.delete_tag(run_id=run_id, key="never-used-anywhere")
    assert api.run(run_id).data.tags == {"empty": "", "mlflow.runName": "n"}


def test_values_are_kept_whole(api: Api) -> None:
    run_id = api.new_run()
    long = "äß🚀x" * 25_000
    api.log_param(run_id=run_id, key="p", value=long)
    api.set_tag(run_id=run_id, key="t", value=long)
    for odd in ("'; DROP TABLE run; --", "a\nb\tc", "\\", '"', "%s {} $1 :x", "\x7f\x01", "\u2028"):
        key = f"odd {odd.encode().hex()}"
        api.log_param(run_id=run_id, key=key, value=odd)
        assert api.run(run_id).data.params[key] == odd
    data = api.run(run_id).data
    assert data.params["p"] == long
    assert data.tags["t"] == long


def test_values_over_the_limit_are_refused(api: Api) -> None:
    run_id = api.new_run(run_name="n")
    long = "x" * 100_001
    with pytest.raises(InvalidParameter):
        api.log_param(run_id=run_id, key="p", value=long)
    with pytest.raises(InvalidParameter):
        api.set_tag(run_id=run_id, key="t", value=long)
    assert api.run(run_id).data.params == {}
    assert api.run(run_id).data.tags == {"mlflow.runName": "n"}


@pytest.mark.parametrize(
    "key", ["a/b", "a.b c:d-e_f", "Ünïcødé/实验", "k" * 250, "0", "a/..b", "..."]
)
def test_keys_that_are_allowed(api: Api, key: str) -> None:
    run_id = api.new_run()
    api.log_param(run_id=run_id, key=key, value="p")
    api.set_tag(run_id=run_id, key=key, value="t")
    api.log_metric(run_id=run_id, key=key, value=1.0, timestamp=1)
    data = api.run(run_id).data
    assert (data.params[key], data.tags[key], data.metrics[key]) == ("p", "t", 1.0)
    assert api.history(run_id, key) == [(1, 0, 1.0)]


BAD_KEYS = ["", "k" * 251, "../a", "a/../b", "/a", "a/", "a//b", ".", "./a", "..", "a?b", "a\nb"]
BAD_KEYS += ["a\x00b", "a\\b", "a%2fb", "🚀", "a=b", 5, None, ["a"]]


@pytest.mark.parametrize("key", BAD_KEYS, ids=repr)
def test_keys_that_are_not(api: Api, key: object) -> None:
    run_id = api.new_run()
    before = api.run(run_id)
    with pytest.raises(InvalidParameter):
        api.log_param(run_id=run_id, key=key, value="p")
    with pytest.raises(InvalidParameter):
        api.set_tag(run_id=run_id, key=key, value="t")
    with pytest.raises(InvalidParameter):
        api.log_metric(run_id=run_id, key=key, value=1.0, timestamp=1)
    for field in ("params", "tags"):
        with pytest.raises(InvalidParameter):
            api.log_batch(run_id=run_id, **{field: [{"key": key, "value": "v"}]})
    with pytest.raises(InvalidParameter):
        api.log_batch(run_id=run_id, metrics=[{"key": key, "value": 1, "timestamp": 0}])
    assert api.run(run_id) == before


UNKNOWN = [
    "0" * 32,
    "no-such-run",
    "../../etc/passwd",
    "a/b",
    "%2e%2e%2f",
    "' OR 1=1 --",
    "x" * 300,
]


@pytest.mark.parametrize("run_id", UNKNOWN)
def test_runs_that_are_not_there(api: Api, run_id: str) -> None:
    calls = [
        (api.get_run, {}),
        (api.update_run, {"status": "FINISHED"}),
        (api.delete_run, {}),
        (api.restore_run, {}),
        (api.log_param, {"key": "k", "value": "v"}),
        (api.set_tag, {"key": "k", "value": "v"}),
        (api.delete_tag, {"key": "k"}),
        (api.log_metric, {"key": "k", "value": 1, "timestamp": 0}),
        (api.log_outputs, {"models": [{"model_id": "m-1"}]}),
    ]
    for call, fields in calls:
        with pytest.raises(NotFound):
            call(run_id=run_id, **fields)
    # These two check the form of the id first, as MLflow does.
    form = run_id.replace("-", "a").isalnum() and len(run_id) <= 256
    for call, fields in (
        (api.log_batch, {"params": pairs(a="1")}),
        (api.log_inputs, {"models": [{"model_id": "m-1"}]}),
    ):
        with pytest.raises(NotFound if form else InvalidParameter):
            call(run_id=run_id, **fields)


@pytest.mark.parametrize("run_id", [None, "", 7, ["a"], "a\x00b"], ids=repr)
def test_ids_that_cannot_be_a_run(api: Api, run_id: object) -> None:
    calls = [
        (api.get_run, {}),
        (api.update_run, {}),
        (api.delete_run, {}),
        (api.restore_run, {}),
        (api.log_param, {"key": "k", "value": "v"}),
        (api.set_tag, {"key": "k", "value": "v"}),
        (api.delete_tag, {"key": "k"}),
        (api.log_metric, {"key": "k", "value": 1, "timestamp": 0}),
        (api.log_batch, {}),
        (api.log_inputs, {}),
        (api.log_outputs, {"models": [{"model_id": "m-1"}]}),
        (api.log_model, {"model_json": "{}"}),
    ]
    for call, fields in calls:
        with pytest.raises(InvalidParameter):
            call(run_id=run_id, **fields)


def test_a_deleted_run_can_be_read_but_not_written(api: Api) -> None:
    run_id = api.new_run(run_name="n")
    api.delete_run(run_id=run_id)
    api.delete_run(run_id=run_id)  # again changes nothing
    deleted = api.run(run_id)
    assert deleted.info.lifecycle_stage == "deleted"
    for call, fields in writes(api):
        with pytest.raises(InvalidParameter):
            call(run_id=run_id, **fields)
    assert api.run(run_id) == deleted
    api.restore_run(run_id=run_id)
    api.restore_run(run_id=run_id)
    for call, fields in writes(api):
        call(run_id=run_id, **fields)
    assert api.run(run_id).info.lifecycle_stage == "active"


def test_the_runs_of_a_deleted_experiment_are_deleted_too(api: Api) -> None:
    experiment = api.new_experiment()
    run_id = api.new_run(experiment)
    api.delete_experiment(experiment_id=experiment)
    deleted = api.run(run_id)
    assert deleted.info.lifecycle_stage == "deleted"
    for call, fields in writes(api):
        with pytest.raises(InvalidParameter):
            call(run_id=run_id, **fields)
    with pytest.raises(InvalidParameter):
        api.restore_run(run_id=run_id)
    assert api.run(run_id) == deleted
    api.restore_experiment(experiment_id=experiment)
    assert api.run(run_id).info.lifecycle_stage == "active"


def test_restoring_an_experiment_does_not_revive_runs_deleted_on_their_own(api: Api) -> None:
    experiment = api.new_experiment()
    kept, before, during = (api.new_run(experiment) for _ in range(3))
    api.delete_run(run_id=before)
    api.delete_experiment(experiment_id=experiment)
    api.delete_run(run_id=during)
    api.restore_experiment(experiment_id=experiment)
    stages = [api.run(one).info.lifecycle_stage for one in (kept, before, during)]
    assert stages == ["active", "deleted", "deleted"]


def test_nested_runs_are_found_by_their_parents_tag(api: Api) -> None:
    experiment = api.new_experiment()
    parent = api.new_run(experiment)
    tag = [{"key": "mlflow.parentRunId", "value": parent}]
    children = {api.new_run(experiment, tags=tag) for _ in range(3)}
    late = api.new_run(experiment)
    api.set_tag(run_id=late, key="mlflow.parentRunId", value=parent)
    found = api.search_runs(
        experiment_ids=[experiment], filter=f"tags.mlflow.parentRunId = '{parent}'"
    ).runs
    assert {one.info.run_id for one in found} == {*children, late}


def writes(api: Api) -> list:
    """Every write to a run, with fields that are good."""
    dataset = {"name": "d", "digest": "1", "source_type": "local", "source": "{}"}
    model = '{"artifact_path": "m", "flavors": {}, "utc_time_created": "now", "run_id": "r"}'
    return [
        (api.update_run, {"status": "FINISHED"}),
        (api.log_param, {"key": "p", "value": "v"}),
        (api.log_metric, {"key": "m", "value": 1, "timestamp": 0}),
        (api.log_batch, {"params": pairs(b="1")}),
        (api.set_tag, {"key": "t", "value": "v"}),
        (api.delete_tag, {"key": "t"}),
        (api.log_inputs, {"datasets": [{"dataset": dataset}]}),
        (api.log_outputs, {"models": [{"model_id": "m-1"}]}),
        (api.log_model, {"model_json": model}),
    ]
