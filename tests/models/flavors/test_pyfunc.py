"""Models written in Python, by us and by MLflow."""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from headrace import models
from headrace.errors import InvalidModel, InvalidParameter, PolicyViolation
from headrace.models import load_folder, save_model
from headrace.models.mlmodel import MLModel
from support.flavors import _mlflow, mlflow_predict

FRAME = pd.DataFrame({"a": [1.0, 2.0], "b": [3.0, 4.0]})


class Scaled(models.PythonModel):
    """Multiplies by a factor of its configuration, and adds what an artifact says."""

    def load_context(self, context: Any) -> None:
        self.added = float(Path(context.artifacts["added"]).read_text())

    def predict(self, context, model_input, params=None):  # type: ignore[no-untyped-def]
        factor = (params or {}).get("factor", context.model_config["factor"])
        return model_input * factor + self.added


class Plain:
    """No base class, no context."""

    def predict(self, model_input: Any) -> Any:
        return model_input.sum(axis=1)


class Streaming(models.PythonModel):
    def predict(self, context, model_input, params=None):  # type: ignore[no-untyped-def]
        return list(self.predict_stream(context, model_input, params))

    def predict_stream(self, context, model_input, params=None):  # type: ignore[no-untyped-def]
        for word in str(model_input).split():
            yield word.upper()


def total(model_input: Any) -> Any:
    return model_input.sum(axis=1)


@pytest.fixture
def added(tmp_path: Path) -> Path:
    file = tmp_path / "source" / "added.txt"
    file.parent.mkdir()
    file.write_text("10")
    return file


def mlflow_pyfunc(folder: Path, **options: Any) -> None:
    with _mlflow() as mlflow:
        mlflow.pyfunc.save_model(str(folder), pip_requirements=["cloudpickle"], **options)


def save(model: Any, folder: Path, **options: Any) -> MLModel:
    return save_model(model, folder, **{"pip_requirements": ["cloudpickle"], **options})


def test_a_class_gets_its_artifacts_and_its_configuration(added: Path, tmp_path: Path) -> None:
    save(Scaled(), tmp_path / "m", artifacts={"added": str(added)}, model_config={"factor": 2})
    added.unlink()
    right = FRAME * 2 + 10
    loaded = load_folder(tmp_path / "m")
    pd.testing.assert_frame_equal(loaded.predict(FRAME), right)
    pd.testing.assert_frame_equal(mlflow_predict(tmp_path / "m", FRAME), right)
    assert loaded.model_config == {"factor": 2}
    assert isinstance(loaded.unwrap_python_model(), Scaled)
    assert isinstance(load_folder(tmp_path / "m", as_="native"), Scaled)
    assert loaded.loader_module == "mlflow.pyfunc.model"

    other = load_folder(tmp_path / "m", model_config={"factor": 3, "unheard": 1})
    pd.testing.assert_frame_equal(other.predict(FRAME), FRAME * 3 + 10)


@pytest.mark.parametrize(
    "model",
    [Plain(), total, functools.partial(lambda way, data: data.sum(axis=1), "x"), lambda x: x.sum(axis=1)],
    ids=["object", "function", "partial", "lambda"],
)  # fmt: skip
def test_functions_and_plain_objects_are_models_too(model: Any, tmp_path: Path) -> None:
    save(model, tmp_path / "m")
    right = FRAME.sum(axis=1)
    pd.testing.assert_series_equal(load_folder(tmp_path / "m").predict(FRAME), right)
    pd.testing.assert_series_equal(mlflow_predict(tmp_path / "m", FRAME), right)
    assert type(load_folder(tmp_path / "m", as_="native")) is type(model)


def test_what_mlflow_saved_of_a_class_and_of_a_function_is_opened(
    added: Path, tmp_path: Path
) -> None:
    with _mlflow() as mlflow:

        class Theirs(mlflow.pyfunc.PythonModel):  # type: ignore[name-defined,misc]
            def load_context(self, context: Any) -> None:
                self.added = float(Path(context.artifacts["added"]).read_text())

            def predict(self, context, model_input, params=None):  # type: ignore[no-untyped-def]
                return model_input * context.model_config["factor"] + self.added

    mlflow_pyfunc(
        tmp_path / "class",
        python_model=Theirs(),
        artifacts={"added": str(added)},
        model_config={"factor": 2},
    )
    mlflow_pyfunc(tmp_path / "function", python_model=total)
    loaded = load_folder(tmp_path / "class", allow=["pickle"])
    pd.testing.assert_frame_equal(loaded.predict(FRAME), FRAME * 2 + 10)
    loaded = load_folder(tmp_path / "function", allow=["pickle"])
    pd.testing.assert_series_equal(loaded.predict(FRAME), FRAME.sum(axis=1))

    save(Theirs(), tmp_path / "ours", artifacts={"added": str(added)}, model_config={"factor": 2})
    pd.testing.assert_frame_equal(mlflow_predict(tmp_path / "ours", FRAME), FRAME * 2 + 10)


def test_params_go_to_models_that_take_them(added: Path, tmp_path: Path) -> None:
    example = (FRAME, {"factor": 5.0})
    save(
        Scaled(),
        tmp_path / "m",
        artifacts={"added": str(added)},
        model_config={"factor": 2},
        input_example=example,
    )
    loaded = load_folder(tmp_path / "m")
    pd.testing.assert_frame_equal(loaded.predict(FRAME, {"factor": 7.0}), FRAME * 7 + 10)
    pd.testing.assert_frame_equal(
        mlflow_predict(tmp_path / "m", FRAME, {"factor": 7.0}), FRAME * 7 + 10
    )


def test_a_stream_comes_in_parts(tmp_path: Path) -> None:
    saved = save(Streaming(), tmp_path / "m")
    assert saved.flavors["python_function"]["streamable"] is True
    loaded = load_folder(tmp_path / "m")
    assert list(loaded.predict_stream("a b")) == ["A", "B"]
    with _mlflow() as mlflow:
        assert list(mlflow.pyfunc.load_model(str(tmp_path / "m")).predict_stream("a b")) == [
            "A",
            "B",
        ]


SCRIPT = """
import {package}.models

class FromCode{base}:
    def load_context(self, context):
        self.factor = context.model_config["factor"]

    def predict(self, context, model_input, params=None):
        return model_input * self.factor

{package}.models.set_model(FromCode())
"""


@pytest.mark.parametrize(
    ("package", "base"), [("headrace", ""), ("mlflow", "(mlflow.pyfunc.PythonModel)")]
)
def test_a_script_is_a_model(
    tmp_path: Path, package: str, base: str, elsewhere: Callable[[], None]
) -> None:
    script = tmp_path / "source" / "my model.py"
    script.parent.mkdir()
    script.write_text(SCRIPT.format(package=package, base=base))
    with _mlflow():
        saved = save(str(script), tmp_path / "m", model_config={"factor": 3})
    assert saved.flavors["python_function"]["model_code_path"] == "my model.py"
    assert not (tmp_path / "m" / "python_model.pkl").exists()
    script.unlink()
    with _mlflow():
        pd.testing.assert_frame_equal(load_folder(tmp_path / "m").predict(FRAME), FRAME * 3)
    pd.testing.assert_frame_equal(mlflow_predict(tmp_path / "m", FRAME), FRAME * 3)
    elsewhere()
    with pytest.raises(PolicyViolation, match="python"):
        load_folder(tmp_path / "m")


def test_a_script_that_mlflow_saved_is_opened(tmp_path: Path) -> None:
    script = tmp_path / "model.py"
    script.write_text(
        "import mlflow\n"
        "factor = mlflow.models.ModelConfig(development_config={'factor': 1}).get('factor')\n"
        "mlflow.models.set_model(lambda model_input: model_input * factor)\n"
    )
    mlflow_pyfunc(
        tmp_path / "m",
        python_model=str(script),
        model_config={"factor": 4},
    )
    with _mlflow():
        loaded = load_folder(tmp_path / "m", allow=["python"])
    pd.testing.assert_frame_equal(loaded.predict(FRAME), FRAME * 4)


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("x = 1", "sets no model"),
        ("raise ValueError('no way')", "ValueError: no way"),
        (
            "import headrace.models\nheadrace.models.set_model(3)",
            "object with predict, or a function",
        ),
        ("def broken(:", "SyntaxError"),
    ],
)
def test_a_script_that_gives_no_model_is_not_saved(
    tmp_path: Path, script: str, message: str
) -> None:
    (tmp_path / "model.py").write_text(script)
    with pytest.raises(InvalidModel, match=message):
        save(tmp_path / "model.py", tmp_path / "m")
    assert [path.name for path in tmp_path.iterdir()] == ["model.py"]


def test_code_goes_along(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "source" / "headrace_test_along"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("def twice(data):\n    return data * 2\n")
    (package / "__pycache__").mkdir()
    script = tmp_path / "model.py"
    script.write_text(
        "from headrace_test_along import twice\nimport headrace.models\nheadrace.models.set_model(twice)\n"
    )
    monkeypatch.syspath_prepend(package.parent)
    saved = save(script, tmp_path / "m", code_paths=[package])
    assert saved.flavors["python_function"]["code"] == "code"
    assert {path.name for path in (tmp_path / "m" / "code" / package.name).iterdir()} == {
        "__init__.py"
    }
    monkeypatch.undo()
    code = (
        "import sys, headrace.models as m;"
        f"print(m.load_folder({str(tmp_path / 'm')!r}, allow=['python']).predict(21))"
    )
    assert run(code) == "42"


def test_a_module_may_load_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = tmp_path / "source" / "headrace_test_loader.py"
    module.parent.mkdir()
    module.write_text(
        "import json, pathlib\n"
        "class Table:\n"
        "    def __init__(self, table): self.table = table\n"
        "    def predict(self, data): return [self.table[key] for key in data]\n"
        "def _load_pyfunc(path): return Table(json.loads(pathlib.Path(path).read_text()))\n"
    )
    (tmp_path / "table.json").write_text(json.dumps({"a": 1, "b": 2}))
    options: dict[str, Any] = {
        "loader_module": "headrace_test_loader",
        "data_path": str(tmp_path / "table.json"),
        "code_paths": [str(module)],
    }
    save(None, tmp_path / "ours", **options)
    mlflow_pyfunc(tmp_path / "theirs", **options)
    for who in ("ours", "theirs"):
        monkeypatch.setattr(sys, "path", list(sys.path))
        loaded = load_folder(tmp_path / who, allow=["python"])
        assert loaded.predict(["b", "a"]) == [2, 1]
        assert mlflow_predict(tmp_path / who, ["b", "a"]) == [2, 1]
        sys.modules.pop("headrace_test_loader")
    with pytest.raises(InvalidParameter, match="not both"):
        save(total, tmp_path / "x", flavor="pyfunc", **options)


WITHOUT = """
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "headrace":
            raise ImportError("headrace is not here")
sys.meta_path.insert(0, Blocked())
import warnings; warnings.simplefilter("ignore")
import mlflow, pandas
for folder in sys.argv[1:]:
    loaded = mlflow.pyfunc.load_model(folder)
    print(loaded.predict(["b", "a"]))
try:
    loaded.predict([1])
except TypeError as error:
    print(error)
assert "headrace" not in sys.modules
"""


def test_mlflow_opens_them_where_headrace_is_not_installed(tmp_path: Path) -> None:
    class Upper(models.PythonModel):
        def predict(self, context, model_input, params=None):  # type: ignore[no-untyped-def]
            return [str(text).upper() for text in model_input]

    class Bare:
        def load_context(self, context: Any) -> None:
            self.suffix = "!"

        def predict(self, context: Any, model_input: Any) -> Any:
            return [text + self.suffix for text in model_input]

    def typed(model_input: list[str]) -> list[str]:
        return [text * 2 for text in model_input]

    folders = []
    for model in (Upper(), Bare(), typed):
        folders.append(str(tmp_path / str(len(folders))))
        save(model, Path(folders[-1]))
    lines = run(WITHOUT, *folders).splitlines()
    assert lines[:3] == ["['B', 'A']", "['b!', 'a!']", "['bb', 'aa']"]
    assert "model_input[0] must be str, got int" in lines[3]


def run(code: str, *arguments: str) -> str:
    """What a program prints, run in a process of its own, without a model's record of this one."""
    environment = {**os.environ, "PYTHONWARNINGS": "ignore", "MLFLOW_DISABLE_TELEMETRY": "true"}
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True, text=True, timeout=100, env=environment, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


class Locked(models.PythonModel):
    def __init__(self) -> None:
        self.parts = {"first": [threading.Lock()]}


def test_what_cannot_be_pickled_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidParameter, match=r"model\.parts\['first'\]\[0\] is a _thread\.lock"):
        save(Locked(), tmp_path / "m")
    lock = threading.Lock()
    with pytest.raises(InvalidParameter, match=r"the variable 'lock' around it"):
        save(lambda data: lock, tmp_path / "m")
    assert list(tmp_path.iterdir()) == []


def test_artifacts_of_one_name_do_not_meet(tmp_path: Path) -> None:
    for name in ("x", "y"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "words.txt").write_text(name)

    class Reads(models.PythonModel):
        def predict(self, context, model_input, params=None):  # type: ignore[no-untyped-def]
            return {name: Path(path).read_text() for name, path in context.artifacts.items()}

    artifacts = {name: f"file://{tmp_path / name / 'words.txt'}" for name in ("x", "y")}
    save(Reads(), tmp_path / "m", artifacts=artifacts)
    assert load_folder(tmp_path / "m").predict(None) == {"x": "x", "y": "y"}
    assert mlflow_predict(tmp_path / "m", None) == {"x": "x", "y": "y"}
    with pytest.raises(InvalidParameter, match="no file or folder"):
        save(Reads(), tmp_path / "n", artifacts={"x": str(tmp_path / "gone")})


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("python_model", "../python_model.pkl"),
        ("python_model", None),
        ("path", {"x": {"path": "../../etc/passwd"}}),
        ("path", {"x": {"path": "/etc/passwd"}}),
        ("artifacts", ["x"]),
        ("code", "../.."),
        ("data", "../data"),
        ("loader_module", "os; import"),
        ("loader_module", "os.path"),
        ("loader_module", None),
    ],
)
def test_a_hostile_mlmodel_is_refused(tmp_path: Path, key: str, value: Any) -> None:
    save(total, tmp_path / "m")
    mlmodel = MLModel.read(tmp_path / "m")
    section = mlmodel.flavors["python_function"]
    section["artifacts" if key == "path" else key] = value
    if key == "data":
        section["loader_module"] = "os"
    mlmodel.write(tmp_path / "m")
    with pytest.raises((InvalidModel, PolicyViolation), match=key):
        load_folder(tmp_path / "m", allow=["pickle", "python"])


def test_a_strangers_class_needs_a_word(tmp_path: Path, elsewhere: Callable[[], None]) -> None:
    save(total, tmp_path / "m")
    elsewhere()
    with pytest.raises(PolicyViolation, match=r"python_model\.pkl.*allow=\['pickle'\]"):
        load_folder(tmp_path / "m")
    assert load_folder(tmp_path / "m", allow=["pickle"]).predict(FRAME)[0] == 4.0


@pytest.mark.parametrize("compression", ["lzma", "bzip2", "gzip"])
def test_a_compressed_pickle_of_mlflows_is_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, compression: str
) -> None:
    monkeypatch.setenv("MLFLOW_LOG_MODEL_COMPRESSION", compression)
    mlflow_pyfunc(tmp_path / "m", python_model=total)
    loaded = load_folder(tmp_path / "m", allow=["pickle"])
    assert np.array_equal(loaded.predict(FRAME), FRAME.sum(axis=1))


def test_a_class_is_not_an_instance(tmp_path: Path) -> None:
    with pytest.raises(InvalidParameter, match=r"give Plain\(\), not the class Plain"):
        save(Plain, tmp_path / "m", flavor="pyfunc")
    with pytest.raises(InvalidParameter, match="no option sample"):
        save(total, tmp_path / "m", sample=1)
    with pytest.raises(InvalidParameter, match="model_config"):
        save(total, tmp_path / "m", model_config=str(tmp_path / "none.yaml"))
    with pytest.raises(InvalidParameter, match="there is none at"):
        save("nothing.py", tmp_path / "m")
