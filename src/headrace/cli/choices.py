"""Options that several nouns have: view types, tags, durations, run ids."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, TypeVar

import click

from headrace.entities import ViewType

F = TypeVar("F", bound=Callable[..., Any])

_SPAN = re.compile(
    r"(?:(\d+(?:\.\d+)?)d)?(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m)?(?:(\d+(?:\.\d+)?)s)?"
)
_MILLIS = (86_400_000, 3_600_000, 60_000, 1_000)


class _View(click.ParamType[ViewType]):
    """MLflow's names for the views, in any case, and their first words."""

    name = "active_only|deleted_only|all"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> ViewType:
        text = str(value).upper()
        found = [view for view in ViewType if text in (view.value, view.value.partition("_")[0])]
        if not found:
            self.fail(f"'{value}' is none of active_only, deleted_only and all.", param, ctx)
        return found[0]


class _Span(click.ParamType[int]):
    """A length of time such as ``30d``, ``12h`` or ``1d6h30m``, as milliseconds."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        match = _SPAN.fullmatch(value.strip().lower().replace(" ", ""))
        if not match or not any(match.groups()):
            self.fail(
                f"'{value}' is no length of time: write for example 30d, 12h or 1d6h30m.",
                param,
                ctx,
            )
        return round(
            sum(float(part or 0) * unit for part, unit in zip(match.groups(), _MILLIS, strict=True))
        )


VIEW = _View()
SPAN = _Span()


def _parse_tags(
    ctx: click.Context, param: click.Parameter, given: tuple[str, ...]
) -> dict[str, str]:
    tags: dict[str, str] = {}
    for one in given:
        key, equals, value = one.partition("=")
        if not equals or not key:
            raise click.BadParameter(f"'{one}' is no tag: write key=value.", ctx, param)
        if key in tags:
            raise click.BadParameter(f"the tag '{key}' is given twice.", ctx, param)
        tags[key] = value
    return tags


tags_option: Callable[[F], F] = click.option(
    "-t",
    "--tag",
    "--tags",
    "tags",
    multiple=True,
    metavar="KEY=VALUE",
    callback=_parse_tags,
    help="A tag; may be repeated.",
)


def split_ids(
    ctx: click.Context, param: click.Parameter, given: tuple[str, ...]
) -> tuple[str, ...]:
    """Ids given one by one, or several in one argument between commas, as MLflow takes them."""
    return tuple(
        dict.fromkeys(part.strip() for one in given for part in one.split(",") if part.strip())
    )
