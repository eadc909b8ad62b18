"""Templates of messages: Jinja, cut down to what cannot loop for long, grow large or reach anything.

docs/webhook-formats.md says what a template may do. What is not in the lists here is refused when the webhook is
saved: calls, macros, imports, attributes of anything but the event's own fields.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping
from typing import Any, NoReturn, cast

from jinja2 import Template, TemplateSyntaxError, UndefinedError, nodes
from jinja2.meta import find_undeclared_variables
from jinja2.runtime import Context, LoopContext, Undefined
from jinja2.sandbox import ImmutableSandboxedEnvironment

from headrace.errors import InvalidParameter
from headrace.events import template_filters as filters
from headrace.events.template_filters import Budget, Exhausted

MAX_SOURCE = 16 * 1024
MAX_OUTPUT = 64 * 1024
_MAX_DEPTH = 40

#: How a value that a template puts out becomes text.
Finalize = Callable[[Any], str]

_NODES = (
    nodes.Template, nodes.Output, nodes.TemplateData, nodes.If, nodes.For, nodes.Name, nodes.Const, nodes.Getattr,
    nodes.Getitem, nodes.Slice, nodes.Filter, nodes.Test, nodes.Compare, nodes.Operand, nodes.And, nodes.Or,
    nodes.Not, nodes.CondExpr, nodes.List, nodes.Dict, nodes.Pair, nodes.Tuple, nodes.Keyword, nodes.Add, nodes.Sub,
    nodes.Mul, nodes.Div, nodes.FloorDiv, nodes.Mod, nodes.Neg, nodes.Pos, nodes.Concat, nodes.Assign,
)  # fmt: skip
_TESTS = frozenset(
    {"defined", "undefined", "none", "number", "string", "mapping", "sequence", "boolean", "true", "false", "in",
     "eq", "ne", "lt", "le", "gt", "ge", "odd", "even"}
)  # fmt: skip
_NAMES = ("event", "title", "text", "link")
_LOOP = frozenset({"index", "index0", "first", "last", "length", "revindex", "revindex0"})
_WORDS = {
    nodes.Call: "a call: use filters instead, such as 'event.data | items'",
    nodes.Pow: "**",
    nodes.Macro: "a macro",
    nodes.CallBlock: "a call",
    nodes.Import: "an import",
    nodes.FromImport: "an import",
    nodes.Include: "an include",
    nodes.Extends: "extends",
    nodes.Block: "a block",
    nodes.FilterBlock: "a filter block",
    nodes.AssignBlock: "a set block",
}


class _Missing(Undefined):
    """What is not there: false in a condition, an error where it is put out, which says what there is."""

    __slots__ = ()
    __str__ = Undefined._fail_with_undefined_error


class _Environment(ImmutableSandboxedEnvironment):
    intercepted_binops = frozenset({"+", "-", "*", "/", "//", "%", "**"})

    def getattr(self, obj: Any, attribute: str) -> Any:
        """A field of an object, never an attribute."""
        return self.getitem(obj, attribute)

    def getitem(self, obj: Any, argument: Any) -> Any:
        """A field of an object, or an element of a list or text."""
        if isinstance(obj, Undefined):
            return obj
        if isinstance(obj, LoopContext) and argument in _LOOP:
            return getattr(obj, argument)
        if isinstance(obj, dict | list | tuple | str):
            try:
                return obj[argument]
            except (KeyError, IndexError, TypeError):
                pass
        has = ""
        if isinstance(obj, dict):
            has = f"; there are: {', '.join(str(key) for key in list(obj)[:20])}"
        return self.undefined(hint=f"there is no '{str(argument)[:50]}'{has[:300]}", obj=obj)

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        """Arithmetic on numbers; ``+`` also joins texts and lists."""
        return filters.operate(context, operator, left, right)

    def call(*_: Any, **__: Any) -> NoReturn:
        """Nothing can be called."""
        raise Exhausted("nothing can be called")


def check_template(source: str) -> None:
    """Refuse a template that is not allowed.

    Raises:
        InvalidParameter: It says where and why.
    """
    _compile(source, str)


def render(source: str, context: Mapping[str, Any], finalize: Finalize) -> str:
    """What a template makes of an event.

    Args:
        source: The template.
        context: ``event``, ``title``, ``text`` and ``link``.
        finalize: Makes text of every value that is put out; what the template itself says stays as it is.

    Raises:
        InvalidParameter: The template is not allowed, or fails: a field that is not there, too much output, too
            long a loop.
    """
    template = _compile(source, finalize)
    budget = Budget()
    parts, size = [], 0
    try:
        for part in template.generate({**context, filters.BUDGET: budget}):
            size += len(part)
            if size > MAX_OUTPUT:
                raise Exhausted(f"it makes more than {MAX_OUTPUT} characters")
            parts.append(part)
    except UndefinedError as error:
        raise InvalidParameter(f"The template fails: {error.message}.") from None
    except (
        Exhausted,
        TypeError,
        ValueError,
        ArithmeticError,
        LookupError,
        RecursionError,
    ) as error:
        raise InvalidParameter(f"The template fails: {str(error)[:300]}.") from None
    return "".join(parts)


@functools.lru_cache(maxsize=256)
def _compile(source: str, finalize: Finalize) -> Template:
    if len(source) > MAX_SOURCE:
        raise InvalidParameter(
            f"The template has {len(source)} characters; at most {MAX_SOURCE} are allowed."
        )
    environment = _Environment(undefined=_Missing, finalize=finalize, optimized=False, cache_size=0)
    environment.globals = {}
    environment.tests = {name: environment.tests[name] for name in _TESTS} | filters.TESTS
    environment.filters = {**filters.FILTERS, **filters.HIDDEN}
    try:
        tree = environment.parse(source)
        _check(tree)
        _rewrite(tree)
        return Template.from_code(environment, environment.compile(tree), {})
    except TemplateSyntaxError as error:
        raise InvalidParameter(
            f"The template cannot be read, line {error.lineno}: {error.message}"
        ) from None
    except ValueError:  # Python reads no numbers of thousands of digits
        raise InvalidParameter("The template has a number that is too long.") from None
    except (RecursionError, MemoryError, SyntaxError):
        raise InvalidParameter("The template is nested too deeply.") from None


def _check(tree: nodes.Template) -> None:
    todo: list[tuple[nodes.Node, int]] = [(tree, 0)]
    while todo:
        node, depth = todo.pop()
        if depth > _MAX_DEPTH:
            _refuse(node, "it is nested too deeply")
        _check_node(node)
        todo += [(child, depth + 1) for child in node.iter_child_nodes()]
    for name in sorted(find_undeclared_variables(tree) - set(_NAMES)):
        _refuse(tree, f"there is no '{name[:50]}'; there are: {', '.join(_NAMES)}")


def _check_node(node: nodes.Node) -> None:
    if not isinstance(node, _NODES):
        word = _WORDS.get(type(node), type(node).__name__.lower())
        _refuse(node, f"it has {word}, which templates may not have")
    if isinstance(node, nodes.Filter):
        if node.name not in filters.FILTERS:
            _refuse(
                node, f"there is no filter '{node.name}'; there are: {', '.join(filters.FILTERS)}"
            )
        if node.dyn_args is not None or node.dyn_kwargs is not None:
            _refuse(node, "arguments with * or ** are not allowed")
    if isinstance(node, nodes.Const) and node.value in (math.inf, -math.inf):
        _refuse(node, "a number is too large")
    if isinstance(node, nodes.Test) and node.name not in _TESTS:
        _refuse(node, f"there is no test '{node.name}'; there are: {', '.join(sorted(_TESTS))}")
    if isinstance(node, nodes.For) and node.recursive:
        _refuse(node, "a loop may not be recursive")
    if isinstance(node, nodes.Assign) and not isinstance(node.target, nodes.Name):
        _refuse(node, "'set' takes one name")
    if isinstance(node, nodes.Name) and (node.name == "self" or node.name.startswith("_")):
        _refuse(node, f"there is no '{node.name}'; there are: {', '.join(_NAMES)}")


def _refuse(node: nodes.Node, why: str) -> NoReturn:
    raise InvalidParameter(f"The template is not allowed, line {node.lineno}: {why}.")


def _rewrite(tree: nodes.Template) -> None:
    """Count what loops go over, and bound what ``~`` joins and what literals hold."""
    for loop in list(tree.find_all(nodes.For)):
        loop.iter = _filter(loop.iter, filters.COUNTED)
    _bound_below(tree)


def _bound_below(node: nodes.Node) -> None:
    for field, value in list(node.iter_fields()):
        if isinstance(value, nodes.Node):
            _bound_below(value)
            setattr(node, field, _bounded(value))
        elif isinstance(value, list):
            for one in value:
                if isinstance(one, nodes.Node):
                    _bound_below(one)
            setattr(node, field, [_bounded(one) for one in value])


def _bounded(node: Any) -> Any:
    if isinstance(node, nodes.Concat):
        return _filter(nodes.List(node.nodes, lineno=node.lineno), filters.JOINED)
    literal = isinstance(node, nodes.List | nodes.Dict)
    if literal or (isinstance(node, nodes.Tuple) and node.ctx == "load"):
        return _filter(node, filters.WEIGHED)
    return node


def _filter(value: nodes.Node, name: str) -> nodes.Filter:
    return nodes.Filter(cast("nodes.Expr", value), name, [], [], None, None, lineno=value.lineno)
