"""Folders of models, as they are written."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from headrace.errors import AlreadyExists, InvalidParameter
from headrace.models import PythonModel, load_folder, save_model
from headrace.models.inference import infer_signature
from headrace.models.mlmodel import MLModel
from support.flavors import _mlflow, mlflow_predict

FRAME = pd.DataFrame({"a": [1, 2], "b": [0.5, 1.5]})


def total(model_input):  # type: ignore[no-untyped-def]
    return model_input.sum(axis=1)


class Failing(PythonModel):
    def predict(self, context: Any, model_input: Any, params: Any = None) -> Any:
        raise RuntimeError("no way")


def save(model: Any, folder: Path, **options: Any) -> MLModel:
    return save_model(model, folder, **{"pip_requirements": ["cloudpickle"], **options})


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_the_signature_comes_from_the_example_and_its_prediction(tmp_path: Path) -> None:
    save(total, tmp_path / "m", input_example=FRAME, metadata={"team": "red"})
    mlmodel = MLModel.read(tmp_path / "m")
    assert mlmodel.signature == infer_signature(FRAME, FRAME.sum(axis=1))
    assert mlmodel.metadata == {"team": "red"}
    loaded = load_folder(tmp_path / "m")
    pd.testing.assert_frame_equal(loaded.input_example, FRAME)
    with _mlflow() as mlflow:
        theirs = mlflow.models.Model.load(str(tmp_path / "m"))
        example = theirs.load_input_example(str(tmp_path / "m"))
    pd.testing.assert_frame_equal(example, FRAME)
    assert theirs.signature.inputs.input_names() == ["a", "b"]
    assert theirs.metadata == {"team": "red"}
    files = [path for path in (tmp_path / "m").rglob("*") if path.is_file()]
    size = sum(path.stat().st_size for path in files if path.name != "MLmodel")
    assert theirs.model_size_bytes == size
    assert {path.name for path in files} >= {"requirements.txt", "conda.yaml", "python_env.yaml"}


def test_it_comes_from_annotations(tmp_path: Path) -> None:
    def lengths(model_input: list[str]) -> list[int]:
        return [len(text) for text in model_input]

    saved = save(lengths, tmp_path / "m", input_example=["a", "bb"])
    assert saved.is_signature_from_type_hint
    loaded = load_folder(tmp_path / "m")
    for data in (["a", "bb"], np.array(["a", "bb"]), pd.DataFrame({"text": ["a", "bb"]})):
        assert loaded.predict(data) == [1, 2]
        assert mlflow_predict(tmp_path / "m", data) == [1, 2]
    with pytest.raises(InvalidParameter, match=r"model_input\[1\] must be str, got int 3|'3'"):
        loaded.predict(["a", 3])


def test_one_that_is_given_is_taken_and_the_example_held_against_it(tmp_path: Path) -> None:
    signature = infer_signature(FRAME, FRAME.sum(axis=1))
    assert save(total, tmp_path / "given", signature=signature).signature == signature
    assert save(total, tmp_path / "none", signature=False, input_example=FRAME).signature is None
    with pytest.raises(InvalidParameter, match=r"input example is not what .*'b'"):
        save(total, tmp_path / "m", signature=signature, input_example=FRAME[["a"]])
    with pytest.raises(InvalidParameter, match="does not take its input example: RuntimeError"):
        save(Failing(), tmp_path / "m", input_example=FRAME)
    assert not (tmp_path / "m").exists()


def test_what_is_there_is_not_touched(tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").write_text("x")
    (tmp_path / "file").write_text("x")
    (tmp_path / "empty").mkdir()
    with pytest.raises(AlreadyExists, match="not empty"):
        save(total, tmp_path / "full")
    for inside in ("file", "file/m"):
        with pytest.raises(AlreadyExists, match="there is a file"):
            save(total, tmp_path / inside)
    save(total, tmp_path / "empty")
    assert names(tmp_path) == ["empty", "file", "full"]


@pytest.mark.parametrize("options", [
    {"code_paths": ["nowhere.py"]}, {"code_paths": "model.py"}, {"metadata": {"x": object()}},
    {"unheard": 1}, {"flavor": "unheard"}, {"input_example": object()},
])  # fmt: skip
def test_a_failure_leaves_nothing(tmp_path: Path, options: dict[str, Any]) -> None:
    with pytest.raises(InvalidParameter):
        save(total, tmp_path / "a" / "b" / "m", **options)
    assert names(tmp_path) == []


def test_of_two_that_save_to_one_place_one_wins(tmp_path: Path) -> None:
    def attempt(number: int) -> int:
        try:
            save(lambda data: number, tmp_path / "m")
        except AlreadyExists:
            return 0
        return 1

    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(attempt, range(8))) == 1
    assert names(tmp_path) == ["m"]
    assert load_folder(tmp_path / "m").predict(None) in range(8)


def test_what_a_run_knows_goes_into_mlmodel(tmp_path: Path, elsewhere: Callable[[], None]) -> None:
    about = MLModel(run_id="0" * 32, model_id="m-1", model_uuid="m-1", artifact_path="models:/m-1")
    save(total, tmp_path / "m", mlmodel=about)
    loaded = load_folder(tmp_path / "m")
    assert (loaded.metadata.run_id, loaded.model_id) == ("0" * 32, "m-1")
