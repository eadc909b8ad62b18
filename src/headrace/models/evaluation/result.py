"""What an evaluation found."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from headrace.errors import InvalidParameter
from headrace.models.evaluation.artifacts import Artifact, document, plain
from headrace.models.evaluation.directions import greater_is_better
from headrace.models.evaluation.slices import Slice
from headrace.models.evaluation.thresholds import Check, ChecksFailed


class Evaluation(msgspec.Struct, kw_only=True):
    """What an evaluation found.

    Attributes:
        kind: ``classification``, ``regression``, ``ranking`` or ``forecasting``.
        rows: How many were evaluated.
        metrics: By name. NaN: has no meaning for these rows.
        primary: The metric that slices are compared by.
        intervals: Confidence intervals, lower and upper end, by metric; empty unless asked for.
        slices: Groups of rows with their metrics.
        worst_slice: The one of the worst primary metric among those that are not small; None: there is none.
        checks: By name: whether each threshold holds, and why.
        errors: Why custom metrics could not be computed, by their names.
        notes: What to know about the metrics.
        baseline_metrics: The baseline's, by name; None: there was none.
        artifacts: Tables and plots by file, made when they are read.
        run_id: The run that it was logged to; None: not logged.
    """

    kind: str
    rows: int
    metrics: dict[str, float]
    primary: str
    intervals: dict[str, tuple[float, float]] = {}
    slices: list[Slice] = []
    worst_slice: Slice | None = None
    checks: dict[str, Check] = {}
    errors: dict[str, str] = {}
    notes: list[str] = []
    baseline_metrics: dict[str, float] | None = None
    artifacts: dict[str, Artifact] = {}
    run_id: str | None = None

    @property
    def passed(self) -> bool:
        """Whether all checks passed. Without thresholds there is nothing to fail."""
        return all(check.passed for check in self.checks.values())

    def raise_for_failures(self) -> None:
        """Do nothing if all checks passed.

        Raises:
            ChecksFailed: Some did not; the message has each, and why.
        """
        failed = [check for check in self.checks.values() if not check.passed]
        if failed:
            said = "\n".join(f"  {check.metric}: {check.why}" for check in failed)
            raise ChecksFailed(f"{len(failed)} of {len(self.checks)} checks failed:\n{said}")

    def to_dict(self) -> dict[str, Any]:
        """All of it but tables and plots, in what JSON has; NaN is None."""
        found: dict[str, Any] = {
            name: msgspec.to_builtins(getattr(self, name))
            for name in self.__struct_fields__
            if name != "artifacts"
        }
        return {**plain(found), "passed": self.passed}

    @classmethod
    def from_dict(cls, found: Mapping[str, Any]) -> Evaluation:
        """The inverse of `to_dict`: a baseline for a later evaluation.

        Raises:
            InvalidParameter: It is not what `to_dict` gives.
        """
        try:
            return msgspec.convert(_numbers(dict(found)), cls)
        except msgspec.ValidationError as error:
            raise InvalidParameter(f"This is no evaluation: {error}.") from error

    @classmethod
    def load(cls, path: str | Path) -> Evaluation:
        """Read ``evaluation.json``, from a folder that `save` wrote or a run's artifacts.

        Raises:
            InvalidParameter: There is none, or it is something else.
        """
        file = Path(path)
        if file.is_dir():
            file = file / "evaluation.json"
        try:
            found = json.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise InvalidParameter(f"Cannot read an evaluation from '{path}': {error}") from error
        if not isinstance(found, dict):
            raise InvalidParameter(f"Cannot read an evaluation from '{path}': it is no object.")
        return cls.from_dict(found)

    def save(self, folder: str | Path, *, plots: bool = True) -> Path:
        """Write all of it to a folder, which is made: ``evaluation.json``, and the tables and plots.

        Args:
            folder: Where to.
            plots: Draw the plots, too.

        Returns:
            The folder.
        """
        target = Path(folder)
        target.mkdir(parents=True, exist_ok=True)
        # All first: what cannot be drawn leaves nothing half written.
        files = {
            name: artifact.content
            for name, artifact in self.artifacts.items()
            if plots or artifact.table is not None
        }
        files["evaluation.json"] = document("evaluation", self.to_dict()).content
        for name, content in files.items():
            (target / name).write_bytes(content)
        return target

    def __str__(self) -> str:
        lines = [f"{self.kind} of {self.rows} rows"]
        for name, value in self.metrics.items():
            low, high = self.intervals.get(name, (math.nan, math.nan))
            interval = "" if math.isnan(low) else f"  [{low:.4g}, {high:.4g}]"
            lines.append(f"  {name:<32} {value:.6g}{interval}")
        if self.worst_slice is not None:
            value = self.worst_slice.metrics[self.primary]
            lines.append(
                f"worst slice: {self.worst_slice.name}, {self.primary} {value:.6g} "
                f"({self.worst_slice.count} rows)"
            )
        for check in self.checks.values():
            lines.append(f"{'passed' if check.passed else 'FAILED'}: {check.metric}: {check.why}")
        lines += [f"{name} could not be computed: {why}" for name, why in self.errors.items()]
        return "\n".join(lines)


def worst(slices: list[Slice], metric: str) -> Slice | None:
    """The slice of the worst value, of those that are not small and have one."""
    some = [
        one for one in slices if not one.small and not math.isnan(one.metrics.get(metric, math.nan))
    ]
    if not some:
        return None
    return (min if greater_is_better(metric) else max)(some, key=lambda one: one.metrics[metric])


def _numbers(found: dict[str, Any]) -> dict[str, Any]:
    """With NaN for what JSON has as null."""

    def metrics(values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        return {name: math.nan if value is None else value for name, value in values.items()}

    def slice_of(one: Any) -> Any:
        return {**one, "metrics": metrics(one.get("metrics"))} if isinstance(one, dict) else one

    def check(one: Any) -> Any:
        return {**one, "value": math.nan if one.get("value") is None else one["value"]}

    found.pop("artifacts", None)
    for name in ("metrics", "baseline_metrics"):
        if name in found:
            found[name] = metrics(found[name])
    if isinstance(found.get("slices"), list):
        found["slices"] = [slice_of(one) for one in found["slices"]]
    found["worst_slice"] = slice_of(found.get("worst_slice"))
    if isinstance(found.get("checks"), dict):
        found["checks"] = {
            name: check(one) if isinstance(one, dict) else one
            for name, one in found["checks"].items()
        }
    return found
