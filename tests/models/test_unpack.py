"""Unpacking what strangers packed."""

from __future__ import annotations

import io
import stat
import tarfile
import zipfile
from pathlib import Path

import pytest

from headrace.errors import HeadraceError, InvalidModel, InvalidParameter, NotFound, PolicyViolation
from headrace.models.unpack import copy_folder, unpack
from support.attacks import zip_of

GOOD = {"model/MLmodel": b"flavors: {}", "model/data/weights.bin": bytes(1000)}


def tar_of(path: Path, *members: tuple[tarfile.TarInfo, bytes], mode: str = "w") -> Path:
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        for member, content in members:
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    found = tarfile.TarInfo(name)
    found.type = kind
    found.linkname = link
    found.mode = 0o4777
    return found


@pytest.mark.parametrize("kind", ["zip", "tar", "tar.gz", "tar.xz"])
def test_an_archive_is_unpacked_as_plain_files_of_this_user(kind: str, tmp_path: Path) -> None:
    archive = tmp_path / f"model.{kind}"
    if kind == "zip":
        archive.write_bytes(zip_of(GOOD, zipfile.ZIP_DEFLATED))
    else:
        mode = "w:" + kind.partition(".")[2]
        tar_of(archive, *((member(name), content) for name, content in GOOD.items()), mode=mode)
    unpack(archive, tmp_path / "out")
    files = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert {
        path.relative_to(tmp_path / "out").as_posix(): path.read_bytes() for path in files
    } == GOOD
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}


BAD_NAMES = [
    "../evil", "a/../../evil", "/evil", "..\\evil", "C:\\evil", "\\\\host\\evil", "C:evil", "a/evil ", "a/evil.",
]  # fmt: skip


@pytest.mark.parametrize("name", BAD_NAMES)
def test_a_member_that_lies_outside_is_refused_and_nothing_is_written(
    name: str, tmp_path: Path
) -> None:
    archive = tmp_path / "in" / "model.tar"
    archive.parent.mkdir()
    tar_of(archive, (member("good"), b"x"), (member(name), b"x"))
    _refused(archive, tmp_path)
    archive.with_suffix(".zip").write_bytes(zip_of({"good": b"x", name: b"x"}))
    _refused(archive.with_suffix(".zip"), tmp_path)


@pytest.mark.parametrize(
    "bad",
    [
        member("link", tarfile.SYMTYPE, "/etc/passwd"),
        member("link", tarfile.LNKTYPE, "../../secret"),
        member("device", tarfile.CHRTYPE),
        member("fifo", tarfile.FIFOTYPE),
    ],
    ids=["symbolic link", "hard link", "device", "fifo"],
)
def test_a_member_that_is_no_file_is_refused(bad: tarfile.TarInfo, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    _refused(tar_of(tmp_path / "in" / "model.tar", (member("good"), b"x"), (bad, b"")), tmp_path)


def test_a_symbolic_link_in_a_zip_archive_is_refused(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    info = zipfile.ZipInfo("link")
    info.external_attr = 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "in" / "model.zip", "w") as archive:
        archive.writestr(info, "/etc/passwd")
    _refused(tmp_path / "in" / "model.zip", tmp_path)


@pytest.mark.parametrize(
    "names",
    [
        ("a", "a"),
        ("Model", "model"),
        ("caf\u00e9", "cafe\u0301"),
        ("a/x", "A/X"),
        ("a", "a/b"),
        ("A", "a/b"),
    ],
)
def test_two_members_that_are_one_file_somewhere_are_refused(
    names: tuple[str, str], tmp_path: Path
) -> None:
    (tmp_path / "in").mkdir()
    _refused(
        tar_of(tmp_path / "in" / "model.tar", *((member(name), b"x") for name in names)), tmp_path
    )


def test_a_bomb_is_refused_by_what_comes_out(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    archive = tmp_path / "in" / "model.zip"
    archive.write_bytes(zip_of({f"{n}": bytes(1 << 20) for n in range(3)}, zipfile.ZIP_DEFLATED))
    with pytest.raises(InvalidModel, match="More than 2,000,000 bytes"):
        unpack(archive, tmp_path / "out", most_bytes=2_000_000)
    assert not (tmp_path / "out").exists()


def test_a_member_that_claims_less_than_comes_out_is_refused(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    archive = tmp_path / "in" / "model.zip"
    content = bytearray(zip_of({"a": bytes(1 << 20)}, zipfile.ZIP_DEFLATED))
    at = content.find(b"PK\x01\x02")
    content[at + 24 : at + 28] = (10).to_bytes(4, "little")
    archive.write_bytes(content)
    _refused(archive, tmp_path)


@pytest.mark.parametrize(
    "content", [b"", b"no archive", b"PK\x03\x04 cut off", b"\x1f\x8b\x08 cut off"]
)
def test_what_is_no_archive_is_named(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "model.zip").write_bytes(content)
    with pytest.raises(InvalidModel, match=r"'model.zip' is (no archive|damaged)"):
        unpack(tmp_path / "in" / "model.zip", tmp_path / "out")


def test_the_target_must_be_new_and_the_archive_there(tmp_path: Path) -> None:
    (tmp_path / "model.zip").write_bytes(zip_of(GOOD))
    with pytest.raises(InvalidParameter, match="there already"):
        unpack(tmp_path / "model.zip", tmp_path)
    with pytest.raises(NotFound):
        unpack(tmp_path / "none.zip", tmp_path / "out")


def test_a_folder_is_copied_without_its_modes_and_never_through_links(tmp_path: Path) -> None:
    source = tmp_path / "model"
    (source / "data").mkdir(parents=True)
    (source / "data" / "run.sh").write_text("x")
    (source / "data" / "run.sh").chmod(0o777)
    copy_folder(source, tmp_path / "copy")
    assert stat.S_IMODE((tmp_path / "copy" / "data" / "run.sh").stat().st_mode) == 0o600
    (source / "link").symlink_to("/etc/passwd")
    with pytest.raises(PolicyViolation, match="symbolic link"):
        copy_folder(source, tmp_path / "again")


def _refused(archive: Path, tmp_path: Path) -> None:
    before = {path for path in tmp_path.rglob("*") if path.parent != archive.parent}
    with pytest.raises(HeadraceError, match=r"nothing was unpacked|no archive"):
        unpack(archive, tmp_path / "out")
    assert {path for path in tmp_path.rglob("*") if path.parent != archive.parent} == before
