"""The lock of what is installed."""

from __future__ import annotations

import importlib.metadata
import json
import sys
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from headrace.tracking.capture.packages import packages, requirements

from .conftest import captured, run_git


def install(folder: Path, name: str, direct: dict[str, Any] | None = None) -> None:
    """What an installer leaves of a distribution."""
    there = folder / f"{name}.dist-info"
    there.mkdir(parents=True)
    if direct is not None:
        (there / "direct_url.json").write_text(json.dumps(direct))


def test_the_lock_names_what_importlib_finds() -> None:
    what = captured()
    lines = what["requirements.txt"].decode().splitlines()
    assert lines[0] == f"# Python {'.'.join(map(str, sys.version_info[:3]))}"
    found = {}
    for line in lines[1:]:
        requirement = Requirement(line.removeprefix("# editable: ").partition(" from ")[0])
        found[requirement.name] = str(requirement.specifier).removeprefix("==")
    there = {canonicalize_name(one.name): one.version for one in importlib.metadata.distributions()}
    assert found == there
    assert list(found) == sorted(found)
    environment = what.json("environment.json")
    assert environment["distributions"] == len(there)
    assert environment["environment"] == "venv"


def test_what_came_from_a_url_is_pinned_to_it(tmp_path: Path) -> None:
    git = {"vcs": "git", "commit_id": "a" * 40}
    install(tmp_path, "plain_Name.x-1.0+cu121")
    install(
        tmp_path,
        "vcs-2.0",
        {"url": "https://me:pw@host/x.git", "vcs_info": git, "subdirectory": "sub"},
    )
    install(
        tmp_path,
        "wheel-3.0",
        {"url": "https://host/w.whl", "archive_info": {"hashes": {"sha256": "b" * 64}}},
    )
    install(
        tmp_path, "conda-4.0", {"url": "file:///home/conda/feedstock_root/build", "dir_info": {}}
    )
    install(tmp_path, "odd-5.0", {"url": "https://host/a\nb", "archive_info": {}})
    (tmp_path / "broken-6.0.dist-info").mkdir()
    (tmp_path / "broken-6.0.dist-info" / "direct_url.json").write_bytes(b"\xff{")
    (tmp_path / "legacy-7.0-py3.11.egg-info").touch()
    (tmp_path / "half.dist-info").mkdir()  # no installer leaves that
    lock = requirements(packages([str(tmp_path), str(tmp_path / "nowhere")])).splitlines()[1:]
    assert lock == [
        "broken==6.0",
        "conda==4.0  # installed from file:///home/conda/feedstock_root/build",
        "legacy==7.0",
        "odd @ https://host/a b",
        "plain-name-x==1.0+cu121",
        f"vcs @ git+https://host/x.git@{'a' * 40}#subdirectory=sub",
        f"wheel @ https://host/w.whl#sha256={'b' * 64}",
    ]


def test_what_is_edited_in_place_is_a_comment_with_its_commit(tmp_path: Path) -> None:
    source = tmp_path / "source"
    (source / "old.egg-info").mkdir(parents=True)
    (source / "old.egg-info" / "PKG-INFO").write_text(
        "Metadata-Version: 2.1\nName: Old.One\nVersion: 0.1\n"
    )
    run_git(source, "init", "-q")
    run_git(source, "remote", "add", "origin", "https://me:pw@host/x.git")
    run_git(source, "commit", "-q", "--allow-empty", "-m", "x")
    commit = run_git(source, "rev-parse", "HEAD")
    install(tmp_path, "new-0.2", {"url": source.as_uri(), "dir_info": {"editable": True}})
    lock = requirements(packages([str(source), str(tmp_path)])).splitlines()[1:]
    assert lock == [
        f"# editable: {pinned} from {source}, commit {commit} of https://host/x.git"
        for pinned in ("new==0.2", "old-one==0.1")
    ]


def test_of_two_of_one_name_the_one_that_is_imported_wins(tmp_path: Path) -> None:
    install(tmp_path / "first", "a_b-1.0")
    install(tmp_path / "second", "A.B-2.0")
    found = packages([str(tmp_path / "first"), str(tmp_path / "second")])
    assert [(one.name, one.version) for one in found] == [("a-b", "1.0")]
