"""The hash of a model's folder."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from headrace.errors import InvalidModel
from headrace.models.hashing import folder_digest


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "model"
    (root / "code").mkdir(parents=True)
    (root / "MLmodel").write_text("flavors: {}\n")
    (root / "code" / "a.py").write_text("x = 1\n")
    (root / "empty").write_bytes(b"")
    (root / "ü").write_bytes(b"\x00" * 10)
    return root


def test_it_is_what_sha256sum_says_of_what_sha256sum_says(folder: Path) -> None:
    listed = subprocess.run(
        "find . -type f | sed 's|^./||' | LC_ALL=C sort | xargs -d '\\n' sha256sum",
        shell=True, cwd=folder, capture_output=True, check=True,
    )  # fmt: skip
    digest = folder_digest(folder)
    assert digest.hash == f"sha256:{hashlib.sha256(listed.stdout).hexdigest()}"
    assert digest.size == 12 + 6 + 0 + 10


def test_it_covers_names_and_contents_and_nothing_else(folder: Path, tmp_path: Path) -> None:
    before = folder_digest(folder)
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    (copy / "nothing").mkdir()
    os.utime(copy / "MLmodel", (0, 0))
    (copy / "MLmodel").chmod(0o600)
    assert folder_digest(copy) == before
    (copy / "MLmodel").write_text("flavors: {x: {}}\n")
    assert folder_digest(copy) != before
    shutil.copy(folder / "MLmodel", copy / "MLmodel")
    (copy / "empty").rename(copy / "Empty")
    assert folder_digest(copy).hash != before.hash
    assert folder_digest(copy).size == before.size


def test_big_files_are_hashed_side_by_side_to_the_same_end(folder: Path) -> None:
    for name in ("b1", "b2", "b3"):
        with (folder / name).open("wb") as file:
            file.truncate(5 << 20)
    lines = []
    for path in sorted(folder.rglob("*"), key=lambda one: str(one.relative_to(folder)).encode()):
        if path.is_file():
            name = path.relative_to(folder).as_posix()
            lines.append(f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {name}\n")
    whole = hashlib.sha256("".join(lines).encode()).hexdigest()
    assert folder_digest(folder).hash == f"sha256:{whole}"


def test_links_and_special_files_are_refused(folder: Path) -> None:
    (folder / "code" / "out").symlink_to("/etc/hostname")
    with pytest.raises(InvalidModel, match="code/out is a link"):
        folder_digest(folder)
    (folder / "code" / "out").unlink()
    (folder / "inner").symlink_to(folder / "code", target_is_directory=True)
    with pytest.raises(InvalidModel, match="inner is a link"):
        folder_digest(folder)
    (folder / "inner").unlink()
    os.mkfifo(folder / "pipe")
    with pytest.raises(InvalidModel, match="pipe is a special file"):
        folder_digest(folder)


@pytest.mark.parametrize("name", [b"a\nb", b"\xff"])
def test_names_that_cannot_stand_in_a_line_are_refused(folder: Path, name: bytes) -> None:
    (folder / os.fsdecode(name)).write_text("")
    with pytest.raises(InvalidModel, match="the name"):
        folder_digest(folder)


def test_what_is_no_folder_is_refused(folder: Path) -> None:
    with pytest.raises(InvalidModel, match="is not a folder"):
        folder_digest(folder / "MLmodel")
