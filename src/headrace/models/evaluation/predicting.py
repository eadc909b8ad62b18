"""Asking a model for its predictions."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec
import numpy as np

from headrace.errors import HeadraceError, InvalidParameter
from headrace.models.evaluation.rows import Rows

#: Seconds that may go into finding the row at which a model fails.
_PATIENCE = 10.0


class Predicted(msgspec.Struct, frozen=True, kw_only=True):
    """What was predicted.

    Attributes:
        values: As the model gave them.
        probabilities: What its ``predict_proba`` gave; None if it has none, or was not asked.
        classes: The labels that it knows, in the order of the probabilities; None: unknown.
    """

    values: Any
    probabilities: Any = None
    classes: Any = None


def is_model(subject: Any) -> bool:
    """Whether it predicts, rather than being predictions."""
    return callable(getattr(subject, "predict", None)) or callable(subject)


def predict(model: Any, rows: Rows, wanted: Any, taken: set[Any], *, classify: bool) -> Predicted:
    """The predictions of a model for all rows.

    Args:
        model: An object with ``predict``, or a function of the features.
        rows: The data.
        wanted: Names of columns to give it; None: those that it names, else all that are not taken.
        taken: Names of columns that are no features.
        classify: Ask for probabilities, where it has them.

    Raises:
        InvalidParameter: The model failed (the message names the first row at which it does), or gave
            another number of predictions than there are rows.
    """
    native = native_of(model)
    features = rows.features(_chosen(model, native, rows, wanted), taken)
    function = model.predict if callable(getattr(model, "predict", None)) else model
    given = _call(function, features, rows)
    labelled = _labelled(given) if classify else None
    if labelled is not None:
        _same_length(labelled.values, rows)
        return labelled
    values = _one_column(given)
    _same_length(values, rows)
    probabilities = None
    if classify:
        owner = next((one for one in (model, native) if _offers_probabilities(one)), None)
        if owner is not None:
            probabilities = _call(owner.predict_proba, features, rows)
            _same_length(probabilities, rows)
    classes = getattr(model, "classes_", None)
    if classes is None:
        classes = getattr(native, "classes_", None)
    return Predicted(values=values, probabilities=probabilities, classes=classes)


def native_of(model: Any) -> Any:
    """The library's own model inside a loaded python function; None: there is none."""
    raw = getattr(model, "get_raw_model", None)
    if not callable(raw):
        return None
    try:
        return raw()
    except (NotImplementedError, HeadraceError):
        return None


def _offers_probabilities(model: Any) -> bool:
    return model is not None and callable(getattr(model, "predict_proba", None))


def _chosen(model: Any, native: Any, rows: Rows, wanted: Any) -> Any:
    """The columns to give a model: those asked for, else those that it names, if they are all there."""
    if wanted is not None:
        return wanted
    names = [getattr(one, "feature_names_in_", None) for one in (native, model)]
    names.append(_signed(getattr(model, "metadata", None)))
    columns = set(rows.frame.columns)
    return next((list(one) for one in names if one is not None and set(one) <= columns), None)


def _signed(metadata: Any) -> Any:
    """The names of a signature's inputs; None if they have none."""
    inputs = getattr(getattr(metadata, "signature", None), "inputs", None)
    if inputs is None or not inputs.has_input_names():
        return None
    return inputs.input_names()


def _one_column(values: Any) -> Any:
    """What is in a dictionary of one: models with named outputs give such."""
    if isinstance(values, Mapping):
        if len(values) == 1:
            return next(iter(values.values()))
        raise InvalidParameter(
            f"The model gave {len(values)} outputs ({', '.join(map(str, values))}): wrap it in a function "
            "that returns the one to evaluate."
        )
    return values


def _labelled(given: Any) -> Predicted | None:
    """Labels with their probabilities, as classifiers in ONNX give them; None where it is something else.

    The probabilities are an array, or a mapping from label to probability for each row (ONNX's ZipMap).
    """
    if not isinstance(given, Mapping) or len(given) != 2:
        return None
    named = [name for name in given if "prob" in str(name).lower()]
    if len(named) != 1:
        return None
    probabilities = given[named[0]]
    labels = next(values for name, values in given.items() if name != named[0])
    rows = probabilities if isinstance(probabilities, Sequence) else ()
    if not rows or not isinstance(rows[0], Mapping):
        return Predicted(values=labels, probabilities=probabilities)
    classes = list(rows[0])
    return Predicted(
        values=labels,
        probabilities=[[row[label] for label in classes] for row in rows],
        classes=classes,
    )


def _same_length(values: Any, rows: Rows) -> None:
    count = len(values) if hasattr(values, "__len__") else None
    if count != rows.count:
        said = f"{count} predictions" if count is not None else f"a {type(values).__name__}"
        raise InvalidParameter(
            f"The model gave {said} for {rows.count} rows: it must give one for each."
        )


def _call(function: Callable[[Any], Any], features: Any, rows: Rows) -> Any:
    began = time.monotonic()
    try:
        return function(features)
    except Exception as error:
        where = _where(function, features, rows.count, began)
        reason = f"{type(error).__name__}: {error}"
        if isinstance(error, HeadraceError):
            reason = error.message
        raise InvalidParameter(
            f"The model failed {where}: {reason}. It was given {_described(features)}."
        ) from error


def _where(function: Callable[[Any], Any], features: Any, count: int, began: float) -> str:
    """At which row a model fails: found by halves, unless the model is slow."""
    everywhere = f"on all {count} rows together"
    low, high = 0, count
    took = time.monotonic() - began
    while high - low > 1:
        if time.monotonic() - began > took + _PATIENCE:
            return f"in rows {low} to {high - 1}" if high - low < count else everywhere
        middle = (low + high) // 2
        if _fails(function, features, low, middle):
            high = middle
        elif _fails(function, features, middle, high):
            low = middle
        else:
            break
    if high - low == count and count > 1:
        return f"{everywhere}, though not on either half"
    if low == 0 and count > 1 and high - low == 1 and _fails(function, features, count - 1, count):
        return f"on all {count} rows"
    return f"at row {low} of {count}" if high - low == 1 else f"in rows {low} to {high - 1}"


def _fails(function: Callable[[Any], Any], features: Any, low: int, high: int) -> bool:
    try:
        function(_part(features, low, high))
    except Exception:  # noqa: BLE001 - as above: whether it raises is the question
        return True
    return False


def _part(features: Any, low: int, high: int) -> Any:
    if isinstance(features, Mapping):
        return {name: array[low:high] for name, array in features.items()}
    return features.iloc[low:high] if hasattr(features, "iloc") else features[low:high]


def _described(features: Any) -> str:
    if isinstance(features, Mapping):
        return f"a dictionary of arrays: {', '.join(map(str, features))}"
    if isinstance(features, np.ndarray):
        return f"an array of shape {features.shape}, {features.dtype}"
    columns = ", ".join(f"{name} ({kind})" for name, kind in list(features.dtypes.items())[:20])
    return f"a frame with the columns {columns or '(none)'}"
