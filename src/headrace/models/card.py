"""Model cards: what is known of a model, in Markdown, for whoever decides about it.

The sections are those that people know from Mitchell et al., "Model Cards for Model Reporting" (2019), as far as a
tracking store knows them; what it does not know is left out, not invented. ``description`` of the version and
of the registered model are the author's own words.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from headrace.models.facts import Facts, facts_of
from headrace.protocol.model_aliases import CHECK_TAG

if TYPE_CHECKING:
    from headrace.client import Client
    from headrace.protocol.lineage import Lineage

#: Rows of a table; a run may have thousands of params.
_MOST = 50
_OWN_TAGS = ("mlflow.", "headrace.")


def render_card(client: Client, uri: str) -> str:
    """A model's card.

    Args:
        client: Of the store.
        uri: Any address of a model; a version of a registered one has the most to tell.

    Returns:
        Markdown.

    Raises:
        NotFound: There is no such model.
    """
    facts = facts_of(client, uri)
    version = facts.version
    lines = [f"# {_title(facts)}", ""]
    if version is not None:
        about = client.get_registered_model(version.name)
        for text in (about.description, version.description):
            lines += [text, ""] if text else []
    lines += _section("Model", _table(_identity(facts)))
    if version is not None:
        lines += _section("Checks", _table(_checks(version.tags)))
        lines += _section(
            "Lineage", _table(_lineage(client.lineage(version.name, version.version)))
        )
    lines += _section("Metrics", _table(sorted(facts.metrics.items())))
    lines += _section("Params", _table(sorted(facts.params.items())))
    lines += _section("Signature", _signature(facts))
    lines += _section("Requirements", [f"- `{line}`" for line in facts.requirements])
    if facts.problem:
        lines += _section("Problems", [f"- {facts.problem}"])
    return "\n".join(lines).rstrip() + "\n"


def _title(facts: Facts) -> str:
    if facts.version is not None:
        return f"{facts.version.name}, version {facts.version.version}"
    return facts.logged.name if facts.logged is not None else facts.uri


def _identity(facts: Facts) -> Iterable[tuple[str, Any]]:
    version, logged, model = facts.version, facts.logged, facts.model
    if version is not None:
        yield "Aliases", ", ".join(version.aliases)
        yield "Stage", version.current_stage if version.current_stage != "None" else ""
        yield "Registered", _moment(version.creation_timestamp)
        yield "Registered by", version.user_id
        yield "Tags", _tags(version.tags)
    if logged is not None:
        yield "Logged model", logged.model_id
        yield "Type", logged.model_type
        yield "Logged", _moment(logged.creation_timestamp)
    if model is not None:
        yield "Flavors", ", ".join(sorted(model.flavors))
        yield "Metadata", model.metadata
    if facts.size is not None:
        yield "Size", f"{facts.size:,} bytes"
    yield "Digest", facts.digest
    yield "Files", facts.location
    if facts.run is not None:
        info = facts.run.info
        yield "Run", f"{info.run_name} ({info.run_id}, {info.status})"
        yield "Run by", info.user_id


def _checks(tags: Mapping[str, str]) -> Iterable[tuple[str, str]]:
    for key, value in sorted(tags.items()):
        if key.startswith(CHECK_TAG):
            yield key.removeprefix(CHECK_TAG), value


def _lineage(lineage: Lineage) -> Iterable[tuple[str, Any]]:
    run = lineage.run
    if run is not None:
        yield "Code", run.source
        yield "Commit", run.commit
        for one in run.datasets:
            yield "Data set", f"{one.name} ({one.digest})"
    for kind, versions in (
        ("Copy of", lineage.parents),
        ("Trained from", lineage.ancestors),
        ("Copied to", lineage.copies),
        ("Led to", lineage.descendants),
    ):
        for version in versions:
            yield kind, f"models:/{version.name}/{version.version}"
    for reader in lineage.runs:
        yield "Used by run", f"{reader.run_name or ''} ({reader.run_id})"


def _signature(facts: Facts) -> list[str]:
    signature = None if facts.model is None else facts.model.signature
    if signature is None:
        return []
    parts = (
        ("Inputs", signature.inputs),
        ("Outputs", signature.outputs),
        ("Params", signature.params),
    )
    lines = [
        line
        for name, part in parts
        if part
        for line in ("", f"**{name}**", "", *(f"- `{one}`" for one in part))
    ]
    return lines[1:]


def _tags(tags: Mapping[str, str]) -> str:
    return ", ".join(
        f"{key}={value}" for key, value in sorted(tags.items()) if not key.startswith(_OWN_TAGS)
    )


def _section(title: str, lines: Sequence[str]) -> list[str]:
    return [f"## {title}", "", *lines, ""] if lines else []


def _table(rows: Iterable[tuple[str, Any]]) -> list[str]:
    """A table of what has a value, the first rows of it."""
    known = [(key, value) for key, value in rows if value not in (None, "", {})]
    if not known:
        return []
    lines = ["| | |", "|---|---|"]
    lines += [f"| {_cell(key)} | {_cell(value)} |" for key, value in known[:_MOST]]
    if len(known) > _MOST:
        lines.append(f"| … | {len(known) - _MOST} more |")
    return lines


def _cell(value: Any) -> str:
    text = f"{value:.6g}" if isinstance(value, float) else str(value)
    return text.replace("\\", "\\\\").replace("|", "\\|").replace("\n", " ")


def _moment(millis: int) -> str:
    moment = dt.datetime.fromtimestamp(millis / 1000, dt.UTC)
    return moment.strftime("%Y-%m-%d %H:%M:%S UTC")
