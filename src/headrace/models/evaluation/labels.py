"""Labels and probabilities of a classification, from the many forms that models give them in.

Labels become whole numbers, places in the list of classes: the metrics then compare integers, whatever the
labels are, and the list of classes has one order everywhere.
"""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np

from headrace.errors import InvalidParameter
from headrace.models.evaluation.arrays import Array, Floats, Indices, as_array, complete, numbers
from headrace.models.evaluation.plan import Plan
from headrace.models.evaluation.predicting import Predicted

#: How far the probabilities of a row may be from 1 in sum: what single precision over many classes may lose.
_SUM = 1e-3


class Labels(msgspec.Struct, frozen=True, kw_only=True):
    """True and predicted labels.

    Attributes:
        classes: The labels, in order. Of two, the positive one is the last.
        truth: Place of each row's true label in it.
        predicted: Place of each row's predicted label in it.
        probabilities: One column per class; None: not known.
    """

    classes: Array
    truth: Indices
    predicted: Indices
    probabilities: Floats | None


def labels_of(truth: Array, predicted: Predicted, plan: Plan) -> Labels:
    """Bring targets and predictions together.

    Raises:
        InvalidParameter: A label is missing or unknown, there is one class only, or what should be
            probabilities is none.
    """
    truth = _inferred(complete(truth, "targets"))
    _check_length(truth, predicted.values)
    labels, probabilities, names = _forms(predicted)
    classes = _given_classes(plan, predicted)
    if classes is not None:
        _known(truth, classes, "targets")
    elif names is not None and _cover(names, truth):
        classes = _sorted(_inferred(np.asarray(names)), "columns of probabilities")
    else:
        classes = _occurring(truth, labels, probabilities)
    if labels is not None and _are_probabilities(labels, classes):
        positive = numbers(labels, "probabilities")
        probabilities, labels = np.column_stack([1 - positive, positive]), None
        classes = _positive_last(classes, plan.pos_label)
    elif probabilities is not None and names is not None and _cover(names, classes):
        probabilities = probabilities[:, [names.index(label) for label in classes.tolist()]]
    return _ordered(truth, labels, classes, probabilities, plan.pos_label)


def _inferred(labels: Array) -> Array:
    """Numbers that came as objects, as numbers."""
    if labels.dtype.kind != "O":
        return labels
    import pandas as pd

    return pd.Series(labels, dtype=object).infer_objects().to_numpy()  # type: ignore[no-any-return]


def _forms(predicted: Predicted) -> tuple[Array | None, Array | None, list[Any] | None]:
    """Predictions as labels (or None), probabilities by class (or None), names of their columns (or None)."""
    shaped = as_array(predicted.values, "predictions")
    if shaped.ndim == 2 and shaped.shape[1] > 1:
        return None, shaped, _names(predicted)
    if shaped.ndim > 2:
        raise InvalidParameter(
            f"The predictions have shape {shaped.shape}: give labels, or one column per class."
        )
    labels = _inferred(shaped.reshape(len(shaped)))
    if predicted.probabilities is None:
        return labels, None, None
    array = as_array(predicted.probabilities, "probabilities")
    if array.ndim == 1:
        array = np.column_stack([1 - array, array])
    return labels, array if array.ndim == 2 else None, None


def _names(predicted: Predicted) -> list[Any] | None:
    """Names of a frame's columns. The numbers that pandas gives by itself are weaker than given classes."""
    columns = getattr(predicted.values, "columns", None)
    if columns is None or (
        type(columns).__name__ == "RangeIndex" and predicted.classes is not None
    ):
        return None
    return list(columns)


def _check_length(truth: Array, values: Any) -> None:
    count = len(as_array(values, "predictions"))
    if count != len(truth):
        raise InvalidParameter(f"There are {count} predictions for {len(truth)} targets.")


def _given_classes(plan: Plan, predicted: Predicted) -> Array | None:
    if plan.classes is not None:
        return _distinct(plan.classes)
    if predicted.classes is not None and np.ndim(predicted.classes) == 1:
        return _distinct(predicted.classes)
    return None


def _cover(names: list[Any], labels: Array) -> bool:
    """Whether each label is among the names of the columns."""
    return set(_values(labels)) <= set(names)


def _values(labels: Array) -> list[Any]:
    """The different ones."""
    if labels.dtype.kind != "O":
        found: list[Any] = np.unique(labels).tolist()
        return found
    import pandas as pd

    return pd.unique(labels).tolist()  # type: ignore[no-any-return]


def _distinct(classes: Any) -> Array:
    array = as_array(classes, "classes")
    if len(set(array.tolist())) != len(array):
        raise InvalidParameter(f"The classes {array.tolist()!r} are not distinct.")
    return array


def _known(labels: Array, classes: Array, noun: str) -> None:
    unknown = sorted(set(_values(labels)) - set(classes.tolist()), key=str)
    if unknown:
        row = next(row for row, label in enumerate(labels.tolist()) if label == unknown[0])
        raise InvalidParameter(
            f"The {noun} have the label {unknown[0]!r} (row {row}"
            f"{f', and {len(unknown) - 1} more labels' if len(unknown) > 1 else ''}), which is none of the "
            f"classes {_shown(classes)}."
        )


def _shown(classes: Array) -> str:
    some = ", ".join(repr(one) for one in classes.tolist()[:10])
    return f"{some}, …" if len(classes) > 10 else some


def _occurring(truth: Array, labels: Array | None, probabilities: Array | None) -> Array:
    """The classes, when nobody has named them: those that occur, sorted."""
    columns = None if probabilities is None else probabilities.shape[1]
    found = _sorted(truth, "targets")
    if labels is not None and not _may_be_probabilities(labels, found):
        complete(labels, "predictions")
        found = _union(found, _sorted(labels, "predictions"))
    if columns is not None and columns != len(found):
        raise InvalidParameter(
            f"There are {columns} columns of probabilities, and {len(found)} labels occur ({_shown(found)}): "
            "give classes=[…], all labels in the order of the columns."
        )
    return found


def _sorted(labels: Array, noun: str) -> Array:
    try:
        return np.sort(np.asarray(_values(labels), dtype=labels.dtype))
    except TypeError:
        kinds = sorted({type(label).__name__ for label in labels.tolist()})
        raise InvalidParameter(
            f"The {noun} are of several types ({', '.join(kinds)}): labels need one."
        ) from None


def _union(truth: Array, predicted: Array) -> Array:
    text = [
        all(isinstance(label, str) for label in labels.tolist()) for labels in (truth, predicted)
    ]
    if text[0] != text[1]:
        raise InvalidParameter(
            f"The targets are labels such as {truth.tolist()[0]!r} and the predictions such as "
            f"{predicted.tolist()[0]!r}: text and numbers are never equal. Bring them to one type."
        )
    if truth.dtype.kind in "biu" and predicted.dtype.kind == "f":
        odd = predicted[predicted != np.floor(predicted)]
        if len(odd):
            raise InvalidParameter(
                f"The predictions hold {odd[0]!r}, which is neither one of the labels {_shown(truth)} nor, with "
                f"{len(truth)} classes and values from {predicted[0]!r} to {predicted[-1]!r}, a probability. "
                "Give labels, one column of probabilities per class, or kind='regression'."
            )
    return _sorted(np.concatenate([truth, predicted]), "labels")


def _may_be_probabilities(labels: Array, classes: Array) -> bool:
    """Whether numbers are probabilities of the positive label rather than labels."""
    if labels.dtype.kind != "f" or len(classes) > 2 or np.isnan(labels).any():
        return False
    inside = bool(((labels >= 0) & (labels <= 1)).all())
    return inside and not set(np.unique(labels).tolist()) <= set(classes.tolist()) | {0.0, 1.0}


def _are_probabilities(labels: Array, classes: Array) -> bool:
    if labels.dtype.kind != "f" or len(classes) != 2 or np.isnan(labels).any():
        return False
    if classes.dtype.kind not in "biuf":  # numbers cannot be labels then
        return bool(((labels >= 0) & (labels <= 1)).all())
    return _may_be_probabilities(labels, classes)


def _positive_last(classes: Array, positive: Any) -> Array:
    """Two classes, the positive one last."""
    if positive is None or len(classes) != 2:
        return classes
    if positive not in classes.tolist():
        raise InvalidParameter(f"pos_label={positive!r} is none of the classes {_shown(classes)}.")
    return classes if classes.tolist()[1] == positive else classes[::-1]


def _ordered(
    truth: Array, labels: Array | None, classes: Array, probabilities: Any, positive: Any
) -> Labels:
    if len(classes) < 2:
        raise InvalidParameter(
            f"There is one class only, {classes.tolist()[0]!r}: give classes=[…] with all labels, or data in "
            "which two occur."
        )
    shares = None if probabilities is None else _probabilities(probabilities, classes)
    order = _positive_last(classes, positive)
    if positive is not None and len(classes) > 2:
        raise InvalidParameter(
            f"pos_label={positive!r} is for two classes; there are {len(classes)}: {_shown(classes)}."
        )
    if shares is not None and order is not classes:
        shares = shares[:, ::-1]
    if labels is None:
        assert shares is not None
        # The first of equals, as scikit-learn's classifiers decide: by the order of the classes given.
        best = np.argmax(shares, axis=1) if order is classes else 1 - np.argmax(shares[:, ::-1], 1)
    else:
        complete(labels, "predictions")
        _known(labels, order, "predictions")
        best = places(labels, order)
    return Labels(
        classes=order,
        truth=places(truth, order),
        predicted=best.astype(np.intp),
        probabilities=shares,
    )


def places(labels: Array, classes: Array) -> Indices:
    """Where each label stands in the classes, which have them all."""
    if labels.dtype.kind in "OUS" or classes.dtype.kind in "OUS":
        import pandas as pd

        index = pd.Index(classes.astype(object), dtype=object)
        return np.asarray(index.get_indexer(labels.astype(object)), dtype=np.intp)
    order = np.argsort(classes, kind="stable")
    return np.asarray(order[np.searchsorted(classes, labels, sorter=order)], dtype=np.intp)


def _probabilities(values: Array, classes: Array) -> Floats:
    """Probabilities that are such.

    Raises:
        InvalidParameter: Another number of columns than of classes, a value outside of 0 to 1, or a row
            whose sum is not 1.
    """
    if values.shape[1] != len(classes):
        raise InvalidParameter(
            f"There are {values.shape[1]} columns of probabilities for {len(classes)} classes "
            f"({_shown(classes)})."
        )
    shares = numbers(values.reshape(-1), "probabilities").reshape(values.shape)
    outside = np.argwhere((shares < -_SUM) | (shares > 1 + _SUM))
    if len(outside):
        row, column = outside[0]
        raise InvalidParameter(
            f"The probability of {classes.tolist()[column]!r} in row {row} is {shares[row, column]:g}: it must be "
            "from 0 to 1. If these are scores, turn them into probabilities first."
        )
    sums = shares.sum(axis=1)
    off = np.flatnonzero(np.abs(sums - 1) > _SUM)
    if len(off):
        raise InvalidParameter(
            f"The probabilities of {len(off)} of {len(sums)} rows do not sum to 1: row {off[0]} sums to "
            f"{sums[off[0]]:g}. Give one column per class."
        )
    shares = np.clip(shares, 0, 1)
    # Single precision sums to 1 only nearly, and scikit-learn warns of that.
    if np.abs(sums - 1).max() > 1e-9:
        shares = shares / shares.sum(axis=1, keepdims=True)
    return shares
