"""What an archive of torch.export would run when it is opened.

torch.export's archives (``.pt2``) pass for graphs and tensors. But torch evaluates text that lies in them: the
expressions of dynamic sizes go through sympy's ``sympify``, the guards of inputs through ``exec``, targets of nodes
are looked up under ``torch`` by name, containers of inputs import modules, and some records are unpickled. So an
archive is read here first, and only what torch.export writes for a plain model passes.

The layout is that of ``torch/csrc/export/pt2_archive_constants.h``, the schema that of
``torch/_export/serde/schema.py`` (version 8).
"""

from __future__ import annotations

import ast
import re
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from headrace.errors import InvalidModel
from headrace.models.magic import json_objects, read_json, saved_tensors_only

_PLAIN = re.compile(
    r"(\.data/)?(archive_format|archive_version|version|byteorder|serialization_id)"
)
_GRAPH = re.compile(r"models/[\w.-]+\.json")
_CONFIG = re.compile(r"data/(weights|constants)/[\w.-]+_config\.json")
_TENSOR = re.compile(r"data/(weights/weight|constants/tensor)_\d+")
_SAMPLES = re.compile(r"data/sample_inputs/[\w.-]+\.pt")

#: ``torch.ops.aten.add.Tensor``. Other libraries' operators are whatever that library registered.
_OPERATOR = re.compile(
    r"torch\.ops\.(aten|prims)\.(_?[A-Za-z]\w*|__(and|or|xor|lshift|rshift)__)(\.[A-Za-z]\w*)?"
)
_HIGHER = re.compile(
    r"torch\.ops\.higher_order\.(cond|while_loop|map_impl|scan|associative_scan|flex_attention"
    r"|wrap_with_set_grad_enabled|wrap_with_autocast)"
)
_SYM = re.compile(r"torch\.sym_(float|int|ite|max|min|not|sqrt|sum)|torch\._sym_sqrt")
_PYTHON = re.compile(
    r"(_operator|math)\.(add|sub|mul|truediv|floordiv|mod|pow|neg|pos|abs|eq|ne|lt|le|gt|ge|and_|or_|not_|xor"
    r"|lshift|rshift|getitem|ceil|floor|trunc|sqrt|round)"
)
#: Names of nodes, tensors, parameters, devices: torch writes them into the code that it makes of a graph.
_WORD = re.compile(r"[\w.:+-]*")
#: Operators that read files.
_NEVER = ("from_file",)

#: Functions of symbolic expressions, as sympy and torch print them.
_FUNCTIONS = frozenset(
    [
        "Symbol",
        "Integer",
        "Float",
        "Rational",
        "Add",
        "Mul",
        "Pow",
        "Mod",
        "Max",
        "Min",
        "Abs",
        "Eq",
        "Ne",
        "Lt",
        "Le",
        "Gt",
        "Ge",
        "Equality",
        "Unequality",
        "StrictLessThan",
        "LessThan",
        "StrictGreaterThan",
        "GreaterThan",
        "And",
        "Or",
        "Not",
        "Piecewise",
        "ExprCondPair",
        "FloorDiv",
        "CleanDiv",
        "CeilDiv",
        "CeilToInt",
        "FloorToInt",
        "IntTrueDiv",
        "FloatTrueDiv",
        "FloatPow",
        "ModularIndexing",
        "PythonMod",
        "PowByNatural",
        "ToFloat",
        "TruncToInt",
        "TruncToFloat",
        "RoundToInt",
        "RoundDecimal",
        "Where",
        "Identity",
        "IsNonOverlappingAndDenseIndicator",
        "Half",
        "One",
        "Zero",
        "NegativeOne",
        "BooleanTrue",
        "BooleanFalse",
    ]
)
#: What guards call and read of inputs.
_METHODS = frozenset({"size", "stride", "storage_offset", "shape", "dim", "numel", "isnan", "inf"})
_NAMES = frozenset({"L", "math", "inf", "true", "false"})
_SYMBOL = re.compile(r"[a-z]{1,4}\d+")

_NODES = (
    ast.Expression, ast.Call, ast.Name, ast.Load, ast.Constant, ast.keyword, ast.UnaryOp, ast.BinOp, ast.BoolOp,
    ast.Compare, ast.Subscript, ast.Attribute, ast.Tuple, ast.operator, ast.unaryop, ast.boolop, ast.cmpop,
)  # fmt: skip

#: Containers of inputs and outputs; others import modules by name.
_CONTAINERS = (
    None,
    "builtins.tuple",
    "builtins.list",
    "builtins.dict",
    "collections.OrderedDict",
)

Read = Callable[[str], bytes]


def exported_problem(path: Path) -> str | None:
    """Why opening a ``.pt2`` archive would run what it brings; None: it would not.

    Raises:
        InvalidModel: It is no archive that can be read.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            names = [each.filename for each in archive.infolist() if not each.is_dir()]
            return next(problems(names, archive.read, prefixed=True), None)
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, KeyError) as problem:
        raise InvalidModel(f"'{path.name}' is no archive that can be read: {problem}.") from None


def opened_problem(path: Path) -> str | None:
    """The same, of the very records that torch will read: its reader of archives is not Python's.

    Raises:
        InvalidModel: It is no archive that torch can read.
    """
    import torch

    try:
        reader: Any = torch._C.PyTorchFileReader(str(path))  # type: ignore[attr-defined]
        return next(problems(reader.get_all_records(), reader.get_record, prefixed=False), None)
    except RuntimeError as problem:
        raise InvalidModel(f"'{path.name}' is no archive that torch can read: {problem}.") from None


def problems(names: list[str], read: Read, *, prefixed: bool) -> Iterator[str]:
    """What there is against an archive, record by record.

    Args:
        names: Its records'.
        read: Gives a record by its name.
        prefixed: Names begin with the archive's own, as they stand in the file.
    """
    if len(set(names)) < len(names):
        yield "two records have one name"
    if prefixed and len({name.split("/", 1)[0] for name in names}) != 1:
        yield "its records lie in more than one folder"
    for whole in names:
        name = whole.split("/", 1)[-1] if prefixed else whole
        if _PLAIN.fullmatch(name) or _TENSOR.fullmatch(name):
            continue
        if _CONFIG.fullmatch(name):
            yield from _of_config(name, read_json(read(whole), name))
        elif _GRAPH.fullmatch(name):
            yield from _of_graph(name, read_json(read(whole), name))
        elif _SAMPLES.fullmatch(name):
            if not saved_tensors_only(read(whole)):
                yield f"'{name}' is a pickle of more than tensors"
        else:
            yield f"'{name}' is not a part of a plain exported model"


def _of_config(name: str, document: Any) -> Iterator[str]:
    entries = document.get("config") if isinstance(document, dict) else None
    if not isinstance(entries, dict):
        yield f"'{name}' lists no tensors"
        return
    for entry in entries.values():
        file = entry.get("path_name") if isinstance(entry, dict) else None
        if entry is None or not isinstance(file, str) or entry.get("use_pickle") is not False:
            yield f"'{name}' has a tensor that is a pickle"
        elif not _TENSOR.fullmatch(f"{name.rsplit('/', 1)[0]}/{file}"):
            yield f"'{name}' has '{file}', which is no tensor"
    yield from _of_graph(name, document)


def _of_graph(name: str, document: Any) -> Iterator[str]:
    """What there is against the text in a graph's JSON. Text of no known use has to be a plain word."""
    waiting = [("", document, False)]
    while waiting:
        key, value, constant = waiting.pop()
        if isinstance(value, dict):
            for inner, each in value.items():
                if not _WORD.fullmatch(inner):
                    yield f"'{name}' has the name '{inner[:100]}'"
                if inner != "metadata":  # read as text by torch: where a node came from
                    waiting.append((inner, each, constant or inner == "constant_input"))
        elif isinstance(value, list):
            waiting.extend((key, each, constant) for each in value)
        elif isinstance(value, str):
            yield from _of_text(name, key, value, constant)


def _of_text(name: str, key: str, text: str, constant: bool) -> Iterator[str]:
    match key:
        case "target" | "as_operator":
            if not _known_operator(text):
                yield f"'{name}' calls '{text[:100]}'"
        case "expr_str" | "guards_code":
            if not _plain_expression(text):
                yield f"'{name}' has the expression '{text[:100]}', which torch would run"
        case "in_spec" | "out_spec":
            yield from _of_containers(name, text)
        case "as_string" | "as_strings" if not constant:
            return  # an operator's argument, which torch quotes; a constant input it does not
        case _:
            if not _WORD.fullmatch(text):
                yield f"'{name}' has '{text[:100]}' as {key}"


def _known_operator(target: str) -> bool:
    if any(f".{name}" in target for name in _NEVER):
        return False
    return any(each.fullmatch(target) for each in (_OPERATOR, _HIGHER, _SYM, _PYTHON))


def _of_containers(name: str, text: str) -> Iterator[str]:
    for spec in json_objects(read_json(text.encode(), name) if text else None):
        if "__enum__" in spec or spec.get("type") not in _CONTAINERS:
            yield f"'{name}' has inputs in a container of the type '{spec.get('type')}'"
        context = spec.get("context")
        for key in _texts(read_json(context.encode(), name)) if isinstance(context, str) else ():
            if not _WORD.fullmatch(key):
                yield f"'{name}' has an input named '{key[:100]}'"


def _texts(value: Any) -> Iterator[str]:
    """Keys of a container, as its context lists them; text in objects stands for what is imported."""
    if isinstance(value, list):
        for each in value:
            yield from _texts(each)
    elif isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        yield from (f"an object of {key}" for key in value)


def _plain_expression(text: Any) -> bool:
    """Whether an expression is arithmetic over sizes: no name in it is anything else."""
    if not isinstance(text, str):
        return False
    try:
        tree = ast.parse(text.strip(), mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    words = {id(node.slice) for node in ast.walk(tree) if isinstance(node, ast.Subscript)} | {
        id(node.args[0])
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "Symbol" and node.args
    }
    return all(_plain_node(node, words) for node in ast.walk(tree))


def _plain_node(node: ast.AST, words: set[int]) -> bool:
    match node:
        case ast.Call(func=func):
            return isinstance(func, (ast.Name, ast.Attribute))
        case ast.Name(id=name):
            return name in _FUNCTIONS or name in _NAMES or bool(_SYMBOL.fullmatch(name))
        case ast.Attribute(attr=name):
            return name in _METHODS
        case ast.Subscript(slice=key):
            return isinstance(key, (ast.Constant, ast.UnaryOp))
        case ast.Constant(value=str() as value):
            # A symbol's name, or an input's in L['x']. Any other text sympy would evaluate.
            return id(node) in words and value.isidentifier()
        case _:
            return isinstance(node, _NODES)
