"""Aliases, their history, their guards, and the lineage of versions, on every store."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from headrace.errors import GuardRefused, InvalidParameter, InvalidState, NotFound
from headrace.protocol.model_aliases import AliasMove
from support.api import Api, pairs, unique
from support.backend import Backend
from support.people import person
from support.races import at_once


def new_model(api: Api, versions: int = 0) -> str:
    """Name of a new model with so many versions."""
    name = unique("model")
    api.create_registered_model(name=name)
    for _ in range(versions):
        api.create_model_version(name=name, source="s3://bucket/model")
    return name


def point_to(api: Api, name: str, number: int, alias: str = "champion") -> Any:
    return api.set_registered_model_alias(name=name, alias=alias, version=str(number))


def aliases(api: Api, name: str) -> dict[str, str]:
    found: dict[str, str] = api.get_registered_model(name=name).registered_model.aliases
    return found


def moves(api: Api, name: str, alias: str = "champion", **fields: Any) -> list[AliasMove]:
    return list(api.list_alias_history(name=name, alias=alias, **fields).moves)


def check(api: Api, name: str, number: int, **checks: str) -> None:
    for key, value in checks.items():
        api.set_model_version_tag(
            name=name, version=str(number), key=f"headrace.check.{key}", value=value
        )


def test_an_alias_moves_and_everything_is_remembered(api: Api, backend: Backend) -> None:
    name = new_model(api, 3)
    for number in (1, 2, 2, 3):
        point_to(api, name, number)
    assert aliases(api, name) == {"champion": "3"}
    found = api.get_model_version_by_alias(name=name, alias="champion").model_version
    assert (found.version, found.aliases) == ("3", ("champion",))
    assert api.restore_alias(name=name, alias="champion").move.after == "2"
    assert api.restore_alias(name=name, alias="champion").move.after == "3"
    api.delete_registered_model_alias(name=name, alias="champion")
    api.delete_registered_model_alias(name=name, alias="champion")
    assert aliases(api, name) == {}
    assert api.restore_alias(name=name, alias="champion").move.before is None
    api.delete_model_version(name=name, version="3")
    with pytest.raises(NotFound):
        api.restore_alias(name=name, alias="champion")
    point_to(api, name, 1, "other")
    with pytest.raises(InvalidState, match="pointed to nothing"):
        api.restore_alias(name=name, alias="other")
    with pytest.raises(NotFound, match="never had"):
        api.restore_alias(name=name, alias="nothing")
    told = moves(api, name)
    assert [(one.action, one.before, one.after) for one in reversed(told)] == [
        ("set", None, "1"), ("set", "1", "2"), ("set", "2", "3"), ("restored", "3", "2"),
        ("restored", "2", "3"), ("deleted", "3", None), ("restored", None, "3"),
        ("version deleted", "3", None),
    ]  # fmt: skip
    assert {one.actor for one in told} == {backend.actor}
    first = api.list_alias_history(name=name, max_results=4)
    rest = api.list_alias_history(name=name, max_results=9, page_token=first.next_page_token)
    every = [*first.moves, *rest.moves]
    assert ([one.alias for one in every[:2]], len(every)) == (["other", "champion"], 9)
    named = {"name": name, "version": "3", "alias": "champion"}
    events = backend.events(f"model_version/{name}/3")
    assert events[1] == (
        "model_version.alias.created",
        {**named, "before": "2", "after": "3", "action": "set", "approved_by": []},
    )
    assert events[3] == ("model_version.alias.deleted", {**named, "action": "deleted"})
    assert [type for type, _ in events[-2:]] == ["model_version.alias.deleted", "model_version.deleted"]  # fmt: skip


def test_what_is_no_alias_or_is_none_is_refused(api: Api) -> None:
    name = new_model(api, 2)
    for alias in ("latest", "LATEST", "v1", "V22", "a b", "a.b", "x" * 256):
        with pytest.raises(InvalidParameter):
            point_to(api, name, 1, alias)
        with pytest.raises(InvalidParameter):
            api.set_guard(name=name, alias=alias, checks=["a"])
    with pytest.raises(NotFound):
        point_to(api, name, 3)
    with pytest.raises(InvalidParameter, match="alias nobody not found"):
        api.get_model_version_by_alias(name=name, alias="nobody")
    newest = api.get_model_version_by_alias(name=name, alias="Latest").model_version
    assert newest.version == "2"
    with pytest.raises(NotFound):
        api.get_model_version_by_alias(name=new_model(api), alias="latest")
    with pytest.raises(InvalidParameter):
        api.list_alias_history(name=name, max_results=0)
    with pytest.raises(NotFound):
        api.list_alias_history(name="nothing")


def test_a_guard_asks_for_checks(api: Api, backend: Backend) -> None:
    name = new_model(api, 2)
    point_to(api, name, 1)
    guard = api.set_guard(name=name, alias="champion", checks=["eval", "bias", "eval"]).guard
    assert (guard.checks, guard.approvals, guard.given) == (("eval", "bias"), 0, ())
    check(api, name, 2, bias="failed")
    with pytest.raises(GuardRefused) as caught:
        point_to(api, name, 2)
    assert "'eval' is not set, 'bias' is 'failed'" in caught.value.message
    assert f"set_model_version_tag('{name}', '2', 'headrace.check.eval', 'passed')" in caught.value.message  # fmt: skip
    assert caught.value.status == 403
    point_to(api, name, 1)  # it is there
    check(api, name, 2, bias="passed", eval="passed")
    point_to(api, name, 2)
    with pytest.raises(GuardRefused):
        api.restore_alias(name=name, alias="champion")
    for refused in (
        lambda: api.delete_registered_model_alias(name=name, alias="champion"),
        lambda: api.delete_model_version(name=name, version="2"),
        lambda: api.delete_registered_model(name=name),
        lambda: api.rename_registered_model(name=name, new_name=unique("other")),
    ):
        with pytest.raises(GuardRefused, match="delete_guard"):
            refused()
    api.delete_model_version(name=name, version="1")
    assert aliases(api, name) == {"champion": "2"}
    point_to(api, name, 2, "free")
    api.set_guard(name=name, alias="champion", checks=["eval"])
    assert [one.checks for one in api.get_guards(name=name).guards] == [("eval",)]
    api.delete_guard(name=name, alias="champion")
    with pytest.raises(NotFound):
        api.delete_guard(name=name, alias="champion")
    api.delete_registered_model(name=name)
    asked = [{"checks": one, "approvals": 0} for one in (["eval", "bias"], ["eval"])]
    assert backend.events(f"registered_model/{name}")[1:4] == [
        ("registered_model.guard.set", {"alias": "champion", "before": None, "after": asked[0]}),
        ("registered_model.guard.set", {"alias": "champion", "before": asked[0], "after": asked[1]}),
        ("registered_model.guard.deleted", {"alias": "champion", "before": asked[1]}),
    ]  # fmt: skip


def test_a_guard_asks_for_people(backend: Backend) -> None:
    ann, bob, nobody = (person(backend, name) for name in ("ann", "bob", ""))
    name = new_model(ann, 3)
    ann.set_guard(name=name, alias="champion", approvals=2)
    with pytest.raises(GuardRefused, match="1 more must agree") as caught:
        point_to(ann, name, 1)
    assert "so far agree: ann" in caught.value.message
    with pytest.raises(GuardRefused):
        point_to(ann, name, 1)  # the same person twice is one
    with pytest.raises(GuardRefused, match="no name"):
        point_to(nobody, name, 1)
    with pytest.raises(GuardRefused):
        nobody.approve_alias(name=name, alias="champion", version="1")
    (guard,) = nobody.get_guards(name=name, alias="champion").guards
    assert [(one.version, one.actor) for one in guard.given] == [("1", "ann")]
    with pytest.raises(GuardRefused, match="so far agree: bob"):
        point_to(bob, name, 2)  # another version
    moved = bob.approve_alias(name=name, alias="champion", version="1")
    assert (moved.moved, moved.approved_by, moved.needed) == (True, ("ann", "bob"), 0)
    assert aliases(bob, name) == {"champion": "1"}
    assert moves(bob, name)[0].approved_by == ("ann", "bob")
    # What bob agreed to before the move was for that move only.
    with pytest.raises(GuardRefused, match="so far agree: ann"):
        point_to(ann, name, 2)
    ann.set_guard(name=name, alias="champion", approvals=2, checks=["eval"])  # and so is this
    waits = ann.approve_alias(name=name, alias="champion", version="2")
    assert (waits.moved, waits.needed, waits.checks) == (False, 1, ("eval",))
    waits = bob.approve_alias(name=name, alias="champion", version="2")
    assert (waits.moved, waits.needed, waits.checks) == (False, 0, ("eval",))
    check(ann, name, 2, eval="passed")
    point_to(nobody, name, 2)  # two have agreed, whoever moves it
    assert aliases(ann, name) == {"champion": "2"}
    check(ann, name, 1, eval="passed")
    with pytest.raises(GuardRefused):
        ann.restore_alias(name=name, alias="champion")
    assert bob.restore_alias(name=name, alias="champion").move.approved_by == ("ann", "bob")
    for wrong in (
        {},
        {"approvals": -1},
        {"approvals": 101},
        {"checks": ["../x"]},
        {"checks": [""]},
    ):
        with pytest.raises(InvalidParameter):
            ann.set_guard(name=name, alias="champion", **wrong)
    with pytest.raises(InvalidParameter, match="no guard that asks"):
        ann.approve_alias(name=name, alias="free", version="1")


def test_checks_that_come_with_a_version_are_not_its_own(api: Api) -> None:
    name, target = new_model(api, 1), new_model(api)
    check(api, name, 1, eval="passed")
    api.set_guard(name=target, alias="champion", checks=["eval"])
    api.create_model_version(
        name=target, source=f"models:/{name}/1", tags=pairs(**{"headrace.check.eval": "passed"})
    )
    with pytest.raises(GuardRefused):
        point_to(api, target, 1)


def test_fifty_who_move_an_alias_at_once_leave_one_winner_and_a_whole_history(api: Api) -> None:
    name = new_model(api, 5)
    calls = [lambda number=number: point_to(api, name, 1 + number % 5) for number in range(50)]
    assert not [one for one in at_once(calls) if isinstance(one, Exception)]
    told = moves(api, name, max_results=1000)[::-1]
    assert told[0].before is None
    for one, following in itertools.pairwise(told):
        assert one.after == following.before != following.after
    assert aliases(api, name) == {"champion": told[-1].after}
    holders = api.search_model_versions(filter=f"name = '{name}'").model_versions
    assert [one.version for one in holders if one.aliases] == [told[-1].after]


def test_people_who_agree_at_once_are_all_counted(backend: Backend) -> None:
    people = [person(backend, f"p{number}") for number in range(8)]
    name = new_model(people[0], 1)
    people[0].set_guard(name=name, alias="champion", approvals=8)
    results = at_once([lambda one=one: point_to(one, name, 1) for one in people])
    assert sum(isinstance(one, GuardRefused) for one in results) == 7
    (move,) = moves(people[0], name)
    assert sorted(move.approved_by) == [f"p{number}" for number in range(8)]


def test_lineage_goes_up_and_down(api: Api) -> None:
    experiment = api.new_experiment()
    tags = {"mlflow.source.git.commit": "abc", "mlflow.source.name": "train.py"}
    train = api.new_run(experiment, tags=pairs(**tags))
    dataset = {"name": "d", "digest": "1", "source_type": "local", "source": "{}"}
    logged = api.create_logged_model(experiment_id=experiment).model.info.model_id
    api.log_inputs(run_id=train, datasets=[{"dataset": dataset}], models=[{"model_id": logged}])
    base, name, other = new_model(api), new_model(api), new_model(api)
    api.create_model_version(name=base, source=f"models:/{logged}", model_id=logged)
    api.create_model_version(name=name, source=f"runs:/{train}/m", run_id=train)
    api.create_model_version(name=other, source=f"models:/{name}/1")
    api.create_model_version(name=other, source=f"models:/{other}/1")
    scored, tuned = api.new_run(experiment), api.new_run(experiment)
    for run_id in (scored, tuned):
        api.log_inputs(run_id=run_id, models=[{"model_id": f"models:/{name}/1"}])
    api.create_model_version(name=base, source=f"runs:/{tuned}/m", run_id=tuned)

    def places(versions: Any) -> list[tuple[str, str]]:
        return [(one.name, one.version) for one in versions]

    found = api.get_lineage(name=name, version="1").lineage
    assert (found.version.name, found.version.version) == (name, "1")
    assert (found.run.commit, found.run.source) == ("abc", "train.py")
    assert [one.name for one in found.run.datasets] == ["d"]
    assert places(found.ancestors) == [(base, "1")]
    assert places(found.copies) == [(other, "1")]
    assert [(one.run_id, one.via) for one in found.runs] == [(tuned, "input"), (scored, "input")]
    assert places(found.descendants) == [(base, "2")]
    assert (found.parents, found.truncated) == ((), False)
    assert api.get_lineage(name=name, version="1", max_results=1).lineage.truncated
    deep = api.get_lineage(name=other, version="2").lineage
    assert places(deep.parents) == [(other, "1"), (name, "1")]
    up = api.get_lineage(name=base, version="1").lineage
    assert [one.run_id for one in up.runs] == [train]
    assert (places(up.descendants), up.run) == ([(other, "2"), (other, "1"), (name, "1")], None)
    api.delete_model_version(name=other, version="1")
    (gone,) = api.get_lineage(name=other, version="2").lineage.parents
    assert (gone.name, gone.version, gone.gone) == (other, "1", True)
    with pytest.raises(NotFound):
        api.get_lineage(name=name, version="9")
    with pytest.raises(InvalidParameter):
        api.get_lineage(name=name, version="1", max_results=0)


def test_one_person_agrees_once_however_the_name_is_written(api: Api, backend: Backend) -> None:
    name = new_model(api, 1)
    api.set_guard(name=name, alias="champion", approvals=2)
    for spelling in ("ann", "Ann", "ANN", " ann", "ann "):
        with pytest.raises(GuardRefused, match="so far agree: ann"):
            point_to(person(backend, spelling), name, 1)
    with pytest.raises(GuardRefused, match="no name"):
        point_to(person(backend, " "), name, 1)
    point_to(person(backend, "bob"), name, 1)
    assert moves(api, name)[0].approved_by == ("ann", "bob")
