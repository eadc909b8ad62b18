"""Rules are created, read, changed, switched and deleted alike on every store."""

from __future__ import annotations

import time
from typing import Any

import pytest

from headrace.errors import AlreadyExists, Conflict, HeadraceError, InvalidParameter, NotFound
from support.api import Api, pairs, point, unique
from support.backend import Backend


def spec(name: str, **fields: Any) -> dict[str, Any]:
    """A rule that fires when a run fails."""
    return {"name": name, "when": {"event": {"types": "run.failed"}}, **fields}


def test_a_rule_is_created_read_and_listed(api: Api) -> None:
    name = unique("rule")
    document = spec(name, severity="error", then=[{"notify": ["chat"]}], cooldown="10m")
    made = api.create_rule(spec=document).rule
    assert made == api.get_rule(name=name).rule
    assert made in api.list_rules().rules
    assert made.spec == document
    assert (made.origin, made.enabled, made.revision, made.firing) == ("api", True, 1, 0)
    assert made.last_fired is None


def test_the_whole_life_of_a_rule_is_events(api: Api, backend: Backend) -> None:
    name = unique("rule")
    first, second = spec(name), spec(name, description="all of them")
    api.create_rule(spec=first)
    api.update_rule(name=name, spec=second)
    api.update_rule(name=name, spec=second)  # changes nothing: no event
    api.disable_rule(name=name)
    api.disable_rule(name=name)
    api.enable_rule(name=name)
    api.delete_rule(name=name)
    off = {**second, "enabled": False}
    assert backend.events(f"rule/{name}") == [
        ("rule.created", {"after": first}),
        ("rule.updated", {"before": first, "after": second}),
        ("rule.updated", {"before": second, "after": off}),
        ("rule.updated", {"before": off, "after": second}),
        ("rule.deleted", {"before": second}),
    ]
    with pytest.raises(NotFound, match="headrace rules list"):
        api.get_rule(name=name)


def test_who_changes_an_old_revision_is_told(api: Api) -> None:
    name = unique("rule")
    api.create_rule(spec=spec(name))
    changed = api.update_rule(name=name, spec=spec(name, severity="info"), revision=1).rule
    assert (changed.revision, changed.spec["severity"]) == (2, "info")
    with pytest.raises(Conflict, match="revision 2"):
        api.update_rule(name=name, spec=spec(name), revision=1)


def test_a_name_is_there_once_and_can_be_changed(api: Api) -> None:
    one, two, three = unique("rule"), unique("rule"), unique("rule")
    api.create_rule(spec=spec(one))
    api.create_rule(spec=spec(two))
    with pytest.raises(AlreadyExists, match=one):
        api.create_rule(spec=spec(one))
    with pytest.raises(AlreadyExists, match=one):
        api.update_rule(name=two, spec=spec(one))
    assert api.update_rule(name=two, spec=spec(three)).rule.name == three
    with pytest.raises(NotFound):
        api.get_rule(name=two)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"name": "no spaces"}, "spec.name: 'no spaces' is no name"),
        ({"severity": "bad"}, "spec.severity"),
        ({"colour": "red"}, "there is no field 'colour'"),
        ({"cooldwn": "1m"}, "Did you mean 'cooldown'?"),
        ({"cooldown": "soon"}, "spec.cooldown: 'soon' is no length of time"),
        ({"for": "1m"}, "spec.for: events and lines are over in a moment"),
        ({"when": {}}, "spec.when: give exactly one of event, metric"),
        ({"when": {"event": {"types": "run.faild"}}}, "Did you mean run.failed"),
        ({"when": {"event": {"type": "run.failed"}}}, "Did you mean 'types'?"),
        ({"when": {"metric": {"key": "a"}}}, "spec.when.metric: give exactly one of value, change"),
        ({"when": {"metric": {"key": "a", "value": "high"}}}, "'high' is no comparison"),
        ({"when": {"metric": {"key": "a", "value": "> nan"}}}, "NaN is the value 'nan'"),
        ({"when": {"metric": {"key": "a", "change": "> 5%"}}}, "spec.when.metric.over"),
        ({"when": {"metric": {"key": "a", "zscore": 3, "over": "long"}}}, "'long' is no window"),
        (
            {"when": {"metric": {"key": "a", "plateau": {"goal": "best", "over": "1m"}}}},
            "spec.when.metric.plateau.goal",
        ),
        (
            {"when": {"metric": {"key": "a", "worse_than": {"baseline": "x", "goal": "min"}}}},
            "'x' is no baseline",
        ),
        ({"when": {"silent": "5s"}}, "match the event run.lost"),
        ({"when": {"all": []}}, "spec.when.all: the list is empty"),
        ({"when": {"all": [{"not": {"log": {"pattern": "(a"}}}]}}, "when.all[0].not.log.pattern"),
        ({"when": {"log": {"pattern": r"(a)\1"}}}, "RE2's syntax"),
        ({"when": {"no_event": {"types": "run.created"}}}, "the field 'for' is missing"),
        ({"title": "{metrc} is off"}, "Did you mean {metric}?"),
        ({"then": [{}]}, "spec.then[0]: give exactly one of notify"),
        ({"then": [{"call": "rm -rf"}]}, "spec.then[0].call"),
        ({"then": [{"run_project": {}}]}, "rules cannot run projects yet"),
        ({"then": [{"set_alias": {"alias": "x"}}]}, "spec.then[0].set_alias"),
        ({"then": [{"set_alias": {"model": "m", "alias": "x", "version": "best"}}]}, "'best' is no version"),
        ({"scope": {"experiment": ["a"]}}, "Did you mean 'experiments'?"),
    ],
)  # fmt: skip
def test_what_is_no_rule_is_refused_with_its_place_and_the_remedy(
    api: Api, fields: dict[str, Any], message: str
) -> None:
    with pytest.raises(InvalidParameter) as caught:
        api.create_rule(spec={**spec(unique("rule")), **fields})
    assert message in caught.value.message


def test_what_is_not_there_is_not_found(api: Api) -> None:
    for call in (api.get_rule, api.delete_rule, api.enable_rule, api.disable_rule):
        with pytest.raises(NotFound):
            call(name="nothing")
    with pytest.raises(InvalidParameter):
        api.list_firings(limit=0)
    assert api.list_firings(rule="nothing").firings == ()


def test_history_shows_what_a_rule_would_have_done(api: Api) -> None:
    begin = int(time.time() * 1000) - 60_000
    experiment = api.new_experiment()
    run_id = api.new_run(experiment, start_time=begin)
    values = [1.0, 1.0, 9.0, 1.0, float("nan")]
    for step, value in enumerate(values):
        moment = begin + step * 2000
        api.log_batch(run_id=run_id, metrics=[point("loss", value, step, moment)])
    api.update_run(run_id=run_id, status="FAILED")
    scope = {"experiments": [experiment]}
    high = {"metric": {"key": "loss", "value": "> 5"}}
    found = api.test_rule(spec=spec("high", when=high, scope=scope), since=begin)
    assert [(one.time - begin, one.resolved_time - begin) for one in found.firings] == [
        (4000, 6000)
    ]
    assert found.firings[0].values["value"] == 9.0
    assert found.firings[0].run_id == run_id
    assert (found.points, found.complete) == (5, True)
    nan = {"metric": {"key": "l*", "value": "nan"}}
    (fired,) = api.test_rule(spec=spec("nan", when=nan, scope=scope), since=begin).firings
    assert fired.time - begin == 8000
    assert fired.resolved_time is not None  # the run ended
    (failed,) = api.test_rule(spec=spec("failed", scope=scope), since=begin).firings
    assert failed.momentary
    for name in ("high", "nan", "failed"):
        assert api.list_firings(rule=name).firings == ()  # nothing of it happened
    with pytest.raises(HeadraceError):
        api.test_rule(since=begin)
    with pytest.raises(InvalidParameter, match="no history"):
        api.test_rule(spec=spec("x"), since=begin + 10_000_000)


def test_scope_is_by_experiment_tag_and_param(api: Api) -> None:
    begin = int(time.time() * 1000) - 1000
    name = unique("Vision")
    experiment = api.new_experiment(name=name)
    chosen = api.new_run(experiment, tags=pairs(team="red-1"))
    api.log_param(run_id=chosen, key="model", value="resnet50")
    others = [api.new_run(experiment), api.new_run(tags=pairs(team="red-1"))]
    for run_id in (chosen, *others):
        api.update_run(run_id=run_id, status="FAILED")
    for scope in (
        {"experiments": [name[:8] + "*"], "tags": {"team": "red*"}, "params": {"model": "resnet*"}},
        {"experiments": [experiment], "tags": {"team": "red-?"}},
    ):
        found = api.test_rule(spec=spec("x", scope=scope), since=begin)
        assert [one.run_id for one in found.firings] == [chosen]
