"""What a loader allows: the policy that is his alone.

Nothing in a model's folder is a source of policy. It comes, the most specific first, from

1. the argument ``policy=`` of the call that loads: then nothing else is read;
2. the argument ``allow=`` of that call, and ``HEADRACE_ALLOW_PICKLE=1``: they add formats to what follows;
3. the file that ``HEADRACE_MODEL_POLICY`` names; without it ``$XDG_CONFIG_HOME/headrace/policy.toml``
   (``~/.config/headrace/policy.toml``);
4. the strict default.

Two sources can only forbid, whatever the others allow: each ``headrace-policy.toml`` in the working folder and
above it, for one may have come with a stranger's archive or clone, and must not hide another; and
``MLFLOW_ALLOW_PICKLE_DESERIALIZATION=false`` (or ``HEADRACE_ALLOW_PICKLE=0``).
"""

from __future__ import annotations

import logging
import os
import stat
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

import msgspec

from headrace.errors import InvalidParameter
from headrace.models.formats import FORMATS
from headrace.models.inspection.dangerous import is_dangerous

_log = logging.getLogger(__name__)

#: Formats that run nothing.
SAFE = frozenset(name for name, format in FORMATS.items() if format.safe)
#: What ``HEADRACE_ALLOW_PICKLE`` speaks of.
PICKLES = frozenset({"pickle", "torch-pickle"})
_NAME = "headrace-policy.toml"
_MOST_BYTES = 1 << 20


class Identity(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Who may have signed through sigstore: an identity (a mail address, a workflow), and who vouches for it."""

    identity: str
    issuer: str


class Signature(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Whose signature a model must carry; one of those named is enough.

    Attributes:
        keys: Files of public keys (PEM).
        certificates: Files of certificates (PEM) that a signer's certificate must lead to.
        identities: Identities of sigstore.
    """

    keys: tuple[str, ...] = ()
    certificates: tuple[str, ...] = ()
    identities: tuple[Identity, ...] = ()


class Policy(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What may be opened.

    Attributes:
        formats: Names of formats (`headrace.models.formats`) that may be opened whoever wrote the model.
        trusted: Full names of types that a skops file may ask for, beside those that skops trusts. ``mine.*`` is every type
            of a package, but for those known to run what they are given: they have to be named whole.
        forbid: Formats that nobody may open, not even what this user saved himself.
        strict: ``"always"``: what this user saved himself on this machine is held to `formats` and `trusted` as well.
        digest: A model is opened only with the digest recorded for it, as one from the registry is.
        signature: Whose signature a model must carry. None: it needs none. What this user saved himself
            needs one too.
    """

    formats: frozenset[str] = SAFE
    trusted: frozenset[str] = frozenset()
    forbid: frozenset[str] = frozenset()
    strict: Literal["foreign", "always"] = "foreign"
    digest: bool = False
    signature: Signature | None = None

    def __post_init__(self) -> None:
        _check_formats(self.formats | self.forbid)
        if self.strict not in ("foreign", "always"):
            raise InvalidParameter(f"strict is '{self.strict}': give 'foreign' or 'always'.")
        if self.signature is not None and not (
            self.signature.keys or self.signature.certificates or self.signature.identities
        ):
            raise InvalidParameter(
                "A policy that demands a signature must say whose: keys, certificates or identities."
            )
        for name in self.trusted:
            _check_trusted(name)

    @staticmethod
    def read(path: str | os.PathLike[str]) -> Policy:
        """The policy in a file.

        Raises:
            InvalidParameter: There is none, everybody may write it, or it is not what it should be.
        """
        file = Path(path)
        return _build(_parse(file, anybody=False), file)

    @staticmethod
    def current(allow: Iterable[str] = ()) -> Policy:
        """The policy that holds here when the caller gives none: see the module.

        Args:
            allow: Formats that the caller allows in addition.

        Raises:
            InvalidParameter: A file or a variable is not what it should be.
        """
        policy = _from_file()
        more = frozenset(allow)
        _check_formats(more)
        said = _switch("HEADRACE_ALLOW_PICKLE")
        if said:
            more |= PICKLES
        forbid = policy.forbid
        if said is False or _switch("MLFLOW_ALLOW_PICKLE_DESERIALIZATION") is False:
            forbid |= PICKLES
        if more or forbid:
            policy = msgspec.structs.replace(policy, formats=policy.formats | more, forbid=forbid)
        for file in _above():
            policy = _restricted(policy, file)
        return policy

    def trusting(self, trusted: frozenset[str]) -> Policy:
        """The same policy with other types that are trusted."""
        return self if trusted == self.trusted else msgspec.structs.replace(self, trusted=trusted)

    def trusts(self, name: str) -> bool:
        """Whether the loader has named a type, whole or by its package."""
        if name in self.trusted:
            return True
        return not is_dangerous(name) and any(
            name.startswith(pattern[:-1]) for pattern in self.trusted if pattern.endswith(".*")
        )


def resolve(policy: Policy | None, allow: Iterable[str] = ()) -> Policy:
    """The policy for one call: its own argument, or what holds here.

    Raises:
        InvalidParameter: Both were given, or what holds here is not what it should be.
    """
    allow = tuple(allow)
    if policy is None:
        return Policy.current(allow)
    if allow:
        raise InvalidParameter("Give 'policy' or 'allow', not both: a policy says all of it.")
    return policy


class _File(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A policy file. ``formats`` are all that are allowed, ``allow`` are allowed beside the safe ones."""

    formats: frozenset[str] | None = None
    allow: frozenset[str] = frozenset()
    trusted: frozenset[str] = frozenset()
    forbid: frozenset[str] = frozenset()
    strict: Literal["foreign", "always"] = "foreign"
    digest: bool = False
    signature: Signature | None = None


def _from_file() -> Policy:
    named = os.environ.get("HEADRACE_MODEL_POLICY")
    if named:
        return Policy.read(named)
    base = os.environ.get("XDG_CONFIG_HOME")
    try:
        file = (Path(base) if base else Path.home() / ".config") / "headrace" / "policy.toml"
    except RuntimeError:  # no home
        return Policy()
    return Policy.read(file) if file.exists() else Policy()


def _restricted(policy: Policy, file: Path) -> Policy:
    """A policy under a file of the working folder or one above, which only takes away."""
    theirs = _parse(file, anybody=True)
    wanted = _build(theirs, file)
    if theirs.allow or theirs.trusted:
        _log.warning(
            "%s can only forbid: what it allows or trusts counts when you name the file, as "
            "HEADRACE_MODEL_POLICY=%s",
            file, file,
        )  # fmt: skip
    forbid = policy.forbid | wanted.forbid
    if theirs.formats is not None:
        forbid |= frozenset(FORMATS) - theirs.formats
    return msgspec.structs.replace(
        policy,
        forbid=forbid,
        strict="always" if "always" in (policy.strict, wanted.strict) else "foreign",
        digest=policy.digest or wanted.digest,
        signature=policy.signature or wanted.signature,
    )


def _above() -> list[Path]:
    """The files of the working folder and those above it, the outermost first: whose signature it demands counts."""
    try:
        folder = Path.cwd()
    except OSError:  # it was removed
        return []
    found = []
    for place in (*reversed(folder.parents), folder):
        file = place / _NAME
        try:
            owner = file.stat().st_uid
        except OSError:
            continue
        if owner in (os.getuid(), 0):  # somebody else's in /tmp says nothing
            found.append(file)
    return found


def _parse(file: Path, *, anybody: bool) -> _File:
    """A file as it is. ``anybody``: it may be one that everybody can write, because it only forbids."""
    try:
        with file.open("rb") as stream:
            mode = os.fstat(stream.fileno()).st_mode
            if not stat.S_ISREG(mode):
                raise InvalidParameter(f"The model policy {file} is not a file.")
            if mode & stat.S_IWOTH and not anybody:
                raise InvalidParameter(
                    f"Everybody can write the model policy {file}: it would be anybody's. "
                    f"Take that away: chmod o-w {file}"
                )
            content = stream.read(_MOST_BYTES + 1)
        if len(content) > _MOST_BYTES:
            raise InvalidParameter(f"The model policy {file} has more than {_MOST_BYTES:,} bytes.")
        table: dict[str, Any] = tomllib.loads(content.decode())
        return msgspec.convert(table, _File)
    except OSError as error:
        raise InvalidParameter(
            f"The model policy {file} cannot be read: {error.strerror}."
        ) from None
    except UnicodeDecodeError:
        raise InvalidParameter(f"The model policy {file} is not UTF-8.") from None
    except tomllib.TOMLDecodeError as error:
        raise InvalidParameter(f"The model policy {file} is not TOML: {error}.") from None
    except msgspec.ValidationError as error:
        raise InvalidParameter(
            f"The model policy {file} is not right: {error}. It may hold {', '.join(_File.__struct_fields__)}."
        ) from None


def _build(said: _File, file: Path) -> Policy:
    try:
        return Policy(
            formats=(SAFE if said.formats is None else said.formats) | said.allow,
            trusted=said.trusted,
            forbid=said.forbid,
            strict=said.strict,
            digest=said.digest,
            signature=_beside(said.signature, file),
        )
    except InvalidParameter as error:
        raise InvalidParameter(f"The model policy {file} is not right: {error.message}") from None


def _beside(signature: Signature | None, file: Path) -> Signature | None:
    """Files of keys that are named without a folder lie beside the policy's own."""
    if signature is None:
        return None
    folder = file.absolute().parent
    return msgspec.structs.replace(
        signature,
        keys=tuple(str(folder / Path(key).expanduser()) for key in signature.keys),
        certificates=tuple(str(folder / Path(one).expanduser()) for one in signature.certificates),
    )


def _switch(name: str) -> bool | None:
    """An environment variable that is on or off; None when it is not set."""
    text = os.environ.get(name)
    if not text:
        return None
    if text.lower() in ("1", "true", "yes", "on"):
        return True
    if text.lower() in ("0", "false", "no", "off"):
        return False
    raise InvalidParameter(f"The environment variable {name} is '{text}': give 1 or 0.")


def _check_formats(names: frozenset[str]) -> None:
    unknown = sorted(names - FORMATS.keys())
    if unknown:
        raise InvalidParameter(
            f"There is no model format '{unknown[0]}'. The formats are {', '.join(FORMATS)}."
        )


def _check_trusted(name: str) -> None:
    parts = name.removesuffix(".*").split(".")
    if not all(part.isidentifier() for part in parts):
        raise InvalidParameter(
            f"'{name}' in 'trusted' is no type: give its full name, as 'package.module.Type', or a package's as 'package.*'."
        )
