"""Folders of models, as they are opened."""

from __future__ import annotations

import gc
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from headrace.errors import InvalidModel, InvalidParameter, NotFound, PolicyViolation
from headrace.models import Policy, PythonModel, load_folder, save_model
from headrace.models.hashing import folder_digest
from headrace.models.mlmodel import MLModel

FRAME = pd.DataFrame({"a": [1, 2], "b": [0.5, 1.5]})


def total(model_input):  # type: ignore[no-untyped-def]
    return model_input.sum(axis=1)


class Reads(PythonModel):
    def predict(self, context, model_input, params=None):  # type: ignore[no-untyped-def]
        return Path(context.artifacts["words"]).read_text()


class Bomb:
    def __reduce__(self) -> Any:
        return os.mkdir, (os.environ["BOMB"],)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save_model(total, tmp_path / "m", input_example=FRAME, pip_requirements=["cloudpickle"])
    return tmp_path / "m"


def change(folder: Path, **flavors: Any) -> None:
    mlmodel = MLModel.read(folder)
    mlmodel.flavors = flavors
    mlmodel.write(folder)


def test_the_signature_is_enforced(folder: Path) -> None:
    loaded = load_folder(folder)
    assert loaded.predict({"b": [0.5], "a": [1], "c": ["extra"]}).tolist() == [1.5]
    with pytest.raises(InvalidParameter, match="'b'"):
        loaded.predict({"a": [1]})
    with pytest.raises(InvalidParameter, match="'a'"):
        loaded.predict({"a": ["one"], "b": [1.0]})
    assert loaded.input_schema.input_names() == ["a", "b"]
    assert len(loaded.output_schema) == 1
    assert loaded.params_schema is None
    assert loaded.model_config == {}
    assert loaded.get_raw_model() is loaded.unwrap_python_model()
    assert "PyFuncModel" in repr(loaded)


def test_what_is_no_model_is_said_to_be_none(tmp_path: Path, folder: Path) -> None:
    with pytest.raises(NotFound, match="nowhere"):
        load_folder(tmp_path / "nowhere")
    with pytest.raises(NotFound):
        load_folder(folder / "MLmodel")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InvalidModel, match="MLmodel"):
        load_folder(tmp_path / "empty")
    change(folder)
    with pytest.raises(InvalidModel, match="flavors"):
        load_folder(folder, as_="native")
    with pytest.raises(InvalidParameter, match="as_ must be"):
        load_folder(folder, as_="pickle")  # type: ignore[arg-type]


def test_a_flavor_of_others_is_named_with_what_would_open_it(folder: Path) -> None:
    section = {"loader_module": "mlflow.catboost", "data": "model.cb", "python_version": "3.11.0"}
    change(folder, catboost={"data": "model.cb"}, python_function=section)
    for as_ in ("pyfunc", "native"):
        with pytest.raises(
            InvalidModel, match=r"flavor catboost.*mlflow\.catboost.*headrace\.flavors"
        ):
            load_folder(folder, as_=as_)  # type: ignore[arg-type]


def test_nothing_is_run_before_the_audit(
    folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import pickle

    bomb = tmp_path / "bomb"
    monkeypatch.setenv("BOMB", str(bomb))
    (folder / "python_model.pkl").write_bytes(pickle.dumps(Bomb()))
    (folder / "code").mkdir()
    (folder / "code" / "cloudpickle.py").write_text("import os; os.mkdir(os.environ['BOMB'])")
    section = MLModel.read(folder).flavors["python_function"]
    change(folder, python_function={**section, "code": "code"})
    path = list(sys.path)
    for allow in ((), ("pickle",), ("python",)):
        with pytest.raises(PolicyViolation):
            load_folder(folder, allow=allow)
    assert not bomb.exists()
    assert sys.path == path


def test_a_digest_that_was_recorded_is_held_to(folder: Path) -> None:
    digest = folder_digest(folder).hash
    assert load_folder(folder, digest=digest, policy=Policy(digest=True)).predict(FRAME)[0] == 1.5
    (folder / "note.txt").write_text("x")
    with pytest.raises(PolicyViolation, match="changed after registration"):
        load_folder(folder, digest=digest)


@pytest.mark.parametrize("as_", ["pyfunc", "native"])
def test_a_folder_that_others_can_write_is_copied_before_it_is_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, as_: Any
) -> None:
    place = tmp_path / "place"
    place.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(place))
    (tmp_path / "words").write_text("audited")
    save_model(
        Reads(), tmp_path / "m", artifacts={"words": tmp_path / "words"}, pip_requirements=[]
    )
    folder = tmp_path / "m"
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o777 if path.is_dir() else 0o666)
    loaded = load_folder(folder, as_=as_)
    shutil.rmtree(folder)
    assert len(list(place.iterdir())) == 1
    if as_ == "pyfunc":
        assert loaded.predict(None) == "audited"
    del loaded
    gc.collect()
    assert list(place.iterdir()) == []


def test_a_model_says_what_module_it_lacks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "headrace_test_gone.py").write_text("def gone(model_input): return 1")
    monkeypatch.syspath_prepend(tmp_path)
    import headrace_test_gone  # type: ignore[import-not-found]

    save_model(headrace_test_gone.gone, tmp_path / "m", pip_requirements=[])
    monkeypatch.undo()
    monkeypatch.delitem(sys.modules, "headrace_test_gone")
    with pytest.raises(
        InvalidModel, match=r"python_model\.pkl needs a module .*headrace_test_gone"
    ):
        load_folder(tmp_path / "m", allow=["pickle"])


def test_models_that_do_not_stream_say_so(folder: Path, elsewhere: Callable[[], None]) -> None:
    with pytest.raises(InvalidParameter, match="predict_stream"):
        load_folder(folder).predict_stream(FRAME)


OLD = sorted((Path(__file__).parent / "data").glob("mlflow-*/*"))


@pytest.mark.filterwarnings("ignore:.*type hint")  # MLflow's own, in the script that it runs
@pytest.mark.parametrize("folder", OLD, ids=lambda path: f"{path.parent.name}-{path.name}")
@pytest.mark.filterwarnings("ignore:.*version:UserWarning")  # of scikit-learn's pickles
@pytest.mark.filterwarnings("ignore:.*type hints:UserWarning")  # of MLflow's base class
def test_what_old_releases_of_mlflow_wrote_is_opened_with_a_word(folder: Path) -> None:
    with pytest.raises(PolicyViolation, match="Nothing was opened"):
        load_folder(folder)
    if folder.name == "nested":
        rows = [{"name": "a", "tags": ["x"], "place": {"lat": 1.5, "lon": 2.5}}]
        assert load_folder(folder, allow=["python"]).predict(rows).to_dict("records") == rows
        return
    loaded = load_folder(folder, allow=["pickle"])
    assert loaded.input_example is not None
    data: Any = pd.DataFrame(
        {"length": [1.0, 2.0, 3.0, 4.0], "count": [1, 2, 3, 4], "ok": [True, False, True, False]}
    )
    if folder.name == "tensor":
        data = np.arange(8, dtype=np.float64).reshape(4, 2)
    assert loaded.predict(data).tolist() == [0, 0, 1, 1]
    assert type(loaded.get_raw_model()).__name__ == "LogisticRegression"


def test_what_mlmodel_says_in_another_shape_is_refused_by_its_key(folder: Path) -> None:
    section = MLModel.read(folder).flavors["python_function"]
    for conf, message in (
        ({"config": [["a"]]}, r"python_function\.config' must be a mapping"),
        ({"config": "text"}, r"python_function\.config' must be a mapping"),
        ({"code": "x" * 5000}, "'code' names 'xxx.*too long"),
    ):
        change(folder, python_function={**section, **conf})
        with pytest.raises(InvalidModel, match=message):
            load_folder(folder, model_config={"a": 1})


def test_code_needs_the_loaders_word_even_where_the_flavor_asks_for_none(
    folder: Path, elsewhere: Callable[[], None]
) -> None:
    elsewhere()
    section = MLModel.read(folder).flavors["python_function"]
    (folder / "code").mkdir()
    change(folder, python_function={**section, "code": "code"})
    path = list(sys.path)
    with pytest.raises(PolicyViolation, match="python"):
        load_folder(folder, allow=["pickle"])
    assert sys.path == path
