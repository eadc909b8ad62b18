"""Slices: groups of rows, each measured by itself."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.errors import InvalidParameter
from headrace.models.evaluation import Evaluation, Plan, evaluate

pd = importlib.import_module("pandas")


def of(frame: Any, *slices: Any, **plan: Any) -> Evaluation:
    return evaluate("p", frame, "churned", Plan(slices=slices, **plan))


def test_a_slice_has_the_metrics_of_its_rows_alone(people: Any) -> None:
    found = of(people, "country", ("country", "plan"), {"old": "age > 60 and plan == 'pro'"})
    names = [one.name for one in found.slices]
    assert set(names[:3]) == {"country=DE", "country=FR", "country=IT"}
    assert "country=FR,plan=pro" in names
    assert names[-1] == "old"
    by_name = {one.name: one for one in found.slices}
    masks = {
        "country=DE": people["country"] == "DE",
        "country=FR,plan=pro": (people["country"] == "FR") & (people["plan"] == "pro"),
        "old": (people["age"] > 60) & (people["plan"] == "pro"),
    }
    for name, mask in masks.items():
        alone = of(people[mask])
        assert by_name[name].metrics == pytest.approx(alone.metrics)
        assert by_name[name].count == mask.sum()
        assert by_name[name].share == pytest.approx(mask.mean())


def test_the_worst_slice_is_named_and_small_ones_are_flagged(people: Any) -> None:
    frame = people.assign(
        p=np.where(people["country"] == "FR", 0.5 - (people["churned"] == "yes") * 0.1, people["p"])
    )
    found = of(frame, "country")
    assert {one.name: one.small for one in found.slices} == {
        "country=DE": False,
        "country=FR": False,
        "country=IT": True,
    }
    assert found.worst_slice is not None
    assert found.worst_slice.name == "country=FR"
    assert "worst slice: country=FR" in str(found)
    assert of(frame, "country", small=1000).worst_slice is None
    table = found.artifacts["slices.csv"]
    assert table.content.decode().startswith("slice,by,count,share,small,true_negatives,")
    assert table.table["slice"] == [one.name for one in found.slices]


def test_a_slice_may_be_a_function_or_a_mask_and_may_be_empty(people: Any) -> None:
    mask = (people["age"] < 30).to_numpy()
    found = of(
        people,
        {"young": lambda frame: frame["age"] < 30, "same": mask, "none": "age > 200"},
    )
    young, same, none = found.slices
    assert young.metrics == same.metrics
    assert (none.count, none.small, none.metrics) == (0, True, {})


def test_numbers_are_cut_into_quarters_and_gaps_are_a_slice(people: Any) -> None:
    frame = people.assign(age=people["age"].where(people.index % 10 != 0).astype("Float64"))
    frame["plan"] = frame["plan"].where(frame.index % 4 != 0)
    found = of(frame, "age", "plan")
    names = [one.name for one in found.slices]
    assert sum(name.startswith("age=[") for name in names) == 4
    assert {"age=(missing)", "plan=(missing)", "plan=pro"} <= set(names)
    assert sum(one.count for one in found.slices if one.by == "age") == 400


def test_many_values_are_a_hundred_slices_and_the_rest() -> None:
    frame = pd.DataFrame({"user": [f"u{n % 150}" for n in range(400)], "y": np.arange(400.0)})
    found = evaluate(frame["y"] + 0.5, frame, "y", Plan(kind="regression", slices=["user"]))
    assert len(found.slices) == 101
    assert found.slices[-1].name == "user=(the other 50)"
    assert sum(one.count for one in found.slices) == 400


_column = st.lists(st.sampled_from([*"abc", None]), min_size=5, max_size=30)


@settings(max_examples=20, deadline=None)
@given(_column, _column, st.randoms(use_true_random=False))
def test_slices_of_a_column_add_up_in_any_order(first: Any, second: Any, random: Any) -> None:
    count = min(len(first), len(second))
    frame = pd.DataFrame({"a": first[:count], "b": second[:count], "y": np.arange(float(count))})
    frame["f"] = frame["y"] + 1 + (frame["a"] == "a")

    def measured() -> dict[str, tuple[int, float]]:
        plan = Plan(kind="regression", slices=[("a", "b")])
        found = evaluate("f", frame, "y", plan)
        counts = [one.count for one in found.slices]
        assert sum(counts) == count
        errors = [one.metrics["mean_absolute_error"] for one in found.slices]
        assert np.dot(errors, counts) / count == pytest.approx(found.metrics["mean_absolute_error"])
        return {
            one.name: (one.count, round(one.metrics["sum_on_target"], 6)) for one in found.slices
        }

    before = measured()
    frame = frame.iloc[random.sample(range(count), count)]
    assert measured() == before


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("planet", "no column 'planet' for the slices"),
        (("country", "planet"), "no column 'planet'"),
        ({"bad": "age >"}, "Slice 'bad' failed: SyntaxError"),
        ({"bad": "planet == 1"}, "Slice 'bad' failed: .* Columns: age, country"),
        ({"bad": lambda frame: 1 / 0}, "Slice 'bad' failed: ZeroDivisionError"),
        ({"bad": lambda frame: True}, "a single bool"),
        ({"bad": lambda frame: frame["age"]}, "values of type int64"),
        ({"bad": [True]}, "1 values of slice 'bad' for 400 rows"),
    ],
)
def test_what_cannot_be_is_said(people: Any, given: Any, message: str) -> None:
    with pytest.raises(InvalidParameter, match=message):
        of(people, given)


def test_no_two_slices_have_one_name(people: Any) -> None:
    with pytest.raises(InvalidParameter, match="Two slices have the name 'plan=free'"):
        of(people, "plan", ("plan",))
