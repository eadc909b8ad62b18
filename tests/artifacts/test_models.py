"""What a model takes along may be in a bucket."""

from __future__ import annotations

from pathlib import Path

import pytest

from headrace.artifacts import open_artifacts
from headrace.errors import InvalidParameter
from headrace.models.copying import fetch


def test_files_and_folders_of_a_bucket_are_fetched(bucket: str, tmp_path: Path) -> None:
    store = open_artifacts(bucket)
    store.write("words/one.txt", [b"1"])
    store.write("words/more/two.txt", [b"2"])
    fetch(f"{bucket}/words", tmp_path / "words")
    fetch(f"{bucket}/words/one.txt", tmp_path / "alone")
    assert (tmp_path / "words" / "one.txt").read_text() == "1"
    assert (tmp_path / "words" / "more" / "two.txt").read_text() == "2"
    assert (tmp_path / "alone").read_text() == "1"
    with pytest.raises(InvalidParameter, match="no file or folder"):
        fetch(f"{bucket}/nothing", tmp_path / "nothing")
