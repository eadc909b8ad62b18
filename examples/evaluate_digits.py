"""A new model has to be better than the old one, on every digit and in bad light.

Two models learn to read digits, and each is evaluated on digits that neither has seen: metrics, slices, a metric of
our own, and thresholds, for the second also against the first. The results are logged to the models' runs. The exit
code says whether the last model passed.

    python examples/evaluate_digits.py
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np
import pandas as pd
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.svm import SVC

import headrace
from headrace import Threshold

THRESHOLDS = {
    "accuracy_score": Threshold(min=0.95),
    # No digit may be much harder to read than the others …
    "slice:digit=*/accuracy_score": Threshold(min=0.85, check="every digit"),
    # … and dim images not much harder than bright ones.
    "slice:dim/accuracy_score": Threshold(min=0.9, check="dim images"),
    "cost": Threshold(max=10, check="cost"),
}


def images() -> tuple[pd.DataFrame, pd.DataFrame]:
    """Images to learn from and images to be judged by: a column for each pixel, and the digit."""
    pixels, digits = load_digits(return_X_y=True, as_frame=True)
    frame = (pixels / 16).assign(digit=digits)
    train, test = train_test_split(frame, test_size=0.4, random_state=0, stratify=digits)
    return train, test


def brightness(frame: Any) -> Any:
    """The mean of the pixels of each image."""
    return frame.drop(columns="digit").mean(axis=1)


def is_dim(frame: Any) -> Any:
    """Whether an image is among the darker third."""
    light = brightness(frame)
    return light < np.quantile(light, 1 / 3)


def cost(predictions: Any, targets: Any) -> float:
    """Cents that 100 images cost: one for each that is misread, and ten where a 1 is taken for a 7."""
    misread = predictions != targets
    grave = misread & (targets == 1) & (predictions == 7)
    return float(100 * (misread + 9 * grave).mean())


def evaluated(model: Any, test: pd.DataFrame, earlier: Any) -> headrace.Evaluation:
    """Evaluate a model and log the result to the active run."""
    thresholds = dict(THRESHOLDS)
    if earlier is not None:
        thresholds["f1_score"] = Threshold(min_gain_vs_baseline=0.01)
    return headrace.evaluate(
        model,
        headrace.data.from_pandas(test, name="digits held out", targets="digit"),
        slices=["digit", {"dim": is_dim}],
        metrics=[headrace.make_metric(eval_fn=cost, greater_is_better=False)],
        thresholds=thresholds,
        baseline=earlier,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tracking-uri", default="", help="default: the nearest .headrace")
    headrace.set_tracking_uri(parser.parse_args().tracking_uri)
    headrace.set_experiment("evaluate digits")
    train, test = images()
    result = None
    for model in (LogisticRegression(C=0.003), SVC(C=10)):
        model.fit(train.drop(columns="digit"), train["digit"])
        with headrace.start_run(run_name=type(model).__name__):
            result = evaluated(model, test, result)
        print(f"{type(model).__name__}, run {result.run_id}: {result}\n")
    assert result is not None
    result.raise_for_failures()


if __name__ == "__main__":
    main()
