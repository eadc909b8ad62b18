"""Reading a flavor's own keywords of ``save_model``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from headrace.errors import InvalidParameter


class Options:
    """The keywords that a flavor was given; what it has not asked for by the end is an error.

    Args:
        flavor: Its name, for messages.
        given: The keywords. None counts as not given, as in MLflow's functions.
    """

    def __init__(self, flavor: str, given: Mapping[str, Any]) -> None:
        self._flavor = flavor
        self._given = {name: value for name, value in given.items() if value is not None}
        self._known: set[str] = set()

    def get(self, name: str, default: Any = None) -> Any:
        """An option, or its default."""
        self._known.add(name)
        return self._given.get(name, default)

    def one_of(self, name: str, values: Sequence[str], *, default: str) -> str:
        """An option that is one of some words."""
        value: Any = self.get(name, default)
        if value not in values:
            raise InvalidParameter(f"{name} must be one of {', '.join(values)}, got {value!r}")
        return str(value)

    def done(self) -> None:
        """Raise if there is one that nobody asked for."""
        unknown = sorted(set(self._given) - self._known)
        if unknown:
            raise InvalidParameter(
                f"the flavor '{self._flavor}' has no option {', '.join(unknown)}; it has"
                f" {', '.join(sorted(self._known))}"
            )
