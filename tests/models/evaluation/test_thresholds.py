"""Thresholds: absolutely, against a baseline, on slices; and the result that says what passed."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from headrace.errors import HeadraceError, InvalidParameter
from headrace.models.evaluation import Check, Evaluation, Plan, Threshold, evaluate

pd = importlib.import_module("pandas")

FRAME = pd.DataFrame(
    {
        "country": ["DE"] * 4 + ["FR"] * 4,
        "y": [0, 1, 0, 1] * 2,
        "good": [0, 1, 0, 1, 0, 1, 0, 0],  # 7 of 8; DE 4 of 4, FR 3 of 4
        "bad": [0, 1, 0, 0, 0, 1, 1, 0],  # 5 of 8
    }
)


def of(
    thresholds: Any, predictions: Any = "good", baseline: Any = "bad", **plan: Any
) -> Evaluation:
    given = {"kind": "classification", "slices": ["country"], "small": 3, **plan}
    return evaluate(
        predictions, FRAME, "y", Plan(thresholds=thresholds, baseline=baseline, **given)
    )


def one(key: str, threshold: Any, **plan: Any) -> Check:
    (check,) = of({key: threshold}, **plan).checks.values()
    return check


@pytest.mark.parametrize(
    ("key", "threshold", "passes", "why"),
    [
        ("accuracy_score", 0.875, True, "0.875 is at least 0.875."),
        ("accuracy_score", 0.9, False, "0.875 is not at least 0.9."),
        ("accuracy_score", Threshold(min=0.1, max=0.8), False, "0.875 is not at most 0.8."),
        ("false_positives", 0, True, "0 is at most 0."),
        ("example_count", {"min": 9}, False, "8 is not at least 9."),
        (
            "accuracy_score",
            Threshold(min_gain_vs_baseline=0.25),
            True,
            "0.875 is at least 0.875 (baseline 0.625, +0.25).",
        ),
        (
            "accuracy_score",
            Threshold(min_gain_vs_baseline=0.5, relative=True),
            False,
            "0.875 is not at least 0.9375 (baseline 0.625, +0.5 of it).",
        ),
        (
            "false_negatives",
            Threshold(min_gain_vs_baseline=2),
            False,
            "1 is not at most 0 (baseline 2, -2).",
        ),
        ("accuracy_score", Threshold(max_loss_vs_baseline=0), True, "at least 0.625"),
        ("accuracy_score", Threshold(max_increase_vs_baseline=0.1), False, "at most 0.725"),
        ("accuracy_score", Threshold(max_decrease_vs_baseline=0.1), True, "at least 0.525"),
        ("slice:country=DE/accuracy_score", 1, True, "1 is at least 1."),
        ("slice:country=FR/accuracy_score", 0.8, False, "0.75 is not at least 0.8."),
        ("slice:country=*/accuracy_score", 0.7, True, "All 2 slices; country=DE: 1 is"),
        ("slice:country=*/accuracy_score", 0.8, False, "1 of 2 slices; country=FR: 0.75 is not"),
        (
            "slice:country=FR/accuracy_score",
            Threshold(min_gain_vs_baseline=0.25),
            True,
            "baseline 0.5",
        ),
        ("slice:country=IT/accuracy_score", 0.1, False, "There is no row in slice 'country=IT'"),
        ("log_loss", 1, False, "There is no log_loss here."),
    ],
)
def test_a_threshold_holds_or_not_and_says_why(
    key: str, threshold: Any, passes: bool, why: str
) -> None:
    check = one(key, threshold)
    assert (check.metric, check.passed) == (key, passes)
    assert why in check.why


def test_nan_never_passes() -> None:
    nan = {"nan": lambda p, t: float("nan")}
    assert one("nan", Threshold(max=1), metrics=nan).why == "nan is NaN."
    for threshold in (Threshold(max=1), Threshold(min=-1e300), Threshold(min=0, max=1)):
        assert not one("nan", threshold, metrics=nan).passed
    for threshold in (
        Threshold(max_increase_vs_baseline=1),
        Threshold(max_decrease_vs_baseline=1, relative=True),
        Threshold(max_loss_vs_baseline=1),
    ):
        for baseline in ({"accuracy_score": float("nan")}, {}):
            assert not one("accuracy_score", threshold, baseline=baseline).passed


def test_small_and_empty_slices_do_not_pass_by_being_so() -> None:
    assert one("slice:country=DE/accuracy_score", 0.5, small=100).passed  # named, so meant
    check = one("slice:*/accuracy_score", 0.5, small=100)
    assert (check.passed, check.why) == (False, "All 2 slices that '*' names are small.")
    assert not one("slice:none/accuracy_score", 0.5, slices=[{"none": "y > 5"}]).passed


def test_a_baseline_may_be_a_model_predictions_a_result_or_metrics(tmp_path: Path) -> None:
    expected = Threshold(min_gain_vs_baseline=0.25)
    earlier = of({}, predictions="bad", baseline=None)
    earlier.save(tmp_path, plots=False)
    for baseline in (
        "bad",
        FRAME["bad"].to_numpy(),
        lambda frame: frame["bad"],
        earlier,
        Evaluation.load(tmp_path),
        Evaluation.from_dict(earlier.to_dict()),
        {"accuracy_score": 0.625},
    ):
        check = one("accuracy_score", expected, baseline=baseline)
        assert (check.passed, check.baseline) == (True, 0.625)
        assert not one(
            "accuracy_score", Threshold(min_gain_vs_baseline=0.26), baseline=baseline
        ).passed
    slices = one("slice:country=FR/accuracy_score", expected, baseline=Evaluation.load(tmp_path))
    assert (slices.passed, slices.baseline) == (True, 0.5)


def test_a_result_passes_or_says_what_failed() -> None:
    found = of({"accuracy_score": 0.5, "slice:country=FR/recall_score": 0.9})
    assert not found.passed
    assert {name: check.passed for name, check in found.checks.items()} == {
        "accuracy_score": True,
        "slice:country_FR/recall_score": False,
    }
    with pytest.raises(HeadraceError, match="1 of 2 checks failed") as failure:
        found.raise_for_failures()
    assert "slice:country=FR/recall_score: 0.5 is not at least 0.9." in failure.value.message
    assert "FAILED: slice:country=FR/recall_score" in str(found)
    assert found.artifacts["checks.csv"].table["passed"] == [True, False]
    fine = of({"accuracy_score": Threshold(min=0.5, check="good enough")})
    assert (fine.passed, list(fine.checks)) == (True, ["good enough"])
    fine.raise_for_failures()
    assert of({}).passed


@pytest.mark.parametrize(
    ("thresholds", "message"),
    [
        ({"accuracy": 0.9}, "'accuracy' may be better above 0.9 or below it"),
        ({"accuracy": Threshold(min=0.9)}, "'accuracy', which is no metric; metrics: true_neg"),
        ({"slice:planet=1/accuracy_score": 1}, "names no slice; slices: country=DE, country=FR"),
        ({"slice:country=DE/accuracy": Threshold(min=1)}, "'accuracy', which is no metric"),
        ({"accuracy_score": Threshold()}, "has no limit"),
        ({"accuracy_score": Threshold(min=2, max=1)}, "min=2 is above max=1"),
        ({"accuracy_score": Threshold(min=float("nan"))}, "min=nan is no number"),
        ({"accuracy_score": Threshold(max_loss_vs_baseline=-1)}, "is below 0"),
        ({"accuracy_score": None}, "is None"),
        ({"accuracy_score": "high"}, "is a str"),
        ({"accuracy_score": {"minimum": 1}}, "unknown field `minimum`"),
        ({"example_count": Threshold(max_loss_vs_baseline=1)}, "Which way is better"),
        (
            {"slice:country=DE/f1_score": 1, "slice:country_DE/f1_score": 1},
            "give one check, 'slice:country_DE/f1_score'",
        ),
        ({"accuracy_score": Threshold(min=1, check="a=b")}, "Invalid check name"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_said(thresholds: Any, message: str) -> None:
    with pytest.raises(InvalidParameter, match=message):
        of(thresholds)


def test_a_comparison_needs_something_to_compare_with(tmp_path: Path) -> None:
    with pytest.raises(InvalidParameter, match="compares: give a baseline"):
        of({"accuracy_score": Threshold(max_loss_vs_baseline=1)}, baseline=None)
    with pytest.raises(InvalidParameter, match="The baseline: There are 1 predictions for 8 rows"):
        of({}, baseline=[1])
    with pytest.raises(InvalidParameter, match="The baseline: The data have no column 'worse'"):
        of({}, baseline="worse")
    other = evaluate([1.5], None, [1.5], Plan())
    with pytest.raises(
        InvalidParameter, match="baseline is a regression, this is a classification"
    ):
        of({}, baseline=other)
    with pytest.raises(InvalidParameter, match="Cannot read an evaluation from"):
        Evaluation.load(tmp_path)
    with pytest.raises(InvalidParameter, match="This is no evaluation"):
        Evaluation.from_dict({"kind": 3})


def test_cut_offs_may_be_written_with_an_at() -> None:
    plan = Plan(kind="ranking", groups=[0, 0, 1, 1], k=(1,), thresholds={"precision@1": 0.4})
    found = evaluate([0.1, 0.2, 0.3, 0.1], None, [1, 0, 1, 0], plan)
    assert found.checks["precision_1"].value == 0.5


def test_intervals_are_the_same_for_the_same_seed_and_hold_the_value() -> None:
    random = np.random.default_rng(3)
    y = random.normal(size=100)
    f = y + random.normal(size=100)

    def intervals(seed: int, confidence: float = 0.95) -> dict[str, tuple[float, float]]:
        plan = Plan(bootstrap=60, seed=seed, confidence=confidence)
        result = evaluate(f, None, y, plan)
        assert "example_count" not in result.intervals
        for name in ("mean_absolute_error", "r2_score"):
            low, high = result.intervals[name]
            assert low < result.metrics[name] < high
        assert result.artifacts["intervals.csv"].table["metric"] == list(result.intervals)
        return result.intervals

    assert intervals(1) == intervals(1) != intervals(2)
    wide, narrow = intervals(1)["r2_score"], intervals(1, 0.5)["r2_score"]
    assert wide[0] < narrow[0] < narrow[1] < wide[1]
