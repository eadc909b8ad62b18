"""What only a local folder can get wrong."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from headrace.artifacts import Part, open_artifacts
from headrace.artifacts.local import LocalArtifacts
from headrace.artifacts.paths import STAGING
from headrace.errors import InvalidParameter, NotFound, Unavailable


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "root"


def everything(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*")}


def test_nothing_half_written_is_visible(root: Path) -> None:
    store = LocalArtifacts(root)
    seen = []

    def chunks() -> Iterator[bytes]:
        for _ in range(3):
            yield b"x" * 1000
            seen.append((store.list(), (root / "a").exists()))

    store.write("a/b", chunks())
    assert seen == [([], False)] * 3
    assert everything(root) == {"a", "a/b"}


def test_a_failed_write_leaves_no_trace(root: Path) -> None:
    store = LocalArtifacts(root)
    store.write("kept", [b"x"])

    def chunks() -> Iterator[bytes]:
        yield b"x"
        raise RuntimeError("cut")

    with pytest.raises(RuntimeError):
        store.write("a/b/c", chunks())
    assert everything(root) == {"kept"}


def test_deleting_prunes_folders_that_became_empty_but_not_the_root(root: Path) -> None:
    store = LocalArtifacts(root)
    store.write("a/b/c/d", [b"x"])
    store.write("a/e", [b"x"])
    store.delete("a/b/c/d")
    assert everything(root) == {"a", "a/e"}
    store.delete("a/e")
    assert root.is_dir()
    assert everything(root) == set()


def test_links_that_lead_out_are_neither_read_nor_listed_nor_written(
    root: Path, tmp_path: Path
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_text("secret")
    root.mkdir()
    (root / "folder").symlink_to(outside)
    (root / "file").symlink_to(outside / "secret")
    (root / "loop").symlink_to("loop")
    store = LocalArtifacts(root)
    assert store.list() == []
    for path in ("folder/secret", "file"):
        with pytest.raises(InvalidParameter, match="symbolic link"):
            store.read(path)
        with pytest.raises(InvalidParameter, match="symbolic link"):
            store.write(path, [b"x"])
    with pytest.raises(InvalidParameter, match="symbolic link"):
        store.list("folder")
    store.delete("folder")
    store.delete("file")
    assert (outside / "secret").read_text() == "secret"
    assert everything(root) == {"loop"}


def test_links_inside_of_the_root_work(root: Path) -> None:
    store = LocalArtifacts(root)
    store.write("real/file", [b"x"])
    (root / "alias").symlink_to("real")
    with store.read("alias/file") as content:
        assert content.read() == b"x"
    assert [info.path for info in store.list("alias")] == ["alias/file"]


def test_a_root_that_is_a_link_itself_works(root: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    root.symlink_to(tmp_path / "elsewhere")
    store = LocalArtifacts(root)
    store.write("a/b", [b"x"])
    store.delete("a/b")
    assert everything(tmp_path / "elsewhere") == set()


def test_a_file_is_no_folder_and_a_folder_no_file(root: Path) -> None:
    store = LocalArtifacts(root)
    store.write("a/b", [b"x"])
    with pytest.raises(InvalidParameter, match="directory"):
        store.write("a", [b"y"])
    with pytest.raises(InvalidParameter):
        store.write("a/b/c", [b"y"])
    with pytest.raises(NotFound):
        store.read("a/b/c")
    assert everything(root) == {"a", "a/b"}


def test_a_pipe_is_not_waited_for(root: Path) -> None:
    root.mkdir()
    os.mkfifo(root / "pipe")
    with pytest.raises(InvalidParameter, match="regular"):
        LocalArtifacts(root).read("pipe")


def test_what_a_killed_process_left_is_swept_after_a_day(root: Path) -> None:
    staging = root / STAGING
    staging.mkdir(parents=True)
    (staging / "old").write_text("x")
    (staging / "new").write_text("x")
    (staging / "oldparts").mkdir()
    past = time.time() - 2 * 24 * 3600
    os.utime(staging / "old", (past, past))
    os.utime(staging / "oldparts", (past, past))
    LocalArtifacts(root).write("a", [b"x"])
    assert everything(root) == {"a", STAGING, f"{STAGING}/new"}


def test_a_root_that_cannot_be_made_is_unavailable_not_a_crash(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    for root in (tmp_path / "file", tmp_path / "file/below", Path("/proc/headrace/nowhere")):
        with pytest.raises(Unavailable):
            LocalArtifacts(root).write("a", [b"x"])


def at_once(work: Callable[[int], None]) -> None:
    """Do something 60 times in each of four threads."""
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda number: [work(number) for _ in range(60)], range(4)))


def test_writers_and_deleters_of_one_folder_do_not_trip_over_each_other(root: Path) -> None:
    store = LocalArtifacts(root)

    def work(number: int) -> None:
        store.write(f"a/b/{number}", [b"x"])
        store.delete(f"a/b/{number}")

    at_once(work)
    assert everything(root) == set()


def test_uploads_in_parts_and_deleted_folders_do_not_trip_over_each_other(root: Path) -> None:
    store = LocalArtifacts(root)

    def work(number: int) -> None:
        path = f"a/{number}/b/file"
        upload_id, _ = store.start_multipart(path, 1)
        etag = store.write_part(path, upload_id, 1, [b"x"])
        store.complete_multipart(path, upload_id, [Part(part_number=1, etag=etag)])
        store.delete(f"a/{number}")
        assert not (root / f"a/{number}").exists()

    at_once(work)
    assert everything(root) == set()


def test_file_uris_are_decoded(tmp_path: Path) -> None:
    store = open_artifacts((tmp_path / "a b#c").as_uri())
    store.write("x", [b"y"])
    assert (tmp_path / "a b#c/x").read_bytes() == b"y"
    assert open_artifacts(store.uri).list() == store.list()
