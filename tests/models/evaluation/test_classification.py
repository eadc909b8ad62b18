"""Classification: the metrics are scikit-learn's and MLflow's, whatever form labels and probabilities come in."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np
import pytest
from sklearn import metrics as sk
from sklearn.linear_model import LogisticRegression

from headrace.errors import InvalidParameter
from headrace.models.evaluation import Evaluation, Plan, evaluate

pd = importlib.import_module("pandas")


def of(predictions: Any, targets: Any, **plan: Any) -> Evaluation:
    return evaluate(predictions, None, targets, Plan(kind="classification", **plan))


@pytest.mark.parametrize("weighted", [False, True])
def test_two_classes_have_the_values_of_scikit_learn(people: Any, weighted: bool) -> None:
    truth, p = people["churned"], people["p"].to_numpy()
    weight = people["weight"].to_numpy() if weighted else None
    plan = Plan(sample_weight="weight" if weighted else None)
    found = evaluate("p", people, "churned", plan).metrics
    predicted = np.where(p > 0.5, "yes", "no")
    positive = truth == "yes"
    tn, fp, fn, tp = sk.confusion_matrix(truth, predicted, sample_weight=weight).ravel()
    keywords = {"pos_label": "yes", "sample_weight": weight}
    assert found == pytest.approx(
        {
            "true_negatives": tn,
            "false_positives": fp,
            "false_negatives": fn,
            "true_positives": tp,
            "example_count": 400,
            "accuracy_score": sk.accuracy_score(truth, predicted, sample_weight=weight),
            "precision_score": sk.precision_score(truth, predicted, **keywords),
            "recall_score": sk.recall_score(truth, predicted, **keywords),
            "f1_score": sk.f1_score(truth, predicted, **keywords),
            "log_loss": sk.log_loss(positive, p, sample_weight=weight),
            "roc_auc": sk.roc_auc_score(positive, p, sample_weight=weight),
            "precision_recall_auc": sk.average_precision_score(positive, p, sample_weight=weight),
        },
        abs=1e-12,
    )


@pytest.mark.parametrize("average", ["weighted", "macro", "micro"])
def test_several_classes_have_the_values_of_scikit_learn(average: str) -> None:
    random = np.random.default_rng(0)
    truth = random.integers(0, 4, 300)
    scores = random.random((300, 4)) + np.eye(4)[truth]
    shares = scores / scores.sum(axis=1, keepdims=True)
    found = of(shares, truth, average=average).metrics
    predicted = shares.argmax(axis=1)
    assert found["f1_score"] == pytest.approx(sk.f1_score(truth, predicted, average=average))
    assert found["precision_score"] == pytest.approx(
        sk.precision_score(truth, predicted, average=average)
    )
    assert found["log_loss"] == pytest.approx(sk.log_loss(truth, shares))
    if average == "micro":
        assert "roc_auc" not in found
    else:
        area = sk.roc_auc_score(truth, shares, average=average, multi_class="ovr")
        assert found["roc_auc"] == pytest.approx(area)


def test_probabilities_come_in_many_forms_and_mean_the_same(people: Any) -> None:
    truth, p = people["churned"].to_numpy(), people["p"].to_numpy()
    both = np.column_stack([1 - p, p])
    expected = of(p, truth).metrics
    assert expected["roc_auc"] > 0.5
    forms = [
        p.tolist(),
        p[:, None],
        both,
        both.tolist(),
        pd.Series(p, index=range(5, 405)),
        pd.DataFrame({"yes": p, "no": 1 - p}),  # by name, not by place
        pd.DataFrame({"p": p}),
        pd.array(p),
    ]
    for form in forms:
        assert of(form, truth).metrics == pytest.approx(expected)
    swapped = of(both[:, ::-1], truth, classes=["yes", "no"], pos_label="yes").metrics
    assert swapped == pytest.approx(expected)
    # Numbers as labels: probabilities are told from labels by what they are.
    assert of(p, (truth == "yes") * 1).metrics == pytest.approx(expected)
    assert of(p, truth == "yes").metrics == pytest.approx(expected)
    assert of(p.astype("float32"), truth).metrics == pytest.approx(expected, abs=1e-6)


def test_labels_come_in_many_forms_and_mean_the_same() -> None:
    truth, predicted = np.array([0, 1, 1, 0, 1]), np.array([0, 1, 0, 0, 1])
    expected = of(predicted, truth).metrics
    assert expected["accuracy_score"] == 0.8
    words = np.array(["no", "yes"])
    forms: list[tuple[Any, Any]] = [
        (predicted.tolist(), truth.tolist()),
        (predicted.astype(float), truth),
        (predicted.astype(object), truth),
        (predicted == 1, truth == 1),
        ((predicted == 1).astype(object), (truth == 1).astype(object)),
        (words[predicted], words[truth]),
        (words[predicted].astype(object), words[truth]),
        (pd.Series(words[predicted], dtype="category"), pd.Series(words[truth], dtype="string")),
        (pd.array(predicted, dtype="Int64"), truth),
    ]
    for labels, targets in forms:
        assert of(labels, targets).metrics == expected


def test_the_positive_label_can_be_chosen(people: Any) -> None:
    p = people["p"].to_numpy()
    found = of(np.column_stack([1 - p, p]), people["churned"], pos_label="no")
    assert found.metrics["recall_score"] == pytest.approx(
        sk.recall_score(people["churned"], np.where(p > 0.5, "yes", "no"), pos_label="no")
    )
    assert found.metrics["roc_auc"] == pytest.approx(
        sk.roc_auc_score(people["churned"] == "no", 1 - p)
    )
    assert "The positive label is 'no', the negative one 'yes'." in found.notes


def test_a_model_is_asked_for_labels_and_probabilities_of_the_columns_that_it_names(
    people: Any,
) -> None:
    model = LogisticRegression().fit(people[["age", "p"]], people["churned"])
    found = evaluate(model, people, "churned", Plan())
    assert found.kind == "classification"
    assert "kind='classification' was inferred: the model has classes." in found.notes
    shares = model.predict_proba(people[["age", "p"]])
    assert found.metrics["log_loss"] == pytest.approx(sk.log_loss(people["churned"], shares))
    by_function = evaluate(
        lambda frame: model.predict_proba(frame), people, "churned", Plan(features=["age", "p"])
    )
    assert by_function.metrics == pytest.approx(found.metrics)


def test_where_one_class_occurs_what_has_no_meaning_is_nan() -> None:
    found = of(np.array([0.2, 0.9]), np.array([0, 0]), classes=[0, 1])
    assert found.metrics["accuracy_score"] == 0.5
    assert np.isnan(found.metrics["roc_auc"])
    assert np.isnan(found.metrics["precision_recall_auc"])
    assert "No target has the label 1." in found.notes
    three = of(np.full((4, 3), 1 / 3), [0, 0, 1, 1], classes=[0, 1, 2])
    assert three.metrics["roc_auc"] == 0.5


def test_tables_and_plots_are_made_when_they_are_read(people: Any) -> None:
    found = evaluate("p", people, "churned", Plan(bootstrap=2, slices=["plan"]))
    assert {name for name in found.artifacts if name.endswith(".png")} == {
        "confusion_matrix.png",
        "roc_curve_plot.png",
        "precision_recall_curve_plot.png",
        "calibration_curve_plot.png",
        "lift_curve_plot.png",
    }
    for name, artifact in found.artifacts.items():
        if name.endswith(".png"):
            assert artifact.content.startswith(b"\x89PNG")
    roc = found.artifacts["roc_curve.csv"].table
    area = sk.auc(roc["false_positive_rate"], roc["true_positive_rate"])
    assert area == pytest.approx(found.metrics["roc_auc"])
    lines = found.artifacts["confusion_matrix_counts.csv"].content.decode().splitlines()
    assert lines[0] == "true,predicted,count"
    assert lines[4] == f"yes,yes,{found.metrics['true_positives']:.0f}"
    lift = found.artifacts["lift_curve.csv"].table
    assert lift["lift"][-1] == pytest.approx(1)
    assert lift["share_of_positives"][-1] == pytest.approx(1)
    calibration = found.artifacts["calibration_curve.csv"].table
    assert calibration["rows"].sum() == 400


P, Y = [0.1, 0.9, 0.4], ["no", "yes", "yes"]
BAD: list[tuple[Any, Any, dict[str, Any], str]] = [
    ([0.1, 0.9], Y, {}, "2 predictions for 3 rows"),
    (P, ["no", None, "yes"], {}, "1 of 3 targets are missing .* row 1"),
    ([0, 1, 1], [0, 1, np.nan], {}, "1 of 3 targets are missing"),
    (["no", None, "yes"], Y, {}, "1 of 3 predictions are missing"),
    (["no", np.nan, "yes"], Y, {}, "1 of 3 predictions are missing"),
    ([0.1, np.nan, 0.4], [0, 1, 1], {}, "1 of 3 predictions are missing"),
    (["no", "maybe", "yes"], Y, {"classes": ["no", "yes"]}, "'maybe' .row 1., which is none of"),
    (["no", "yes", "yes"], ["no", "yes", "?"], {"classes": ["no", "yes"]}, "targets .*'\\?' .row 2"),
    (["no"] * 3, ["no"] * 3, {}, "one class only, 'no'"),
    ([0, 1, 1], Y, {}, "text and numbers are never equal"),
    ([0.1, 1.9, 0.4], [0, 1, 1], {}, "neither one of the labels 0, 1"),
    ([[0.5, 0.6]] * 3, Y, {}, "of 3 of 3 rows do not sum to 1: row 0 sums to 1.1"),
    ([[-3, 4]] * 3, Y, {}, "'no' in row 0 is -3"),
    ([[0.5, 0.5], [0.5], [1, 0]], Y, {}, "are no array"),
    ([[0.2, 0.3, 0.5]] * 3, Y, {}, "3 columns of probabilities, and 2 labels occur"),
    ([[0.2, 0.8]] * 3, Y, {"classes": ["no", "yes", "?"]}, "2 columns of probabilities for 3"),
    ([[0.2, np.nan]] * 3, Y, {}, "3 of 6 probabilities are missing"),
    (P, Y, {"pos_label": "maybe"}, "pos_label='maybe' is none of"),
    ([0, 1, 2], [0, 1, 2], {"pos_label": 2}, "is for two classes; there are 3"),
    (P, Y, {"classes": ["no", "no"]}, "not distinct"),
    ([0, 1, 1], [0, "1", 1], {}, "several types .int, str."),
    (P, Y, {"average": "most"}, "average='most'"),
    (np.zeros((3, 2, 2)), Y, {}, "shape .3, 2, 2."),
]  # fmt: skip


@pytest.mark.parametrize(("predictions", "targets", "plan", "message"), BAD)
def test_what_cannot_be_is_said(predictions: Any, targets: Any, plan: Any, message: str) -> None:
    with pytest.raises(InvalidParameter, match=message):
        of(predictions, targets, **plan)


def test_a_label_that_the_model_does_not_know_is_named(people: Any) -> None:
    model = LogisticRegression().fit(people[["age"]], people["churned"])
    odd = people.assign(churned=people["churned"].where(people.index != 5, "perhaps"))
    with pytest.raises(InvalidParameter, match=r"targets have the label 'perhaps' \(row 5\)"):
        evaluate(model, odd, "churned", Plan())


@pytest.mark.parametrize("zipped", [True, False], ids=["a mapping for each row", "an array"])
def test_a_classifier_in_onnx_gives_labels_and_probabilities(zipped: bool) -> None:
    import onnxruntime
    from skl2onnx import to_onnx
    from sklearn.datasets import load_iris
    from sklearn.linear_model import LogisticRegression

    x, y = load_iris(return_X_y=True)
    x = x.astype(np.float32)
    fitted = LogisticRegression(max_iter=500).fit(x, y)
    options = {} if zipped else {"options": {id(fitted): {"zipmap": False}}}
    session = onnxruntime.InferenceSession(to_onnx(fitted, x[:1], **options).SerializeToString())
    names = [output.name for output in session.get_outputs()]

    def model(data: np.ndarray) -> dict[str, object]:
        return dict(zip(names, session.run(None, {"X": np.asarray(data, np.float32)}), strict=True))

    ours = evaluate(model, x, y, Plan(kind="classification"))
    plain = evaluate(fitted, x, y, Plan(kind="classification"))
    assert ours.metrics["accuracy_score"] == plain.metrics["accuracy_score"]
    assert ours.metrics["log_loss"] == pytest.approx(plain.metrics["log_loss"], abs=1e-4)
