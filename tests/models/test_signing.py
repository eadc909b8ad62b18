"""Signatures of models, by keys and certificates that the test makes."""

from __future__ import annotations

import datetime as dt
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from headrace.errors import InvalidParameter, PolicyViolation
from headrace.models.audit import audit
from headrace.models.hashing import folder_digest
from headrace.models.policy import Policy, Signature
from headrace.models.produced import remember
from headrace.models.signing import SIGNATURE, sign, verify
from support.attacks import sklearn_model


class Keys:
    """A key pair in files, and the same under a certificate."""

    def __init__(self, folder: Path, name: str, password: bytes | None = None) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.private = folder / f"{name}.pem"
        self.public = folder / f"{name}.pub"
        hidden = (
            serialization.BestAvailableEncryption(password)
            if password
            else serialization.NoEncryption()
        )
        self.private.write_bytes(
            self.key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, hidden
            )
        )
        self.public.write_bytes(
            self.key.public_key().public_bytes(
                serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
            )
        )

    def certify(self, other: Keys, *, authority: bool) -> Path:
        """A certificate for another key, signed with this one."""
        now = dt.datetime.now(dt.UTC)
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, other.private.stem)])
        issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, self.private.stem)])
        usage = dict.fromkeys(
            ("content_commitment", "key_encipherment", "data_encipherment", "key_agreement", "encipher_only", "decipher_only"),
            False,
        )  # fmt: skip
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(issuer)
            .public_key(other.key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(days=1))
            .not_valid_after(now + dt.timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
            .add_extension(
                x509.KeyUsage(
                    digital_signature=not authority,
                    key_cert_sign=authority,
                    crl_sign=authority,
                    **usage,
                ),
                critical=True,
            )
            .sign(self.key, hashes.SHA256())
        )
        file = other.private.with_suffix(".crt")
        file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        return file


@pytest.fixture(autouse=True)
def _state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


@pytest.fixture
def ours(tmp_path: Path) -> Keys:
    """Our keys."""
    return Keys(tmp_path / "keys", "ours")


@pytest.fixture
def signed(tmp_path: Path, ours: Keys) -> Path:
    """A model that we have signed."""
    folder = tmp_path / "model"
    sklearn_model(folder, "data/model.pkl", pickle.dumps({"a": 1}))
    (folder / "README.md").write_text("about it")
    assert sign(folder, key=ours.private) == folder / SIGNATURE
    return folder


def test_a_signature_holds_for_its_key_and_wherever_the_folder_is_put(
    signed: Path, ours: Keys, tmp_path: Path
) -> None:
    assert verify(signed, key=ours.public).files == 3
    shutil.copytree(signed, tmp_path / "elsewhere" / "another name")
    verify(tmp_path / "elsewhere" / "another name", key=ours.public)


def test_somebody_elses_key_is_refused(signed: Path, tmp_path: Path) -> None:
    theirs = Keys(tmp_path / "keys", "theirs")
    with pytest.raises(PolicyViolation, match="does not hold"):
        verify(signed, key=theirs.public)


def _change(folder: Path) -> str:
    (folder / "data" / "model.pkl").write_bytes(b"changed")
    return "data/model.pkl"


def _add(folder: Path) -> str:
    (folder / "data" / "added.bin").write_bytes(b"")
    return "data/added.bin"


def _add_where_git_is(folder: Path) -> str:
    """The library's own default passes over what lies there."""
    (folder / ".git").mkdir()
    (folder / ".git" / "model.pkl").write_bytes(b"")
    return ".git/model.pkl"


def _remove(folder: Path) -> str:
    (folder / "README.md").unlink()
    return "README.md"


def _edit_mlmodel(folder: Path) -> str:
    with (folder / "MLmodel").open("a") as file:
        file.write("metadata: {}\n")
    return "MLmodel"


@pytest.mark.parametrize("tamper", [_change, _add, _add_where_git_is, _remove, _edit_mlmodel])
def test_a_file_that_was_changed_added_or_removed_is_named(
    tamper: Callable[[Path], str], signed: Path, ours: Keys
) -> None:
    name = tamper(signed)
    with pytest.raises(PolicyViolation, match="does not hold") as error:
        verify(signed, key=ours.public)
    assert name in error.value.message
    assert "Digest(" not in error.value.message


def test_what_a_registry_adds_on_download_breaks_nothing(signed: Path, ours: Keys) -> None:
    (signed / "registered_model_meta").write_text("model_name: m\nmodel_version: '3'\n")
    verify(signed, key=ours.public)


def test_the_librarys_own_command_would_accept_it_and_we_accept_the_librarys(
    signed: Path, ours: Keys
) -> None:
    import model_signing

    model_signing.verifying.Config().use_elliptic_key_verifier(public_key=ours.public).verify(
        signed, signed / SIGNATURE
    )
    (signed / SIGNATURE).unlink()
    (signed / ".gitattributes").write_text("*.bin filter=lfs\n")
    hashing = model_signing.hashing.Config().set_ignored_paths(paths=[signed / SIGNATURE])
    model_signing.signing.Config().use_elliptic_key_signer(
        private_key=ours.private
    ).set_hashing_config(hashing).sign(signed, signed / SIGNATURE)
    verify(signed, key=ours.public)


def test_a_certificate_signs_and_its_root_checks(tmp_path: Path) -> None:
    root, leaf, other = (Keys(tmp_path / "keys", name) for name in ("root", "leaf", "other"))
    top = root.certify(root, authority=True)
    foreign = other.certify(other, authority=True)
    folder = tmp_path / "model"
    sklearn_model(folder, "model.pkl", pickle.dumps({}))
    sign(folder, key=leaf.private, certificate=root.certify(leaf, authority=False), chain=[top])
    assert "root.crt" in verify(folder, certificates=[top]).by
    with pytest.raises(PolicyViolation, match="does not hold"):
        verify(folder, certificates=[foreign])


def test_an_encrypted_key_needs_its_password(tmp_path: Path) -> None:
    keys = Keys(tmp_path / "keys", "hidden", b"secret")
    folder = tmp_path / "model"
    sklearn_model(folder, "model.pkl", pickle.dumps({}))
    with pytest.raises(InvalidParameter, match="cannot be used to sign"):
        sign(folder, key=keys.private)
    sign(folder, key=keys.private, password="secret")
    verify(folder, key=keys.public)


def test_bad_keys_and_missing_ways_are_told(signed: Path, tmp_path: Path) -> None:
    (tmp_path / "no.pem").write_text("no key")
    for wrong in (tmp_path / "no.pem", tmp_path / "none.pem"):
        with pytest.raises(InvalidParameter, match="cannot be used"):
            sign(signed, key=wrong)
        with pytest.raises(InvalidParameter, match="cannot be used"):
            verify(signed, key=wrong)
    with pytest.raises(InvalidParameter, match="one of them"):
        sign(signed)
    with pytest.raises(InvalidParameter, match="one of them"):
        verify(signed, identity="me@example.com")
    assert not list(signed.glob(".*"))


@pytest.mark.parametrize(
    "content", [b"", b"{}", b"not json", b'{"mediaType": "x", "dsseEnvelope": {}}']
)
def test_a_signature_that_is_none_is_refused(content: bytes, signed: Path, ours: Keys) -> None:
    (signed / SIGNATURE).write_bytes(content)
    with pytest.raises(PolicyViolation, match="does not hold"):
        verify(signed, key=ours.public)


def test_a_policy_that_demands_a_signature_opens_what_one_of_those_named_has_signed(
    signed: Path, ours: Keys, tmp_path: Path
) -> None:
    theirs = Keys(tmp_path / "keys", "theirs")
    formats = Policy().formats | {"pickle"}
    one_of_two = Signature(keys=(str(theirs.public), str(ours.public)))
    audit(signed, Policy(formats=formats, signature=one_of_two))
    with pytest.raises(PolicyViolation, match="demands a signature"):
        audit(signed, Policy(formats=formats, signature=Signature(keys=(str(theirs.public),))))
    # A signature says who made it; what may be opened is another question.
    with pytest.raises(PolicyViolation, match="does not allow"):
        audit(signed, Policy(signature=one_of_two))


def test_ones_own_model_stays_ones_own_when_it_is_signed(tmp_path: Path, ours: Keys) -> None:
    folder = tmp_path / "model"
    sklearn_model(folder, "model.pkl", pickle.dumps({}))
    remember(folder_digest(folder).hash)
    sign(folder, key=ours.private)
    audit(folder, Policy())
