"""Whether a model may be opened: asked after parsing, before building.

In this order, and nothing of a later step happens before an earlier one has passed:

1. *structure*: plain files in plain folders (`headrace.models.structure`);
2. *digest*: when one was recorded for the model, the folder must still have it;
3. *signature*: when the policy demands one;
4. *origin*: produced here (`headrace.models.produced`), pinned by the digest, or unknown;
5. *content*: each file's format as its bytes say, and the types that it asks for, held against the policy.

Every file of the folder counts, not only what the flavor says that it opens: what a file is must not depend
on what the model says of it.
"""

from __future__ import annotations

import hmac
from pathlib import Path

from headrace.errors import PolicyViolation
from headrace.models.contents import inspect_files
from headrace.models.findings import Finding
from headrace.models.flavor import Permit
from headrace.models.formats import FORMATS
from headrace.models.policy import Policy
from headrace.models.produced import is_produced
from headrace.models.structure import files_of


def audit(folder: Path, policy: Policy, *, digest: str | None = None) -> Permit:
    """What may be opened of a folder, for the flavor that loads it.

    Give it a folder that nobody else can change, see `headrace.models.private`.

    Args:
        folder: The model's folder.
        policy: The loader's.
        digest: As recorded at registration.

    Raises:
        PolicyViolation: The policy forbids it; nothing was opened. The message names the file, its format, why, and
            what the loader could say.
        InvalidModel: It is no model.
        NotFound: There is no such folder.
    """
    files = files_of(folder)
    found = _check_digest(folder, policy, digest)
    _check_signature(folder, policy)
    findings = inspect_files(folder, files)
    unsafe = [
        finding for finding in findings if finding.format and not FORMATS[finding.format].safe
    ]
    for finding in unsafe + findings:
        if finding.format in policy.forbid:
            raise PolicyViolation(_refusal(finding, "the policy forbids it whoever wrote it"))
    own = policy.strict != "always" and _needs_word(findings, policy) and _is_own(folder, found)
    if own:
        types = frozenset(name for finding in findings for name in finding.types)
        return Permit(formats=frozenset(FORMATS) - policy.forbid, trusted=types)
    for finding in findings:
        _check(finding, policy)
    return Permit(
        formats=policy.formats - policy.forbid,
        trusted=frozenset(
            name for finding in findings for name in finding.types if policy.trusts(name)
        ),
    )


def _check_digest(folder: Path, policy: Policy, digest: str | None) -> str | None:
    """The folder's digest, when it had to be found out."""
    if digest is None:
        if policy.digest:
            raise PolicyViolation(
                "The policy opens a model only with the digest that was recorded for it, and none was given: "
                "load it from the registry, as models:/name/version."
            )
        return None
    found = _digest(folder)
    if not hmac.compare_digest(found.encode(), digest.encode()):
        raise PolicyViolation(
            f"The model was changed after registration: its digest is {found}, and {digest} was recorded. "
            "Nothing was opened."
        )
    return found


def _check_signature(folder: Path, policy: Policy) -> None:
    if policy.signature is not None:
        from headrace.models.signing import verify_any  # a library that few need

        verify_any(folder, policy.signature)


def _is_own(folder: Path, digest: str | None) -> bool:
    return is_produced(_digest(folder) if digest is None else digest)


def _needs_word(findings: list[Finding], policy: Policy) -> bool:
    return any(
        (finding.format is not None and finding.format not in policy.formats)
        or not all(policy.trusts(name) for name in finding.types)
        for finding in findings
    )


def _check(finding: Finding, policy: Policy) -> None:
    if finding.format is not None and finding.format not in policy.formats:
        raise PolicyViolation(_refusal(finding, "the loader's policy does not allow that format"))
    unknown = [name for name in finding.types if not policy.trusts(name)]
    if unknown:
        raise PolicyViolation(
            f"'{finding.path}' asks for types that the loader's policy does not trust: {', '.join(unknown[:20])}. Nothing "
            "was opened. If you trust them, name them under 'trusted' in your policy."
        )


def _refusal(finding: Finding, why: str) -> str:
    format = FORMATS[finding.format or "opaque"]
    seen = f" It {'; it '.join(finding.reasons[:5])}." if finding.reasons else ""
    return (
        f"'{finding.path}' is of the format {format.name}, and {why}. {format.why}{seen} Nothing was opened. If you "
        f"trust who wrote it, say allow=['{format.name}'], or allow it in your policy; `headrace models scan` tells more."
    )


def _digest(folder: Path) -> str:
    from headrace.models.hashing import folder_digest

    return folder_digest(folder).hash
