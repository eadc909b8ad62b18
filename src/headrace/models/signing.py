"""Signatures of models, in the form of the Open Source Security Foundation (the library ``model-signing``).

A signature is a file `SIGNATURE` in the model's folder: a sigstore bundle over the SHA-256 of every other file. It can be
made and checked by the library's own command as well. Three ways: a key pair (elliptic curve, PEM), a
certificate with its chain, or an identity that sigstore vouches for, which asks the network.

What may come into a folder after it was signed is not part of the signature: the signature itself, and the note
that registries leave there on download (`LATER`). Everything else must be named in it: a file that was added fails, wherever
it lies. (The library alone lets files in ``.git`` pass.) MLmodel is signed as it is when the model has been logged: nothing here edits it later.
"""

from __future__ import annotations

import ast
import base64
import json
import re
from collections.abc import Callable, Iterable, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import msgspec

from headrace.errors import InvalidParameter, PolicyViolation, Unsupported
from headrace.models.hashing import folder_digest
from headrace.models.policy import Identity, Signature
from headrace.models.produced import is_produced, remember
from headrace.models.structure import LATER, SIGNATURE, files_of

#: Harmless, and left out by the library's command.
_GIT = frozenset((".gitattributes", ".gitignore"))
_MOST_BYTES = 64 << 20
#: How the library tells that a file has another content, with both digests.
_CHANGED = re.compile(r"Hash mismatch for '(.*)': Expected .*", re.DOTALL)

Name = str | PathLike[str]


class Verified(msgspec.Struct, frozen=True, kw_only=True):
    """A signature that holds.

    Attributes:
        by: Whose, as the verifier named it: a key's file, certificates, an identity.
        files: How many files it covers.
    """

    by: str
    files: int


def sign(
    folder: Name,
    *,
    key: Name | None = None,
    password: str | None = None,
    certificate: Name | None = None,
    chain: Iterable[Name] = (),
    sigstore: bool = False,
    identity_token: str | None = None,
) -> Path:
    """Sign a model.

    Args:
        folder: Its folder.
        key: File of a private key (PEM; elliptic curve P-256, P-384 or P-521).
        password: The key's, if it is encrypted.
        certificate: File of the certificate of that key: signs with the certificate.
        chain: Files of certificates that lead from it to a root.
        sigstore: Sign with an identity of sigstore instead of a key; opens a browser where no
            ``identity_token`` is given and the machine has no identity of its own.
        identity_token: A token (OIDC) that says who signs.

    Returns:
        The signature's file.

    Raises:
        InvalidParameter: No way to sign, or more than one; or a key that is none.
        Unsupported: ``model-signing`` is not installed.
        PolicyViolation, InvalidModel, NotFound: See `headrace.models.structure`.
    """
    place = Path(folder)
    files_of(place)
    if (key is None) == (not sigstore):
        raise InvalidParameter("Sign with a private key ('key') or with sigstore, one of them.")
    library = _library()
    config = library.signing.Config().set_hashing_config(_hashing(library))
    try:
        if sigstore:
            config.use_sigstore_signer(
                identity_token=identity_token, use_ambient_credentials=identity_token is None
            )
        elif certificate is not None:
            config.use_certificate_signer(
                private_key=key, signing_certificate=certificate, certificate_chain=list(chain)
            )
        else:
            secret = None if password is None else password.encode()
            config.use_elliptic_key_signer(private_key=key, password=secret)
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise InvalidParameter(f"The key or certificate cannot be used to sign: {error}") from None
    file = place / SIGNATURE
    unborn = place / f".{SIGNATURE}.part"
    was_own = is_produced(folder_digest(place).hash)
    try:
        # Beside the folder's other files only when it is whole.
        config.sign(place, unborn)
        unborn.replace(file)
    except ValueError as error:
        raise InvalidParameter(f"The model cannot be signed: {error}") from None
    finally:
        unborn.unlink(missing_ok=True)
    if was_own:
        remember(folder_digest(place).hash)  # it stays this user's own
    return file


def verify(
    folder: Name,
    *,
    key: Name | None = None,
    certificates: Sequence[Name] = (),
    identity: str | None = None,
    issuer: str | None = None,
) -> Verified:
    """Check a model's signature.

    Args:
        folder: The model's folder.
        key: File of a public key (PEM).
        certificates: Files of certificates that the signer's must lead to.
        identity: Who must have signed through sigstore.
        issuer: Who vouches for that identity, as a URL.

    Raises:
        PolicyViolation: There is no signature, it is somebody else's, or the files are not those that were signed:
            the message names them.
        InvalidParameter: No way to check, or more than one; or a key that is none.
        Unsupported: ``model-signing`` is not installed.
    """
    ways = [way for way in (key, certificates, identity) if way]
    if len(ways) != 1 or (identity is None) != (issuer is None):
        raise InvalidParameter(
            "Check a signature with a public key ('key'), with 'certificates', or with 'identity' and 'issuer', one of them."
        )
    library = _library()
    config = library.verifying.Config()
    try:
        if key is not None:
            config.use_elliptic_key_verifier(public_key=Path(key))
            by = f"the key {key}"
        elif certificates:
            config.use_certificate_verifier(certificate_chain=[Path(one) for one in certificates])
            by = f"a certificate that {', '.join(map(str, certificates))} vouches for"
        else:
            config.use_sigstore_verifier(identity=identity, oidc_issuer=issuer)
            by = f"{identity}, as {issuer} says"
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise InvalidParameter(
            f"The key or certificate cannot be used to check a signature: {error}"
        ) from None
    return _verify(Path(folder), config, _hashing(library), by)


def verify_any(folder: Path, wanted: Signature) -> Verified:
    """Check that one of those whom a policy names has signed a model.

    Raises:
        PolicyViolation: None of them has.
    """
    refusals = []
    for check in _checks(folder, wanted):
        try:
            return check()
        except (PolicyViolation, InvalidParameter) as error:
            refusals.append(error.message)
    raise PolicyViolation(
        "The policy demands a signature, and the model has none that it accepts. "
        + " ".join(dict.fromkeys(refusals))
    )


def _checks(folder: Path, wanted: Signature) -> list[Callable[[], Verified]]:
    def by_key(key: str) -> Callable[[], Verified]:
        return lambda: verify(folder, key=key)

    def by_identity(one: Identity) -> Callable[[], Verified]:
        return lambda: verify(folder, identity=one.identity, issuer=one.issuer)

    checks = [by_key(key) for key in wanted.keys]
    if wanted.certificates:
        checks.append(lambda: verify(folder, certificates=wanted.certificates))
    return checks + [by_identity(one) for one in wanted.identities]


def _verify(folder: Path, config: Any, hashing: Any, by: str) -> Verified:
    files = {entry.path: entry.size for entry in files_of(folder)}
    if SIGNATURE not in files:
        raise PolicyViolation(f"The model is not signed: there is no {SIGNATURE} in its folder.")
    if files[SIGNATURE] > _MOST_BYTES:
        raise PolicyViolation(
            f"{SIGNATURE} has {files[SIGNATURE]:,} bytes, more than a signature has."
        )
    try:
        config.set_hashing_config(hashing).verify(folder, folder / SIGNATURE)
        signed = _signed_names(folder / SIGNATURE)
    except Exception as error:  # noqa: BLE001 - the library raises what its own libraries raise
        raise PolicyViolation(
            f"The signature does not hold for {by}: {_reason(error)}. Nothing was opened."
        ) from None
    added = sorted(set(files) - signed - LATER - _GIT)
    if added:
        raise PolicyViolation(
            f"The signature does not hold for {by}: it does not cover {', '.join(added[:20])}. Nothing was opened."
        )
    return Verified(by=by, files=len(signed))


def _signed_names(file: Path) -> set[str]:
    """The files that a signature names; it has been checked."""
    envelope = json.loads(file.read_bytes())["dsseEnvelope"]
    statement = json.loads(base64.b64decode(envelope["payload"]))
    names = {resource["name"] for resource in statement["predicate"]["resources"]}
    if statement["predicate"]["serialization"]["method"] == "shards":
        return {name.rsplit(":", 2)[0] for name in names}
    return names


def _reason(error: Exception) -> str:
    text = str(error).strip()
    if type(error).__name__ == "InvalidSignature":
        return "somebody else made it, or it was changed"
    if isinstance(error, ValueError) and text.startswith("Signature mismatch"):
        return _differences(text.removeprefix("Signature mismatch: "))
    return text or type(error).__name__


def _differences(listed: str) -> str:
    """The library's list of differences, which it gives as Python's text of a list, in words."""
    try:
        found = [str(one) for one in ast.literal_eval(listed)]
    except (ValueError, SyntaxError):
        return listed
    words = [_CHANGED.sub(r"\1 was changed", one) for one in found]
    more = f" and {len(words) - 20} more" if len(words) > 20 else ""
    return "; ".join(words[:20]) + more


def _hashing(library: Any) -> Any:
    """What is hashed: everything but what may come later."""
    return library.hashing.Config().set_ignored_paths(
        paths=sorted((*LATER, f".{SIGNATURE}.part")), ignore_git_paths=False
    )


def _library() -> Any:
    try:
        import model_signing.hashing
        import model_signing.signing
        import model_signing.verifying
    except ImportError as error:
        raise Unsupported(
            f"Signatures need the library model-signing ({error}): pip install 'headrace[signing]'."
        ) from None
    return model_signing
