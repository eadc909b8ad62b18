"""What templates may do, and that nothing else works."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.errors import InvalidParameter
from headrace.events.template_filters import text_of
from headrace.events.templates import MAX_OUTPUT, check_template, render

EVENT = {
    "type": "rule.fired",
    "actor": "ann",
    "data": {
        "values": {"loss": 3.456, "nan": True},
        "items": ["a", "b", "c"],
        "text": "a<b",
        "none": None,
        "many": list(range(300)),
        "long": "x" * 60_000,
    },
}


def rendered(template: str, event: Any = EVENT) -> str:
    return render(template, {"event": event, "title": "T", "text": "X", "link": ""}, text_of)


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("{{ title }}: {{ event.type }}", "T: rule.fired"),
        # A field wins over the method of that name.
        ("{{ event.data.values.loss | round(1) }}", "3.5"),
        ("{{ event.data['items'] | join(', ') }}", "a, b, c"),
        ("{% for one in event.data.items %}{{ loop.index }}{{ one }} {% endfor %}", "1a 2b 3c "),
        ("{% for k, v in event.data.values | items %}{{ k }}={{ v }};{% endfor %}", "loss=3.456;nan=true;"),
        ("{{ event.data.none }}|{{ event.data.values }}", '|{"loss":3.456,"nan":true}'),
        ("{{ event.data.gone | default('-') }}{{ event.data.gone.more | default('-') }}", "--"),
        ("{% if event.data.gone %}yes{% else %}no{% endif %}", "no"),
        ("{% if event.data.gone is defined %}yes{% else %}no{% endif %}", "no"),
        ("{% if 'b' in event.data.items %}yes{% endif %}", "yes"),
        ("{{ 3 is odd }}{{ 4 is odd }}{{ 4 is even }}", "truefalsetrue"),
        ("{% set n = event.data.items | length %}{{ n * 2 + 1 }}", "7"),
        ("{{ event.data.text | tojson }}{{ 'a' ~ 1 ~ none }}", '"a<b"a1'),
        ("{{ 'much longer' | truncate(5) | upper }} {{ event.data.items[0:2] }}", 'MUCH… ["a","b"]'),
    ],
)  # fmt: skip
def test_templates_say_what_they_are_told(template: str, text: str) -> None:
    check_template(template)
    assert rendered(template) == text


@pytest.mark.parametrize(
    ("template", "says"),
    [
        ("{{ 10**10**10 }}", "**"),
        ("{{ 'x' * 10**9 }}", "**"),
        ("{{ self }}", "'self'"),
        ("{{ self._TemplateReference__context }}", "'self'"),
        ("{{ cycler }}", "'cycler'"),
        ("{{ joiner('x') }}", "a call"),
        ("{{ namespace }}", "'namespace'"),
        ("{{ lipsum(100) }}", "a call"),
        ("{{ range(10) }}", "a call"),
        ("{{ ''.join('x') }}", "a call"),
        ("{{ event.items() }}", "a call"),
        ("{{ config }}{{ environ }}", "'config'"),
        ("{{ __builtins__ }}", "'__builtins__'"),
        ("{{ secret }}", "'secret'"),
        ("{{ $budget }}", "cannot be read"),
        ("{% macro a() %}{{ a() }}{% endmacro %}", "macro"),
        ("{% import 'x' as y %}", "import"),
        ("{% from 'x' import y %}", "import"),
        ("{% include '/etc/passwd' %}", "include"),
        ("{% extends 'x' %}", "extends"),
        ("{% block x %}{% endblock %}", "block"),
        ("{% filter upper %}x{% endfilter %}", "filter block"),
        ("{% set x %}y{% endset %}", "set block"),
        ("{% for x in event recursive %}{{ loop(x) }}{% endfor %}", "a"),
        ("{{ event | attr('__class__') }}", "no filter 'attr'"),
        ("{{ 'x' | center(1000000000) }}", "no filter 'center'"),
        ("{{ 'x' | indent(1000000000) }}", "no filter 'indent'"),
        ("{{ '%s' | format('x') }}", "no filter 'format'"),
        ("{{ event | map('upper') }}", "no filter 'map'"),
        ("{{ event | safe }}", "no filter 'safe'"),
        ("{{ event is callable }}", "no test 'callable'"),
        ("{{ event | join(*event) }}", "* or **"),
        ("x" * 20_000, "at most"),
        ("{{ " + "(" * 5000 + "1" + ")" * 5000 + " }}", "too deeply"),
        ("{{ " + "-" * 5000 + "1 }}", "too deeply"),
        ("{{ " + "not " * 3000 + "1 }}", "too deeply"),
        ("{{ " + "[" * 100 + "]" * 100 + " }}", "too deeply"),
        ("{% if 1 %}" * 100 + "{% endif %}" * 100, "too deeply"),
        ("{{ event" + ".x" * 3000 + " }}", "too deeply"),
        ("{{ event" + " | tojson" * 500 + " }}", "too deeply"),
        ("{{ title", "cannot be read, line 1"),
        ("a\n{% endif %}", "cannot be read, line 2"),
        ("{{ 1 | nothing }}", "no filter 'nothing'"),
        ("{{ " + "1" * 5000 + " }}", "too long"),
        ("{{ 0x" + "f" * 5000 + " }}", "too long"),
        ("{{ 1e999 | int }}", "too large"),
    ],
)  # fmt: skip
def test_a_template_that_is_not_allowed_is_refused_when_it_is_saved(
    template: str, says: str
) -> None:
    with pytest.raises(InvalidParameter) as caught:
        check_template(template)
    assert says in caught.value.message
    with pytest.raises(InvalidParameter):
        rendered(template)


@pytest.mark.parametrize(
    ("template", "says"),
    [
        ("{{ ''.__class__ }}", "there is no '__class__'"),
        ("{{ ''['__class__'] }}", "there is no '__class__'"),
        ("{{ event.__class__.__mro__ }}", "there is no '__class__'"),
        ("{{ event.keys }}", "there is no 'keys'"),
        ("{{ title.format }}", "there is no 'format'"),
        ("{% for x in [1] %}{{ loop.__class__ }}{% endfor %}", "there is no '__class__'"),
        ("{% for x in [1] %}{{ loop._iterator }}{% endfor %}", "there is no '_iterator'"),
        ("{% for x in [1] %}{{ loop }}{% endfor %}", "cannot be put out"),
        ("{{ event.data.los }}", "there are: values, items, text"),
        ("{% for x in event.gone %}{% endfor %}", "there is no 'gone'"),
        ("{{ 'x' * 1000000000 }}", "arithmetic takes numbers"),
        ("{{ [1] * 1000000000 }}", "arithmetic takes numbers"),
        ("{{ '%1000000000d' % 1 }}", "arithmetic takes numbers"),
        ("{{ '%1000000000d' is odd }}", "neither odd nor even"),
        ("{{ '%1000000000d' is even }}", "neither odd nor even"),
        ("{{ " + "*".join(["9999999999"] * 9) + " }}", "a number is too large"),
        ("{{ 1 / 0 }}", "division by zero"),
        ("{{ 1 | round('x') }}", "fails"),
        ("{{ [1, 'a'] | sort }}", "fails"),
        ("{{ event.data.long ~ event.data.long }}", "characters"),
        ("{{ event.data.long + event.data.long }}", "characters"),
        ("{{ event.data.long }}{{ event.data.long }}", f"more than {MAX_OUTPUT}"),
        ("{{ event.data.long | replace('x', event.data.long) }}", "characters"),
        ("{{ event.data.many | join(event.data.long) }}", "characters"),
        ("{% set a = 'xx' %}" + "{% set a = a ~ a %}" * 60, "characters"),
        ("{% set a = [1] %}" + "{% set a = [a, a] %}" * 60, "too large"),
        ("{% set a = {1: 1} %}" + "{% set a = {1: a, 2: a} %}" * 60, "too large"),
        ("{% set a = [1] %}" + "{% set a = a + a %}" * 60, "too large"),
        ("{{ event" + " | tojson" * 30 + " }}", "characters"),
        ("{% for a in event.data.many %}" * 3 + "x" + "{% endfor %}" * 3, "5000 elements"),
        ("{% for a in event.data.many %}{{ event.data.many | sort | join }}{% endfor %}", "fails"),
    ],
)  # fmt: skip
def test_what_is_too_much_or_not_there_fails_on_the_event(template: str, says: str) -> None:
    check_template(template)
    with pytest.raises(InvalidParameter) as caught:
        rendered(template)
    assert says in caught.value.message


PIECES = [
    "{{", "}}", "{%", "%}", " for x in ", " if ", " endfor ", " endif ", "event", ".data", ".long", "| join ", "[", "]",
    "(", ")", "~", "*", "+", "'x'", "9", "| tojson", " set a = ", "a", "{", "}", ":", ",", "x", " else ", "__class__",
]  # fmt: skip


@given(st.lists(st.sampled_from(PIECES), max_size=30).map("".join))
def test_any_template_is_rendered_or_refused(template: str) -> None:
    with contextlib.suppress(InvalidParameter):
        assert len(rendered(template)) <= MAX_OUTPUT
