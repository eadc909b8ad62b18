"""No path leaves the root, however it is spelt."""

from __future__ import annotations

import tempfile
import urllib.parse
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.artifacts import artifact_path
from headrace.artifacts.local import LocalArtifacts
from headrace.artifacts.paths import STAGING
from headrace.errors import HeadraceError, InvalidParameter

TRICKS = [
    "..", "../x", "a/../../x", "a/..", "/etc/passwd", "//etc/passwd", "a\\b", "..\\x", "a\x00b", "a\nb",
    "%2e%2e/x", "%2E%2e%2fx", "%252e%252e/x", "%25252e%25252e%25252fx", "..%2fx", "..%252fx", "%2fetc/passwd",
    "%5c..%5cx", "a%00b", "a/%2e%2e/%2e%2e/x", "C:/x", "c:x", "C%3A/x", "a/%2e./x", ".%2e/x", "\ud800",
    "", ".", "/", "./", f"{STAGING}/x", f"a/{STAGING}", "x" * 256, "a/" * 3000 + "x",
]  # fmt: skip


@pytest.mark.parametrize("path", TRICKS)
def test_a_path_that_leads_out_is_refused_and_named(path: str) -> None:
    with pytest.raises(InvalidParameter, match="Invalid path"):
        artifact_path(path)


@pytest.mark.parametrize(
    ("path", "normal"),
    [("a", "a"), ("a//b/./c/", "a/b/c"), ("./a", "a"), ("...", "..."), ("a..b", "a..b"), ("50%", "50%"), ("%zz", "%zz"), ("a%20b", "a%20b"), ("é?#+&", "é?#+&"), ("a:b", None), ("ab:c", "ab:c")],
)  # fmt: skip
def test_harmless_paths_are_brought_to_one_form(path: str, normal: str | None) -> None:
    if normal is None:  # a drive letter, on the system of somebody
        with pytest.raises(InvalidParameter):
            artifact_path(path)
    else:
        assert artifact_path(path) == normal


pieces = st.sampled_from(
    ["..", ".", "/", "\\", "%2e", "%2f", "%25", "%5c", "%00", "\x00", "a", "link", "out", "C:", "~", " ", "secret"]
) | st.text(max_size=5)  # fmt: skip
strings = st.lists(pieces, max_size=8).map("".join)


@given(strings)
def test_what_is_accepted_stays_inside_after_any_number_of_decodings(path: str) -> None:
    try:
        form = artifact_path(path, root=True)
    except InvalidParameter:
        return
    while True:
        assert not form.startswith("/")
        assert ".." not in form.replace("\\", "/").split("/")
        assert "\x00" not in form
        if (decoded := urllib.parse.unquote(form)) == form:
            return
        form = decoded


@given(strings)
@settings(max_examples=150, deadline=None)
def test_whatever_the_path_nothing_outside_of_the_root_is_touched(path: str) -> None:
    with tempfile.TemporaryDirectory() as name:
        base = Path(name)
        (base / "secret").write_text("secret")
        (base / "out").mkdir()
        (base / "out/secret").write_text("secret")
        root = base / "root"
        root.mkdir()
        (root / "link").symlink_to(base / "out")
        (root / "a").mkdir()
        (root / "a/out").symlink_to("../../secret")
        store = LocalArtifacts(root)
        for attempt in (
            lambda: store.write(path, [b"overwritten"]),
            lambda: store.start_multipart(path, 1),
            lambda: [store.list(info.path) for info in store.list(path)],
            lambda: store.delete(path),
        ):
            try:
                attempt()
            except HeadraceError:
                continue
        for trick in (path, f"link/{path}", f"a/{path}"):
            try:
                with store.read(trick) as content:
                    assert content.read() != b"secret"
            except HeadraceError:
                continue
        assert sorted(p.name for p in base.iterdir()) == ["out", "root", "secret"]
        assert (base / "secret").read_text() == "secret"
        assert [p.name for p in (base / "out").iterdir()] == ["secret"]
        assert (base / "out/secret").read_text() == "secret"
