"""``headrace runs diff``."""

from __future__ import annotations

import difflib
import json
import math
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import PurePath
from typing import Any

import click
import msgspec

from headrace.cli import lookup
from headrace.cli.captured import Captured
from headrace.cli.columns import SYSTEM_TAG
from headrace.cli.outcome import FAILED, printable
from headrace.cli.output import is_terminal, json_option, print_json, print_table
from headrace.cli.store import opened, store_option
from headrace.entities import Run

#: Lines of a file that are compared line by line.
_LINES = 5000
_SYSTEM_METRIC = "system/"
_OWN_TAG = "headrace."
#: What makes another run of the same code in the same environment no different.
_CODE_FIELDS = ("commit", "dirty", "command", "kind", "module", "entry", "submodules")
_PLACE_FIELDS = ("branch", "remote", "working_directory")
_ENVIRONMENT_FIELDS = ("python", "implementation", "platform", "frameworks", "variables")


class Value(msgspec.Struct, frozen=True, kw_only=True):
    """Something that has two values; None where a run has none."""

    key: str
    a: Any
    b: Any


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """Code that is in no commit and not the same in both runs.

    Attributes:
        path: Of the file.
        only: ``a`` or ``b`` where the other run has it as committed, or not at all.
        lines: Of the patch or file where one run has it, else a unified diff of both.
    """

    path: str
    only: str | None
    lines: tuple[str, ...]


class Moved(msgspec.Struct, frozen=True, kw_only=True):
    """A metric with two last values: ``difference`` is b - a, ``relative`` is that over \\|a\\|."""

    key: str
    a: float | None
    b: float | None
    difference: float | None
    relative: float | None


class Differences(msgspec.Struct, frozen=True, kw_only=True):
    """All that differs between two runs, as ``--json`` prints it.

    Attributes:
        runs: The ids of a and b.
        differ: Code, params or environment do. Place, host, seeds, tags and metrics do not count.
        place: Branch, remote and folder of the code.
        packages: Installed in both with different versions, or in one.
        notes: What could not be compared.
    """

    runs: tuple[str, str]
    differ: bool
    code: list[Value]
    changes: list[Change]
    place: list[Value]
    params: list[Value]
    environment: list[Value]
    packages: list[Value]
    host: list[Value]
    seeds: list[Value]
    tags: list[Value]
    metrics: list[Moved]
    notes: list[str]


@click.command()
@click.argument("a", metavar="A")
@click.argument("b", metavar="B")
@json_option
@store_option
def diff(a: str, b: str, as_json: bool, store_uri: str | None) -> None:
    """Show what is different in run B from run A: code, params, environment, metrics.

    Exit code 1 when code, params or environment differ, 0 when they do not.
    """
    with opened(store_uri) as store:
        sides = [Captured(store, lookup.find_run(store, one)) for one in (a, b)]
        found = differences(*sides)
    if as_json:
        print_json(found)
    else:
        _print(found)
    if found.differ:
        click.get_current_context().exit(FAILED)


def differences(a: Captured, b: Captured) -> Differences:
    """Compare two runs."""
    codes = a.code(), b.code()
    code = [*_values(*(_started(_picked(one, _CODE_FIELDS)) for one in codes))]
    changes = [*_changes(a.changes(), b.changes())]
    place = [*_values(*(_picked(one, _PLACE_FIELDS) for one in codes))]
    params = [*_values(a.run.data.params, b.run.data.params)]
    environment = _compared(a.environment(), b.environment(), _ENVIRONMENT_FIELDS)
    packages = _compared(a.packages(), b.packages())
    return Differences(
        runs=(a.run.info.run_id, b.run.info.run_id),
        differ=bool(code or changes or params or environment or packages),
        code=code,
        changes=changes,
        place=place,
        params=params,
        environment=environment,
        packages=packages,
        host=_compared(_machine(a.host()), _machine(b.host())),
        seeds=_compared(a.seeds(), b.seeds()),
        tags=[*_values(_own_tags(a.run), _own_tags(b.run))],
        metrics=sorted(_moved(a.run.data.metrics, b.run.data.metrics), key=_order),
        notes=[*a.notes, *b.notes],
    )


def _picked(given: Mapping[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    return {name: given[name] for name in names if given.get(name) is not None}


def _started(code: dict[str, Any]) -> dict[str, Any]:
    """Where the interpreter lies makes no difference; which one it is, the environment says."""
    command = code.get("command")
    if isinstance(command, list) and command:
        code["command"] = [PurePath(str(command[0])).name, *command[1:]]
    return code


def _compared(
    a: Mapping[str, Any] | None, b: Mapping[str, Any] | None, names: tuple[str, ...] | None = None
) -> list[Value]:
    """What differs between two documents; nothing when one of them is missing: that is not known."""
    if a is None or b is None:
        return []
    sides = [_flat(one if names is None else _picked(one, names)) for one in (a, b)]
    return [*_values(*sides)]


def _flat(given: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in given.items():
        if isinstance(value, Mapping):
            found |= _flat(value, f"{prefix}{key}.")
        elif value is not None:
            found[f"{prefix}{key}"] = value
    return found


def _values(a: Mapping[str, Any], b: Mapping[str, Any]) -> Iterator[Value]:
    for key in sorted({*a, *b}):
        # A tag's "True" is the true of a document.
        if _shown(a.get(key)) != _shown(b.get(key)):
            yield Value(key=key, a=a.get(key), b=b.get(key))


def _machine(about: dict[str, Any] | None) -> dict[str, Any] | None:
    """What of a host says how fast it is; not what changes by the minute."""
    if about is None:
        return None
    kept = {key: value for key, value in about.items() if key not in ("disk", "kubernetes")}
    gpus = kept.get("gpus")
    if isinstance(gpus, dict):
        names = Counter(str(one.get("name")) for one in gpus.get("devices", ()))
        kept["gpus"] = {
            **gpus,
            "devices": ", ".join(f"{count} × {name}" for name, count in sorted(names.items())),
        }
    return kept


def _own_tags(run: Run) -> dict[str, str]:
    return {
        key: value
        for key, value in run.data.tags.items()
        if key == "mlflow.note.content" or not key.startswith((SYSTEM_TAG, _OWN_TAG))
    }


def _changes(a: dict[str, bytes], b: dict[str, bytes]) -> Iterator[Change]:
    for path in sorted({*a, *b}):
        left, right = a.get(path), b.get(path)
        if left == right:
            continue
        if left is None or right is None:
            lines = _lines(left or right or b"")
            yield Change(path=path, only="a" if right is None else "b", lines=_cut(lines))
        else:
            before, after = _lines(left), _lines(right)
            if max(len(before), len(after)) > _LINES:
                text = [f"{len(before)} lines before, {len(after)} now: too many to compare"]
            else:
                text = [*difflib.unified_diff(before, after, f"a/{path}", f"b/{path}", lineterm="")]
            yield Change(path=path, only=None, lines=tuple(text))


def _lines(content: bytes) -> list[str]:
    return content.decode(errors="replace").splitlines()


def _cut(lines: list[str]) -> tuple[str, ...]:
    more = len(lines) - _LINES
    return (*lines[:_LINES], *([f"… {more} more lines"] if more > 0 else []))


def _moved(a: Mapping[str, float], b: Mapping[str, float]) -> Iterator[Moved]:
    for key in sorted({*a, *b}):
        if key.startswith(_SYSTEM_METRIC):
            continue
        left, right = a.get(key), b.get(key)
        if left == right or (
            left is not None and right is not None and left != left and right != right
        ):
            continue  # NaN is like NaN
        difference = relative = None
        if left is not None and right is not None:
            difference = right - left
            if left and math.isfinite(left) and math.isfinite(difference):
                relative = difference / abs(left)
        yield Moved(key=key, a=left, b=right, difference=difference, relative=relative)


def _order(one: Moved) -> tuple[bool, float, str]:
    """The greatest relative difference first; one that cannot be told is greater than any; what one run
    lacks last."""
    size = math.inf if one.relative is None else abs(one.relative)
    return one.difference is None, -size, one.key


def _print(found: Differences) -> None:
    cut = lookup.SHORT_ID if is_terminal() else None
    short = [run_id[:cut] for run_id in found.runs]
    printed = False
    for title in ("code", "place", "params", "environment", "packages", "host", "seeds", "tags"):
        rows = [(one.key, _shown(one.a), _shown(one.b)) for one in getattr(found, title)]
        if rows:
            _space(printed)
            print_table((title, *short), rows)
            printed = True
        if title == "code":
            for change in found.changes:
                _space(printed)
                _print_change(change, short)
                printed = True
    if found.metrics:
        _space(printed)
        print_table(
            ("metrics", *short, "difference", "relative"),
            [
                (one.key, one.a, one.b, one.difference, _percent(one.relative))
                for one in found.metrics
            ],
        )
        printed = True
    if not printed:
        click.echo("The runs do not differ.")
    for note in found.notes:
        click.echo(printable(note), err=True)


def _print_change(change: Change, short: list[str]) -> None:
    where = "" if change.only is None else f" (only in {short[0 if change.only == 'a' else 1]})"
    click.secho(printable(f"{change.path}{where}"), bold=True)
    for line in change.lines:
        colour = {"+": "green", "-": "red", "@": "cyan"}.get(line[:1])
        click.secho(f"  {printable(line.expandtabs())}", fg=colour)


def _space(printed: bool) -> None:
    if printed:
        click.echo()


def _percent(relative: float | None) -> str | None:
    return None if relative is None else f"{relative:+.2%}"


def _shown(value: Any) -> str | None:
    if value is None:
        return None
    if isinstance(value, list) and all(isinstance(one, str) for one in value):
        return " ".join(value)
    return str(value) if isinstance(value, str | bool) else json.dumps(value)
