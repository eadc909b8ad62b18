"""Whether a model may be opened: asked after parsing, before building.

In this order, and nothing of a later step happens before an earlier one has passed:

1. *structure*: plain files in plain folders (`headrace.models.structure`);
2. *digest*: when one was recorded for the model, the folder must still have it;
3. *signature*: when the policy demands one;
4. *content*: each file's format as its bytes say, and the types that it asks for, held against the policy;
5. *origin*, when the content needs a word: what this user saved himself (`headrace.models.produced`) needs none.

Every file of the folder counts, not only what the flavor says that it opens: what a file is must not depend on
what the model says of it.

A model that is *pinned*, whose digest was recorded and matches, is what was registered; who registered it may still
be a stranger. It is held to the policy as any other, but for one thing: compiled types of scikit-learn that
run no code but believe the numbers in the file are trusted (`headrace.models.inspection.skops_types.CRASHING`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path

from headrace.errors import PolicyViolation
from headrace.models.flavor import Permit
from headrace.models.formats import FORMATS
from headrace.models.hashing import folder_digest
from headrace.models.inspection.findings import Finding
from headrace.models.inspection.inspector import inspect_files
from headrace.models.inspection.skops_types import CRASHING, HARMLESS
from headrace.models.policy import Policy
from headrace.models.produced import is_produced
from headrace.models.structure import LATER, files_of, open_plain


def audit(
    folder: Path,
    policy: Policy,
    *,
    digest: str | None = None,
    manifest: Mapping[str, str] | None = None,
) -> Permit:
    """What may be opened of a folder, for the flavor that loads it.

    Give it a folder that nobody else can change, see `headrace.models.private`.

    Args:
        folder: The model's folder.
        policy: The loader's.
        digest: As recorded at registration, as `headrace.models.hashing.folder_digest` has it.
        manifest: SHA-256 of each file as recorded, by path: names the files that were changed.

    Raises:
        PolicyViolation: The policy forbids it; nothing was opened. The message names the file, its format, why, and
            what the loader could say.
        InvalidModel: It is no model.
        NotFound: There is no such folder.
    """
    files = files_of(folder)
    found = _check_digest(folder, policy, digest, manifest)
    _check_signature(folder, policy)
    findings = inspect_files(folder, files)
    _check_forbidden(findings, policy)
    trusted = policy.trusted if digest is None else policy.trusted | CRASHING
    policy = policy.trusting(trusted)
    if policy.strict != "always" and _needs_word(findings, policy) and _is_own(folder, found):
        types = frozenset(name for finding in findings for name in finding.types)
        return Permit(formats=frozenset(FORMATS) - policy.forbid, trusted=types | HARMLESS)
    needed = sorted({f.format for f in findings if f.format and f.format not in policy.formats})
    for finding in findings:
        _check(finding, policy, needed)
    return Permit(
        formats=policy.formats - policy.forbid,
        trusted=HARMLESS | {name for finding in findings for name in finding.types},
    )


def _check_digest(
    folder: Path, policy: Policy, digest: str | None, manifest: Mapping[str, str] | None
) -> str | None:
    """The folder's digest, when it had to be found out."""
    if digest is None:
        if policy.digest:
            raise PolicyViolation(
                "The policy opens a model only with the digest that was recorded for it, and none was given: "
                "load it from the registry, as models:/name/version."
            )
        return None
    found = folder_digest(folder).hash
    # It may have been signed, or downloaded by MLflow, since.
    if digest != found and digest != folder_digest(folder, without=LATER).hash:
        raise PolicyViolation(
            f"The model was changed after registration: its digest is {found}, and {digest} was recorded. "
            f"{_changes(folder, manifest)}Nothing was opened. Register what is there now as a new version, or "
            "restore what was registered."
        )
    return found


def _changes(folder: Path, manifest: Mapping[str, str] | None) -> str:
    """Which files were changed, as a sentence; nothing when it is not known."""
    if manifest is None:
        return ""
    now = {}
    for entry in files_of(folder):
        with open_plain(folder / entry.path) as stream:
            now[entry.path] = hashlib.file_digest(stream, "sha256").hexdigest()
    parts = (
        (
            "changed",
            sorted(path for path in now.keys() & manifest.keys() if now[path] != manifest[path]),
        ),
        ("added", sorted(now.keys() - manifest.keys() - LATER)),
        ("removed", sorted(manifest.keys() - now.keys())),
    )
    said = [f"{what}: {_listed(paths)}" for what, paths in parts if paths]
    return f"Files {'; '.join(said)}. " if said else ""


def _check_signature(folder: Path, policy: Policy) -> None:
    if policy.signature is not None:
        from headrace.models.signing import verify_any  # loads a library that few need

        verify_any(folder, policy.signature)


def _check_forbidden(findings: list[Finding], policy: Policy) -> None:
    for finding in findings:
        if finding.format in policy.forbid:
            raise PolicyViolation(
                f"'{finding.path}' is of the format {finding.format}, and the loader's policy forbids that whoever wrote "
                f"it.{_seen(finding)} Nothing was opened."
            )


def _is_own(folder: Path, digest: str | None) -> bool:
    return is_produced(folder_digest(folder).hash if digest is None else digest)


def _needs_word(findings: list[Finding], policy: Policy) -> bool:
    return any(
        finding.never
        or (finding.format is not None and finding.format not in policy.formats)
        or not all(policy.trusts(name) for name in finding.types)
        for finding in findings
    )


def _check(finding: Finding, policy: Policy, needed: list[str]) -> None:
    if finding.never:
        raise PolicyViolation(
            f"'{finding.path}' is refused.{_seen(finding)} Nothing was opened, and no policy opens it; "
            "`headrace models scan` tells more."
        )
    if finding.format is not None and finding.format not in policy.formats:
        format = FORMATS[finding.format]
        raise PolicyViolation(
            f"'{finding.path}' is of the format {format.name}, which the loader's policy does not allow. {format.why}"
            f"{_seen(finding)} Nothing was opened. If you trust who wrote the model, say allow={needed}, or put "
            f"allow = {needed} into your policy file; `headrace models scan` tells more."
        )
    unknown = [name for name in finding.types if not policy.trusts(name)]
    if unknown:
        raise PolicyViolation(
            f"'{finding.path}' asks for types that the loader's policy does not trust: {_listed(unknown)}."
            f"{_seen(finding)} Nothing was opened. If you trust who wrote the model, put them under 'trusted' in your "
            "policy; a list that lies beside the model is never read."
        )


def _seen(finding: Finding) -> str:
    return f" Seen: {'; '.join(finding.reasons[:5]).rstrip('.')}." if finding.reasons else ""


def _listed(names: Iterable[str]) -> str:
    names = list(names)
    more = f" and {len(names) - 20} more" if len(names) > 20 else ""
    return ", ".join(names[:20]) + more
