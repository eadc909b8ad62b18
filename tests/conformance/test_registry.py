"""Registered models, versions, their events and their searches, on every store."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.errors import AlreadyExists, InvalidParameter, NotFound
from support.api import Api, pairs, unique
from support.backend import Backend
from support.people import person
from support.races import at_once

DIGEST = "sha256:" + "0123456789abcdef" * 4


def new_model(api: Api, versions: int = 0, **fields: Any) -> str:
    """Name of a new model with so many versions."""
    name = unique("model")
    api.create_registered_model(name=name, **fields)
    for _ in range(versions):
        new_version(api, name)
    return name


def new_version(api: Api, name: str, source: str = "s3://bucket/model", **fields: Any) -> Any:
    return api.create_model_version(name=name, source=source, **fields).model_version


def model(api: Api, name: str) -> Any:
    return api.get_registered_model(name=name).registered_model


def version(api: Api, name: str, number: int) -> Any:
    return api.get_model_version(name=name, version=str(number)).model_version


def test_a_model_lives_and_is_really_deleted(api: Api, backend: Backend) -> None:
    name, other = unique("model"), unique("other")
    made = api.create_registered_model(
        name=name, tags=pairs(team="risk"), description="d"
    ).registered_model
    assert (made.name, made.tags, made.description) == (name, {"team": "risk"}, "d")
    assert made.creation_timestamp == made.last_updated_timestamp > 1_600_000_000_000
    assert made.user_id == (backend.actor or None)
    with pytest.raises(AlreadyExists):
        api.create_registered_model(name=name)
    api.set_registered_model_tag(name=name, key="team", value="fraud")
    api.set_registered_model_tag(name=name, key="team", value="fraud")
    api.set_registered_model_tag(name=name, key="empty")
    api.delete_registered_model_tag(name=name, key="empty")
    api.delete_registered_model_tag(name=name, key="empty")
    assert model(api, name).tags == {"team": "fraud"}
    assert api.update_registered_model(name=name).registered_model.description is None
    new_version(api, name)
    api.set_registered_model_alias(name=name, alias="champion", version="1")
    renamed = api.rename_registered_model(name=name, new_name=other).registered_model
    assert (renamed.name, renamed.aliases) == (other, {"champion": "1"})
    assert [one.name for one in renamed.latest_versions] == [other]
    api.create_registered_model(name=name)  # the old name is free at once
    with pytest.raises(AlreadyExists):
        api.rename_registered_model(name=other, new_name=name)
    api.delete_registered_model(name=other)
    for call in (api.get_registered_model, api.delete_registered_model):
        with pytest.raises(NotFound, match=f"Registered Model with name={other} not found"):
            call(name=other)
    api.create_registered_model(name=other)
    assert (new_version(api, other).version, model(api, other).aliases) == ("1", {})
    subject = f"registered_model/{name}"
    named = {"name": name, "tags": {"team": "risk"}, "description": "d"}
    assert backend.events(subject)[:6] == [
        ("registered_model.created", named),
        ("registered_model.tag.set", {"key": "team", "before": "risk", "after": "fraud"}),
        ("registered_model.tag.set", {"key": "empty", "before": None, "after": ""}),
        ("registered_model.tag.deleted", {"key": "empty", "before": ""}),
        ("registered_model.updated", {"before": {"description": "d"}, "after": {"description": None}}),
        ("registered_model.renamed", {"before": {"name": name}, "after": {"name": other}}),
    ]  # fmt: skip
    assert backend.events(f"registered_model/{other}")[0] == (
        "registered_model.deleted",
        {"name": other, "versions": 1, "aliases": {"champion": "1"}},
    )


def test_what_is_no_name_is_refused(api: Api) -> None:
    other = new_model(api)
    for name in ("a/b", "a:b", " ", "..", ".", "x" * 257):
        for call, fields in (
            (api.create_registered_model, {"name": name}),
            (api.get_registered_model, {"name": name}),
            (api.rename_registered_model, {"name": other, "new_name": name}),
            (api.create_model_version, {"name": name, "source": "s3://b/m"}),
        ):
            with pytest.raises(InvalidParameter):
                call(**fields)


def test_a_version_lives_and_its_number_never_comes_again(api: Api, backend: Backend) -> None:
    name, run = new_model(api), api.new_run()
    made = new_version(
        api, name, f"runs:/{run}/m", run_id=run, tags=pairs(t="1"), description="d",
        run_link="https://ci/1", digest=DIGEST,
    )  # fmt: skip
    assert (made.name, made.version, made.current_stage, made.status) == (
        name,
        "1",
        "None",
        "READY",
    )
    assert (made.run_id, made.run_link, made.tags) == (run, "https://ci/1", {"t": "1"})
    assert (made.digest, made.source, made.aliases) == (DIGEST, f"runs:/{run}/m", ())
    assert version(api, name, 1) == made
    key = {"name": name, "version": "1"}
    assert api.get_model_version_download_uri(**key).artifact_uri == f"runs:/{run}/m"
    api.set_model_version_tag(**key, key="t", value="2")
    api.delete_model_version_tag(**key, key="t")
    api.delete_model_version_tag(**key, key="t")
    changed = api.update_model_version(**key, description="e").model_version
    assert (changed.description, changed.tags, changed.digest) == ("e", {}, DIGEST)
    new_version(api, name)
    api.delete_model_version(name=name, version="2")
    assert new_version(api, name).version == "3"
    with pytest.raises(NotFound, match="it was deleted"):
        version(api, name, 2)
    with pytest.raises(NotFound, match="was never registered"):
        version(api, name, 4)
    for wrong in ("x", "1.5", "latest"):
        with pytest.raises(InvalidParameter):
            api.get_model_version(name=name, version=wrong)
    told = {"name": name, "version": "1"}
    assert backend.events(f"model_version/{name}/1") == [
        ("model_version.created", {
            **told, "source": f"runs:/{run}/m", "run_id": run, "tags": {"t": "1"}, "description": "d",
            "model_id": None, "digest": DIGEST,
        }),
        ("model_version.tag.set", {**told, "key": "t", "before": "1", "after": "2"}),
        ("model_version.tag.deleted", {**told, "key": "t", "before": "2"}),
        ("model_version.updated", {
            **told, "before": {"description": "d"}, "after": {"description": "e"},
        }),
    ]  # fmt: skip


def test_stages_move_and_the_newest_of_each_is_known(api: Api, backend: Backend) -> None:
    name = new_model(api, 4)

    def move(number: int, stage: str, archive: bool = False) -> Any:
        return api.transition_model_version_stage(
            name=name, version=str(number), stage=stage, archive_existing_versions=archive
        ).model_version

    assert move(1, "production").current_stage == "Production"
    move(2, "Production")
    move(3, "staging")
    assert [(one.version, one.current_stage) for one in model(api, name).latest_versions] == [
        ("4", "None"), ("3", "Staging"), ("2", "Production"),
    ]  # fmt: skip
    move(4, "PRODUCTION", archive=True)
    found = api.get_latest_versions(name=name).model_versions
    assert [(one.version, one.current_stage) for one in found] == [
        ("3", "Staging"), ("4", "Production"), ("2", "Archived"),
    ]  # fmt: skip
    only = api.get_latest_versions(name=name, stages=["archived", "none"]).model_versions
    assert [one.version for one in only] == ["2"]
    for wrong in ("None", "Archived"):
        with pytest.raises(InvalidParameter, match="cannot archive"):
            move(1, wrong, archive=True)
    with pytest.raises(InvalidParameter, match="Invalid Model Version stage"):
        move(1, "Nirvana")
    stages = [data for type, data in backend.events(f"model_version/{name}/1") if "stage" in type]
    assert [(one["before"], one["after"]) for one in stages] == [
        ("None", "Production"), ("Production", "Archived"),
    ]  # fmt: skip


def test_a_copy_keeps_run_and_files_and_knows_its_parent(api: Api) -> None:
    name, target, run = new_model(api), new_model(api), api.new_run()
    checked = [*pairs(t="1"), {"key": "headrace.check.eval", "value": "passed"}]
    made = new_version(api, name, f"runs:/{run}/m", run_id=run, tags=checked, digest=DIGEST)
    assert made.tags == {"t": "1"}  # checks are set on the version itself
    copy = new_version(api, target, f"models:/{name}/1", run_id=run, model_id="")
    assert (copy.run_id, copy.digest, copy.parent) == (run, DIGEST, f"models:/{name}/1")
    uri = api.get_model_version_download_uri(name=target, version="1").artifact_uri
    assert uri == f"runs:/{run}/m"
    again = new_version(api, target, f"models:/{target}/latest")
    assert (again.source, again.parent) == (f"models:/{target}/1", f"models:/{target}/1")
    uri = api.get_model_version_download_uri(name=target, version="2").artifact_uri
    assert uri == f"runs:/{run}/m"
    renamed = unique("model")
    api.rename_registered_model(name=name, new_name=renamed)
    assert version(api, target, 1).parent == f"models:/{renamed}/1"
    api.delete_registered_model(name=renamed)
    assert version(api, target, 1).parent is None


WRONG_SOURCES: list[tuple[str, dict[str, Any]]] = [
    ("runs:/{run}/m", {}),
    ("runs:/{run}/m", {"run_id": "{other}"}),
    ("runs:/{run}", {"run_id": "{run}"}),
    ("runs:/{run}/m", {"model_id": "m-1"}),
    ("runs:/{run}/../{other}/m", {"run_id": "{run}"}),
    ("mlflow-artifacts:/0/elsewhere/m", {"run_id": "{run}"}),
    ("mlflow-artifacts:/0/elsewhere/m", {}),
    ("models:/{name}/1", {"run_id": "{run}"}),
    ("models:/{name}/1", {"model_id": "m-1"}),
    ("models:/m-1", {}),
    ("models:/m-1", {"model_id": "m-2"}),
    ("models://host/{name}/1", {}),
    ("models:/a/b/c", {}),
    ("models:/{name}/1/data", {}),
    ("models:/{name}@nobody", {}),
    ("models:/{name}/Nirvana", {}),
    ("s3://bucket/%252e%252e/secret", {}),
    ("s3://bucket/\tm", {}),
    ("s3://" + "x" * 2048, {}),
    ("s3://b/m", {"digest": "md5:1"}),
    ("s3://b/m", {"description": "x" * 100_001}),
    ("s3://b/m", {"tags": [{"key": "k", "value": "x" * 100_001}]}),
    ("s3://b/m", {"tags": [{"key": "../k", "value": ""}]}),
]


def test_a_source_that_is_not_the_callers_to_register_is_refused(api: Api) -> None:
    name, run, other = new_model(api, 1), api.new_run(), api.new_run()

    def put(text: Any) -> Any:
        if not isinstance(text, str):
            return text
        return text.replace("{run}", run).replace("{other}", other).replace("{name}", name)

    for source, fields in WRONG_SOURCES:
        filled = {key: put(value) for key, value in fields.items()}
        with pytest.raises(InvalidParameter):
            new_version(api, name, put(source), **filled)
    assert len(api.search_model_versions(filter=f"name = '{name}'").model_versions) == 1


def test_a_purged_run_leaves_the_versions_of_its_logged_models(api: Api) -> None:
    name, experiment = new_model(api), api.new_experiment()
    run = api.new_run(experiment)
    model_id = api.create_logged_model(experiment_id=experiment, source_run_id=run).model.model_id
    new_version(api, name, f"models:/{model_id}", model_id=model_id)
    api.delete_run(run_id=run)
    api.purge_trash(run_ids=[run])
    assert version(api, name, 1).run_id == run
    found = api.get_lineage(name=name, version="1").lineage
    assert (found.run.run_id, found.run.gone) == (run, True)
    assert new_version(api, name, f"models:/{name}/1").run_id == run


def found(page: Any) -> list[str]:
    return [one.name for one in page.registered_models]


def test_models_are_searched_in_pages_that_nothing_moves(api: Api) -> None:
    word = unique("page")
    for number in range(7):
        api.create_registered_model(
            name=f"{word}-{number}", tags=pairs(parity=str(number % 2), **{word: "x"})
        )
    mine = f"name LIKE '{word}-%'"
    names = [f"{word}-{number}" for number in range(7)]
    assert found(api.search_registered_models(filter=mine)) == names
    page = api.search_registered_models(filter=mine, max_results=3)
    api.create_registered_model(name=f"{word}-!first")
    rest = api.search_registered_models(filter=mine, max_results=3, page_token=page.next_page_token)
    last = api.search_registered_models(filter=mine, max_results=3, page_token=rest.next_page_token)
    assert [*found(page), *found(rest), *found(last)] == names
    assert last.next_page_token == ""
    api.delete_registered_model(name=f"{word}-!first")
    for text, expected in (
        (f"{mine} AND tags.parity = '1'", names[1::2]),
        (f"{mine} AND tags.parity != '1'", names[::2]),
        (f"{mine} AND tag.parity ILIKE '0'", names[::2]),
        (f"{mine} AND tags.nothing IS NULL", names),
        (f"name IN ('{names[0]}', '{names[4]}')", [names[0], names[4]]),
        (f"name = '{names[0]}' OR name = \"{names[3]}\"", [names[0], names[3]]),
        (f"tags.`{word}` = 'x' AND NOT tags.parity = '0'", names[1::2]),
    ):
        assert found(api.search_registered_models(filter=text)) == expected, text
    api.update_registered_model(name=names[2], description="newer")
    newest = api.search_registered_models(
        filter=mine, order_by=["last_updated_timestamp DESC"], max_results=1
    )
    assert found(newest) == [names[2]]
    assert found(api.search_registered_models(filter=mine, order_by=["name DESC"])) == names[::-1]
    assert found(api.search_registered_models(filter=mine, max_results=0)) == []


def test_versions_are_searched_by_what_they_are(api: Api) -> None:
    name, other, run = new_model(api, 2), new_model(api, 1), api.new_run()
    new_version(api, name, f"runs:/{run}/m", run_id=run, tags=pairs(t="x"), digest=DIGEST)
    api.transition_model_version_stage(name=name, version="2", stage="Production")
    api.set_registered_model_alias(name=name, alias="best", version="3")

    def numbers(text: str, **fields: Any) -> list[str]:
        page = api.search_model_versions(filter=text, **fields)
        return [one.version for one in page.model_versions if one.name in (name, other)]

    mine = f"name = '{name}'"
    assert numbers(mine, order_by=["version_number"]) == ["1", "2", "3"]
    assert numbers(mine)[0] == "2"  # last updated
    for text, expected in (
        (f"run_id = '{run}'", ["3"]),
        (f"run_id IN ('{run}')", ["3"]),
        (f"{mine} AND version_number > 1", ["2", "3"]),
        (f"{mine} AND version_number <= '2'", ["1", "2"]),
        (f"{mine} AND source_path LIKE 's3://%'", ["1", "2"]),
        (f"{mine} AND tags.t = 'x'", ["3"]),
        (f"{mine} AND digest = '{DIGEST}'", ["3"]),
        (f"{mine} AND stage = 'production'", ["2"]),
        (f"{mine} AND current_stage != 'Production'", ["1", "3"]),
        (f"name IN ('{name}', '{other}') AND run_id IS NULL", ["1", "1", "2"]),
    ):
        assert sorted(numbers(text)) == expected, text
    page = api.search_model_versions(filter=mine, order_by=["version_number DESC"], max_results=2)
    assert [one.version for one in page.model_versions] == ["3", "2"]
    assert page.model_versions[0].aliases == ("best",)
    rest = api.search_model_versions(
        filter=mine, order_by=["version_number DESC"], max_results=2,
        page_token=page.next_page_token,
    )  # fmt: skip
    assert [one.version for one in rest.model_versions] == ["1"]


def test_a_search_of_models_that_makes_no_sense_is_refused(api: Api) -> None:
    wrong: list[dict[str, Any]] = [
        {"filter": "name ="},
        {"filter": "run_id = 'x'"},
        {"filter": "metrics.a > 1"},
        {"filter": "name > 'x'"},
        {"order_by": ["tags.a"]},
        {"order_by": ["nothing"]},
        {"max_results": 1001},
        {"max_results": -1},
        {"page_token": "nonsense"},
    ]
    for fields in wrong:
        with pytest.raises(InvalidParameter):
            api.search_registered_models(**fields)


def test_a_search_of_versions_that_makes_no_sense_is_refused(api: Api) -> None:
    wrong: list[dict[str, Any]] = [
        {"filter": "version_number = 1.5"},
        {"filter": "version_number = 'x'"},
        {"filter": "stage = 'Nirvana'"},
        {"order_by": ["run_id"]},
        {"max_results": 0},
        {"max_results": 200_001},
    ]
    for fields in wrong:
        with pytest.raises(InvalidParameter):
            api.search_model_versions(**fields)


def test_prompts_are_found_by_those_who_ask(api: Api, backend: Backend) -> None:
    tag = "mlflow.prompt.is_prompt"
    mark = {"key": tag, "value": "true"}
    plain = new_model(api, 1)
    prompt = new_model(api, tags=[mark, *pairs(own="1")])
    text = {"key": "mlflow.prompt.text", "value": "Hello {{name}}"}
    new_version(api, prompt, "dummy-source", tags=[mark, text])
    with pytest.raises(InvalidParameter):
        new_version(api, prompt, "s3://bucket/secret", tags=[mark, text])
    with pytest.raises(InvalidParameter):
        new_version(api, plain, f"models:/{prompt}/1")
    with pytest.raises(AlreadyExists, match="taken by a prompt"):
        api.create_registered_model(name=prompt)
    with pytest.raises(AlreadyExists, match="taken by a model"):
        api.create_registered_model(name=plain, tags=[mark])
    both = f"name IN ('{plain}', '{prompt}')"
    for also, expected in (
        ("", [plain]),
        (f" AND tags.`{tag}` != 'true'", [plain]),
        (f" AND tags.`{tag}` = 'false'", [plain]),
        (f" AND tags.`{tag}` = 'true'", [prompt]),
        (f" AND tags.`{tag}` != 'false'", [prompt]),
        (f" AND (tags.`{tag}` = 'true' OR tags.none = '1' OR name = '{plain}')", [plain, prompt]),
    ):
        models = api.search_registered_models(filter=both + also)
        assert sorted(found(models)) == sorted(expected), also
        versions = api.search_model_versions(filter=both + also).model_versions
        assert sorted(one.name for one in versions) == sorted(expected), also
    api.set_registered_model_alias(name=prompt, alias="a", version="1")
    types = [type for type, _data in backend.events(f"prompt_version/{prompt}/1")]
    assert types == ["prompt_version.created", "prompt_version.alias.created"]
    ((type, data),) = backend.events(f"prompt/{prompt}")
    assert (type, data["tags"]) == ("prompt.created", {"own": "1"})


def test_many_who_register_at_once_get_numbers_of_their_own(api: Api) -> None:
    name = new_model(api)
    made = at_once([lambda: new_version(api, name).version] * 50)
    assert sorted(map(int, made)) == list(range(1, 51))
    fresh = unique("race")
    results = at_once([lambda: api.create_registered_model(name=fresh)] * 8)
    assert sum(isinstance(one, AlreadyExists) for one in results) == 7


def test_a_rename_under_load_loses_nothing(api: Api) -> None:
    first, second = new_model(api), unique("renamed")

    def register() -> str:
        for name in (first, second) * 50:
            try:
                return str(new_version(api, name).version)
            except NotFound:
                continue
        raise AssertionError("neither name was there")

    def rename() -> None:
        for old, new in ((first, second), (second, first), (first, second)):
            api.rename_registered_model(name=old, new_name=new)

    results = at_once([rename, *[register] * 30])
    assert sorted(map(int, results[1:])) == list(range(1, 31))
    versions = api.search_model_versions(filter=f"name = '{second}'").model_versions
    assert len(versions) == 30
    with pytest.raises(NotFound):
        model(api, first)


def test_a_model_is_deleted_or_gets_its_version_never_half(api: Api, backend: Backend) -> None:
    names = [new_model(api, 1) for _ in range(8)]
    for name in names:
        register, delete = at_once(
            [lambda n=name: new_version(api, n), lambda n=name: api.delete_registered_model(name=n)]
        )
        assert not isinstance(delete, Exception)
        assert isinstance(register, NotFound) or register.version == "2"
    left = api.search_registered_models(filter=f"name IN {tuple(names)}")
    assert left.registered_models == ()


@settings(max_examples=8, deadline=None)
@given(
    st.lists(st.sampled_from(["create", "delete newest", "delete oldest", "rename"]), max_size=12)
)
def test_a_number_never_comes_again_while_the_model_lives(
    backend: Backend, steps: list[str]
) -> None:
    api = Api(backend.store)
    name = new_model(api)
    there: list[int] = []
    greatest = 0
    for step in steps:
        if step == "create":
            number = int(new_version(api, name).version)
            assert number == greatest + 1
            greatest = number
            there.append(number)
        elif step == "rename":
            old, name = name, unique("model")
            api.rename_registered_model(name=old, new_name=name)
        elif there:
            gone = there.pop(-1 if step == "delete newest" else 0)
            api.delete_model_version(name=name, version=str(gone))
    found = api.search_model_versions(filter=f"name = '{name}'", order_by=["version_number"])
    assert [int(one.version) for one in found.model_versions] == there


def test_who_registered_is_kept(backend: Backend) -> None:
    api = person(backend, "ann")
    name = new_model(api, 1)
    assert (model(api, name).user_id, version(api, name, 1).user_id) == ("ann", "ann")


@pytest.mark.parametrize(
    "source",
    [
        "http://[",
        "http://h]/x",
        "https://\u2048/x",
        "runs://a\u2100b/x",
        "models://a\u2100b/x",
        "mlflow-artifacts://[/x",
    ],
)
def test_a_source_that_is_no_uri_is_refused(api: Api, source: str) -> None:
    name, run_id = new_model(api), api.new_run()
    with pytest.raises(InvalidParameter, match=r"no URI|names a host"):
        new_version(api, name, source, run_id=run_id)


def test_a_logged_model_may_be_registered_any_number_of_times(api: Api) -> None:
    name = new_model(api)
    model_id = api.create_logged_model(experiment_id=api.new_experiment()).model.model_id
    history = json.dumps([{"name": "x" * 90, "version": number} for number in range(820)])
    api.set_logged_model_tags(model_id=model_id, tags=pairs(**{"mlflow.modelVersions": history}))
    for number in range(1, 51):
        new_version(api, name, f"models:/{model_id}", model_id=model_id)
        tags = api.get_logged_model(model_id=model_id).model.tags
        noted = json.loads(tags["mlflow.modelVersions"])
        assert noted[-1] == {"name": name, "version": number}
    assert len(noted) > 600
