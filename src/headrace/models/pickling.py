"""Writing pickles: with the classes of `python_model` inside, and saying what cannot be pickled."""

from __future__ import annotations

import io
import pickle
import threading
from collections.abc import Callable, Iterator
from typing import Any

from headrace.errors import InvalidParameter

#: cloudpickle's list of modules to put into pickles by value is the process's; so one at a time.
_by_value = threading.Lock()
_WAY_OUT = "Make it in load_context, or leave it out in __getstate__; or save the model as code"


def cloudpickled(model: object) -> bytes:
    """A model as a pickle that does not need headrace to be opened.

    Raises:
        InvalidParameter: It cannot be pickled; the message names the attribute that is the reason.
    """
    import cloudpickle

    from headrace.models import python_model

    def dump(value: object) -> bytes:
        stream = io.BytesIO()
        cloudpickle.dump(value, stream, protocol=pickle.DEFAULT_PROTOCOL)
        return stream.getvalue()

    with _by_value:
        cloudpickle.register_pickle_by_value(python_model)
        try:
            written: bytes = dumped(model, dump)
        finally:
            cloudpickle.unregister_pickle_by_value(python_model)
    return written


def dumped(
    model: object,
    dump: Callable[[object], Any],
    *,
    form: str = "pickled",
    way_out: str = _WAY_OUT,
) -> Any:
    """What ``dump(model)`` gives; if it fails, an error that names the attribute that is the reason."""
    try:
        return dump(model)
    except Exception as error:
        where, value, reason = _culprit(model, "model", dump, error, set())
        raise InvalidParameter(
            f"the model {type(model).__name__} cannot be {form}: {where} is a"
            f" {type(value).__module__}.{type(value).__qualname__}: {reason}. {way_out}"
        ) from error


def _culprit(
    value: object, path: str, dump: Callable[[object], Any], error: Exception, seen: set[int]
) -> tuple[str, object, Exception]:
    """The innermost part of a value that cannot be dumped, how to get to it, and what dumping it says."""
    seen.add(id(value))
    for step, part in _parts(value):
        if id(part) in seen:
            continue
        try:
            dump(part)
        except Exception as inner:  # noqa: BLE001 - whatever dumping raises is the reason to tell
            return _culprit(part, path + step, dump, inner, seen)
    return path, value, error


def _parts(value: object) -> Iterator[tuple[str, object]]:
    if isinstance(value, dict):
        for key, part in value.items():
            yield f"[{key!r}]", part
    elif isinstance(value, (list, tuple)):
        for index, part in enumerate(value):
            yield f"[{index}]", part
    else:
        attributes = getattr(value, "__dict__", None)
        if isinstance(attributes, dict):
            for name, part in attributes.items():
                yield f".{name}", part
        closure = getattr(value, "__closure__", None) or ()
        names = getattr(getattr(value, "__code__", None), "co_freevars", ())
        for name, cell in zip(names, closure, strict=False):
            try:
                yield f", the variable '{name}' around it,", cell.cell_contents
            except ValueError:  # not set yet
                continue
        used = getattr(getattr(value, "__code__", None), "co_names", ())
        around = getattr(value, "__globals__", None) or {}
        for name in used:
            if name in around:
                yield f", the global '{name}' that it uses,", around[name]
