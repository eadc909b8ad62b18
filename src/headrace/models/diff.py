"""What is different in one model from another: what a reviewer of a new version asks."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from headrace.models.facts import Facts, facts_of

if TYPE_CHECKING:
    from headrace.client import Client
    from headrace.models.signature import ModelSignature

_REQUIREMENT = re.compile(r"\s*([A-Za-z0-9][A-Za-z0-9._-]*)\s*(.*)")


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """Something that has two values; None where a model has none."""

    key: str
    a: Any
    b: Any


class ModelDiff(msgspec.Struct, frozen=True, kw_only=True):
    """All that differs between two models.

    Attributes:
        a: The first, as it was asked for.
        b: The second.
        same_files: Whether their folders are equal, byte for byte; None when a digest is not known.
        signature: Columns, tensors and params: ``inputs.age``, ``outputs[0]``, ``params.top_k``.
        requirements: By distribution.
        flavors: By flavor and key.
        params: Of the logged models, else of the runs.
        metrics: Their last values.
        size: Bytes, if they differ.
        notes: What could not be compared.
    """

    a: str
    b: str
    same_files: bool | None
    signature: list[Difference]
    requirements: list[Difference]
    flavors: list[Difference]
    params: list[Difference]
    metrics: list[Difference]
    size: Difference | None
    notes: list[str]

    @property
    def breaks(self) -> bool:
        """Whether whoever calls the one may not be able to call the other: the signature differs."""
        return bool(self.signature)


def diff_models(client: Client, a: str, b: str) -> ModelDiff:
    """Compare two models.

    Args:
        client: Of the store.
        a: Any address of a model.
        b: Another.

    Raises:
        NotFound: One of them is not there.
    """
    return compare(facts_of(client, a), facts_of(client, b))


def compare(a: Facts, b: Facts) -> ModelDiff:
    """Compare what is known of two models."""
    size = Difference(key="size", a=a.size, b=b.size) if a.size != b.size else None
    digests = (a.digest, b.digest)
    return ModelDiff(
        a=a.uri,
        b=b.uri,
        same_files=None if None in digests else a.digest == b.digest,
        signature=_differences(_columns(a), _columns(b)),
        requirements=_differences(_pins(a.requirements), _pins(b.requirements)),
        flavors=_differences(_flat(a), _flat(b)),
        params=_differences(a.params, b.params),
        metrics=_differences(a.metrics, b.metrics),
        size=size,
        notes=[f"{one.uri}: {one.problem}" for one in (a, b) if one.problem],
    )


def _differences(a: Mapping[str, Any], b: Mapping[str, Any]) -> list[Difference]:
    keys = [*a, *(key for key in b if key not in a)]
    return [
        Difference(key=key, a=a.get(key), b=b.get(key)) for key in keys if a.get(key) != b.get(key)
    ]


def _columns(facts: Facts) -> dict[str, str]:
    """Each column, tensor and param of a signature, and what it is in words."""
    signature: ModelSignature | None = None if facts.model is None else facts.model.signature
    found: dict[str, str] = {}
    if signature is None:
        return found
    for part, schema in (("inputs", signature.inputs), ("outputs", signature.outputs)):
        for index, column in enumerate(schema or ()):
            name = f"{part}.{column.name}" if column.name else f"{part}[{index}]"
            found[name] = str(column)
    for param in signature.params or ():
        found[f"params.{param.name}"] = str(param)
    return found


def _pins(lines: Iterable[str]) -> dict[str, str]:
    """What is asked of each distribution, by its normalised name (PEP 503)."""
    found = {}
    for line in lines:
        match = _REQUIREMENT.fullmatch(line)
        name, asked = match.groups() if match else (line, "")
        found[re.sub(r"[-_.]+", "-", name).lower()] = asked or "any version"
    return found


def _flat(facts: Facts) -> dict[str, Any]:
    if facts.model is None:
        return {}
    return {
        f"{flavor}.{key}": value
        for flavor, conf in facts.model.flavors.items()
        for key, value in conf.items()
    }
