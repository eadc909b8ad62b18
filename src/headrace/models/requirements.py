"""What a model needs: installed distributions, by the modules that it names.

Names and versions are read off the folders that installers make (``name-version.dist-info``); nothing is imported.
Who owns a module is looked up in the ``RECORD`` of each, for modules that no distribution has the name of.
"""

from __future__ import annotations

import functools
import os
import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from headrace.errors import InvalidParameter

_DIST = re.compile(r"(.+?)-([^-]+)\.dist-info")
_SEPARATORS = re.compile(r"[-_.]+")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_REQUIRES = re.compile(r"^Requires-Dist:[ \t]*([A-Za-z0-9][A-Za-z0-9._-]*)(.*)$", re.MULTILINE)
#: Of those that many models import, whose name is another than their distribution's; only looked at if installed.
_USUAL = {
    "sklearn": "scikit-learn",
    "PIL": "pillow",
    "yaml": "pyyaml",
    "dateutil": "python-dateutil",
}
#: Always there, or no requirement of a model; headrace itself only where its own code says so.
_NEVER = frozenset(("pip", "setuptools", "wheel", "mlflow", "mlflow-skinny", "mlflow-tracing"))


class Installed(NamedTuple):
    """A distribution.

    Attributes:
        name: In its normal form (PEP 503).
        version: Without a local part (``+cpu``), which no index has.
        info: Its ``.dist-info``.
    """

    name: str
    version: str
    info: str

    def pin(self) -> str:
        """The line of a requirements file; by name and version, wherever it was installed from."""
        return f"{self.name}=={self.version}"


def normal(name: str) -> str:
    """A distribution's name in its normal form (PEP 503)."""
    return _SEPARATORS.sub("-", name).lower()


def installed() -> dict[str, Installed]:
    """All that can be imported from here, by name."""
    return _installed(*_place())


def pins(modules: Iterable[str], names: Iterable[str] = ()) -> list[str]:
    """Exact requirements of what some modules belong to, what others of them bring along left out.

    Args:
        modules: Full names; those of the standard library, and those that belong to nothing installed, tell nothing.
        names: Distributions that are needed anyway, such as ``scikit-learn`` or ``xgboost>=2``. One that is not
            installed by that name is taken to be a module's (``xgboost`` of ``xgboost-cpu``), else left as it is.
    """
    there = installed()
    own: dict[str, str] = {}
    for given in names:
        match = _NAME.match(given)
        name = normal(match[0]) if match else given
        if name in there:
            own[name] = _with_extras(given, there[name])
        else:
            owners = owners_of(given) if match else []
            own.update({one: there[one].pin() for one in owners} or {name: given})
    found = _owners(modules) - _NEVER - own.keys()
    brought = {one for name in found | own.keys() for one in closure([name]) if one != name}
    return sorted([*own.values(), *(there[one].pin() for one in found - brought)])


def _with_extras(given: str, one: Installed) -> str:
    extras = re.match(r"[^\[\]]*(\[[^\]]*\])", given)
    return f"{one.name}{extras[1] if extras else ''}=={one.version}"


def owners_of(module: str) -> list[str]:
    """Names of the distributions that a module comes from; none for the standard library's."""
    return sorted(_owners([module]))


def _owners(modules: Iterable[str]) -> set[str]:
    there = installed()
    found: set[str] = set()
    unknown: set[str] = set()
    for module in modules:
        top = module.partition(".")[0]
        if not top or top in sys.stdlib_module_names:
            continue
        named = [name for name in (normal(top), _USUAL.get(top, "")) if name in there]
        if named:
            found.add(named[0])
        else:
            unknown.add(".".join(module.split(".")[:2]))
    if unknown:
        found.update(*_recorded(frozenset(unknown), *_place()).values())
    return found


def closure(names: Iterable[str]) -> list[str]:
    """Distributions with all that they require, directly and not, as far as it is installed. Sorted."""
    there = installed()
    found: set[str] = set()
    todo = [normal(name) for name in names]
    while todo:
        name = todo.pop()
        if name in found or name not in there:
            continue
        found.add(name)
        todo += _requires(there[name].info)
    return sorted(found)


def closure_of(lines: Iterable[str]) -> list[Installed]:
    """`closure` of the names in lines of a requirements file."""
    there = installed()
    names = [match[0] for line in lines if (match := _NAME.match(line.strip()))]
    return [there[name] for name in closure(names)]


def parse(given: str | os.PathLike[str] | Iterable[str]) -> tuple[list[str], list[str]]:
    """Requirements as pip takes them, and constraints.

    Args:
        given: A path of a requirements file, or lines of one. Lines may be ``-r FILE``, ``-c FILE``, comments, and
            continued with a backslash; files are looked up beside the file that names them.

    Returns:
        The lines of the requirements, and those of the constraints.

    Raises:
        InvalidParameter: A file is not there, or a line is no text.
    """
    if isinstance(given, (str, os.PathLike)):
        return _split(_lines(Path(given)), Path(given).parent, 0)
    lines = list(given)
    for line in lines:
        if not isinstance(line, str):
            raise InvalidParameter(
                f"A requirement is a line such as 'scikit-learn==1.6.1', not {line!r}"
            )
    return _split(lines, Path(), 0)


def name_of(line: str) -> str | None:
    """The distribution that a line asks for; None for a URL, a path or an option."""
    match = _NAME.match(line.strip())
    rest = line.strip()[match.end() :].lstrip() if match else "/"
    return None if match is None or rest[:1] in ("/", ":", "\\") else normal(match[0])


def _split(lines: Iterable[str], folder: Path, depth: int) -> tuple[list[str], list[str]]:
    if depth > 10:
        raise InvalidParameter("Requirements files name each other in a circle")
    wanted: list[str] = []
    constraints: list[str] = []
    for line in _joined(lines):
        option = re.match(r"(-r|--requirement|-c|--constraint)[ =]\s*(\S.*)", line)
        if option is None:
            wanted.append(line)
            continue
        file = folder / option[2].strip()
        inner, limits = _split(_lines(file), file.parent, depth + 1)
        (wanted if option[1] in ("-r", "--requirement") else constraints).extend(inner)
        constraints += limits
    return wanted, constraints


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidParameter(f"The requirements file {file} cannot be read: {error}") from None


def _joined(lines: Iterable[str]) -> Iterator[str]:
    """Lines without comments and empty ones, continued ones in one."""
    begun = ""
    for line in lines:
        text = re.sub(r"(^|\s)#.*$", "", line).rstrip()
        if text.endswith("\\"):
            begun += text[:-1]
            continue
        text, begun = (begun + text).strip(), ""
        if text:
            yield text
    if begun.strip():
        yield begun.strip()


def _place() -> tuple[tuple[str, ...], tuple[int, ...]]:
    """Where modules are looked for, and when each folder changed last: then it is looked through again."""
    times = []
    for folder in sys.path:
        try:
            times.append(os.stat(folder or ".").st_mtime_ns)  # noqa: PTH116 - twenty a call
        except OSError:
            times.append(0)
    return tuple(sys.path), tuple(times)


@functools.lru_cache(maxsize=2)
def _installed(path: tuple[str, ...], changed: tuple[int, ...]) -> dict[str, Installed]:
    found: dict[str, Installed] = {}
    for folder in path:
        try:
            with os.scandir(folder or ".") as entries:
                names = sorted(one.name for one in entries if one.name.endswith(".dist-info"))
        except OSError:  # not there, a zip file, or not ours to read
            continue
        for name in names:
            match = _DIST.fullmatch(name)
            if match:
                one = Installed(normal(match[1]), match[2].partition("+")[0], f"{folder}/{name}")
                found.setdefault(one.name, one)
    return found


@functools.lru_cache(maxsize=256)
def _recorded(
    modules: frozenset[str], path: tuple[str, ...], changed: tuple[int, ...]
) -> dict[str, set[str]]:
    """Which distributions have files of some modules (``top`` or ``top.second``), as installers recorded them."""
    found: dict[str, set[str]] = {}
    for one in _installed(path, changed).values():
        record = b"\n" + _bytes(f"{one.info}/RECORD")
        for module in modules:
            top, _, second = module.partition(".")
            inner = f"{top}/{second}".encode()
            whole = (f"{top}/__init__.py", f"{top}.py", f"{top}.cpython-", f"{top}.abi3.")
            if any(b"\n" + start.encode() in record for start in whole) or (
                second and (b"\n" + inner + b"/" in record or b"\n" + inner + b"." in record)
            ):
                found.setdefault(module, set()).add(one.name)
    return found


@functools.lru_cache(maxsize=4096)
def _requires(info: str) -> tuple[str, ...]:
    head = _bytes(f"{info}/METADATA").partition(b"\n\n")[0].decode("utf-8", "replace")
    return tuple(
        normal(name)
        for name, rest in _REQUIRES.findall(head)
        if "extra" not in rest.partition(";")[2]
    )


def _bytes(file: str) -> bytes:
    try:
        with open(file, "rb") as stream:  # noqa: PTH123 - many files
            return stream.read()
    except OSError:
        return b""
