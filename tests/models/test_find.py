"""Which flavor saves a model."""

from __future__ import annotations

import pathlib
import threading
from typing import Any

import pytest

from headrace.errors import InvalidParameter
from headrace.models import PythonModel
from headrace.models.find import find_flavor, flavor_named, flavor_names


class Mine(PythonModel):
    def predict(self, context: Any, model_input: Any, params: Any = None) -> Any:
        return model_input


class WithContext:
    def load_context(self, context: Any) -> None: ...

    def predict(self, context: Any, anything: Any) -> Any: ...


class OfSomeLibrary:
    def predict(self, X: Any, ntree_limit: int = 0) -> Any: ...  # noqa: N803 - as libraries have it


@pytest.mark.parametrize(
    "model",
    [Mine(), WithContext(), lambda data: data, "model.py", pathlib.Path("folder/model.py")],
    ids=["subclass", "duck", "function", "script", "path"],
)
def test_what_is_written_in_python_is_a_python_function(model: Any) -> None:
    assert find_flavor(model).name == "python_function"


def test_the_flavor_is_the_one_whose_library_defines_the_nearest_class() -> None:
    linear_model = pytest.importorskip("sklearn.linear_model")
    xgboost = pytest.importorskip("xgboost")

    class Subclass(linear_model.LinearRegression):  # type: ignore[misc]
        def load_context(self, context: Any) -> None: ...

    assert find_flavor(linear_model.LinearRegression()).name == "sklearn"
    assert find_flavor(Subclass()).name == "sklearn"
    assert find_flavor(xgboost.XGBClassifier()).name == "xgboost"


@pytest.mark.parametrize(
    "model",
    [3, None, "weights.bin", {"a": 1}, Mine, OfSomeLibrary(), threading.Lock()],
    ids=["number", "none", "file", "dict", "class", "library", "lock"],
)
def test_models_of_no_flavor_are_told_which_there_are(model: Any) -> None:
    with pytest.raises(
        InvalidParameter, match=r"no flavor saves .*pyfunc, .*sklearn.*headrace\["
    ) as told:
        find_flavor(model)
    assert type(model).__qualname__ in str(told.value)


def test_a_flavor_has_the_name_of_its_entry_point_and_of_its_section() -> None:
    assert flavor_named("pyfunc") is flavor_named("python_function")
    assert {"pyfunc", "sklearn", "pytorch", "onnx", "xgboost"} <= set(flavor_names())
    with pytest.raises(
        InvalidParameter, match=r"there is no flavor 'catboost'\. There are: .*sklearn"
    ):
        flavor_named("catboost")


def test_a_library_that_is_not_installed_is_named_with_its_extra(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(flavor_named("sklearn"), "library", "headrace_no_such_library")
    with pytest.raises(InvalidParameter, match=r"pip install 'headrace\[sklearn\]'"):
        flavor_named("sklearn")
