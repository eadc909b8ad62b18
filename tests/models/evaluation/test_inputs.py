"""Data, models and predictions come in many forms."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import headrace
from headrace.errors import InvalidParameter, NotFound, Unsupported
from headrace.models.evaluation import Plan, evaluate

pd = importlib.import_module("pandas")

FRAME = pd.DataFrame({"a": [1.0, 2, 3, 4], "b": [0.5, 0, 1, 0], "y": [1.5, 2, 4.5, 4]})


def total(features: Any) -> Any:
    """A model that needs exactly the columns a and b."""
    if hasattr(features, "columns"):
        assert list(features.columns) == ["a", "b"]
        return features["a"] + features["b"]
    if isinstance(features, dict):
        return features["a"] + features["b"].sum(axis=1)
    return features[:, 0] + features[:, 1]


class Model:
    """A model with predict."""

    def predict(self, features: Any) -> Any:
        return {"out": np.asarray(total(features))}


class Columnar:
    """A frame of another library, as polars' are: columns by name, each with to_numpy."""

    def __init__(self, frame: Any) -> None:
        self._frame = frame

    @property
    def columns(self) -> list[str]:
        return list(self._frame.columns)

    def __getitem__(self, name: str) -> Any:
        return self._frame[name]


def test_data_come_in_many_forms(tmp_path: Path) -> None:
    FRAME.to_csv(tmp_path / "data.csv", index=False)
    FRAME.to_parquet(tmp_path / "data.parquet")
    arrow = importlib.import_module("pyarrow")
    values = FRAME[["a", "b"]].to_numpy()
    y = FRAME["y"].tolist()
    forms: list[tuple[Any, Any]] = [
        (FRAME, "y"),
        (FRAME[["a", "b"]], y),
        (FRAME.to_dict("list"), "y"),
        (FRAME.to_dict("records"), "y"),
        (Columnar(FRAME), "y"),
        (arrow.table(FRAME.to_dict("list")), "y"),
        (values, y),
        (values.tolist(), np.array(y)),
        (FRAME.to_numpy(), 2),
        ({"a": values[:, 0], "b": values[:, 1:]}, y),
        (str(tmp_path / "data.csv"), "y"),
        (tmp_path / "data.parquet", "y"),
        (headrace.data.from_pandas(FRAME, targets="y"), None),
        (headrace.data.from_numpy(values, targets=np.array(y)), None),
    ]
    for data, targets in forms:
        for model in (total, Model()):
            found = evaluate(model, data, targets, Plan()).metrics
            assert found["mean_absolute_error"] == 0.125, type(data)


def test_predictions_come_in_many_forms() -> None:
    predictions = total(FRAME[["a", "b"]])
    frame = FRAME.assign(f=predictions)
    dataset = headrace.data.from_pandas(frame, targets="y", predictions="f")
    for found in (
        evaluate(predictions, FRAME, "y", Plan()),
        evaluate("f", frame, "y", Plan()),
        evaluate(None, frame, "y", Plan(predictions="f")),
        evaluate(None, dataset, None, Plan()),
        evaluate(predictions.tolist(), None, FRAME["y"], Plan()),
    ):
        assert found.metrics["mean_absolute_error"] == 0.125


def test_a_tensor_is_an_array() -> None:
    class Tensor:
        def __init__(self, array: Any) -> None:
            self.array = array

        def __len__(self) -> int:
            return len(self.array)

        def detach(self) -> Tensor:
            return self

        def cpu(self) -> Any:
            return self.array

    found = evaluate(lambda frame: Tensor(total(frame).to_numpy()), FRAME, "y", Plan())
    assert found.metrics["max_error"] == 0.5


def test_the_kind_is_told_where_there_is_no_doubt() -> None:
    assert evaluate([1, 2], None, [1.5, 2], Plan()).kind == "regression"
    assert evaluate(["a", "b"], None, ["a", "a"], Plan()).kind == "classification"
    assert evaluate([True, False], None, [True, True], Plan()).kind == "classification"
    assert evaluate([1, 2], None, [1, 1], Plan(kind="regressor")).kind == "regression"
    with pytest.raises(InvalidParameter, match=r"whole numbers .2 different ones.*say kind="):
        evaluate([1, 2], None, [1, 2], Plan())
    with pytest.raises(Unsupported, match="not text"):
        evaluate(["a"], None, ["a"], Plan(kind="question-answering"))
    with pytest.raises(InvalidParameter, match="Unknown kind 'clustering'"):
        evaluate([1], None, [1], Plan(kind="clustering"))


def test_a_model_that_fails_is_told_with_the_row() -> None:
    def at_three(features: Any) -> Any:
        if (features["a"] == 3).any():
            raise ValueError("three!")
        return features["a"]

    with pytest.raises(
        InvalidParameter,
        match=r"failed at row 2 of 4: ValueError: three!. .* frame with the columns a \(float64\)",
    ):
        evaluate(at_three, FRAME, "y", Plan())

    def always(features: Any) -> Any:
        raise RuntimeError("no")

    with pytest.raises(InvalidParameter, match="failed on all 4 rows: RuntimeError: no"):
        evaluate(always, FRAME, "y", Plan())

    def together(features: Any) -> Any:
        if len(features) > 3:
            raise MemoryError("too many")
        return features["a"]

    with pytest.raises(InvalidParameter, match="on all 4 rows together, though not on either half"):
        evaluate(together, FRAME, "y", Plan())
    with pytest.raises(InvalidParameter, match="a dictionary of arrays: a, b"):
        evaluate(always, {"a": np.ones(2), "b": np.ones((2, 2))}, [1.5, 2], Plan())


@pytest.mark.parametrize(
    ("model", "data", "targets", "plan", "message"),
    [
        (total, FRAME, None, {}, "Give targets"),
        (total, FRAME, "z", {}, "no column 'z' for the targets; columns: a, b, y"),
        (total, FRAME, [1.0], {}, "1 targets for 4 rows"),
        (total, FRAME.iloc[:0], "y", {}, "have no rows"),
        (total, FRAME.set_axis(["a", "y", "y"], axis=1), "y", {}, "2 columns named 'y'"),
        (total, None, [1.5], {}, "A model needs data"),
        (None, FRAME, "y", {}, "Give what is to be evaluated"),
        (total, FRAME, "y", {"predictions": "a"}, "a model or predictions, not both"),
        ("z", FRAME, "y", {}, "no column 'z' for the predictions"),
        (lambda frame: [1], FRAME, "y", {}, "gave 1 predictions for 4 rows"),
        (lambda frame: 1, FRAME, "y", {}, "gave a int for 4 rows"),
        (lambda frame: {"a": [1], "b": [2]}, FRAME, "y", {}, "gave 2 outputs .a, b."),
        (total, FRAME, "y", {"features": ["q"]}, "no column 'q' for the features"),
        (total, FRAME, "y", {"sample_weight": [1, 2, 3, -1]}, "negative: row 3"),
        (total, FRAME, "y", {"sample_weight": [0, 0, 0, 0]}, "All sample weights are zero"),
        (total, {"a": [1, 2], "b": [1]}, "a", {}, "different lengths"),
        (total, "data.xlsx", "y", {}, "Cannot read data from 'data.xlsx'"),
        (total, 7, "y", {}, "single int"),
        ([1, 2], None, None, {}, "There are no data"),
        (total, FRAME, "y", {"k": [0]}, "k="),
        (total, FRAME, "y", {"bootstrap": 1}, "bootstrap=1"),
        (total, FRAME, "y", {"confidence": 95}, "confidence=95"),
    ],
)
def test_what_cannot_be_is_said(
    model: Any, data: Any, targets: Any, plan: Any, message: str
) -> None:
    with pytest.raises(InvalidParameter, match=message):
        evaluate(model, data, targets, Plan(**plan))


def test_a_file_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"no file '.*data.csv'"):
        evaluate(total, tmp_path / "data.csv", "y", Plan())
    (tmp_path / "bad.parquet").write_bytes(b"PAR?")
    with pytest.raises(InvalidParameter, match="Cannot read data from"):
        evaluate(total, tmp_path / "bad.parquet", "y", Plan())
