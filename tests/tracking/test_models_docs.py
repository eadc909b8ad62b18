"""The examples of the pages about models run, one after the other, and say what the pages say."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression

import headrace
from headrace.models import infer_signature, save_model
from headrace.models.hashing import folder_digest

ROOT = Path(__file__).parents[2]
X = pd.DataFrame({"age": [20, 30, 40, 50], "name": ["a", "b", None, "d"]})


@pytest.fixture(autouse=True)
def _own_record(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "state"))


@pytest.fixture
def saved(tmp_path: Path) -> Iterator[Path]:
    """A model in a folder of the working directory."""
    model = LogisticRegression().fit(X[["age"]], [0, 0, 1, 1])
    save_model(model, tmp_path / "saved", signature=infer_signature(X[["age"]], np.array([0, 1])))
    return tmp_path / "saved"


def examples(page: str) -> list[str]:
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    return re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def run(page: str, example: str, names: dict[str, Any]) -> None:
    exec(compile(example, page, "exec"), names)


def test_the_page_about_models(
    saved: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    saved.rename(tmp_path / "my_model")
    page = ROOT / "docs" / "models.md"

    class Model:
        def predict(self, data: pd.DataFrame) -> Any:
            return np.zeros(len(data), dtype=np.int64)

    found = examples("models.md")
    names: dict[str, Any] = {"__name__": "__main__", "X_train": X, "model": Model()}
    for example in found:
        names["model"] = Model()
        run("models.md", example, names)
    assert "sklearn" in capsys.readouterr().out or len(found) > 2
    (shown,) = re.findall(r"```\n(inputs:\n.*?)```", page.read_text(), re.DOTALL)
    signature = infer_signature(X, Model().predict(X), params={"threshold": 0.5})
    assert str(signature).strip() == shown.strip()


def test_the_hash_is_what_the_command_on_the_page_gives(saved: Path) -> None:
    page = (ROOT / "docs" / "models.md").read_text()
    (command,) = re.findall(r"^find \. .*$", page, re.MULTILINE)
    done = subprocess.run(["bash", "-c", command], cwd=saved, capture_output=True, text=True, check=True)  # fmt: skip
    assert folder_digest(saved).hash == f"sha256:{done.stdout.split()[0]}"


def test_the_page_about_the_registry(saved: Path, tracking_uri: str) -> None:
    headrace.set_tracking_uri(tracking_uri)
    with headrace.start_run() as active:
        headrace.log_artifacts(str(saved), "model")
    headrace.flush()
    names: dict[str, Any] = {"__name__": "__main__", "run_id": active.info.run_id}
    first, history, guard = examples("registry.md")
    run("registry.md", first, names)
    run("registry.md", re.sub(r"(?m)^client\.create_registered_model.*$", "", first), names)
    run("registry.md", history, names)
    client = names["client"]
    assert client.get_model_version_by_alias("fraud", "champion").version == "1"
    run("registry.md", guard, names)
    with pytest.raises(headrace.HeadraceError, match="eval"):
        client.set_registered_model_alias("fraud", "champion", 2)


@pytest.mark.skipif(shutil.which("openssl") is None, reason="no openssl here")
def test_the_page_about_safe_loading(
    saved: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    saved.rename(tmp_path / "model")
    page = (ROOT / "docs" / "models-safety.md").read_text(encoding="utf-8")
    for command in re.findall(r"`(openssl [^`]*)`", page):
        subprocess.run(command.split(), cwd=tmp_path, check=True, capture_output=True)
    names: dict[str, Any] = {"__name__": "__main__"}
    for example in examples("models-safety.md"):
        run("models-safety.md", example, names)
    assert "safe" in capsys.readouterr().out


def test_the_policy_file_on_the_page_is_one(saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    page = (ROOT / "docs" / "models-safety.md").read_text(encoding="utf-8")
    whole, trusted = re.findall(r"```toml\n(.*?)```", page, re.DOTALL)
    for text in (trusted, whole.replace("digest = true", "").partition("[signature]")[0]):
        file = tmp_path / "policy.toml"
        file.write_text(text)
        file.chmod(0o600)
        monkeypatch.setenv("HEADRACE_MODEL_POLICY", str(file))
        headrace.models.load_model(saved)
    file.write_text(whole)
    with pytest.raises(headrace.HeadraceError):  # nothing recorded a digest of it
        headrace.models.load_model(saved)


def test_the_class_on_the_page_about_flavors(tmp_path: Path) -> None:
    (tmp_path / "offset.txt").write_text("1.5")
    (example,) = [one for one in examples("flavors.md") if "class Scaled" in one]
    run("flavors.md", example, {"__name__": "__main__"})
    assert headrace.models.load_model("scaled").predict(2) == 5.5
