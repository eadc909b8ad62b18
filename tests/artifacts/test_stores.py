"""What every artifact store does, over a folder and over S3."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from headrace.artifacts import ArtifactStore, Part, open_artifacts
from headrace.errors import (
    HeadraceError,
    InvalidParameter,
    NotFound,
    RangeNotSatisfiable,
    Unsupported,
)

NAMES = ["a b.txt", "ü日本.txt", "h#x.txt", "100%.txt", "a+b.txt", "q?z.txt", "a%20b.txt", "a&b=c;d", "~[1]{2}^|<>*\".t", "-", "..x", "x.."]  # fmt: skip


def paths(store: ArtifactStore, folder: str = "") -> list[str]:
    return [info.path for info in store.list(folder)]


def test_a_file_comes_back_as_it_was_written(store: ArtifactStore) -> None:
    stat = store.write("a/b/c.bin", [b"one", memoryview(b"two"), bytearray(b"three")])
    assert stat.size == 11
    with store.read("a/b/c.bin") as content:
        assert (content.start, content.stop, content.stat.size) == (0, 11, 11)
        assert b"".join(content) == b"onetwothree"
    assert store.stat("a/b/c.bin").size == 11
    assert store.stat("a/b/c.bin").etag == content.stat.etag != ""


@pytest.mark.parametrize("name", NAMES)
def test_any_name_that_is_no_trick_is_kept_to_the_letter(store: ArtifactStore, name: str) -> None:
    store.write(f"fold er/{name}", [name.encode()])
    assert paths(store, "fold er") == [f"fold er/{name}"]
    with store.read(f"fold er/{name}") as content:
        assert content.read() == name.encode()
    store.delete(f"fold er/{name}")
    assert paths(store) == []


def test_an_empty_file_is_a_file(store: ArtifactStore) -> None:
    store.write("empty", [])
    assert [(info.path, info.is_dir, info.file_size) for info in store.list()] == [("empty", False, 0)]  # fmt: skip
    with store.read("empty") as content:
        assert list(content) == []


def test_a_folder_lists_its_direct_children_only(store: ArtifactStore) -> None:
    for path in ("a/1.txt", "a/b/2.txt", "a/b/c/3.txt", "ab/4.txt", "z"):
        store.write(path, [b"12345"])
    assert [(i.path, i.is_dir, i.file_size) for i in store.list()] == [
        ("a", True, None),
        ("ab", True, None),
        ("z", False, 5),
    ]
    assert paths(store, "a") == ["a/1.txt", "a/b"]
    assert paths(store, "a/") == ["a/1.txt", "a/b"]


def test_a_folder_that_is_not_there_and_a_file_list_nothing(store: ArtifactStore) -> None:
    store.write("a/1.txt", [b"x"])
    assert paths(store, "nope") == []
    assert paths(store, "a/1.txt") == []
    assert paths(store, "a/1.txt/deeper") == []


def test_writing_again_replaces(store: ArtifactStore) -> None:
    first = store.write("a", [b"long long"])
    second = store.write("a", [b"short"])
    assert first.etag != second.etag
    with store.read("a") as content:
        assert content.read() == b"short"


def test_missing_files_are_not_found(store: ArtifactStore) -> None:
    with pytest.raises(NotFound, match="nope"):
        store.stat("nope")
    with pytest.raises(NotFound, match="nope"):
        store.read("nope")
    with pytest.raises(NotFound, match="nope"):
        store.read("nope", 1, 2)


def test_reading_a_folder_says_that_it_is_one(store: ArtifactStore) -> None:
    store.write("a/b", [b"x"])
    with pytest.raises(InvalidParameter, match="directory"):
        store.read("a")
    with pytest.raises(InvalidParameter, match="directory"):
        store.stat("a")


@pytest.mark.parametrize(
    ("start", "stop", "expected"),
    [(0, None, b"0123456789"), (3, None, b"3456789"), (0, 4, b"0123"), (2, 5, b"234"), (9, 10, b"9"), (5, 99, b"56789"), (-3, None, b"789"), (-99, None, b"0123456789")],
)  # fmt: skip
def test_a_range_reads_as_a_slice(
    store: ArtifactStore, start: int, stop: int | None, expected: bytes
) -> None:
    store.write("digits", [b"0123456789"])
    with store.read("digits", start, stop) as content:
        assert content.read() == expected
        assert content.stop - content.start == len(expected)
        assert content.stat.size == 10


def test_a_range_past_the_end_is_refused(store: ArtifactStore) -> None:
    store.write("digits", [b"0123456789"])
    with pytest.raises(RangeNotSatisfiable, match="10 bytes"):
        store.read("digits", 10)
    with pytest.raises(RangeNotSatisfiable):
        store.read("digits", 5, 5)


def test_a_write_that_breaks_off_leaves_what_was_there(
    store: ArtifactStore, big: Callable[[int], bytes]
) -> None:
    def cut(length: int) -> Iterator[bytes]:
        yield big(length)
        raise ConnectionResetError("the client went away")

    store.write("kept", [b"old"])
    for length in (5, 20 << 20):
        with pytest.raises(ConnectionResetError, match="went away"):
            store.write("kept", cut(length))
        with pytest.raises(ConnectionResetError, match="went away"):
            store.write("new/one", cut(length))
    assert paths(store) == ["kept"]
    with store.read("kept") as content:
        assert content.read() == b"old"


def test_a_large_file_survives_the_trip(store: ArtifactStore, big: Callable[[int], bytes]) -> None:
    body = big((20 << 20) + 17)
    store.write("big", (body[at : at + 1_000_003] for at in range(0, len(body), 1_000_003)))
    with store.read("big") as content:
        assert content.read() == body
    with store.read("big", 8 << 20, (16 << 20) + 3) as content:
        assert content.read() == body[8 << 20 : (16 << 20) + 3]


def test_deleting_a_folder_deletes_all_in_it_and_nothing_else(store: ArtifactStore) -> None:
    for path in ("a/1", "a/b/2", "ab", "c/d/e/3"):
        store.write(path, [b"x"])
    store.delete("a")
    assert paths(store) == ["ab", "c"]
    store.delete("c/d/e/3")
    assert paths(store) == ["ab"]
    store.delete("nope/nope")
    store.delete("")
    assert paths(store) == []


def test_parts_make_a_file(store: ArtifactStore, big: Callable[[int], bytes]) -> None:
    # S3 wants 5 MiB of every part but the last.
    parts = [big(5 << 20), big(6 << 20)[::-1], b"end"]
    upload_id, targets = store.start_multipart("m/file", 3)
    done = []
    for number, body in reversed(list(enumerate(parts, 1))):
        if targets is None:
            etag = store.write_part("m/file", upload_id, number, [body])
        else:
            target = targets[number - 1]
            assert target.part_number == number
            answer = httpx.put(target.url, content=body, headers=target.headers, timeout=60)
            etag = answer.raise_for_status().headers["etag"]
        done.append(Part(part_number=number, etag=etag))
    assert paths(store) == []
    store.complete_multipart("m/file", upload_id, done)
    assert paths(store) == ["m"]
    with store.read("m/file") as content:
        assert content.read() == b"".join(parts)
    store.abort_multipart("m/file", upload_id)
    assert store.stat("m/file").size == sum(map(len, parts))


def test_an_aborted_upload_is_gone(store: ArtifactStore) -> None:
    upload_id, _ = store.start_multipart("m/file", 1)
    store.abort_multipart("m/file", upload_id)
    with pytest.raises(HeadraceError):  # moto breaks where S3 says 404
        store.complete_multipart("m/file", upload_id, [Part(part_number=1, etag="0" * 16)])
    assert paths(store) == []


def test_a_part_that_was_not_uploaded_is_refused(store: ArtifactStore) -> None:
    upload_id, _ = store.start_multipart("m/file", 1)
    with pytest.raises(InvalidParameter):
        store.complete_multipart("m/file", upload_id, [Part(part_number=1, etag="0" * 16)])
    with pytest.raises(InvalidParameter, match="num_parts"):
        store.start_multipart("m/file", 0)


def test_presigned_urls_work_without_us(bucket: str) -> None:
    store = open_artifacts(bucket)
    assert store.presigns
    put = store.presign("PUT", "a b/ü", 60)
    sent = httpx.put(put.presigned_url, content=b"hello", headers=put.headers, timeout=60)
    sent.raise_for_status()
    got = store.presign("GET", "a b/ü", 60)
    assert got.file_size == 5
    assert httpx.get(got.presigned_url, timeout=60).content == b"hello"
    with pytest.raises(NotFound):
        store.presign("GET", "nope", 60)


def test_a_folder_has_no_presigned_urls(tmp_path: Path) -> None:
    with pytest.raises(Unsupported, match="Presigned"):
        open_artifacts(str(tmp_path)).presign("GET", "a", 60)


@pytest.mark.parametrize("uri", ["ftp://host/x", "s3://", "s3:///x", "file://host/x", "runs:/1/a", "file:///x?y"])  # fmt: skip
def test_a_uri_that_names_no_store_is_refused(uri: str) -> None:
    with pytest.raises(InvalidParameter):
        open_artifacts(uri)
