"""Classes that are pickled by value into a model, so that they open where headrace is not installed.

A model that is a class or a function is pickled by cloudpickle as ``python_model.pkl``. What MLflow's loader
needs of the object (``predict``, ``load_context``, ``predict_type_hints``) comes from the classes of this
module, and `headrace.models.pickling` puts this module's code into the pickle instead of its name. Therefore
nothing here may use anything but the standard library, and what is imported must be imported as a module.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import types
import typing
from typing import Any


class PythonModel:
    """A model written as a class: subclass it, and define ``predict``.

    ``predict(self, context, model_input, params=None)`` or ``predict(self, model_input, params=None)``;
    ``params`` may be left out. ``load_context(self, context)`` is called once, when the model is loaded;
    ``context.artifacts`` are the paths of its artifacts by name, ``context.model_config`` its configuration.

    If ``model_input`` is annotated with a list (``list[str]``, ``list[MyPydanticModel]``), the signature
    comes from that, and every input is checked and converted to it.
    """

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        predict = cls.__dict__.get("predict")
        if inspect.isfunction(predict):
            cls.predict = conforming(predict)  # type: ignore[method-assign]

    def load_context(self, context: Any) -> None:
        """Called once, before the first `predict`."""

    def predict(self, context: Any, model_input: Any, params: Any = None) -> Any:
        """Predictions for an input."""
        raise NotImplementedError(f"{type(self).__name__} does not define predict")

    @property
    def predict_type_hints(self) -> Any:
        """The hints of `predict`'s input and output, as MLflow asks for them."""
        return input_hints(self.predict)


def call_predict(function: Any, context: Any, model_input: Any, params: Any) -> Any:
    """Call a ``predict`` with those of the three that it takes."""
    names = parameters_of(function)
    rest = {"params": params} if "params" in names else {}
    if takes_context(names):
        return function(context, model_input, **rest)
    return function(model_input, **rest)


def parameters_of(function: Any) -> list[str]:
    """Names of the parameters of a ``predict``, ``self`` left out."""
    try:
        names = list(inspect.signature(function).parameters)
    except (TypeError, ValueError):  # written in C: one argument
        return ["model_input"]
    return [name for name in names if name != "self"]


def takes_context(names: list[str]) -> bool:
    """Whether the first parameter is the context: MLflow's rule."""
    return "context" in names or len([name for name in names if name != "params"]) == 2


def input_hints(function: Any) -> Any:
    """An object with ``input`` and ``output``: the annotations, None where there is none."""
    if not inspect.isroutine(function) and hasattr(function, "__call__"):  # noqa: B004 - its method
        function = getattr(function, "func", function.__call__)
    names = parameters_of(function)
    index = 1 if takes_context(names) else 0
    try:
        hints = typing.get_type_hints(function)
    except (TypeError, NameError, AttributeError):  # names that exist for type checkers only
        hints = {}
    name = names[index] if index < len(names) else ""
    return types.SimpleNamespace(input=hints.get(name), output=hints.get("return"))


def is_checked(hint: Any) -> bool:
    """Whether inputs are checked against a hint: lists are, as in MLflow; frames and arrays are not."""
    return typing.get_origin(hint) is list and bool(typing.get_args(hint))


def conforming(predict: Any) -> Any:
    """A method ``predict`` that checks its input against its annotation, if there is one to check."""
    if not predict.__annotations__:
        return predict
    names = list(inspect.signature(predict).parameters)
    position = 2 if takes_context([name for name in names if name != "self"]) else 1
    if position >= len(names):
        return predict
    name = names[position]

    @functools.wraps(predict)
    def checked(*args: Any, **kwargs: Any) -> Any:
        hint = input_hints(predict).input
        if is_checked(hint):
            if name in kwargs:
                kwargs[name] = conform(kwargs[name], hint, name)
            elif position < len(args):
                args = (
                    *args[:position],
                    conform(args[position], hint, name),
                    *args[position + 1 :],
                )
        return predict(*args, **kwargs)

    return checked


def conform(data: Any, hint: Any, where: str) -> Any:
    """Data as a hint says.

    Frames and arrays become lists; numbers of numpy become Python's; dicts become pydantic models.

    Raises:
        InvalidParameter: They are something else (`TypeError` where headrace is not installed).
    """
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if hint in (Any, inspect.Parameter.empty):
        return data
    if origin is typing.Union or origin is types.UnionType:
        return _conform_union(data, inner, hint, where)
    if origin is list or hint is list:
        return _conform_list(data, inner, hint, where)
    if origin is dict or hint is dict:
        return _conform_dict(data, inner, hint, where)
    if typing.is_typeddict(hint) or dataclasses.is_dataclass(hint):
        return _conform_fields(data, hint, where)
    if hasattr(hint, "model_validate"):
        return data if isinstance(data, hint) else _validated(data, hint, where)
    return _conform_scalar(data, hint, where)


def _conform_union(data: Any, kinds: Any, hint: Any, where: str) -> Any:
    if data is None and type(None) in kinds:
        return None
    for kind in kinds:
        if kind is not type(None):
            try:
                return conform(data, kind, where)
            except Exception:  # noqa: BLE001 - the next one may fit; if none does, it is said below
                continue
    return refuse(data, hint, where)


def _conform_list(data: Any, inner: Any, hint: Any, where: str) -> Any:
    if hasattr(data, "to_dict") and hasattr(data, "columns"):
        single = len(data.columns) == 1 and not _is_mapping(inner)
        data = data.iloc[:, 0].tolist() if single else data.to_dict("records")
    elif hasattr(data, "tolist"):
        data = data.tolist()
    if not isinstance(data, (list, tuple)):
        return refuse(data, hint, where)
    if not inner:
        return list(data)
    return [conform(item, inner[0], f"{where}[{index}]") for index, item in enumerate(data)]


def _is_mapping(inner: Any) -> bool:
    if not inner:
        return False
    return (
        typing.get_origin(inner[0]) is dict
        or inner[0] is dict
        or hasattr(inner[0], "model_validate")
    )


def _conform_dict(data: Any, inner: Any, hint: Any, where: str) -> Any:
    if not isinstance(data, dict):
        return refuse(data, hint, where)
    if not inner:
        return data
    return {
        conform(key, inner[0], f"a key of {where}"): conform(value, inner[1], f"{where}[{key!r}]")
        for key, value in data.items()
    }


def _conform_fields(data: Any, hint: Any, where: str) -> Any:
    """A TypedDict, or a dataclass, which may come as a dict of its fields."""
    typed = dataclasses.is_dataclass(hint)
    if typed and isinstance(data, hint):
        return data
    if not isinstance(data, dict):
        return refuse(data, hint, where)
    hints = typing.get_type_hints(hint)
    unknown = [name for name in data if name not in hints]
    if unknown:
        return refuse(data, hint, where, f"it has no field {unknown[0]!r}")
    found = {
        name: conform(value, hints[name], f"{where}[{name!r}]") for name, value in data.items()
    }
    if not typed:
        missing = hint.__required_keys__.difference(found)
        return refuse(data, hint, where, f"it lacks {min(missing)!r}") if missing else found
    try:
        return hint(**found)
    except TypeError as error:
        return refuse(data, hint, where, str(error))


def _validated(data: Any, hint: Any, where: str) -> Any:
    try:
        return hint.model_validate(data)
    except ValueError as error:
        return refuse(data, hint, where, str(error))


def _conform_scalar(data: Any, hint: Any, where: str) -> Any:
    if not isinstance(hint, type) or hint in (type(None), object):
        return data
    if type(data).__module__ == "numpy" and hasattr(data, "item"):
        data = data.item()
    if hint is float and isinstance(data, int) and not isinstance(data, bool):
        return float(data)
    if hint is int and isinstance(data, bool):
        return refuse(data, hint, where)
    if hint.__name__ == "datetime" and isinstance(data, str):
        try:
            return hint.fromisoformat(data)  # type: ignore[attr-defined]
        except ValueError:
            return refuse(data, hint, where)
    return data if isinstance(data, hint) else refuse(data, hint, where)


def refuse(data: Any, hint: Any, where: str, why: str = "") -> Any:
    """Raise what says that data are not what a hint says."""
    expected = hint.__name__ if isinstance(hint, type) and not typing.get_args(hint) else str(hint)
    message = f"{where} must be {expected}, got {type(data).__name__} {str(data)[:100]!r}"
    if why:
        message += f": {why}"
    try:
        from headrace.errors import InvalidParameter
    except ImportError:
        raise TypeError(message) from None
    raise InvalidParameter(message)


class WrappedModel(PythonModel):
    """A function, or an object of a class that is not a `PythonModel`, behaving like one.

    Attributes:
        wrapped: It.
    """

    def __init__(self, wrapped: Any) -> None:
        self.wrapped = wrapped

    def load_context(self, context: Any) -> None:
        load = getattr(self.wrapped, "load_context", None)
        if load is not None:
            load(context)

    def predict(self, context: Any, model_input: Any, params: Any = None) -> Any:
        hint = self.predict_type_hints.input
        if is_checked(hint):
            model_input = conform(model_input, hint, "model_input")
        return call_predict(self._function, context, model_input, params)

    @property
    def predict_type_hints(self) -> Any:
        return input_hints(self._function)

    @property
    def _function(self) -> Any:
        return getattr(self.wrapped, "predict", self.wrapped)
