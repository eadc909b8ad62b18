"""What flavors do before they open a file, and before they call a model."""

from __future__ import annotations

import importlib
import inspect
import logging
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

from headrace.errors import InvalidModel, PolicyViolation
from headrace.models.flavor import Permit
from headrace.models.paths import inside

_log = logging.getLogger(__name__)


def files_inside(folder: Path, name: Any, *, key: str) -> list[Path]:
    """All files under a folder that MLmodel names, in the order of their names.

    Args:
        folder: The model's folder.
        name: The value in MLmodel.
        key: Where it stands.

    Raises:
        InvalidModel: As `inside` does, for the folder and for everything in it.
    """
    root = inside(folder, name, key=key)
    if root.is_file():
        return [root]
    found = sorted(root.rglob("*"))
    for each in found:
        inside(folder, each.relative_to(folder).as_posix(), key=key)
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
        raise PolicyViolation(
            f"The model asks for the type '{name}', which the loader does not trust."
        )
    module, _, attribute = name.rpartition(".")
    try:
        found = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as problem:
        raise InvalidModel(f"The model asks for the type '{name}': {problem}.") from None
    if not isinstance(found, type):
        raise InvalidModel(f"The model asks for the type '{name}', which is no type.")
    return found


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
