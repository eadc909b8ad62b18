"""What a model needs: requirements, environments of conda and Python, the lock."""

from __future__ import annotations

import importlib.metadata
import logging
import platform
import sys
import zipfile
from pathlib import Path

import pytest
import yaml

from headrace.errors import InvalidModel, InvalidParameter
from headrace.models import imports
from headrace.models.environment import lock_with_hashes, read_environment, write_environment
from headrace.models.mlmodel import MLModel
from headrace.models.requirements import closure, name_of, owners_of, parse, pins

SKLEARN = f"scikit-learn=={importlib.metadata.version('scikit-learn')}"


def _lines(file: Path) -> list[str]:
    return file.read_text().splitlines()


def test_the_files_are_mlflows_with_exact_versions(tmp_path: Path) -> None:
    written = write_environment(tmp_path, requirements=["scikit-learn"])
    assert _lines(tmp_path / "requirements.txt") == ["mlflow==3.17.2", SKLEARN]
    python = yaml.safe_load((tmp_path / "python_env.yaml").read_text())
    assert python["python"] == platform.python_version()
    assert python["dependencies"] == ["-r requirements.txt"]
    assert [one.partition("==")[0] for one in python["build_dependencies"]] == [
        "pip", "setuptools", "wheel",
    ]  # fmt: skip
    conda = yaml.safe_load((tmp_path / "conda.yaml").read_text())
    assert conda["name"] == "mlflow-env"
    assert conda["channels"] == ["conda-forge"]
    assert conda["dependencies"][0] == f"python={platform.python_version()}"
    assert conda["dependencies"][2] == {"pip": ["mlflow==3.17.2", SKLEARN]}
    assert read_environment(tmp_path).requirements == written.requirements


def test_mlflow_reads_the_environment(tmp_path: Path) -> None:
    from mlflow.utils.environment import _PythonEnv
    from mlflow.utils.requirements_utils import _parse_requirements

    write_environment(tmp_path, requirements=["scikit-learn"])
    env = _PythonEnv.from_yaml(tmp_path / "python_env.yaml")
    assert env.python == platform.python_version()
    assert _PythonEnv.from_conda_yaml(tmp_path / "conda.yaml").dependencies == [
        "mlflow==3.17.2",
        SKLEARN,
    ]
    parsed = _parse_requirements(str(tmp_path / "requirements.txt"), is_constraint=False)
    assert [one.req_str for one in parsed] == ["mlflow==3.17.2", SKLEARN]


def test_the_lock_has_all_that_they_bring_along(tmp_path: Path) -> None:
    write_environment(tmp_path, requirements=["scikit-learn"])
    lock = _lines(tmp_path / "requirements.lock")
    assert lock[0] == f"# Python {platform.python_version()}"
    versions = dict(line.split("==") for line in lock[1:])
    assert {"scikit-learn", "numpy", "scipy", "joblib", "threadpoolctl"} <= set(versions)
    assert versions["numpy"] == importlib.metadata.version("numpy")
    assert not any("file:" in line or "-e" in line.split("==") for line in lock)


def test_a_pickle_names_what_it_is_made_of_and_what_that_brings_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "model.pkl").write_bytes(
        b"csklearn.linear_model._base\nLinearRegression\n0cnumpy\nndarray\n0cmsgspec\nStruct\n."
    )
    (tmp_path / "broken.pkl").write_bytes(b"\x80\x04broken")
    found = write_environment(tmp_path, requirements=["scikit-learn"]).requirements
    assert found == ("mlflow==3.17.2", f"msgspec=={importlib.metadata.version('msgspec')}", SKLEARN)


def test_code_names_what_it_imports_and_headrace_is_pinned_like_any_other(tmp_path: Path) -> None:
    (tmp_path / "code" / "mine").mkdir(parents=True)
    (tmp_path / "code" / "mine" / "__init__.py").write_text(
        "import os, mine.other\nimport headrace\n"
    )
    (tmp_path / "code" / "mine" / "other.py").write_text(
        "def late():\n    from google.protobuf import message\n    import no_such_thing\n"
        "    from . import x\n"
    )
    (tmp_path / "code" / "wrong.py").write_text("def (\n")
    found = write_environment(tmp_path, requirements=[]).requirements
    assert found == (
        "mlflow==3.17.2",
        f"headrace=={importlib.metadata.version('headrace')}",
        f"protobuf=={importlib.metadata.version('protobuf')}",
    )


LOADER = """
import sys
import zipfile
from pathlib import Path

def load(folder):
    sys.path.insert(0, str(folder / "code"))
    import own_part
    return own_part.Model()

def slow(folder):
    import time
    time.sleep(60)

def broken(folder):
    raise ValueError("no such weights")
"""


@pytest.fixture
def carrying_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model with code of its own, and a module ``own_loader`` that loads it."""
    loaders = tmp_path / "loaders"
    loaders.mkdir()
    (loaders / "own_loader.py").write_text(LOADER)
    monkeypatch.syspath_prepend(str(loaders))
    folder = tmp_path / "model"
    (folder / "code").mkdir(parents=True)
    (folder / "code" / "own_part.py").write_text(
        "import importlib\n"
        "name = 'psu' + 'til'\n"
        "importlib.import_module(name)\n"
        "class Model:\n"
        "    def predict(self, data):\n"
        "        importlib.import_module('m' + 'sgspec')\n"
        "        raise RuntimeError('as models do')\n"
    )
    (folder / "input_example.json").write_text("[1]")
    info = {"artifact_path": "input_example.json", "type": "json_object"}
    MLModel(flavors={"python_function": {}}, saved_input_example_info=info).write(folder)
    return folder


def test_what_no_file_names_is_seen_by_loading_the_model_in_a_fresh_process(
    carrying_code: Path,
) -> None:
    found = write_environment(carrying_code, loader="own_loader:load").requirements
    assert found == (
        "mlflow==3.17.2",
        f"msgspec=={importlib.metadata.version('msgspec')}",
        f"psutil=={importlib.metadata.version('psutil')}",
    )
    assert "psutil" not in write_environment(carrying_code, infer=False).requirements
    assert "own_part" not in sys.modules


@pytest.mark.parametrize(
    ("loader", "said"),
    [
        ("own_loader:slow", "not loaded within 0.5 seconds"),
        ("own_loader:broken", "ValueError: no such weights"),
    ],
)
def test_a_model_that_does_not_load_keeps_what_its_files_and_its_flavor_say(
    carrying_code: Path, caplog: pytest.LogCaptureFixture, loader: str, said: str
) -> None:
    (carrying_code / "code" / "more.py").write_text("import msgspec\n")
    with caplog.at_level(logging.WARNING):
        found = write_environment(
            carrying_code, requirements=["scikit-learn"], timeout=0.5 if "slow" in loader else 30, loader=loader
        )  # fmt: skip
    assert SKLEARN in found.requirements
    assert f"msgspec=={importlib.metadata.version('msgspec')}" in found.requirements
    assert said in caplog.text


def test_requirements_may_be_given_instead_or_beside(tmp_path: Path) -> None:
    file = tmp_path / "given.txt"
    (tmp_path / "limits.txt").write_text("numpy<3\n")
    file.write_text(
        "# mine\nscikit-learn==1.0  # old\nxyz \\\n  >=2\n-c limits.txt\n-r more.txt\n\n"
    )
    (tmp_path / "more.txt").write_text("other @ https://example.com/other.whl\n")
    folder = tmp_path / "model"
    folder.mkdir()
    found = write_environment(folder, requirements=["torch"], pip_requirements=str(file))
    expected = ["mlflow==3.17.2", "scikit-learn==1.0", "xyz   >=2", "other @ https://example.com/other.whl", "-c constraints.txt"]  # fmt: skip
    assert _lines(folder / "requirements.txt") == expected
    assert _lines(folder / "constraints.txt") == ["numpy<3"]
    assert "scikit-learn==1.0" in found.lock
    assert found.constraints == ("numpy<3",)
    beside = write_environment(
        folder, requirements=["scikit-learn"], extra_pip_requirements=["xyz", "Scikit_Learn>=1"]
    )
    assert beside.requirements == ("mlflow==3.17.2", "xyz", "Scikit_Learn>=1")
    own = write_environment(folder, pip_requirements=["mlflow==2.0", "mlflow==2.0"])
    assert own.requirements == ("mlflow==2.0",)


def test_wrong_requirements_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidParameter, match="not both"):
        write_environment(tmp_path, pip_requirements=["a"], extra_pip_requirements=["b"])
    with pytest.raises(InvalidParameter, match=r"gone\.txt cannot be read"):
        write_environment(tmp_path, pip_requirements="gone.txt")
    with pytest.raises(InvalidParameter, match="not 7"):
        write_environment(tmp_path, extra_pip_requirements=[7])  # type: ignore[list-item]
    (tmp_path / "circle.txt").write_text("-r circle.txt\n")
    with pytest.raises(InvalidParameter, match="in a circle"):
        parse(tmp_path / "circle.txt")


def test_names_versions_and_owners() -> None:
    assert owners_of("os.path") == []
    assert owners_of("sklearn.linear_model") == ["scikit-learn"]
    assert owners_of("google.protobuf.message") == ["protobuf"]
    assert owners_of("no_such_module") == []
    assert "numpy" in closure(["scikit-learn"])
    assert pins([], ["xgboost"])[0].startswith("xgboost")
    assert pins([], ["not-there>=2"]) == ["not-there>=2"]
    assert name_of("Scikit_Learn[x]>=1") == "scikit-learn"
    assert name_of("./folder") is None
    assert name_of("https://example.com/a.whl") is None


def test_an_environment_that_is_no_yaml_is_refused(tmp_path: Path) -> None:
    assert read_environment(tmp_path).requirements == ()
    (tmp_path / "conda.yaml").write_text("a: !!python/name:os.system ''\n")
    with pytest.raises(InvalidModel, match="is refused"):
        read_environment(tmp_path)


def test_without_uv_the_lock_stays_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_environment(tmp_path, requirements=["scikit-learn"])
    before = (tmp_path / "requirements.lock").read_text()
    monkeypatch.setenv("PATH", str(tmp_path))
    assert not lock_with_hashes(tmp_path)
    assert (tmp_path / "requirements.lock").read_text() == before


def test_types_in_skops_files_name_their_modules(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "model.skops", "w") as archive:
        archive.writestr("schema.json", '{"__class__": "Booster", "__module__": "xgboost.core"}')
    (tmp_path / "broken.skops").write_bytes(b"PK")
    assert imports.named_modules(tmp_path) == {"xgboost.core"}
