"""Two models are held against each other: what a caller, a reviewer and an operator would notice."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LinearRegression

from headrace.client import Client
from headrace.errors import NotFound
from headrace.models import diff_models, infer_signature, save_model
from headrace.models.diff import Difference, _differences
from headrace.models.logging import Copied, log_model


@pytest.fixture
def client(tmp_path: Path) -> Iterator[Client]:
    with Client(str(tmp_path / "store")) as client:
        yield client


def saved(folder: Path, *columns: str, requirements: tuple[str, ...] = ("a==1",)) -> Path:
    frame = pd.DataFrame({name: [0.0, 1.0] for name in columns})
    model = LinearRegression().fit(frame, [0.0, 1.0])
    save_model(
        model,
        folder,
        signature=infer_signature(frame, np.zeros(2), params={"top": len(columns)}),
        pip_requirements=list(requirements),
    )
    return folder


def test_a_model_does_not_differ_from_itself(client: Client, tmp_path: Path) -> None:
    info = log_model(client, Copied(saved(tmp_path / "m", "x")), "m", experiment_id="0", registered_model_name="r")  # fmt: skip
    found = diff_models(client, info.model_uri, "models:/r/1")
    assert found.same_files
    assert not found.breaks
    assert (found.signature, found.requirements, found.flavors, found.params, found.metrics) == ([],) * 5  # fmt: skip
    assert found.size is None
    assert found.notes == []


def test_columns_params_requirements_and_metrics_are_named(client: Client, tmp_path: Path) -> None:
    uris = []
    for number, columns in enumerate((("x", "y"), ("x", "z"))):
        run = client.create_run("0").info.run_id
        client.log_param(run, "alpha", number)
        client.log_metric(run, "rmse", number / 4)
        client.log_metric(run, "same", 1.0)
        pins = ("Scikit_Learn==1.0", "a") if number else ("scikit-learn==1.1", "b[x]>=2")
        folder = saved(tmp_path / str(number), *columns, requirements=pins)
        uris.append(log_model(client, Copied(folder), "m", experiment_id="0", run_id=run).model_uri)
    found = diff_models(client, *uris)
    assert found.breaks
    assert found.same_files is False
    assert {one.key for one in found.signature} == {"inputs.y", "inputs.z"}
    (gone,) = (one for one in found.signature if one.key == "inputs.y")
    assert "double" in gone.a
    assert gone.b is None
    asked = {one.key: (one.a, one.b) for one in found.requirements}
    assert asked == {
        "scikit-learn": ("==1.1", "==1.0"),
        "b": ("[x]>=2", None),
        "a": (None, "any version"),
    }
    assert found.params == [Difference(key="alpha", a="0", b="1")]
    assert found.metrics == [Difference(key="rmse", a=0.0, b=0.25)]


def test_a_model_that_cannot_be_read_is_a_note_and_not_an_error(
    client: Client, tmp_path: Path
) -> None:
    for name in ("a", "b"):
        client.create_registered_model(name)
        client.create_model_version(name, str(saved(tmp_path / name, "x")))
    (tmp_path / "b" / "MLmodel").write_text("flavors: 1\n")
    found = diff_models(client, "models:/a/1", "models:/b/1")
    assert found.same_files is None
    (note,) = found.notes
    assert note.startswith("models:/b/1: ")
    assert "flavors" in note


def test_what_is_not_there_is_not_compared(client: Client, tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        diff_models(client, str(saved(tmp_path / "a", "x")), str(tmp_path / "b"))


def test_a_key_without_a_value_is_no_difference_from_none() -> None:
    found = _differences({"code": None, "x": 1}, {"y": None})
    assert found == [Difference(key="x", a=1, b=None)]
