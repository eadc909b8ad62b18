"""The loader's policy: where it comes from, and what it does with bad input."""

from __future__ import annotations

from pathlib import Path

import pytest

from headrace.errors import InvalidParameter
from headrace.models.policy import PICKLES, SAFE, Identity, Policy, resolve


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")


@pytest.fixture
def users(tmp_path: Path) -> Path:
    """The user's own policy file."""
    file = tmp_path / "config" / "headrace" / "policy.toml"
    file.parent.mkdir(parents=True)
    return file


def test_without_a_word_only_what_runs_nothing_is_opened() -> None:
    policy = resolve(None)
    assert policy == Policy()
    assert policy.formats == SAFE
    assert not SAFE & {"pickle", "torch-pickle", "torchscript", "python", "keras-code", "opaque"}


def test_the_argument_of_a_call_is_all_of_the_policy(
    users: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    users.write_text('allow = ["pickle"]')
    monkeypatch.setenv("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "false")
    own = Policy(formats=frozenset({"onnx", "pickle"}))
    assert resolve(own) is own
    with pytest.raises(InvalidParameter, match="not both"):
        resolve(own, ["pickle"])


def test_the_users_file_and_the_variable_that_names_another(
    users: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    users.write_text(
        """
        allow = ["python"]
        trusted = ["mine.Model", "ours.*"]
        strict = "always"
        digest = true
        [signature]
        keys = ["release.pub"]
        identities = [{identity = "ci@example.com", issuer = "https://example.com"}]
        """
    )
    policy = resolve(None)
    assert policy.formats == SAFE | {"python"}
    assert policy.strict == "always"
    assert policy.digest
    assert policy.signature is not None
    assert policy.signature.keys == (str(users.parent / "release.pub"),)
    assert policy.signature.identities == (Identity("ci@example.com", "https://example.com"),)
    assert policy.trusts("mine.Model")
    assert policy.trusts("ours.deep.Model")
    assert not policy.trusts("mine.Other")

    other = tmp_path / "other.toml"
    other.write_text('formats = ["onnx"]')
    monkeypatch.setenv("HEADRACE_MODEL_POLICY", str(other))
    assert resolve(None) == Policy(formats=frozenset({"onnx"}))
    assert resolve(None, ["pickle"]).formats == {"onnx", "pickle"}


def test_a_file_in_the_working_folder_can_only_forbid(
    users: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It may have come with a stranger's clone."""
    users.write_text('allow = ["python", "pickle"]')
    nearby = tmp_path / "work" / "headrace-policy.toml"
    nearby.write_text(
        'allow = ["torchscript"]\ntrusted = ["os.system"]\nforbid = ["python"]\ndigest = true'
    )
    deep = tmp_path / "work" / "a" / "b"
    deep.mkdir(parents=True)
    monkeypatch.chdir(deep)
    policy = resolve(None)
    assert "torchscript" not in policy.formats
    assert not policy.trusts("os.system")
    assert policy.forbid == {"python"}
    assert policy.digest
    assert "can only forbid" in caplog.text
    nearby.write_text('formats = ["onnx"]')
    assert (resolve(None).formats - resolve(None).forbid) == {"onnx"}
    # Named by the loader, it is the loader's.
    nearby.write_text('allow = ["torchscript"]')
    monkeypatch.setenv("HEADRACE_MODEL_POLICY", str(nearby))
    assert "torchscript" in resolve(None).formats


def test_a_file_that_came_with_a_clone_does_not_hide_the_one_above_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clone = tmp_path / "work" / "clone"
    clone.mkdir(parents=True)
    (tmp_path / "work" / "headrace-policy.toml").write_text(
        'forbid = ["pickle"]\nstrict = "always"\n[signature]\nkeys = ["ours.pub"]'
    )
    (clone / "headrace-policy.toml").write_text('[signature]\nkeys = ["theirs.pub"]')
    monkeypatch.chdir(clone)
    policy = resolve(None)
    assert policy.forbid == {"pickle"}
    assert policy.strict == "always"
    assert policy.signature is not None
    assert policy.signature.keys == (str(tmp_path / "work" / "ours.pub"),)


def test_pickles_are_switched_by_variables_and_mlflows_only_takes_away(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "true")
    assert resolve(None) == Policy()
    monkeypatch.setenv("HEADRACE_ALLOW_PICKLE", "1")
    assert resolve(None).formats == SAFE | PICKLES
    monkeypatch.setenv("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "false")
    assert resolve(None).forbid == PICKLES
    monkeypatch.setenv("HEADRACE_ALLOW_PICKLE", "perhaps")
    with pytest.raises(InvalidParameter, match="HEADRACE_ALLOW_PICKLE is 'perhaps': give 1 or 0"):
        resolve(None)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("allow = [", "is not TOML"),
        ('allow = ["pickles"]', "no model format 'pickles'"),
        ('allow = "pickle"', "Expected `array`"),
        ('trust = ["a.B"]', "unknown field `trust`.*It may hold formats, allow, trusted"),
        ('trusted = ["*"]', r"'\*' in 'trusted' is no type"),
        ('strict = "never"', "Invalid enum value 'never'"),
        ("[signature]", "must say whose"),
        ('[signature]\nkey = "x"', "unknown field `key`"),
    ],
)
def test_a_bad_policy_file_is_named_with_what_is_wrong(
    users: Path, text: str, message: str
) -> None:
    users.write_text(text)
    with pytest.raises(InvalidParameter, match=message) as error:
        resolve(None)
    assert str(users) in error.value.message


def test_a_policy_that_everybody_can_write_is_nobodys(users: Path) -> None:
    users.write_text('allow = ["pickle"]')
    users.chmod(0o666)
    with pytest.raises(InvalidParameter, match="chmod o-w"):
        resolve(None)


def test_a_named_policy_that_is_not_there_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADRACE_MODEL_POLICY", "/nowhere/policy.toml")
    with pytest.raises(InvalidParameter, match="cannot be read"):
        resolve(None)


@pytest.mark.parametrize(
    "name",
    ["operator.methodcaller", "functools.partial", "numpy.load", "joblib.load", "builtins.eval", "os.system",
     "_operator.attrgetter", "torch.load", "mine.__class__.x", "importlib.import_module"],
)  # fmt: skip
def test_what_runs_what_it_is_given_is_trusted_by_its_whole_name_only(name: str) -> None:
    package = name.split(".")[0]
    assert not Policy(trusted=frozenset({f"{package}.*"})).trusts(name)
    assert Policy(trusted=frozenset({name})).trusts(name)
