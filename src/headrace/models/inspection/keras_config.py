"""What the configuration of a Keras model would have imported and run.

Keras' own safe mode was passed by several times, mostly through functions of Keras itself
(CVE-2025-1550, 8747, 9905, 9906, 12058). So nothing counts as safe here but the parts that models are made
of: layers, losses and the like of Keras itself, by name, without those layers that exist to run something else.
"""

from __future__ import annotations

import builtins
import json
import re
from collections.abc import Iterator
from typing import Any

from headrace.models.inspection.dangerous import is_dangerous

#: Modules of Keras whose classes and functions models are made of; ``keras.src.`` comes before them, or ``keras.``.
_PARTS = frozenset(
    (
        "activations", "constraints", "dtype_policies", "initializers", "layers", "losses", "metrics", "models",
        "ops", "optimizers", "quantizers", "random", "regularizers", "src", "wrappers",
    )
)  # fmt: skip
#: Those whose functions compute, and do nothing else.
_COMPUTING = frozenset(
    ("activations", "constraints", "initializers", "losses", "metrics", "ops", "regularizers")
)
#: Functions among them that do something else than to compute.
_FUNCTIONS = frozenset(
    ("load_model", "clone_model", "model_from_json", "deserialize", "get", "custom_gradient", "map", "scan", "while_loop", "cond",
     "vectorized_map", "fori_loop", "associative_scan", "switch", "from_config")
)  # fmt: skip
#: Layers that run what is not Keras'.
_RUNNERS = {
    "Lambda": "has a Lambda layer, which runs Python code that the file brings",
    "TFSMLayer": "has a TFSMLayer, which loads and runs a program from a path of the file's choice",
    "TorchModuleWrapper": "has a TorchModuleWrapper, which unpickles what the file brings",
    "JaxLayer": "has a JaxLayer, which runs a function that the file names",
    "FlaxLayer": "has a FlaxLayer, which runs a module that the file names",
}
_PLAIN = frozenset((("builtins", "slice"), ("builtins", "ellipsis")))
_MODULE = re.compile(r"keras(?:\.src)?(?:\.[A-Za-z_]\w*)*")


def judge(config: bytes) -> tuple[list[str], list[str]]:
    """Why a configuration is code, and what of it is dangerous: reasons for people.

    Raises:
        ValueError: It is no JSON object.
    """
    try:
        tree = json.loads(config)
    except RecursionError:
        raise ValueError("it is nested too deep") from None
    code: list[str] = []
    dangerous: list[str] = []
    for node in _objects(tree):
        _judge_object(node, code, dangerous)
    return list(dict.fromkeys(code)), list(dict.fromkeys(dangerous))


def _judge_object(node: dict[str, Any], code: list[str], dangerous: list[str]) -> None:
    name, module, config = node.get("class_name"), node.get("module"), node.get("config")
    if name == "__lambda__" or "lambda" in (node.get("function_type"), node.get("lambda_type")):
        dangerous.append("holds the bytecode of a function")
    if isinstance(node.get("vocabulary"), str):
        dangerous.append(f"reads a vocabulary from the path '{node['vocabulary'][:200]}'")
    if not isinstance(name, str):
        return
    if name in _RUNNERS:
        dangerous.append(_RUNNERS[name])
    registered = node.get("registered_name")
    if isinstance(registered, str) and ">" in registered:
        code.append(f"needs a class of yours: {registered}")
    if name == "function":
        _judge_function(config, module, code, dangerous)
    elif module is None:
        if ">" in name or node.get("registered_name") not in (None, name):
            code.append(f"needs a class of yours: {node.get('registered_name') or name}")
    elif not _is_part(module) and (str(module), name) not in _PLAIN:
        code.append(f"imports {module}.{name}")
        if is_dangerous(f"{module}.{name}") or not node.get("registered_name"):
            dangerous.append(f"imports {module}.{name}, which no layer is")


def _judge_function(name: Any, module: Any, code: list[str], dangerous: list[str]) -> None:
    if not isinstance(name, str) or hasattr(builtins, name):
        dangerous.append(f"calls {name}")
    elif module == "builtins" or module is None:
        # One of Keras' own activations and losses, as it writes them; or one that the loader registered himself.
        return
    elif not _is_part(module, _COMPUTING) or name in _FUNCTIONS:
        dangerous.append(f"calls {module}.{name}")


def _is_part(module: object, wanted: frozenset[str] = _PARTS) -> bool:
    """Whether models are made of what a module holds."""
    if not isinstance(module, str) or not _MODULE.fullmatch(module):
        return False
    parts = module.removeprefix("keras").removeprefix(".src").strip(".").split(".")
    if parts[0] == "backend":  # each has optimizers of its own
        parts = parts[2:] or ["backend"]
    return (parts == [""] and wanted is _PARTS) or parts[0] in wanted


def _objects(tree: Any) -> Iterator[dict[str, Any]]:
    todo = [tree]
    while todo:
        node = todo.pop()
        if isinstance(node, list):
            todo.extend(node)
        elif isinstance(node, dict):
            yield node
            todo.extend(node.values())
