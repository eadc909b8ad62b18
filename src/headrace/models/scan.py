"""What opening a model would do, found out without doing it.

For people, and as data: `Report` is a msgspec struct, so that ``msgspec.json.encode`` writes it. A folder, a single file,
or an archive of either is looked at; nothing is imported, unpickled or unpacked to a place where it stays; memory, time
and what is unpacked are bounded (`headrace.models.inspection`).

Beside our own reading of pickles, ``picklescan`` gives a second opinion. What either calls dangerous is.
"""

from __future__ import annotations

import logging
from pathlib import Path

import msgspec

from headrace.errors import HeadraceError, NotFound
from headrace.models.formats import FORMATS
from headrace.models.inspection.findings import Finding, Verdict
from headrace.models.inspection.inspector import Inspector
from headrace.models.structure import Entry, files_of, open_plain

#: Bytes of one file that are given to picklescan, which reads it into memory.
_MOST_SECOND = 256 << 20


class Seen(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What one file, or one member of an archive, would do.

    Attributes:
        path: Members follow their archive: ``model.pth!archive/data.pkl``.
        verdict: See `Verdict`.
        format: What it is; None for data and notes.
        reasons: For people.
        imports: What opening it would import.
        types: What a loader has to trust by name.
        opened: Whether a word from the loader opens it.
    """

    path: str
    verdict: Verdict
    format: str | None = None
    reasons: tuple[str, ...] = ()
    imports: tuple[str, ...] = ()
    types: tuple[str, ...] = ()
    opened: bool = True


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What opening a model would do.

    Attributes:
        path: What was looked at.
        verdict: The worst of all files.
        files: How many there are.
        word: What a loader would have to say: formats to allow.
        types: What a loader would have to trust.
        seen: What is worth telling, the worst first. A file that is data, and nothing else, is not told.
    """

    path: str
    verdict: Verdict
    files: int
    word: tuple[str, ...] = ()
    types: tuple[str, ...] = ()
    seen: tuple[Seen, ...] = ()

    def text(self) -> str:
        """The report for people."""
        lines = [f"{self.path}: {self.verdict}"]
        for one in self.seen:
            kind = f" ({one.format})" if one.format else ""
            lines.append(f"  {one.path}{kind}: {one.verdict}")
            lines += [f"    {reason}" for reason in one.reasons]
            if one.types:
                lines.append(f"    asks for {', '.join(one.types)}")
        if any(not one.opened for one in self.seen):
            lines.append("No policy opens it.")
        elif self.verdict is not Verdict.SAFE:
            lines.append("To open it all the same, if you trust who wrote it:")
            if self.word:
                lines.append(f"  allow = {list(self.word)}")
            if self.types:
                lines.append(f"  trusted = {list(self.types)}")
        return "\n".join(lines)


def scan(path: str | Path) -> Report:
    """What opening a model, or a file, would do.

    Args:
        path: A model's folder, a file, or an archive.

    Raises:
        NotFound: There is nothing of that name.
    """
    place = Path(path)
    inspector = Inspector()
    if place.is_dir():
        try:
            entries = files_of(place)
        except HeadraceError as error:
            return _report(place, 0, [Finding(path=".", reasons=(error.message,), never=True)])
        folder = place
    elif place.is_file():
        entries, folder = [Entry(place.name, place.stat().st_size)], place.parent
        if place.is_symlink():
            folder, entries = (
                place.resolve().parent,
                [Entry(place.resolve().name, place.stat().st_size)],
            )
    else:
        raise NotFound(f"There is no '{place}'.")
    findings: list[Finding] = []
    for entry in entries:
        with open_plain(folder / entry.path) as stream:
            before = len(inspector.findings)
            inspector.look_at(entry.path, stream, entry.size)
            found = inspector.findings[before:]
        # picklescan unpacks into memory, so it is not given what has been found to be a bomb, or damaged.
        if not any(finding.never for finding in found) and any(
            finding.imports or finding.format in ("pickle", "torch-pickle") for finding in found
        ):
            found += _second_opinion(folder / entry.path, entry)
        findings += found
    return _report(place, len(entries), findings)


def _report(place: Path, files: int, findings: list[Finding]) -> Report:
    order = [Verdict.DANGEROUS, Verdict.WORD, Verdict.SAFE]
    seen = [
        Seen(
            path=finding.path,
            verdict=finding.verdict,
            format=finding.format,
            reasons=finding.reasons,
            imports=finding.imports,
            types=finding.types,
            opened=not finding.never,
        )
        for finding in findings
        if finding.format or finding.reasons or finding.imports
    ]
    seen.sort(key=lambda one: order.index(one.verdict))
    formats = {one.format for one in seen if one.format and not FORMATS[one.format].safe}
    return Report(
        path=str(place),
        verdict=min((one.verdict for one in seen), key=order.index, default=Verdict.SAFE),
        files=files,
        word=tuple(sorted(formats)),
        types=tuple(sorted({name for one in seen for name in one.types})),
        seen=tuple(seen),
    )


def _second_opinion(file: Path, entry: Entry) -> list[Finding]:
    """What picklescan calls dangerous in a file that holds pickles."""
    if entry.size > _MOST_SECOND:
        return []
    from picklescan.scanner import SafetyLevel, scan_file_path

    log = logging.getLogger("picklescan")
    level = log.level
    log.setLevel(logging.CRITICAL)  # what it cannot read, the other reading reports
    try:
        result = scan_file_path(str(file))
    except Exception:  # noqa: BLE001 - it raises whatever the file makes it raise; the other reading counts
        return []
    finally:
        log.setLevel(level)
    names = sorted(
        {
            f"{one.module}.{one.name}"
            for one in result.globals
            if one.safety is SafetyLevel.Dangerous
        }
    )
    if not names:
        return []
    reasons = (f"picklescan finds {', '.join(names[:20])}",)
    return [Finding(path=entry.path, reasons=reasons, imports=tuple(names), dangerous=True)]
