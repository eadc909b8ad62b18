"""The client's registry, under MLflow's names, on an embedded store and through a server."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import headrace
from headrace.client.client import Client
from headrace.errors import AlreadyExists, GuardRefused, InvalidParameter, NotFound
from support.server import Server

SOURCE, DIGEST = "s3://bucket/model", "ab" * 32


@pytest.fixture(params=["local", "server"])
def client(
    request: pytest.FixtureRequest, tmp_path: Path, server: Callable[..., Server]
) -> Iterator[Client]:
    uri = str(tmp_path / "store") if request.param == "local" else server().url
    with Client(uri) as one:
        yield one


def test_models_versions_and_aliases_under_mlflows_names(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = client.create_registered_model("m", {"n": 1}, "d")
    assert (model.tags, model.description, model.aliases) == ({"n": "1"}, "d", {})
    with pytest.raises(AlreadyExists):
        client.create_registered_model("m")
    assert client.update_registered_model("m", "e").description == "e"
    client.set_registered_model_tag("m", "k", 2)
    client.delete_registered_model_tag("m", "n")
    client.rename_registered_model("m", "n")
    assert client.get_registered_model("n").tags == {"k": "2"}
    first = client.create_model_version("n", SOURCE, tags={"t": 1}, digest=DIGEST)
    assert (first.version, first.tags, first.digest) == ("1", {"t": "1"}, DIGEST)
    client.create_model_version("n", SOURCE)
    assert client.update_model_version("n", 2, "x").description == "x"
    client.transition_model_version_stage("n", 2, "Staging")
    client.set_model_version_tag("n", key="s", value=3, stage="Staging")
    client.set_model_version_tag("n", 2, "u", 4)
    client.delete_model_version_tag("n", 2, "u")
    assert client.get_model_version("n", 2).tags == {"s": "3"}
    with pytest.raises(InvalidParameter, match="version or stage"):
        client.set_model_version_tag("n", 2, "k", "v", stage="Staging")
    with pytest.raises(NotFound):
        client.set_model_version_tag("n", key="k", value="v", stage="Production")
    assert [one.version for one in client.get_latest_versions("n", ["Staging"])] == ["2"]
    client.set_registered_model_alias("n", "champion", 1)
    assert client.get_model_version_by_alias("n", "champion").version == "1"
    for number, uri in enumerate(("models:/n/2", "models:/n@champion", "models:/n/latest", "models:/n/Staging")):  # fmt: skip
        copy = client.copy_model_version(uri, "copies")
        assert (copy.name, copy.version) == ("copies", str(number + 1))
    assert client.get_model_version("copies", 2).digest == DIGEST
    assert client.copy_model_version(first, "copies").parent == "models:/n/1"
    with pytest.raises(InvalidParameter):
        client.copy_model_version(SOURCE, "copies")
    assert client.get_model_version_download_uri("copies", 1) == SOURCE
    page = client.search_model_versions("name = 'copies'", 2, ["version_number"])
    rest = client.search_model_versions("name = 'copies'", 9, ["version_number"], page.token)
    assert [one.version for one in (*page, *rest)] == ["1", "2", "3", "4", "5"]
    assert [one.name for one in client.search_registered_models(max_results=1)] == ["copies"]
    monkeypatch.setenv("HEADRACE_TRACKING_URI", client.tracking_uri)
    assert [one.name for one in headrace.search_registered_models()] == ["copies", "n"]
    assert len(headrace.search_model_versions(3, "name = 'copies'")) == 3
    headrace.set_model_version_tag("n", 1, "f", "v")
    assert client.get_model_version("n", 1).tags == {"t": "1", "f": "v"}
    client.delete_registered_model_alias("n", "champion")
    client.delete_model_version("n", 1)
    client.delete_registered_model("n")
    with pytest.raises(NotFound):
        client.get_registered_model("n")


def test_what_mlflow_has_no_words_for(client: Client) -> None:
    client.create_registered_model("m")
    for _ in range(2):
        client.create_model_version("m", SOURCE)
    client.set_registered_model_alias("m", "champion", 1)
    client.set_registered_model_alias("m", "champion", 2)
    assert client.restore_alias("m", "champion").after == "1"
    page = client.alias_history("m", "champion", max_results=2)
    assert [one.after for one in page] == ["1", "2"]
    assert [one.after for one in client.alias_history("m", page_token=None)] == ["1", "2", "1"]
    client.set_guard("m", "champion", ["eval"], approvals=1)
    with pytest.raises(GuardRefused, match="eval"):
        client.set_registered_model_alias("m", "champion", 2)
    assert [one.checks for one in client.get_guards("m")] == [("eval",)]
    client.delete_guard("m", "champion")
    with pytest.raises(InvalidParameter):
        client.approve_alias("m", "champion", 2)
    assert client.lineage("m", 1).version.aliases == ("champion",)


def test_a_local_store_takes_a_folder_and_a_server_only_what_is_a_runs(
    client: Client, tmp_path: Path
) -> None:
    client.create_registered_model("m")
    folder = str(tmp_path / "model")
    if client.tracking_uri.startswith("http"):
        with pytest.raises(InvalidParameter, match="run_id request parameter"):
            client.create_model_version("m", folder)
    else:
        assert client.create_model_version("m", folder).source == folder
        assert client.get_model_version_download_uri("m", 1) == folder
