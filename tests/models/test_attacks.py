"""Known attacks: refused by default, explained by the scan, and never run."""

from __future__ import annotations

from pathlib import Path

import pytest

from headrace.errors import InvalidModel, PolicyViolation
from headrace.models.audit import audit
from headrace.models.inspection.findings import Verdict
from headrace.models.policy import Policy
from headrace.models.scan import scan
from support.attacks import ATTACKS

#: These ask for a word only: they do what a model of that format does, and may be somebody's own.
_WORD = {
    "code_to_import", "model_from_code", "module_of_the_models_choice", "native_code", "remote_code", "sevenzip",
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
    report = scan(folder)

    assert not marker.exists()
    assert report.verdict is (Verdict.WORD if name in _WORD else Verdict.DANGEROUS)
    assert report.seen[0].reasons
    assert "othing was opened" in refused.value.message or isinstance(refused.value, InvalidModel)
