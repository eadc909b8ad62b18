"""A flavor against MLflow's of the same name.

Models of the tests are tiny and made there; MLflow is the unmodified client. It is told its requirements, for it
would find them by loading the model in a process of its own.
"""

from __future__ import annotations

import contextlib
import os
import warnings
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from headrace.models import load_folder, save_model
from headrace.models.flavor import Flavor, Permit
from headrace.models.mlmodel import MLModel
from headrace.models.policy import SAFE, Policy
from support.mlflow_client import ENVIRONMENT


def save(flavor: Flavor, model: Any, folder: Path, **options: Any) -> dict[str, Any]:
    """Save a model with a flavor; its section of MLmodel."""
    found = save_model(
        model, folder, flavor=flavor.name, pip_requirements=[flavor.library], **options
    )
    return found.flavors[flavor.name]


def section(flavor: Flavor, folder: Path) -> dict[str, Any]:
    """A flavor's section of MLmodel, over that of the python function."""
    flavors = MLModel.read(folder).flavors
    return {**flavors.get("python_function", {}), **flavors[flavor.name]}


def formats(flavor: Flavor, folder: Path) -> set[str]:
    """What opening the model would open."""
    return set(flavor.formats(folder, section(flavor, folder)))


def load(
    flavor: Flavor, folder: Path, allow: Collection[str] = (), trusted: Collection[str] = ()
) -> Any:
    """The model, by a loader who allows the safe formats and some more."""
    permit = Permit(formats=SAFE | frozenset(allow), trusted=frozenset(trusted))
    return flavor.load(folder, section(flavor, folder), permit)


def audit(folder: Path) -> None:
    """Open a folder under the strict policy, as a model of a stranger's is."""
    load_folder(folder, as_="native", policy=Policy(strict="always"))


def predict(flavor: Flavor, folder: Path, data: Any, params: Any = None, **permit: Any) -> Any:
    """What the model says as a function."""
    model = load(flavor, folder, **permit)
    return flavor.predict(model, section(flavor, folder))(data, params)


def mlflow_save(name: str, model: Any, folder: Path, **options: Any) -> None:
    """Save a model with MLflow's flavor of a name."""
    with _mlflow() as mlflow:
        arguments = {"path": str(folder), "pip_requirements": [name], **options}
        getattr(mlflow, name).save_model(model, **arguments)


def mlflow_load(name: str, folder: Path, **options: Any) -> Any:
    """What MLflow's flavor of a name makes of a folder."""
    with _mlflow() as mlflow:
        return getattr(mlflow, name).load_model(str(folder), **options)


def mlflow_predict(folder: Path, data: Any, params: Any = None, **options: Any) -> Any:
    """What MLflow makes of a folder as a function, and what that says."""
    with _mlflow() as mlflow:
        return mlflow.pyfunc.load_model(str(folder), **options).predict(data, params=params)


@contextlib.contextmanager
def _mlflow() -> Iterator[Any]:
    """MLflow, whose warnings are not ours to mend."""
    os.environ.update(ENVIRONMENT)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import mlflow

        yield mlflow
