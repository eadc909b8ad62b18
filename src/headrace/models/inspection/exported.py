"""What a program exported by PyTorch would call: its graph is JSON in the archive.

`torch.export.load` looks an operator up by any path below ``torch``, hands expressions to a parser that evaluates them
(``sympy.sympify``), and unpickles what the graph's neighbours ask it to. So only operators, and expressions of plain arithmetic, count as safe; pickles in the
archive may rebuild tensors and nothing else (see `headrace.models.inspection.pickles`).
"""

from __future__ import annotations

import json
import re
from typing import Any

_TARGET = re.compile(
    r"torch\.ops\.(?:aten|prims|prim|higher_order|quantized_decomposed|quantized|_c10d_functional|torchvision|torchao)(?:\.\w+){1,2}"
    r"|_operator\.(?:add|sub|mul|truediv|floordiv|mod|pow|neg|pos|abs|eq|ne|lt|le|gt|ge|and_|or_|xor|not_|getitem|index|lshift|rshift)"
    r"|math\.\w+|torch\.sym_\w+|torch\._sym_\w+"
)  # fmt: skip
_EXPRESSION = re.compile(r"[\w\s+\-*/%(),.<>=&|~!]*")
_NAME = re.compile(r"[A-Za-z_]\w*")
_DOTTED = re.compile(r"[A-Za-z_)\]]\s*\.|\.\s*[A-Za-z_]")
#: Functions that the expressions of shapes have.
_FUNCTIONS = frozenset(
    (
        "Max", "Min", "Mod", "PythonMod", "FloorDiv", "CleanDiv", "CeilDiv", "ModularIndexing", "Where", "IntTrueDiv", "FloatTrueDiv",
        "TruncToInt", "TruncToFloat", "RoundToInt", "RoundDecimal", "ToFloat", "FloorToInt", "CeilToInt", "FloatPow", "PowByNatural", "Identity", "IsNonOverlappingAndDenseIndicator",
        "Abs", "Eq", "Ne", "Lt", "Le", "Gt", "Ge", "And", "Or", "Not", "Pow", "Add", "Mul", "Integer", "Float", "Rational", "Symbol", "LShift", "RShift",
        "floor", "ceiling", "sqrt", "log", "exp", "True", "False", "true", "false", "oo", "int_oo",
    )
)  # fmt: skip
_SYMBOL = re.compile(r"[a-z]{1,3}\d+")


def problems(document: bytes) -> list[str]:
    """What in a graph is neither an operator nor plain arithmetic.

    Raises:
        ValueError: It is no JSON.
    """
    try:
        tree = json.loads(document)
    except RecursionError:
        raise ValueError("it is nested too deep") from None
    found: list[str] = []
    todo: list[Any] = [tree]
    while todo:
        node = todo.pop()
        if isinstance(node, list):
            todo.extend(node)
        elif isinstance(node, dict):
            todo.extend(node.values())
            target = node.get("target")
            if isinstance(target, str) and "inputs" in node and not _TARGET.fullmatch(target):
                found.append(f"calls {target[:200]}, which is no operator of a graph")
            for key in ("expr_str", "as_expr", "expr"):
                if isinstance(node.get(key), str) and not _is_arithmetic(node[key]):
                    found.append(f"evaluates '{node[key][:200]}'")
    return list(dict.fromkeys(found))[:20]


def _is_arithmetic(text: str) -> bool:
    """Whether an expression holds numbers, symbols and the functions of shapes alone."""
    if not _EXPRESSION.fullmatch(text) or _DOTTED.search(text):
        return False
    return all(name in _FUNCTIONS or _SYMBOL.fullmatch(name) for name in _NAME.findall(text))
