"""Known attacks: refused by default, explained by the scan, and never run."""

from __future__ import annotations

import contextlib
import pickle
from pathlib import Path

import pytest

from headrace.errors import HeadraceError, InvalidModel, PolicyViolation
from headrace.models.audit import audit
from headrace.models.inspection.findings import Verdict
from headrace.models.loading import load_folder
from headrace.models.policy import Policy
from headrace.models.scan import scan
from support.attacks import ATTACKS

#: These ask for a word only: they do what a model of that format does, and may be somebody's own.
_WORD = {
    "code_to_import", "code_that_is_an_archive_too", "bytecode_that_carries_numbers", "model_from_code", "module_of_the_models_choice", "native_code", "remote_code", "sevenzip",
    "keras_of_old", "keras_of_old_behind_other_bytes", "kernel_from_a_repository", "remote_code_in_a_long_file", "torch_program", "torch_module_to_import", "pickle_by_a_little_known_way",
}  # fmt: skip


@pytest.mark.parametrize("name", ATTACKS)
def test_a_known_attack_is_refused_and_explained_and_does_not_run(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    folder, marker = tmp_path / "model", tmp_path / "marker"
    ATTACKS[name](folder, marker)

    with pytest.raises((PolicyViolation, InvalidModel)) as refused:
        audit(folder, Policy())
    for as_ in ("pyfunc", "native"):
        with pytest.raises(HeadraceError):
            load_folder(folder, as_=as_)
    report = scan(folder)

    assert not marker.exists()
    assert report.verdict is (Verdict.WORD if name in _WORD else Verdict.DANGEROUS)
    assert report.seen[0].reasons
    assert "othing was opened" in refused.value.message or isinstance(refused.value, InvalidModel)


@pytest.mark.parametrize(
    "name",
    [
        "pickle_as_model",
        "pickle_as_text",
        "pickle_as_text_behind_padding",
        "pickle_with_a_broken_tail",
        "pickle_with_inst",
        "pickle_with_a_confused_memo",
        "pickle_in_a_pickle",
        "archive_and_pickle_in_one",
    ],
)
def test_the_payload_would_run_if_nobody_looked(name: str, tmp_path: Path) -> None:
    """Else the tests above would show nothing."""
    folder, marker = tmp_path / "model", tmp_path / "marker"
    ATTACKS[name](folder, marker)
    file = next(path for path in folder.iterdir() if path.name != "MLmodel")
    with file.open("rb") as stream, contextlib.suppress(pickle.UnpicklingError):
        pickle.load(stream)
    assert marker.exists()
