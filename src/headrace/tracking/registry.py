"""The registry, in the store that is being logged to."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from headrace.client.paging import PagedList
from headrace.entities import ModelVersion, RegisteredModel
from headrace.tracking.choice import choice

T = TypeVar("T")

_MODELS, _VERSIONS = 1000, 10_000


def search_registered_models(
    max_results: int | None = None,
    filter_string: str | None = None,
    order_by: Sequence[str] | None = None,
) -> list[RegisteredModel]:
    """Registered models, by name unless ordered; all of them unless `max_results` says how many.

    Args:
        max_results: At most so many.
        filter_string: ``name LIKE 'fraud%' AND tags.team = 'risk'``; see docs/search.md.
        order_by: ``["last_updated_timestamp DESC"]``.
    """
    search = choice.client().search_registered_models
    return _all(
        lambda size, token: search(filter_string, size, order_by, token), max_results, _MODELS
    )


def search_model_versions(
    max_results: int | None = None,
    filter_string: str | None = None,
    order_by: Sequence[str] | None = None,
) -> list[ModelVersion]:
    """Versions of registered models, last updated first unless ordered; all of them unless `max_results` says
    how many.

    Args:
        max_results: At most so many.
        filter_string: ``name = 'fraud' AND version_number > 3``; see docs/search.md.
        order_by: ``["version_number DESC"]``.
    """
    search = choice.client().search_model_versions
    return _all(
        lambda size, token: search(filter_string, size, order_by, token), max_results, _VERSIONS
    )


def set_model_version_tag(
    name: str, version: str | int | None = None, key: str | None = None, value: Any = None
) -> None:
    """Set a tag of a version; the value is taken as text."""
    choice.client().set_model_version_tag(name, version, key, value)


def _all(page: Callable[[int, str | None], PagedList[T]], most: int | None, size: int) -> list[T]:
    found: list[T] = []
    token: str | None = None
    while most is None or len(found) < most:
        one = page(size if most is None else min(size, most - len(found)), token)
        found += one
        token = one.token
        if token is None:
            break
    return found
