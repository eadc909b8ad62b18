"""Flavors by entry point: headrace's own, and those of whoever ships one.

A distribution adds a flavor with an entry point of the group ``headrace.flavors``; nothing else tells ours
and theirs apart.
"""

from __future__ import annotations

import functools
import importlib.util
import logging
import sys
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from headrace.errors import InvalidParameter
from headrace.models.flavor import Flavor
from headrace.models.mlmodel import MLModel

GROUP = "headrace.flavors"
#: The key in MLmodel of models that are a Python function and nothing else; MLflow's module for it is pyfunc.
PYTHON_FUNCTION = "python_function"

_log = logging.getLogger(__name__)


def find_flavor(model: object) -> Flavor:
    """The flavor of a model.

    Several may claim one: scikit-learn's wrapper of an XGBoost model is of both. The flavor is taken whose
    library defines the class that comes first in the model's method resolution order; ``pyfunc`` comes last.

    Raises:
        InvalidParameter: None claims it; the message lists those that there are.
    """
    claiming = [flavor for flavor in _loaded() if flavor.claims(model)]
    if claiming:
        return min(claiming, key=lambda flavor: _distance(flavor, model))
    kind = type(model)
    raise InvalidParameter(
        f"no flavor saves a {kind.__module__}.{kind.__qualname__}. There are: {_listed()}. A class with"
        " predict(self, context, model_input, params=None), a function or a script can be saved as pyfunc"
    )


def flavor_named(name: str) -> Flavor:
    """A flavor by its name: its key in MLmodel, or its entry point's.

    Raises:
        InvalidParameter: There is none of that name, or the package that its models come from is not
            installed; the message says what to install.
    """
    point = _points().get("pyfunc" if name == PYTHON_FUNCTION else name)
    if point is None:
        raise InvalidParameter(f"there is no flavor '{name}'. There are: {_listed()}")
    try:
        flavor: Flavor = point.load()
    except ImportError as error:
        raise InvalidParameter(
            f"the flavor '{name}' of {_distribution(point)} cannot be imported: {error}"
        ) from error
    if not _installed(flavor.library):
        raise InvalidParameter(
            f"the flavor '{name}' needs the package {flavor.library}: {_remedy(point)}"
        )
    return flavor


def flavor_names() -> list[str]:
    """Names of the flavors that there are, whether or not their libraries are installed."""
    return sorted(_points())


def flavor_packages() -> frozenset[str]:
    """Packages that flavors come from, this one left out."""
    return frozenset(point.module.partition(".")[0] for point in _points().values()) - {"headrace"}


def section_of(mlmodel: MLModel, name: str) -> dict[str, Any]:
    """What a flavor is given as ``conf``: its section over the section ``python_function``."""
    own = {key: value for key, value in mlmodel.flavors.get(name, {}).items() if value is not None}
    return {**mlmodel.flavors.get(PYTHON_FUNCTION, {}), **own}


def _loaded() -> tuple[Flavor, ...]:
    return _loaded_on(tuple(sys.path))


@functools.lru_cache(maxsize=4)
def _loaded_on(path: tuple[str, ...]) -> tuple[Flavor, ...]:
    found = []
    for name, point in sorted(_points_on(path).items()):
        try:
            found.append(point.load())
        except Exception as error:  # noqa: BLE001 - one broken distribution must not take all models with it
            _log.warning("the flavor '%s' of %s is left out: %s", name, _distribution(point), error)
    return tuple(found)


def _distance(flavor: Flavor, model: object) -> float:
    if flavor.name == PYTHON_FUNCTION:
        return float("inf")
    classes = type(model).__mro__
    for distance, base in enumerate(classes):
        if base.__module__.partition(".")[0] == flavor.library:
            return distance
    return len(classes)


def _points() -> dict[str, EntryPoint]:
    return _points_on(tuple(sys.path))


@functools.lru_cache(maxsize=4)  # reading them takes 20 ms; a path that is added is looked at
def _points_on(path: tuple[str, ...]) -> dict[str, EntryPoint]:
    found: dict[str, EntryPoint] = {}
    for point in entry_points(group=GROUP):
        if point.name not in found or point.value.startswith("headrace."):
            found[point.name] = point
    return found


def _listed() -> str:
    return (
        ", ".join(
            name if point.value.startswith("headrace.") else f"{name} (of {_distribution(point)})"
            for name, point in sorted(_points().items())
        )
        + "; what one needs comes with its extra: pip install 'headrace[sklearn]'"
    )


def _remedy(point: EntryPoint) -> str:
    if point.value.startswith("headrace."):
        return f"pip install 'headrace[{point.name}]'"
    return f"it comes with {_distribution(point)}"


def _distribution(point: EntryPoint) -> str:
    return point.dist.name if point.dist is not None else point.value


def _installed(library: str) -> bool:
    if library in sys.modules:
        return True
    try:
        return importlib.util.find_spec(library) is not None
    except (ImportError, ValueError):
        return False
