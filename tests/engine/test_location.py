"""Which store a URI names."""

from __future__ import annotations

from pathlib import Path

import pytest
import sqlalchemy as sa

from headrace.engine.location import locate
from headrace.errors import InvalidParameter


def test_the_nearest_store_upward_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".headrace").mkdir()
    deep = tmp_path / "a" / "b"
    deep.mkdir(parents=True)
    monkeypatch.chdir(deep)
    assert locate().database_url == f"sqlite:///{tmp_path}/.headrace/headrace.db"


def test_without_one_a_store_is_named_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert locate().artifacts == f"file://{tmp_path}/.headrace/artifacts"
    assert not (tmp_path / ".headrace").exists()


def test_directories_files_and_databases(tmp_path: Path) -> None:
    assert locate(str(tmp_path)) == locate(f"file://{tmp_path}")
    assert locate(f"sqlite:///{tmp_path}/x.db").artifacts == f"file://{tmp_path}/artifacts"
    assert locate("postgresql://h/x").database_url == "postgresql://h/x"
    for name in ("a?b=c", "50%41", "a#b", "a b"):
        url = sa.make_url(locate(str(tmp_path / name)).database_url)
        assert url.database == f"{tmp_path}/{name}/headrace.db"
        assert not url.query
    (tmp_path / "file").touch()
    with pytest.raises(InvalidParameter, match="is a file"):
        locate(str(tmp_path / "file"))
    with pytest.raises(InvalidParameter, match="mysql"):
        locate("mysql://h/x")


def test_file_uris_are_read_as_mlflows_users_write_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    spaced = locate(str(tmp_path / "with space"))
    for uri in ((tmp_path / "with space").as_uri(), "file:./with%20space", "file:with%20space"):
        assert locate(uri) == spaced
    for uri in ("file://host/x", "file:///x?y", "file:///x#y"):
        with pytest.raises(InvalidParameter, match="not a local directory"):
            locate(uri)
