"""Filters and orders as text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.engine.search import vocabulary
from headrace.engine.search.parse import MAX_COMPARISONS, MAX_DEPTH, parse_filter, parse_order
from headrace.engine.search.tree import (
    And,
    Comparison,
    Field,
    Kind,
    Node,
    Not,
    Operator,
    Or,
    Order,
    Stat,
)
from headrace.errors import InvalidParameter

ACCURACY = Field(Kind.METRIC, "accuracy")


def test_an_empty_filter_is_no_condition() -> None:
    assert parse_filter("") is None
    assert parse_filter(" \n ") is None


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ("metric.accuracy", ACCURACY),
        ("metrics.accuracy", ACCURACY),
        ("metrics.`accuracy`", ACCURACY),
        ('metrics."accuracy"', ACCURACY),
        ("`metrics`.accuracy", ACCURACY),
        ("metrics.`a b/c.d`", Field(Kind.METRIC, "a b/c.d")),
        ("metrics.a.b.c", Field(Kind.METRIC, "a.b.c")),
        ("metrics.точность", Field(Kind.METRIC, "точность")),
        ("metrics.loss.min", Field(Kind.METRIC, "loss.min", loose=True)),
        ("metrics.`loss.min`", Field(Kind.METRIC, "loss.min")),
        ("metrics.`loss`.min", Field(Kind.METRIC, "loss", Stat.MIN)),
        ('metrics."val loss".max', Field(Kind.METRIC, "val loss", Stat.MAX)),
        ("metrics.min", Field(Kind.METRIC, "min")),
        ("params.a", Field(Kind.PARAM, "a")),
        ("param.a", Field(Kind.PARAM, "a")),
        ("parameter.a", Field(Kind.PARAM, "a")),
        ("parameters.a", Field(Kind.PARAM, "a")),
        ("params.loss.min", Field(Kind.PARAM, "loss.min")),
        ("tag.mlflow.source.name", Field(Kind.TAG, "mlflow.source.name")),
        ("tags.not", Field(Kind.TAG, "not")),
        ("status", Field(Kind.ATTRIBUTE, "status")),
        ("attr.status", Field(Kind.ATTRIBUTE, "status")),
        ("attribute.status", Field(Kind.ATTRIBUTE, "status")),
        ("attributes.status", Field(Kind.ATTRIBUTE, "status")),
        ("run.status", Field(Kind.ATTRIBUTE, "status")),
        ("Created", Field(Kind.ATTRIBUTE, "start_time")),
        ("attributes.created", Field(Kind.ATTRIBUTE, "start_time")),
        ("`Run Name`", Field(Kind.ATTRIBUTE, "run_name")),
        ('"Run name"', Field(Kind.ATTRIBUTE, "run_name")),
        ("attributes.`run name`", Field(Kind.ATTRIBUTE, "run_name")),
        ("dataset.name", Field(Kind.DATASET, "name")),
        ("datasets.context", Field(Kind.DATASET, "context")),
    ],
)
def test_a_field_has_these_spellings(text: str, field: Field) -> None:
    assert parse_filter(f"{text} IS NOT NULL") == Comparison(field, Operator.IS_NOT_NULL)


@pytest.mark.parametrize(
    ("text", "operator", "value"),
    [
        ("metrics.a > 1", Operator.GT, 1),
        ("metrics.a>=-1.5e-3", Operator.GE, -0.0015),
        ("metrics.a != .5", Operator.NE, 0.5),
        ("metrics.a = 12345678901234567890", Operator.EQ, 12345678901234567890.0),
        ("params.a = 'x'", Operator.EQ, "x"),
        ('params.a = "it\'s"', Operator.EQ, "it's"),
        ("params.a = 'it''s'", Operator.EQ, "it''s"),
        ("params.a = ''", Operator.EQ, ""),
        (r"params.a = 'C:\'", Operator.EQ, "C:\\"),
        ("params.a < 0.01", Operator.LT, 0.01),
        ("params.a like '%x_'", Operator.LIKE, "%x_"),
        ("params.a Not ILike 'x'", Operator.NOT_ILIKE, "x"),
        ("params.a in ('x', \"y\",)", Operator.IN, ("x", "y")),
        ("params.a not\nin('x')", Operator.NOT_IN, ("x",)),
        ("metrics.a IN (1, 2.5)", Operator.IN, (1, 2.5)),
        ("end_time is null", Operator.IS_NULL, None),
        ("start_time > 1700000000000", Operator.GT, 1700000000000),
        ("start_time > '2026-01-01'", Operator.GT, 1767225600000),
        ("start_time > '2026-01-01T01:00:00.5+01:00'", Operator.GT, 1767225600500),
        ("duration > '1h30m'", Operator.GT, 5400000.0),
        ("duration > 1500", Operator.GT, 1500),
    ],
)
def test_a_comparison_has_an_operator_and_a_value(
    text: str, operator: Operator, value: object
) -> None:
    node = parse_filter(text)
    assert isinstance(node, Comparison)
    assert (node.operator, node.value) == (operator, value)


def test_and_binds_closer_than_or_and_not_closest() -> None:
    a, b, c = (Comparison(Field(Kind.METRIC, key), Operator.GT, 1) for key in "abc")
    text = "metrics.a > 1 or not metrics.b > 1 AND metrics.c > 1"
    assert parse_filter(text) == Or((a, And((Not(b), c))))
    text = "(metrics.a > 1 OR metrics.b > 1) and metrics.c > 1"
    assert parse_filter(text) == And((Or((a, b)), c))


@pytest.mark.parametrize(
    ("text", "caret", "words"),
    [
        ("metrics.acc", 11, "expected an operator"),
        ("metrics.acc >", 13, "expected a value"),
        ("metrics.acc == 1", 13, "equal is written ="),
        ("metrics.acc <> 1", 13, "not equal !="),
        ("metrics.acc > 1;", 15, "semicolon"),
        ("metrics.acc > 1 metrics.b > 2", 16, "AND, OR or the end"),
        ("metrics.acc > 1 OR", 18, "ends too early"),
        ("metrics.acc > NaN", 14, "number"),
        ("metrics.acc > 'x'", 14, "give it a number"),
        ("metrics.acc LIKE 'x'", 12, "cannot be compared by LIKE"),
        ("metrics.acc BETWEEN 1 AND 2", 12, "expected an operator"),
        ("(metrics.acc > 1", 16, "closing parenthesis"),
        ("metrics.acc > 1)", 15, "never opened"),
        ("params.x = abc", 11, "write 'abc'"),
        ("params.x = `abc`", 11, "expected a value"),
        ("params.x = 'abc", 11, "never closed"),
        ("params.x < '0.01'", 11, "without the quotes"),
        ("params.x in ()", 13, "expected a value"),
        ("params.x in ('a' 'b')", 17, "comma"),
        ("params.x in ('a', 1)", 13, "mixes"),
        ("tags.a-b = 'x'", 6, "backticks"),
        ("tags.x = 5", 9, "'5'"),
        ("tags.x IS 5", 10, "NULL or NOT NULL"),
        ("Metrics.x = 5", 0, "a field begins with metric"),
        ("foo.x = 5", 0, "a field begins with metric"),
        ("accuracy = 5", 0, "need their prefix"),
        ("attributes.foo = 'x'", 11, "they have run_id"),
        ("dataset.foo = 'x'", 8, "name, digest, context"),
        ("status < 'x'", 7, "cannot be compared by <"),
        ("start_time > 'yesterday'", 13, "a date like"),
        ("duration > 'long'", 11, "1h30m"),
        ("metrics.a > 1\0", 13, "remove it"),
        ("params.a = '\ud800'", 12, "remove it"),
    ],
)
def test_an_error_points_at_the_character_and_says_what_is_right(
    text: str, caret: int, words: str
) -> None:
    with pytest.raises(InvalidParameter) as caught:
        parse_filter(text)
    _message, shown, pointer = caught.value.message.split("\n")
    assert pointer.index("^") - 2 == caret
    assert shown[2 : 2 + caret] == text[:caret]
    assert words in caught.value.message


@pytest.mark.parametrize(
    "text",
    [
        "attributes.name = 'x'",
        "metrics.a > 1",
        "name > 'x'",
        "creation_time > 1.5",
        "experiment_id = 1",
        "experiment_id = 'x'",
        "experiment_id LIKE '1'",
    ],
)
def test_experiments_have_a_narrower_vocabulary(text: str) -> None:
    with pytest.raises(InvalidParameter):
        parse_filter(text, vocabulary.EXPERIMENTS)


def test_a_long_filter_shows_the_part_around_the_error() -> None:
    with pytest.raises(InvalidParameter) as caught:
        parse_filter(f"tags.x = '{'a' * 500}' AND tags.y = 5 AND tags.z = '{'b' * 500}'")
    _message, shown, pointer = caught.value.message.split("\n")
    assert len(shown) < 130
    assert shown[pointer.index("^")] == "5"


@pytest.mark.parametrize(
    "text",
    [
        "(" * 400_000,
        "NOT " * 100_000,
        "NOT (" * (MAX_DEPTH + 1) + "metrics.a > 1" + ")" * (MAX_DEPTH + 1),
        " AND ".join(["metrics.a > 1"] * (MAX_COMPARISONS + 1)),
        "metrics.a > 1 AND " * 25_000,
        f"params.a IN ({','.join(['1'] * 200_000)})",
        "params.a = '" + "x" * 1_000_000 + "'",
        "params.a LIKE '" + "%" * 20_000 + "'",
        "a" * 499_000,
    ],
    ids=range(9),
)
def test_a_huge_filter_is_refused_clearly(text: str) -> None:
    with pytest.raises(InvalidParameter) as caught:
        parse_filter(text)
    assert len(caught.value.message) < 1500


def test_ten_thousand_ids_fit_a_list() -> None:
    ids = [f"{number:032x}" for number in range(10_000)]
    node = parse_filter("run_id IN (" + ",".join(f"'{run_id}'" for run_id in ids) + ")")
    assert isinstance(node, Comparison)
    assert node.value == tuple(ids)


@pytest.mark.parametrize(
    ("text", "order"),
    [
        ("metrics.accuracy", Order(ACCURACY)),
        ("metrics.accuracy ASC", Order(ACCURACY)),
        ("metrics.`accuracy` desc", Order(ACCURACY, ascending=False)),
        (" start_time  DESC ", Order(Field(Kind.ATTRIBUTE, "start_time"), ascending=False)),
        ("attributes.Created", Order(Field(Kind.ATTRIBUTE, "start_time"))),
        ('tags."a b" Desc', Order(Field(Kind.TAG, "a b"), ascending=False)),
    ],
)
def test_an_order_is_a_field_and_a_direction(text: str, order: Order) -> None:
    assert parse_order((text,)) == (order,)


def test_a_later_duplicate_in_an_order_is_left_out() -> None:
    assert parse_order(("metrics.accuracy", "metric.`accuracy` DESC")) == (Order(ACCURACY),)


@pytest.mark.parametrize(
    "text", ["", "dataset.name", "metrics.a foo", "metrics.a, metrics.b", "foo", "metrics.a > 1"]
)
def test_a_wrong_order_is_refused(text: str) -> None:
    with pytest.raises(InvalidParameter, match="\\^"):
        parse_order((text,))


def test_experiments_are_not_ordered_by_tags() -> None:
    with pytest.raises(InvalidParameter):
        parse_order(("tags.a",), vocabulary.EXPERIMENTS)


_KEY = st.text(st.sampled_from("ab.-/ :_é9"), min_size=1, max_size=6)
# A backslash before a quote is read as part of the value where that is possible, as in MLflow.
_STRINGS = st.text(st.sampled_from('ab"\\%_ é\n`('), max_size=5).map(lambda text: text.rstrip("\\"))
_NUMBERS = st.one_of(
    st.integers(-(2**63), 2**63 - 1), st.floats(allow_nan=False, allow_infinity=False)
)
_EQUAL = [Operator.EQ, Operator.NE]
_SIZES = [*_EQUAL, Operator.LT, Operator.LE, Operator.GT, Operator.GE]
_PATTERNS = [Operator.LIKE, Operator.NOT_LIKE, Operator.ILIKE, Operator.NOT_ILIKE]
_LISTS = [Operator.IN, Operator.NOT_IN]


def _compared(
    fields: st.SearchStrategy[Field], *, text: bool, number: bool
) -> st.SearchStrategy[Node]:
    kinds = [
        st.builds(Comparison, fields, st.sampled_from([Operator.IS_NULL, Operator.IS_NOT_NULL]))
    ]
    if text:
        kinds += [
            st.builds(Comparison, fields, st.sampled_from([*_EQUAL, *_PATTERNS]), _STRINGS),
            st.builds(
                Comparison,
                fields,
                st.sampled_from(_LISTS),
                st.lists(_STRINGS, min_size=1, max_size=3).map(tuple),
            ),
        ]
    if number:
        kinds += [
            st.builds(Comparison, fields, st.sampled_from(_SIZES), _NUMBERS),
            st.builds(
                Comparison,
                fields,
                st.sampled_from(_LISTS),
                st.lists(_NUMBERS, min_size=1, max_size=3).map(tuple),
            ),
        ]
    return st.one_of(kinds)


def _attributes(*names: str) -> st.SearchStrategy[Field]:
    return st.builds(Field, st.just(Kind.ATTRIBUTE), st.sampled_from(names))


_COMPARISONS = st.one_of(
    _compared(
        st.builds(Field, st.just(Kind.METRIC), _KEY, st.sampled_from(Stat)), text=False, number=True
    ),
    _compared(st.builds(Field, st.just(Kind.PARAM), _KEY), text=True, number=True),
    _compared(st.builds(Field, st.just(Kind.TAG), _KEY), text=True, number=False),
    _compared(_attributes("status", "run_name"), text=True, number=False),
    _compared(_attributes("start_time", "end_time", "duration"), text=False, number=True),
)
_NODES = st.recursive(
    _COMPARISONS,
    lambda nodes: st.one_of(
        st.builds(And, st.lists(nodes, min_size=2, max_size=3).map(tuple)),
        st.builds(Or, st.lists(nodes, min_size=2, max_size=3).map(tuple)),
        st.builds(Not, nodes),
    ),
    max_leaves=8,
)


def _text(node: Node) -> str:
    match node:
        case And(items):
            return " AND ".join(f"({_text(item)})" for item in items)
        case Or(items):
            return " or ".join(f"({_text(item)})" for item in items)
        case Not(item):
            return f"NOT ({_text(item)})"
        case Comparison(field, operator, value):
            name = f"{field.kind}.`{field.key}`"
            if field.stat is not Stat.LAST:
                name += f".{field.stat}"
            if value is None:
                return f"{name} {operator}"
            if isinstance(value, tuple):
                return f"{name} {operator} ({', '.join(map(_literal, value))})"
            return f"{name} {operator} {_literal(value)}"
    raise AssertionError(node)


def _literal(value: object) -> str:
    return f"'{value}'" if isinstance(value, str) else repr(value)


@given(_NODES)
def test_a_tree_written_as_text_reads_back_the_same(node: Node) -> None:
    assert parse_filter(_text(node)) == node


@given(
    st.text(
        st.sampled_from("metricsparamstags.`'\"()=<>! 0123ANDORNOTINLIKENULL,-e\\"), max_size=60
    )
)
def test_any_text_parses_or_is_refused(text: str) -> None:
    try:
        parse_filter(text)
    except InvalidParameter as error:
        assert "^" in error.message


def test_parsing_again_is_free() -> None:
    text = "metrics.a > 1 AND params.b = 'x'"
    assert parse_filter(text) is parse_filter(text)
