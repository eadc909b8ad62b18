"""What an archive of torch.export (``.pt2``) would run when it is opened.

It passes for a graph and tensors, but torch evaluates text that lies in it: expressions of sizes go through sympy's
``sympify``, guards of inputs and constant inputs into a function made with ``exec``, names of nodes into generated code,
targets of nodes are looked up by any path below ``torch``, containers of inputs import modules, and some records
are unpickled. So only what torch.export writes for a plain model counts as safe, and text of no known use has to be a
plain word.

The layout is that of ``torch/csrc/export/pt2_archive_constants.h``, the schema that of
``torch/_export/serde/schema.py`` (version 8).
"""

from __future__ import annotations

import ast
import json
import re
import zipfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from headrace.errors import InvalidModel
from headrace.models.magic import MAX_JSON, json_objects, saved_tensors_only

_PLAIN = re.compile(
    r"(\.data/)?(archive_format|archive_version|version|byteorder|serialization_id)"
)
_GRAPH = re.compile(r"models/[\w.-]+\.json")
_CONFIG = re.compile(r"data/(weights|constants)/[\w.-]+_config\.json")
_TENSOR = re.compile(r"data/(weights/weight|constants/tensor)_\d+")
_SAMPLES = re.compile(r"data/sample_inputs/[\w.-]+\.pt")

#: Targets of nodes: operators of PyTorch's own libraries, ``torch.ops.aten.add.Tensor``, and arithmetic on sizes.
_OPERATORS = (
    re.compile(
        r"torch\.ops\.(aten|prims|quantized_decomposed|quantized|torchvision|torchao)"
        r"\.(_?[A-Za-z]\w*|__(and|or|xor|lshift|rshift)__)(\.[A-Za-z]\w*)?"
    ),
    re.compile(
        r"torch\.ops\.higher_order\.(cond|while_loop|map_impl|scan|associative_scan|flex_attention"
        r"|wrap_with_set_grad_enabled|wrap_with_autocast)"
    ),
    re.compile(r"torch\.sym_(float|int|ite|max|min|not|sqrt|sum)|torch\._sym_sqrt"),
    re.compile(
        r"(_operator|math)\.(add|sub|mul|truediv|floordiv|mod|pow|neg|pos|abs|eq|ne|lt|le|gt|ge|and_|or_|not_|xor"
        r"|lshift|rshift|getitem|ceil|floor|trunc|sqrt|round)"
    ),
)
#: Operators that read files.
_NEVER = (".from_file",)
#: Names of nodes, tensors, parameters, devices.
_WORD = re.compile(r"[\w.:+-]*")

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
        "LShift",
        "RShift",
        "Half",
        "One",
        "Zero",
        "NegativeOne",
        "BooleanTrue",
        "BooleanFalse",
        "floor",
        "ceiling",
        "sqrt",
        "log",
        "exp",
        "oo",
        "int_oo",
        "true",
        "false",
    ]
)
#: What guards call and read of inputs.
_METHODS = frozenset({"size", "stride", "storage_offset", "shape", "dim", "numel", "isnan", "inf"})
_NAMES = frozenset({"L", "math", "inf"})
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


def problems(document: bytes) -> list[str]:
    """What in one of an archive's JSON documents is more than operators, sizes and names.

    Raises:
        ValueError: It is no JSON.
    """
    try:
        tree = json.loads(document)
    except RecursionError:
        raise ValueError("it is nested too deep") from None
    return list(dict.fromkeys(_of_tree(tree)))[:20]


def exported_problem(path: Path) -> str | None:
    """Why opening an archive would run what it brings; None: it would not.

    Raises:
        InvalidModel: It cannot be read.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            names = [each.filename for each in archive.infolist() if not each.is_dir()]
            if len({name.split("/", 1)[0] for name in names}) != 1:
                return "has records in more than one folder"
            whole = {name.split("/", 1)[-1]: name for name in names}
            if len(whole) < len(names):
                return "has two records of one name"
            return next(_of_records(whole, lambda name: archive.read(whole[name])), None)
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, ValueError) as problem:
        raise InvalidModel(f"'{path.name}' is no archive that can be read: {problem}.") from None


def opened_problem(path: Path) -> str | None:
    """The same, of the very records that torch will read: its reader of archives is not Python's.

    Raises:
        InvalidModel: torch cannot read it.
    """
    import torch

    try:
        reader = torch._C.PyTorchFileReader(str(path))
        return next(_of_records(reader.get_all_records(), reader.get_record), None)
    except (RuntimeError, ValueError) as problem:
        raise InvalidModel(f"'{path.name}' is no archive that torch can read: {problem}.") from None


def _of_records(names: Iterable[str], read: Read) -> Iterator[str]:
    for name in names:
        if _PLAIN.fullmatch(name) or _TENSOR.fullmatch(name):
            continue
        if _CONFIG.fullmatch(name) or _GRAPH.fullmatch(name):
            content = read(name)
            if len(content) > MAX_JSON:
                yield f"has '{name}' of {len(content):,} bytes"
            elif _CONFIG.fullmatch(name):
                yield from _of_config(name, json.loads(content))
            yield from problems(content)
        elif not _SAMPLES.fullmatch(name):
            yield f"has '{name}', which is no part of a plain exported model"
        elif not saved_tensors_only(read(name)):
            yield f"has '{name}', a pickle of more than tensors"


def pickled(name: str, content: bytes) -> Iterator[str]:
    """What a record that lists tensors has torch unpickle; other records have nothing.

    Args:
        name: Of the record, without the folder that all records are in.
        content: JSON.

    Raises:
        ValueError: It is none.
    """
    if _CONFIG.fullmatch(name):
        yield from _of_config(name, json.loads(content))


def _of_config(name: str, document: Any) -> Iterator[str]:
    entries = document.get("config") if isinstance(document, dict) else None
    if not isinstance(entries, dict):
        yield f"lists no tensors in '{name}'"
        return
    for entry in entries.values():
        file = entry.get("path_name") if isinstance(entry, dict) else None
        if entry is None or not isinstance(file, str) or entry.get("use_pickle") is not False:
            yield f"has a tensor in '{name}' that is a pickle"
        elif not _TENSOR.fullmatch(f"{name.rsplit('/', 1)[0]}/{file}"):
            yield f"has '{file}' in '{name}', which is no tensor"


def _of_tree(tree: Any) -> Iterator[str]:
    waiting = [("", tree, False)]
    while waiting:
        key, value, constant = waiting.pop()
        if isinstance(value, dict):
            for inner, each in value.items():
                if not _WORD.fullmatch(inner):
                    yield f"has the name '{inner[:100]}'"
                if inner != "metadata":  # read as text by torch: where a node came from
                    waiting.append((inner, each, constant or inner == "constant_input"))
        elif isinstance(value, list):
            waiting.extend((key, each, constant) for each in value)
        elif isinstance(value, str):
            yield from _of_text(key, value, constant)


def _of_text(key: str, text: str, constant: bool) -> Iterator[str]:
    match key:
        case "target" | "as_operator":
            known = any(each.fullmatch(text) for each in _OPERATORS)
            if not known or any(each in text for each in _NEVER):
                yield f"calls {text[:200]}, which is no operator of a graph"
        case "expr_str" | "guards_code":
            if not _is_arithmetic(text):
                yield f"evaluates '{text[:200]}'"
        case "in_spec" | "out_spec":
            yield from _of_containers(text)
        case "as_string" | "as_strings" if not constant:
            return  # an operator's argument, which torch quotes; a constant input it does not
        case _:
            if not _WORD.fullmatch(text):
                yield f"has the text '{text[:100]}' as {key}"


def _of_containers(text: str) -> Iterator[str]:
    for spec in json_objects(json.loads(text) if text else None):
        if "__enum__" in spec or spec.get("type") not in _CONTAINERS:
            yield f"has inputs in a container of the type '{spec.get('type')}'"
        context = spec.get("context")
        for key in _texts(json.loads(context)) if isinstance(context, str) else ():
            if not _WORD.fullmatch(key):
                yield f"has an input named '{key[:100]}'"


def _texts(value: Any) -> Iterator[str]:
    """Keys of a container, as its context lists them; an object there stands for what is imported."""
    if isinstance(value, list):
        for each in value:
            yield from _texts(each)
    elif isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        yield from (f"an object of {key}" for key in value)


def _is_arithmetic(text: str) -> bool:
    """Whether an expression holds numbers, symbols, sizes of inputs and the functions of shapes alone."""
    try:
        tree = ast.parse(text.strip(), mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    nodes = list(ast.walk(tree))
    words = {id(node.slice) for node in nodes if isinstance(node, ast.Subscript)} | {
        id(node.args[0])
        for node in nodes
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == "Symbol"
        and node.args
    }
    return all(_is_plain(node, words) for node in nodes)


def _is_plain(node: ast.AST, words: set[int]) -> bool:
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
