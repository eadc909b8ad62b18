"""Digest, signature, origin and content of a model, held against the loader's policy."""

from __future__ import annotations

import hashlib
import io
import json
import pickle
import zipfile
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest

from headrace.errors import NotFound, PolicyViolation
from headrace.models.audit import audit
from headrace.models.formats import FORMATS
from headrace.models.hashing import folder_digest
from headrace.models.inspection.skops_types import CRASHING, HARMLESS
from headrace.models.policy import SAFE, Policy
from headrace.models.private import is_private, private
from headrace.models.produced import remember
from support.attacks import (
    ATTACKS,
    mlmodel,
    sklearn_model,
    skops_call,
    skops_file,
    torch_export,
    zip_of,
)

PICKLE = Policy(formats=SAFE | {"pickle"})


@pytest.fixture(autouse=True)
def _state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


@pytest.fixture
def pickled(tmp_path: Path) -> Path:
    """A model that is a harmless pickle."""
    sklearn_model(tmp_path / "model", "model.pkl", pickle.dumps(OrderedDict(a=1)))
    return tmp_path / "model"


def test_a_safe_model_needs_no_word(tmp_path: Path) -> None:
    text = {
        "__class__": "str",
        "__module__": "builtins",
        "__loader__": "JsonNode",
        "content": '"x"',
    }
    sklearn_model(tmp_path / "model", "model.skops", skops_file(text))
    permit = audit(tmp_path / "model", Policy())
    assert permit.formats == SAFE
    assert permit.trusted == HARMLESS


def test_a_strangers_pickle_needs_the_loaders_word(pickled: Path) -> None:
    with pytest.raises(
        PolicyViolation, match=r"'model.pkl' is of the format pickle.*say allow=\['pickle'\]"
    ):
        audit(pickled, Policy())
    assert "pickle" in audit(pickled, PICKLE).formats


def test_ones_own_pickle_is_opened_until_a_byte_of_the_folder_changes(pickled: Path) -> None:
    remember(folder_digest(pickled).hash)
    assert audit(pickled, Policy()).formats == frozenset(FORMATS)
    (pickled / "notes.txt").write_text("one file more")
    with pytest.raises(PolicyViolation, match="pickle"):
        audit(pickled, Policy())


def test_a_policy_can_be_strict_with_ones_own_too(pickled: Path) -> None:
    remember(folder_digest(pickled).hash)
    with pytest.raises(PolicyViolation, match="does not allow"):
        audit(pickled, Policy(strict="always"))
    with pytest.raises(PolicyViolation, match="forbids that whoever wrote it"):
        audit(pickled, Policy(forbid=frozenset({"pickle"})))
    with pytest.raises(PolicyViolation, match="forbids that whoever wrote it"):
        audit(pickled, Policy(formats=PICKLE.formats, forbid=frozenset({"pickle"})))


def test_a_pinned_model_that_was_changed_is_refused_before_anything_else(pickled: Path) -> None:
    digest = folder_digest(pickled).hash
    audit(pickled, PICKLE, digest=digest)
    audit(pickled, PICKLE, digest=digest.removeprefix("sha256:").upper())
    before = {
        path.relative_to(pickled).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in pickled.rglob("*")
    }
    (pickled / "model.pkl").write_bytes(b"changed")
    (pickled / "added.txt").write_text("")
    with pytest.raises(PolicyViolation, match="changed after registration") as error:
        audit(pickled, PICKLE, digest=digest, manifest=before | {"gone.txt": "00"})
    assert "changed: model.pkl; added: added.txt; removed: gone.txt" in error.value.message


def test_a_policy_can_demand_a_digest(pickled: Path) -> None:
    policy = Policy(formats=PICKLE.formats, digest=True)
    with pytest.raises(PolicyViolation, match="load it from the registry"):
        audit(pickled, policy)
    audit(pickled, policy, digest=folder_digest(pickled).hash)


def test_pinned_and_unknown_pickles_need_the_same_word(pickled: Path) -> None:
    with pytest.raises(PolicyViolation, match="does not allow"):
        audit(pickled, Policy(), digest=folder_digest(pickled).hash)


def test_types_are_trusted_by_the_loader_only(tmp_path: Path) -> None:
    tree = skops_call(tmp_path / "marker")
    folder = tmp_path / "model"
    sklearn_model(folder, "model.skops", skops_file(tree), skops_trusted_types=["os.mkdir"])
    with pytest.raises(PolicyViolation, match=r"does not trust: os\.mkdir"):
        audit(folder, Policy())
    with pytest.raises(PolicyViolation, match=r"does not trust: os\.mkdir"):
        audit(folder, Policy(trusted=frozenset({"os.*"})))
    trusted = audit(folder, Policy(trusted=frozenset({"os.mkdir"}))).trusted
    assert trusted - HARMLESS == {"os.mkdir"}
    remember(folder_digest(folder).hash)
    assert audit(folder, Policy()).trusted - HARMLESS == {"os.mkdir"}
    assert not (tmp_path / "marker").exists()


def test_a_random_forest_is_opened_when_it_is_pinned(tmp_path: Path) -> None:
    """Its trees run no code, but a file made to harm could crash the process: skops does not trust them."""
    import skops.io
    from sklearn.ensemble import RandomForestClassifier

    model = RandomForestClassifier(2, max_depth=2).fit([[0.0], [1.0]], [0, 1])
    folder = tmp_path / "model"
    sklearn_model(folder, "model.skops", skops.io.dumps(model))
    with pytest.raises(PolicyViolation, match=r"sklearn\.tree\._tree\.Tree"):
        audit(folder, Policy())
    permit = audit(folder, Policy(), digest=folder_digest(folder).hash)
    assert permit.trusted - HARMLESS == {"sklearn.tree._tree.Tree"} < CRASHING
    loaded = skops.io.load(folder / "model.skops", trusted=sorted(permit.trusted))
    assert list(loaded.predict([[0.0]])) == [0]


def test_what_pipelines_are_commonly_made_of_is_opened_on_another_machine_when_it_is_pinned(
    tmp_path: Path,
) -> None:
    """None of these is this user's own here, and none needs a word: they compute, and run nothing."""
    import skops.io
    from sklearn.ensemble import VotingClassifier
    from sklearn.feature_selection import SelectKBest, f_classif
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.gaussian_process.kernels import RBF, Matern
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GridSearchCV
    from sklearn.pipeline import make_pipeline

    x = np.array([[0.0, 1.0], [1.0, np.nan], [2.0, 1.0], [3.0, 0.0]])
    y = [0, 1, 0, 1]
    search = GridSearchCV(LogisticRegression(), {"C": [1.0]}, cv=2, scoring="accuracy")
    vote = VotingClassifier([("search", search), ("plain", LogisticRegression())])
    models = (
        make_pipeline(SimpleImputer(), SelectKBest(f_classif, k=1), vote).fit(x, y),
        GaussianProcessRegressor(RBF() + Matern()).fit(x[:, :1], y),
    )
    for count, model in enumerate(models):
        folder = tmp_path / str(count)
        sklearn_model(folder, "model.skops", skops.io.dumps(model))
        permit = audit(folder, Policy(), digest=folder_digest(folder).hash)
        loaded = skops.io.load(folder / "model.skops", trusted=sorted(permit.trusted))
        data = x[:, : model.n_features_in_]
        assert list(loaded.predict(data)) == list(model.predict(data))


def test_tensors_in_an_exported_graph_need_no_word(tmp_path: Path) -> None:
    weights = zip_of({"archive/data.pkl": pickle.dumps(OrderedDict(), 2), "archive/version": "3\n"})
    folder = tmp_path / "model"
    mlmodel(folder, pytorch={"model_data": "data"})
    (folder / "data").mkdir()
    (folder / "data" / "model.pt2").write_bytes(torch_export(**{"data/weights/model.pt": weights}))
    assert "torch-export" in audit(folder, Policy()).formats


def test_a_plain_array_and_plain_documents_need_no_word(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    mlmodel(folder, sklearn={"pickled_model": "model.skops"})
    np.save(folder / "example.npy", np.zeros(3))
    np.savez_compressed(
        folder / "example.npz", a=np.zeros(1_000_000), b=np.array([("x", 1)], "U3,i4")
    )
    (folder / "example.json").write_text(json.dumps({"columns": ["a"], "data": [[1]]}))
    (folder / "conda.yaml").write_text("channels:\n- conda-forge\ndependencies:\n- python=3.11\n")
    (folder / "vocab.txt").write_text("cat\ndog\n[PAD]\n")
    (folder / "requirements.txt").write_text("numpy==2.0\n")
    (folder / "input.csv").write_text("a,b\n1,2\n")
    audit(folder, Policy())


def test_there_must_be_a_folder(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no model folder"):
        audit(tmp_path / "none", Policy())


def test_a_demanded_signature_that_is_not_there_is_refused_before_the_content_is_read(
    tmp_path: Path,
) -> None:
    from headrace.models.policy import Signature

    ATTACKS["decompression_bomb"](tmp_path / "model", tmp_path / "marker")
    policy = Policy(signature=Signature(keys=("key.pub",)))
    with pytest.raises(PolicyViolation, match="demands a signature"):
        audit(tmp_path / "model", policy)


def test_a_folder_that_others_can_write_is_copied_before_it_is_looked_at(
    pickled: Path, tmp_path: Path
) -> None:
    assert is_private(pickled)
    with private(pickled) as held:
        assert held == pickled.resolve()
    (pickled / "model.pkl").chmod(0o666)
    with private(pickled) as held:
        assert held != pickled.resolve()
        assert is_private(held)
        (pickled / "model.pkl").write_bytes(b"swapped between the audit and the load")
        assert pickle.loads((held / "model.pkl").read_bytes()) == {"a": 1}
    assert not held.exists()


def test_a_folder_below_one_that_others_can_write_is_copied(pickled: Path) -> None:
    parent = pickled.parent
    parent.chmod(0o777)
    assert not is_private(pickled)
    parent.chmod(0o1777)  # as /tmp is
    assert is_private(pickled)
    parent.chmod(0o700)


def test_a_large_archive_member_that_is_numbers_is_not_unpacked(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    mlmodel(folder, sklearn={"pickled_model": "model.skops"})
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.npy", np.random.default_rng(1).bytes(3_000_000))
    (folder / "data.npz").write_bytes(out.getvalue())
    audit(folder, Policy())


def test_a_signature_and_a_registrys_note_that_came_later_do_not_change_a_pinned_model(
    pickled: Path,
) -> None:
    digest = folder_digest(pickled).hash
    (pickled / "model.sig").write_text("{}")
    (pickled / "registered_model_meta").write_text("model_name: m\n")
    audit(pickled, PICKLE, digest=digest)
    (pickled / "data").mkdir()
    (pickled / "data" / "model.sig").write_text("{}")
    with pytest.raises(PolicyViolation, match="changed after registration"):
        audit(pickled, PICKLE, digest=digest)
