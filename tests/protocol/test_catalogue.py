"""The catalogue of events and the code that writes them name the same types."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import headrace
from headrace.protocol.catalogue import EVENT_TYPES

SOURCE = Path(headrace.__file__).parent
NOUNS = {name.partition(".")[0] for name in EVENT_TYPES}
#: An f-string that makes the type: its constant parts around what is put in.
_ANY = "\0"
#: Where changes are made, and so events written.
PLACES = ("engine", "events", "server")


def words(tree: ast.AST) -> Iterator[str]:
    """Texts of a module that may be types of events."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value
        elif isinstance(node, ast.JoinedStr):
            parts = (one.value if isinstance(one, ast.Constant) else _ANY for one in node.values)
            yield "".join(map(str, parts))


def emitted(tree: ast.AST) -> Iterator[str]:
    """Types that a call of ``emit`` in a module names in so many words."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            first = node.args[0] if node.args else None
            if node.func.attr == "emit" and isinstance(first, ast.Constant):
                yield str(first.value)


def modules() -> dict[Path, ast.AST]:
    files = (file for place in PLACES for file in (SOURCE / place).rglob("*.py"))
    return {file: ast.parse(file.read_text()) for file in files}


def test_every_type_that_is_emitted_is_in_the_catalogue() -> None:
    found = {word: file for file, tree in modules().items() for word in emitted(tree)}
    assert "run.deleted" in found, "the search finds nothing at all"
    unknown = {word: str(file) for word, file in found.items() if word not in EVENT_TYPES}
    assert not unknown


def test_every_type_in_the_catalogue_is_written_somewhere_or_planned() -> None:
    named: set[str] = set()
    for tree in modules().values():
        for word in words(tree):
            if word.partition(".")[0] in NOUNS and re.fullmatch(rf"[a-z_.{_ANY}]+", word):
                pattern = re.compile(re.escape(word).replace(_ANY, "[a-z_]+"))
                named.update(name for name in EVENT_TYPES if pattern.fullmatch(name))
    implemented = {name for name, one in EVENT_TYPES.items() if not one.planned}
    # A noun whose operations are not there yet is another part's to write.
    implemented = {name for name in implemented if _has_operations(name.partition(".")[0])}
    assert "run.created" in implemented
    assert implemented - named == set(), "write them, or say that they are planned"
    assert {name for name in named if EVENT_TYPES[name].planned} == set(), "they are written now"


def _has_operations(noun: str) -> bool:
    return any((SOURCE / "protocol" / f"{noun}{end}.py").exists() for end in ("", "s"))
