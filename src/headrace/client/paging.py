"""Pages of results."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

T = TypeVar("T")


class PagedList(list[T]):
    """A list with the token of the page after it.

    Attributes:
        token: Give it as ``page_token`` to the same search; None when this was the last page.
    """

    def __init__(self, items: Iterable[T], token: str | None) -> None:
        super().__init__(items)
        self.token = token or None

    def to_list(self) -> list[T]:
        """The same as a plain list."""
        return list(self)
