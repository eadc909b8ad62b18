"""What a flavor is: how models of one library get into a folder, and out of it again.

A flavor is an object with the members of `Flavor`, named by an entry point of the group ``headrace.flavors``
whose name is the flavor's. headrace's own are registered in the same way (pyproject.toml), so that somebody
else's is nothing special. Importing a flavor's module must not import its library: `find_flavor` loads them
all to ask which one claims a model.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

import msgspec

#: ``predict(data, params)``: what a loaded model does, whatever its library. Data are what the signature
#: says: a frame, an array, a dict of arrays, a list; params a dict or None.
Predict = Callable[[Any, Mapping[str, Any] | None], Any]


class Saved(msgspec.Struct, frozen=True, kw_only=True):
    """What a flavor wrote.

    Attributes:
        conf: Its section under ``flavors`` in MLmodel. What MLflow's flavor of this name needs to load it is
            in it, by the same keys.
        python_function: What it adds to the section ``python_function``: ``data`` or ``model_path``, say. None:
            the model cannot predict as a python function.
        loader_module: MLflow's module that opens it as a python function, such as ``mlflow.sklearn``.
        requirements: Distributions that loading needs, such as ``scikit-learn``; their installed versions
            are pinned. What else the model imports is found by loading it.
        typed: The function whose annotations say what the model takes and gives: the signature comes from
            them if it is not given. None: there is none.
    """

    conf: Mapping[str, Any]
    python_function: Mapping[str, Any] | None
    loader_module: str
    requirements: tuple[str, ...] = ()
    typed: Callable[..., Any] | None = None


class Permit(msgspec.Struct, frozen=True, kw_only=True):
    """What the loader's policy has allowed for one folder, after the audit.

    Attributes:
        formats: Names of formats that may be opened, see `Flavor.formats`.
        trusted: Full names of types (``package.module.Type``) that a file may ask for. From the loader
            alone: a list that lies beside the model is never read.
    """

    formats: frozenset[str]
    trusted: frozenset[str] = frozenset()


class Flavor(Protocol):
    """One library's models.

    What is called ``conf`` below is the flavor's section of MLmodel, laid over the section ``python_function``:
    a key that the flavor's own section lacks is read from that.

    Attributes:
        name: Its key under ``flavors`` in MLmodel, as MLflow has it: ``sklearn``.
        library: The package that its models come from: ``sklearn``. Where several flavors claim a model,
            the one is taken whose library defines the class nearest to the model's own.

    A flavor may have one attribute more, ``wants``: names of ``save_model``'s keywords that are everybody's and
    that `save` is to be given among its options: ``input_example`` (the data alone), ``signature``.
    """

    name: str
    library: str

    def claims(self, model: object) -> bool:
        """Whether a model is of this library. Asked of any object; must not import the library.

        A model's library is in `sys.modules`, for the model is there.
        """

    def save(self, model: Any, folder: Path, options: Mapping[str, Any]) -> Saved:
        """Write a model's files into a folder that exists and is empty.

        Args:
            model: One that it claims.
            folder: Where MLmodel will be.
            options: The keywords of ``save_model`` that are the flavor's own, as MLflow names them
                (``serialization_format``); absent means the default, which is safe to open where the
                library has such a format.

        Raises:
            InvalidParameter: An option that it does not know, or a model that cannot be saved so.
        """

    def formats(self, folder: Path, conf: Mapping[str, Any]) -> frozenset[str]:
        """What `load` would open, without opening it: names of formats in `headrace.models.formats`.

        Told from what the files are, not from what MLmodel says of them.
        """

    def load(self, folder: Path, conf: Mapping[str, Any], permit: Permit) -> Any:
        """The model as its library has it. Called after the audit.

        Raises:
            PolicyViolation: A file asks for a type that is not trusted.
            InvalidModel: The files are not what they should be.
        """

    def predict(self, model: Any, conf: Mapping[str, Any]) -> Predict:
        """A loaded model as a function."""
