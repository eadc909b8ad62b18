"""A new model has to be better than the old one, on every digit and in bad light, before it may be champion.

Two models are registered. Each is evaluated on digits that neither has seen: metrics, slices, thresholds, and the
second against the first. The results set the checks of the versions; a guard lets the alias ``champion`` move only
to a version that has passed.

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
from headrace.errors import GuardRefused

NAME = "digits"
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


def evaluated(version: str, test: pd.DataFrame, earlier: Any) -> headrace.Evaluation:
    """Evaluate a version, log the result, set its checks."""
    thresholds = dict(THRESHOLDS)
    if earlier is not None:
        thresholds["f1_score"] = Threshold(min_gain_vs_baseline=0.01)
    return headrace.evaluate(
        f"models:/{NAME}/{version}",
        headrace.data.from_pandas(test, name="digits held out", targets="digit"),
        slices=["digit", {"dim": is_dim}],
        metrics=[headrace.make_metric(eval_fn=cost, greater_is_better=False)],
        thresholds=thresholds,
        baseline=earlier,
        plots=False,
    )


def crown(client: headrace.Client, version: str) -> None:
    """Make a version the champion, if the guard lets it."""
    try:
        client.set_registered_model_alias(NAME, "champion", version)
        print(f"version {version} is champion")
    except GuardRefused as refused:
        print(f"version {version} is not champion: {refused.message}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tracking-uri", default="", help="default: the nearest .headrace")
    headrace.set_tracking_uri(parser.parse_args().tracking_uri)
    headrace.set_experiment("evaluate digits")
    client = headrace.Client(headrace.get_tracking_uri())
    train, test = images()
    pixels = train.drop(columns="digit")

    client.create_registered_model(NAME)
    client.set_guard(NAME, "champion", ["accuracy_score", "every digit", "dim images"])
    earlier = None
    for model in (LogisticRegression(C=0.003), SVC(C=10)):
        model.fit(pixels, train["digit"])
        name = type(model).__name__
        with headrace.start_run(run_name=name):
            # What it needs is known; finding that out by loading it in a fresh process takes seconds.
            logged = headrace.log_model(
                model, NAME, registered_model_name=NAME, pip_requirements=["scikit-learn"]
            )
            version = str(logged.registered_model_version)
            earlier = evaluated(version, test, earlier)
        print(f"{name}, version {version}: {earlier}")
        crown(client, version)


if __name__ == "__main__":
    main()
