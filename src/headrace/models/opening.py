"""What every flavor does before it opens a file: where the file may lie, and whether its format may be opened."""

from __future__ import annotations

import importlib
import inspect
import logging
from collections.abc import Callable, Collection, Mapping
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from headrace.errors import InvalidModel, InvalidParameter, PolicyViolation
from headrace.models.flavor import Permit

_log = logging.getLogger(__name__)


def inside(folder: Path, path: object) -> Path:
    """The file or folder that a path of MLmodel names. The one place where such a path becomes a real one.

    Args:
        folder: The model's.
        path: As MLmodel has it: relative to the folder.

    Raises:
        InvalidModel: It is not a relative path, climbs out of the folder, is not there, or leads out of
            the folder over a symbolic link.
    """
    if not isinstance(path, str) or not path:
        raise InvalidModel(f"MLmodel names {path!r} where the path of a file is meant.")
    pure, windows = PurePosixPath(path), PureWindowsPath(path)
    if pure.is_absolute() or windows.drive or windows.root or ".." in windows.parts or "\0" in path:
        raise InvalidModel(f"MLmodel names '{path}': a path has to lie inside of the model's folder.")
    found = folder / pure
    if not found.exists():
        raise InvalidModel(f"MLmodel names '{path}', which the model's folder does not have.")
    if not found.resolve().is_relative_to(folder.resolve()):
        raise InvalidModel(f"'{path}' is a link that leads out of the model's folder.")
    return found


def files_inside(folder: Path, path: object) -> list[Path]:
    """All files under a folder that MLmodel names, in the order of their names; links included.

    Raises:
        InvalidModel: As `inside` does, for the folder and for everything in it.
    """
    root = inside(folder, path)
    if root.is_file():
        return [root]
    found = sorted(root.rglob("*"))
    for each in found:
        inside(folder, each.relative_to(folder).as_posix())
    return [each for each in found if each.is_file()]


def require(permit: Permit, formats: Collection[str], path: Path) -> None:
    """Refuse what the policy has not allowed, though the audit has been here before.

    Raises:
        PolicyViolation: A format is not among the permitted ones.
    """
    refused = sorted(set(formats) - permit.formats)
    if refused:
        raise PolicyViolation(
            f"'{path.name}' is in the format {' and '.join(refused)}, which the policy of this loader does not allow."
        )


def trusted_class(name: str, permit: Permit) -> type:
    """A class that a model asks for by its full name, when the loader trusts it.

    Raises:
        PolicyViolation: The loader does not trust it.
        InvalidModel: There is no such class.
    """
    if name not in permit.trusted:
        raise PolicyViolation(f"The model asks for the type '{name}', which the loader does not trust.")
    module, _, attribute = name.rpartition(".")
    try:
        found = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as problem:
        raise InvalidModel(f"The model asks for the type '{name}': {problem}.") from None
    if not isinstance(found, type):
        raise InvalidModel(f"The model asks for the type '{name}', which is no type.")
    return found


def check_options(flavor: str, options: Mapping[str, Any], known: Collection[str]) -> None:
    """Refuse options that a flavor does not have.

    Raises:
        InvalidParameter: There is one.
    """
    unknown = sorted(set(options) - set(known))
    if unknown:
        has = ", ".join(sorted(known)) or "none"
        raise InvalidParameter(
            f"The flavor {flavor} has no option '{unknown[0]}'. Its options: {has}."
        )


def one_of(option: str, value: Any, allowed: Collection[str]) -> str:
    """The value of an option that has to be one of a few words.

    Raises:
        InvalidParameter: It is something else.
    """
    if not isinstance(value, str) or value not in allowed:
        raise InvalidParameter(f"{option} is {value!r}; it may be {', '.join(sorted(allowed))}.")
    return value


def accepted(function: Callable[..., Any], params: Mapping[str, Any] | None) -> dict[str, Any]:
    """Those of the params that a function takes. The others are said in the log and left out, as MLflow does."""
    if not params:
        return {}
    takes = inspect.signature(function).parameters.values()
    if any(each.kind is each.VAR_KEYWORD for each in takes):
        return dict(params)
    names = {each.name for each in takes}
    for name in params:
        if name not in names:
            _log.warning("The model takes no param '%s'; it is left out.", name)
    return {name: value for name, value in params.items() if name in names}
