"""Experiments, on every store."""

from __future__ import annotations

import pytest

from headrace.errors import AlreadyExists, InvalidParameter, InvalidState, NotFound
from support.api import Api, pairs, unique


def test_a_created_experiment_can_be_read_by_id_and_by_name(api: Api) -> None:
    name = unique("created")
    number = api.create_experiment(name=name, tags=pairs(team="red", b="")).experiment_id
    by_id = api.get_experiment(experiment_id=number).experiment
    assert by_id.experiment_id == number
    assert by_id.name == name
    assert by_id.lifecycle_stage == "active"
    assert by_id.tags == {"team": "red", "b": ""}
    assert by_id.creation_time == by_id.last_update_time > 1_600_000_000_000
    assert api.get_experiment_by_name(experiment_name=name).experiment == by_id


def test_the_default_experiment_is_there_from_the_start(api: Api) -> None:
    default = api.get_experiment(experiment_id="0").experiment
    assert default.name == "Default"
    assert default.lifecycle_stage == "active"


def test_artifacts_lie_below_the_store_unless_a_location_is_given(api: Api) -> None:
    plain = api.get_experiment(experiment_id=api.new_experiment()).experiment
    assert plain.artifact_location.endswith(f"/{plain.experiment_id}")
    own = api.new_experiment(artifact_location="s3://bucket/somewhere/")
    found = api.get_experiment(experiment_id=own).experiment.artifact_location
    assert found.rstrip("/") == "s3://bucket/somewhere"
    run = api.create_run(experiment_id=own).run.info
    assert run.artifact_uri == f"s3://bucket/somewhere/{run.run_id}/artifacts"


@pytest.mark.parametrize(
    "name", ["Ünïcødé 实验 🚀", "with/slash and ../dots", "'; DROP TABLE run; --", "x" * 500, " "]
)
def test_names_may_hold_any_text(api: Api, name: str) -> None:
    number = api.create_experiment(name=name).experiment_id
    assert api.get_experiment(experiment_id=number).experiment.name == name
    assert api.get_experiment_by_name(experiment_name=name).experiment.experiment_id == number


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"name": ""},
        {"name": "x" * 501},
        {"name": 5},
        {"name": ["a"]},
        {"name": "a", "artifact_location": "x" * 2049},
        {"name": "a", "artifact_location": "s3://bucket/../other"},
        {"name": "a", "artifact_location": "s3://bucket/%2e%2e/other"},
        {"name": "a", "artifact_location": "s3://bucket/.\n./other"},
        {"name": "a", "artifact_location": "s3://bucket/a?query=1"},
        {"name": "a", "artifact_location": "runs:/abc/model"},
        {"name": "a", "tags": [{"value": "no key"}]},
        {"name": "a", "tags": [{"key": "", "value": "empty key"}]},
        {"name": "a", "tags": [{"key": "k" * 251, "value": ""}]},
        {"name": "a", "tags": [{"key": "k", "value": "v" * 20_001}]},
        {"name": "a", "tags": [{"key": "k", "value": 1}]},
        {"name": "a", "tags": {"k": "v"}},
        {"name": "nul\x00here"},
        {"name": "a", "tags": [{"key": "k", "value": "\x00"}]},
        {"name": "a", "artifact_location": "s3://b/\x00"},
    ],
)
def test_a_bad_new_experiment_is_refused_and_leaves_nothing(api: Api, fields: dict) -> None:
    if fields.get("name") == "a":
        fields = {**fields, "name": unique("bad")}
    with pytest.raises(InvalidParameter):
        api.create_experiment(**fields)
    if str(fields.get("name", "")).startswith("bad"):
        with pytest.raises(NotFound):
            api.get_experiment_by_name(experiment_name=fields["name"])


def test_two_active_experiments_cannot_share_a_name(api: Api) -> None:
    name = unique("taken")
    api.new_experiment(name=name)
    with pytest.raises(AlreadyExists, match=name):
        api.create_experiment(name=name)


def test_names_differ_by_case(api: Api) -> None:
    name = unique("case")
    assert api.new_experiment(name=name) != api.new_experiment(name=name.upper())


def test_a_deleted_experiment_frees_its_name_and_can_still_be_read(api: Api) -> None:
    name = unique("freed")
    old = api.new_experiment(name=name)
    api.delete_experiment(experiment_id=old)
    assert api.get_experiment(experiment_id=old).experiment.lifecycle_stage == "deleted"
    assert api.get_experiment_by_name(experiment_name=name).experiment.experiment_id == old
    new = api.new_experiment(name=name)
    assert api.get_experiment_by_name(experiment_name=name).experiment.experiment_id == new
    api.delete_experiment(experiment_id=new)
    newest = api.get_experiment_by_name(experiment_name=name).experiment
    assert newest.experiment_id == new


def test_restoring_needs_the_name_to_be_free(api: Api) -> None:
    name = unique("contested")
    old = api.new_experiment(name=name)
    api.delete_experiment(experiment_id=old)
    new = api.new_experiment(name=name)
    with pytest.raises(AlreadyExists):
        api.restore_experiment(experiment_id=old)
    assert api.get_experiment(experiment_id=old).experiment.lifecycle_stage == "deleted"
    api.update_experiment(experiment_id=new, new_name=unique("renamed"))
    api.restore_experiment(experiment_id=old)
    assert api.get_experiment_by_name(experiment_name=name).experiment.experiment_id == old


def test_deleting_and_restoring_twice_is_not_found(api: Api) -> None:
    number = api.new_experiment()
    with pytest.raises(NotFound):
        api.restore_experiment(experiment_id=number)
    api.delete_experiment(experiment_id=number)
    with pytest.raises(NotFound):
        api.delete_experiment(experiment_id=number)
    api.restore_experiment(experiment_id=number)
    assert api.get_experiment(experiment_id=number).experiment.lifecycle_stage == "active"


def test_renaming(api: Api) -> None:
    before, after = unique("before"), unique("after")
    number = api.new_experiment(name=before)
    api.update_experiment(experiment_id=number, new_name=after)
    assert api.get_experiment(experiment_id=number).experiment.name == after
    api.update_experiment(experiment_id=number, new_name=after)  # to its own name: nothing to do
    with pytest.raises(NotFound):
        api.get_experiment_by_name(experiment_name=before)
    other = api.new_experiment(name=before)
    with pytest.raises(AlreadyExists):
        api.update_experiment(experiment_id=other, new_name=after)
    for bad in ("", "x" * 501, None, "a\x00"):
        with pytest.raises(InvalidParameter):
            api.update_experiment(experiment_id=other, new_name=bad)
    api.delete_experiment(experiment_id=number)
    with pytest.raises(InvalidState):
        api.update_experiment(experiment_id=number, new_name=unique("deleted"))


def test_tags_are_set_replaced_and_deleted(api: Api) -> None:
    number = api.new_experiment(tags=pairs(a="1"))
    api.set_experiment_tag(experiment_id=number, key="a", value="2")
    api.set_experiment_tag(experiment_id=number, key="mlflow.note.content", value="ñ" * 20_000)
    api.set_experiment_tag(experiment_id=number, key="empty")
    tags = api.get_experiment(experiment_id=number).experiment.tags
    assert tags == {"a": "2", "mlflow.note.content": "ñ" * 20_000, "empty": ""}
    api.delete_experiment_tag(experiment_id=number, key="a")
    assert "a" not in api.get_experiment(experiment_id=number).experiment.tags
    with pytest.raises(NotFound):
        api.delete_experiment_tag(experiment_id=number, key="a")


@pytest.mark.parametrize(
    "fields",
    [
        {"key": ""},
        {"key": "k" * 251},
        {"key": "k", "value": "v" * 20001},
        {"key": "../up"},
        {},
        {"key": "k", "value": "\x00"},
        {"key": "k", "value": 7},
    ],
)
def test_bad_experiment_tags_are_refused(api: Api, fields: dict) -> None:
    number = api.new_experiment()
    with pytest.raises(InvalidParameter):
        api.set_experiment_tag(experiment_id=number, **fields)
    assert api.get_experiment(experiment_id=number).experiment.tags == {}


def test_a_deleted_experiment_takes_no_writes(api: Api) -> None:
    number = api.new_experiment(tags=pairs(a="1"))
    api.delete_experiment(experiment_id=number)
    with pytest.raises(InvalidParameter):
        api.set_experiment_tag(experiment_id=number, key="a", value="2")
    with pytest.raises(InvalidParameter):
        api.delete_experiment_tag(experiment_id=number, key="a")
    with pytest.raises(InvalidParameter):
        api.create_run(experiment_id=number)
    assert api.get_experiment(experiment_id=number).experiment.tags == {"a": "1"}


@pytest.mark.parametrize(
    ("number", "error"),
    [
        ("999999999", NotFound),
        ("12345678901234567890123", InvalidParameter),
        ("-1", InvalidParameter),
        ("abc", InvalidParameter),
        ("1.5", InvalidParameter),
        ("1 ", InvalidParameter),
        ("٣", InvalidParameter),
        ("../0", InvalidParameter),
        ("0/../0", InvalidParameter),
        ("%2e%2e", InvalidParameter),
        ("0' OR '1'='1", InvalidParameter),
        ("0\x00", InvalidParameter),
        ("", InvalidParameter),
        (None, InvalidParameter),
        (0, InvalidParameter),
    ],
)
def test_ids_that_name_no_experiment(api: Api, number: object, error: type[Exception]) -> None:
    calls = [
        (api.get_experiment, {}),
        (api.delete_experiment, {}),
        (api.restore_experiment, {}),
        (api.update_experiment, {"new_name": unique("never")}),
        (api.set_experiment_tag, {"key": "k", "value": "v"}),
        (api.delete_experiment_tag, {"key": "k"}),
        (api.create_run, {}),
    ]
    for call, fields in calls:
        with pytest.raises(error):
            call(experiment_id=number, **fields)


def test_search_shows_the_newest_first_and_pages(api: Api) -> None:
    team = unique("team")
    ids = [api.new_experiment(tags=pairs(team=team)) for _ in range(7)]
    search = {"filter": f"tags.team = '{team}'", "max_results": 3}
    found, token, pages = [], "", 0
    while True:
        page = api.search_experiments(**search, page_token=token)
        assert len(page.experiments) <= 3
        found += [one.experiment_id for one in page.experiments]
        pages += 1
        token = page.next_page_token
        if not token:
            break
    assert pages == 3
    assert sorted(found, key=int) == ids
    times = [api.get_experiment(experiment_id=one).experiment.creation_time for one in found]
    assert times == sorted(times, reverse=True)


def test_search_by_name_stage_and_order(api: Api) -> None:
    word = unique("search")
    a, b, c = (api.new_experiment(name=f"{word}-{letter}") for letter in "aBc")
    api.delete_experiment(experiment_id=b)

    def ids(**fields: object) -> list[str]:
        fields.setdefault("filter", f"name LIKE '{word}%'")
        page = api.search_experiments(max_results=100, order_by=["name ASC"], **fields)
        return [one.experiment_id for one in page.experiments]

    assert ids() == [a, c]
    assert ids(view_type="DELETED_ONLY") == [b]
    assert ids(view_type="ALL") == [b, a, c]
    assert ids(filter=f"name = '{word}-a'") == [a]
    assert ids(filter=f"attribute.name ILIKE '{word.upper()}-A'") == [a]
    assert ids(filter=f"name LIKE '{word}%' AND name != '{word}-a'") == [c]
    assert ids(filter=f"experiment_id IN ('{a}', '{c}')") == [a, c]
    assert ids(filter=f"name LIKE '{word}%' AND creation_time > 0") == [a, c]


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"max_results": 0},
        {"max_results": -1},
        {"max_results": 50_001},
        {"max_results": "many"},
        {"max_results": 10, "filter": "name ="},
        {"max_results": 10, "filter": "nonsense = 'a'"},
        {"max_results": 10, "filter": "name > 'a'"},
        {"max_results": 10, "filter": "metrics.a > 1"},
        {"max_results": 10, "filter": "name = 'a';"},
        {"max_results": 10, "filter": "name = 'a' 'b'"},
        {"max_results": 10, "filter": "name = 'unfinished"},
        {"max_results": 10, "filter": "name = '\x00'"},
        {"max_results": 10, "order_by": ["nonsense"]},
        {"max_results": 10, "order_by": ["name sideways"]},
        {"max_results": 10, "view_type": "SOME"},
        {"max_results": 10, "page_token": "bm90IGEgdG9rZW4="},
        {"max_results": 10, "page_token": "!!!"},
        {"max_results": 10, "page_token": "eyJvZmZzZXQiOiAxfQ=="},
    ],
)
def test_searches_that_cannot_be_understood_are_refused(api: Api, fields: dict) -> None:
    with pytest.raises(InvalidParameter):
        api.search_experiments(**fields)
