"""Which columns a table of runs has, and what stands in them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import msgspec

from headrace.cli.lookup import SHORT_ID
from headrace.cli.output import cell, duration, moment, status_of
from headrace.entities import Run
from headrace.errors import InvalidParameter

#: Keys that MLflow's clients and ours write about every run; nobody compares by them.
SYSTEM_TAG = "mlflow."
_GAP = 2
#: Values are never shortened to less than this.
_NARROWEST = 16
_WHOLE = 1 << 30
_TIMES = ("start_time", "duration")
_KEY = re.compile(r"\b(metrics?|params?|parameters?|tags?)\.(?:`([^`]+)`|\"([^\"]+)\"|([\w./-]+))")
_KINDS = {"m": "metrics", "p": "params", "t": "tags"}

_ATTRIBUTES: dict[str, Callable[[Run], Any]] = {
    "run_id": lambda run: run.info.run_id,
    "run_name": lambda run: run.info.run_name,
    "experiment_id": lambda run: run.info.experiment_id,
    "user_id": lambda run: run.info.user_id,
    "status": status_of,
    "start_time": lambda run: moment(run.info.start_time),
    "end_time": lambda run: moment(run.info.end_time),
    "duration": lambda run: duration(run.info.start_time, run.info.end_time),
    "artifact_uri": lambda run: run.info.artifact_uri,
    "lifecycle_stage": lambda run: run.info.lifecycle_stage,
}
_ATTRIBUTE_ALIASES = {
    "id": "run_id",
    "name": "run_name",
    "user": "user_id",
    "experiment": "experiment_id",
}


def value(run: Run, column: str) -> Any:
    """What a run has in a column such as ``metrics.loss``, ``params.lr``, ``tags.team`` or ``status``.

    Raises:
        InvalidParameter: No such kind of column.
    """
    kind, _, key = column.partition(".")
    if key and kind[:1] in _KINDS and kind.rstrip("s") in ("metric", "param", "tag"):
        sides: dict[str, Mapping[str, Any]] = {
            "m": run.data.metrics,
            "p": run.data.params,
            "t": run.data.tags,
        }
        return sides[kind[0]].get(key)
    read = _ATTRIBUTES.get(_ATTRIBUTE_ALIASES.get(column, column))
    if read is None:
        raise InvalidParameter(
            f"No column '{column}': write metrics.KEY, params.KEY, tags.KEY or one of "
            f"{', '.join(_ATTRIBUTES)}."
        )
    return read(run)


class Page(msgspec.Struct, frozen=True):
    """What a table is made for.

    Attributes:
        width: Columns are chosen for so many characters.
        whole: Nothing is shortened, whatever the width: for programs.
    """

    width: int
    whole: bool = False

    @property
    def widest(self) -> int:
        """How many characters of one value are shown."""
        return _WHOLE if self.whole else max(_NARROWEST, self.width // 4)


def table(
    runs: Sequence[Run], columns: Sequence[str], page: Page
) -> tuple[list[str], list[list[Any]]]:
    """Headers and rows. The word before the dot is left out of a header where nothing clashes."""
    keys = [column.partition(".")[2] or column for column in columns]
    headers = [
        key if keys.count(key) == 1 else column for key, column in zip(keys, columns, strict=True)
    ]
    return headers, [[_shown(run, column, page) for column in columns] for run in runs]


def choose(runs: Sequence[Run], page: Page, asked: Iterable[str] = ()) -> tuple[list[str], int]:
    """Columns for a table of runs that fit a page, and how many more there would be.

    First what names a run; then the keys that the user asked about; then when it was; then metrics and
    params in turn, those that most runs have first. Params that all runs share say nothing and are left
    out.
    """
    names = ["run_id", "run_name", "status"]
    if len({run.info.experiment_id for run in runs}) > 1:
        names.insert(1, "experiment_id")
    if any(run.info.lifecycle_stage == "deleted" for run in runs):
        names.append("lifecycle_stage")
    left = page.width - sum(_width(runs, column, page) for column in names)
    chosen, skipped = set(names), 0
    keys = list(dict.fromkeys(asked))
    rest = [column for column in _candidates(runs) if column not in keys]
    for column in (*keys, *_TIMES, *rest):
        needed = _width(runs, column, page)
        if needed <= left:
            chosen.add(column)
            left -= needed
        else:
            skipped += 1
    return [column for column in (*names, *_TIMES, *keys, *rest) if column in chosen], skipped


def mentioned(filter_string: str, order_by: Sequence[str]) -> list[str]:
    """The metrics, params and tags that a filter or an order names, as columns."""
    found = []
    for text in (*order_by, filter_string):
        for match in _KEY.finditer(text):
            key = match[2] or match[3] or match[4]
            found.append(f"{_KINDS[match[1][0]]}.{key}")
    return found


def _candidates(runs: Sequence[Run]) -> list[str]:
    """Metrics and params, in turn, the most common first."""
    metrics: Counter[str] = Counter()
    params: Counter[str] = Counter()
    values: dict[str, set[str]] = {}
    for run in runs:
        metrics.update(run.data.metrics.keys())
        for key, text in run.data.params.items():
            params[key] += 1
            values.setdefault(key, set()).add(text)
    telling = {
        key: count
        for key, count in params.items()
        if len(runs) == 1 or len(values[key]) > 1 or count < len(runs)
    }
    first = [f"metrics.{key}" for key, _ in sorted(metrics.items(), key=_most_common)]
    second = [f"params.{key}" for key, _ in sorted(telling.items(), key=_most_common)]
    mixed = []
    for index in range(max(len(first), len(second))):
        mixed += first[index : index + 1] + second[index : index + 1]
    return mixed


def _most_common(item: tuple[str, int]) -> tuple[int, str]:
    return -item[1], item[0]


def _shown(run: Run, column: str, page: Page) -> Any:
    """A value as a page has it: ids and long texts shortened unless all is to be whole."""
    shown = value(run, column)
    if page.whole or not isinstance(shown, str):
        return shown
    if column == "run_id":
        return shown[:SHORT_ID]
    return shown if len(shown) <= page.widest else shown[: page.widest - 1] + "…"


def _width(runs: Sequence[Run], column: str, page: Page) -> int:
    header = len(column.partition(".")[2] or column)
    widest = max((cell(_shown(run, column, page)).cell_len for run in runs), default=0)
    return max(header, widest) + _GAP
