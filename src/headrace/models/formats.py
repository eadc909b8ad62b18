"""The serialization formats that there are, and whether opening one can run code."""

from __future__ import annotations

from typing import NamedTuple


class Format(NamedTuple):
    """A format.

    Attributes:
        name: As policies and flavors name it.
        safe: Opening it runs no code that the file brings.
        why: For people: why it is, or is not.
    """

    name: str
    safe: bool
    why: str


_ALL = (
    Format("skops", True, "Types are named in it and built only if the loader trusts them."),
    Format("safetensors", True, "Tensors and names, nothing else."),
    Format("onnx", True, "A graph of known operators."),
    Format("torch-export", True, "A graph of known operators, and tensors."),
    Format("xgboost", True, "XGBoost's own JSON or UBJSON."),
    Format("lightgbm", True, "LightGBM's own text."),
    Format("keras", True, "Layers by name, opened in Keras' safe mode."),
    Format("transformers", True, "JSON and safetensors, opened without remote code."),
    Format("pickle", False, "Unpickling runs whatever the file says."),
    Format("torch-pickle", False, "A pickle in an archive: unpickling runs whatever the file says."),
    Format("torchscript", False, "A program, run by an interpreter that is no sandbox."),
    Format("python", False, "Python code in the folder is imported and run."),
    Format("keras-code", False, "A Lambda layer, or a module of the file's choice, is run."),
    Format("opaque", False, "Encrypted, damaged, or packed so that nobody can look into it."),
)  # fmt: skip

FORMATS = {format.name: format for format in _ALL}
