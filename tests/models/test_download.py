"""Folders of models, from their addresses to this machine."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from headrace.client import Client
from headrace.errors import InvalidParameter, NotFound
from headrace.models.download import download_model, fetch_model, locate_model, upload_model
from support.server import Server

DIGEST = "sha256:" + "0" * 64
FILES = {"MLmodel": b"flavors: {}\n", "data/weights.bin": os.urandom(40_000), "data/empty": b""}


@pytest.fixture(scope="module", params=["local", "remote"])
def client(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Client]:
    folder = tmp_path_factory.mktemp("store")
    if request.param == "local":
        with Client(folder / "store") as client:
            yield client
        return
    server = Server(folder / "store", folder / "server.log")
    try:
        with Client(server.url) as client:
            yield client
    finally:
        server.stop()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, body in FILES.items():
        file = tmp_path / "model" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(body)
    return tmp_path / "model"


def content(folder: Path) -> dict[str, bytes]:
    return {
        file.relative_to(folder).as_posix(): file.read_bytes()
        for file in folder.rglob("*")
        if file.is_file()
    }


def logged(client: Client, folder: Path, **fields: Any) -> Any:
    model = client.create_logged_model("0", **{"name": "net", **fields})
    upload_model(client, folder, model.artifact_location)
    return client.finalize_logged_model(model.model_id, "READY", digest=DIGEST)


def test_a_logged_model_comes_back(client: Client, folder: Path, tmp_path: Path) -> None:
    model = logged(client, folder)
    fetched = fetch_model(model.model_uri, client=client, dst_path=tmp_path / "a" / "b")
    assert fetched.folder == tmp_path / "a" / "b"
    assert content(fetched.folder) == FILES
    assert fetched.digest == DIGEST
    assert fetched.located.model_id == model.model_id
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["b"]
    assert content(download_model(model.model_uri, client=client)) == FILES


def test_what_lies_on_this_machine_is_not_copied(folder: Path, tmp_path: Path) -> None:
    with Client(tmp_path / "own") as client:
        model = logged(client, folder)
        assert str(download_model(model.model_uri, client=client)).startswith(str(tmp_path / "own"))
        assert download_model(folder, client=client) == folder
        assert download_model(folder.as_uri(), client=client) == folder


def test_a_runs_address_finds_its_model_and_else_its_artifacts(
    client: Client, folder: Path, tmp_path: Path
) -> None:
    run_id = client.create_run("0").info.run_id
    model = logged(client, folder, source_run_id=run_id)
    client.log_artifacts(run_id, folder / "data", "old/it's")
    found = locate_model(f"runs:/{run_id}/net", client=client)
    assert (found.model_id, found.run_id, found.digest) == (model.model_id, run_id, DIGEST)
    within = fetch_model(f"runs:/{run_id}/net/data", client=client, dst_path=tmp_path / "w")
    assert sorted(content(within.folder)) == ["empty", "weights.bin"]
    assert within.digest is None
    old = fetch_model(f"runs:/{run_id}/old/it's", client=client, dst_path=tmp_path / "o")
    assert sorted(content(old.folder)) == ["empty", "weights.bin"]
    assert old.located.model_id is None


def test_what_is_not_there_leaves_nothing(client: Client, tmp_path: Path) -> None:
    run_id = client.create_run("0").info.run_id
    empty = client.create_logged_model("0", "empty")
    place = tmp_path / "out"
    for uri in (
        f"models:/m-{'0' * 32}",
        "runs:/nobody/x",
        f"runs:/{run_id}/x",
        empty.model_uri,
        str(tmp_path / "nowhere"),
    ):
        with pytest.raises(NotFound):
            download_model(uri, client=client, dst_path=place)
        assert list(tmp_path.iterdir()) == []


def test_a_folder_in_use_is_not_written_to(client: Client, folder: Path) -> None:
    model = logged(client, folder)
    with pytest.raises(InvalidParameter, match="not empty"):
        download_model(model.model_uri, client=client, dst_path=folder)
    assert content(folder) == FILES


def test_a_download_that_is_cut_leaves_nothing(
    client: Client, folder: Path, tmp_path: Path
) -> None:
    (folder / "data" / "weights.bin").write_bytes(bytes(6 << 20))
    model = logged(client, folder)
    (tmp_path / "out").mkdir()
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (5 << 20, before[1]))  # as if the disk were full
    try:
        with pytest.raises(OSError, match="too large"):
            download_model(model.model_uri, client=client, dst_path=tmp_path / "out" / "m")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert list((tmp_path / "out").iterdir()) == []
