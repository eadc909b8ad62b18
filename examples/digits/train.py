"""Train several kinds of models on handwritten digits, and track what happens.

The data (1,797 images of 8 x 8 pixels) ships with scikit-learn. Each kind of model is one run, with a
nested run for each choice of hyperparameters; models that learn step by step log a curve.

    python examples/digits/train.py                     # tracks where headrace does by default
    python examples/digits/train.py --client mlflow     # the same script with MLflow's own client

Both clients offer the functions used here under the same names, so the script takes either.
"""

from __future__ import annotations

import argparse
import csv
import importlib
import io
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import sklearn
import skops.io
from sklearn.datasets import load_digits
from sklearn.ensemble import RandomForestClassifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression, SGDClassifier
from sklearn.metrics import accuracy_score, confusion_matrix, f1_score, log_loss
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier
from sklearn.svm import SVC
from threadpoolctl import threadpool_limits

EXPERIMENT = "digits"
SEED = 7
CLASSES = np.arange(10)


@dataclass(frozen=True)
class Data:
    """Images as rows of 64 values from 0 to 1, and the digit that each shows."""

    x_train: np.ndarray
    x_test: np.ndarray
    y_train: np.ndarray
    y_test: np.ndarray


#: Trains on the data, yields a model once or after every step of learning.
Fit = Callable[[Data, dict[str, Any]], Iterator[Any]]


def load() -> Data:
    """Digits, a quarter of them held out."""
    x, y = load_digits(return_X_y=True)
    return Data(*train_test_split(x / 16.0, y, test_size=0.25, random_state=SEED, stratify=y))


def logistic_regression(data: Data, params: dict[str, Any]) -> Iterator[Any]:
    yield LogisticRegression(max_iter=300, **params).fit(data.x_train, data.y_train)


def support_vectors(data: Data, params: dict[str, Any]) -> Iterator[Any]:
    yield SVC(**params).fit(data.x_train, data.y_train)


def random_forest(data: Data, params: dict[str, Any]) -> Iterator[Any]:
    """Grows tree by tree."""
    forest = RandomForestClassifier(warm_start=True, random_state=SEED, **params)
    for trees in range(5, 61, 5):
        forest.set_params(n_estimators=trees)
        yield forest.fit(data.x_train, data.y_train)


def gradient_descent(data: Data, params: dict[str, Any]) -> Iterator[Any]:
    """A linear model, one pass over the data per step."""
    model = SGDClassifier(loss="log_loss", random_state=SEED, **params)
    for _ in range(20):
        yield model.partial_fit(data.x_train, data.y_train, classes=CLASSES)


def neural_network(data: Data, params: dict[str, Any]) -> Iterator[Any]:
    """One hidden layer, one pass over the data per step."""
    model = MLPClassifier(random_state=SEED, **params)
    for _ in range(20):
        yield model.partial_fit(data.x_train, data.y_train, classes=CLASSES)


FAMILIES: dict[str, tuple[Fit, list[dict[str, Any]]]] = {
    "logistic-regression": (logistic_regression, [{"C": 0.1}, {"C": 1.0}, {"C": 10.0}]),
    "support-vectors": (
        support_vectors,
        [{"C": 1.0, "gamma": 0.01}, {"C": 1.0, "gamma": 0.1}, {"C": 10.0, "gamma": 0.05}],
    ),
    "random-forest": (random_forest, [{"max_depth": 6}, {"max_depth": 16}]),
    "gradient-descent": (gradient_descent, [{"alpha": 1e-4}, {"alpha": 1e-2}]),
    "neural-network": (
        neural_network,
        [
            {"hidden_layer_sizes": (32,), "learning_rate_init": 0.001},
            {"hidden_layer_sizes": (32,), "learning_rate_init": 0.01},
            {"hidden_layer_sizes": (128,), "learning_rate_init": 0.003},
        ],
    ),
}


def train(tracking: Any) -> None:
    """Train everything.

    Args:
        tracking: ``headrace``, or ``mlflow``: a module with the fluent tracking functions.
    """
    data = load()
    described = tracking.data.from_numpy(data.x_train, targets=data.y_train, name="digits")
    tracking.set_experiment(EXPERIMENT)
    for family, (fit, choices) in FAMILIES.items():
        with tracking.start_run(run_name=family, tags={"family": family}):
            trained = []
            for params in choices:
                with tracking.start_run(run_name=_name(family, params), nested=True):
                    tracking.log_input(described, context="training")
                    trained.append(train_one(tracking, family, fit, params, data))
            accuracy, model = max(trained, key=lambda one: one[0])
            tracking.log_metric("accuracy", accuracy)
            tracking.sklearn.log_model(
                model,
                name=family,
                signature=tracking.models.infer_signature(data.x_train, data.y_train),
                # Else MLflow looks for them by loading each model in a process of its own.
                pip_requirements=[
                    f"scikit-learn=={sklearn.__version__}",
                    f"numpy=={np.__version__}",
                ],
                # MLflow saves only what it is told to trust; this was made here, a moment ago.
                skops_trusted_types=skops.io.get_untrusted_types(data=skops.io.dumps(model)),
            )


def train_one(
    tracking: Any, family: str, fit: Fit, params: dict[str, Any], data: Data
) -> tuple[float, Any]:
    """Train one model in the active run; its accuracy on the held-out images, and the model."""
    tracking.set_tags({"family": family, "task": "classification"})
    tracking.log_params({"model": family, "train_rows": len(data.x_train), **params})
    start = time.perf_counter()
    model = None
    for step, model in enumerate(fit(data, params)):
        tracking.log_metrics(_scores(model, data), step=step)
    tracking.log_metric("fit_seconds", time.perf_counter() - start)
    matrix = confusion_matrix(data.y_test, model.predict(data.x_test), labels=CLASSES)
    tracking.log_text(_as_csv(matrix), "confusion_matrix.csv")
    tracking.log_dict(
        {"per_digit_recall": (matrix.diagonal() / matrix.sum(axis=1)).round(4).tolist()},
        "report.json",
    )
    return float(accuracy_score(data.y_test, model.predict(data.x_test))), model


def _scores(model: Any, data: Data) -> dict[str, float]:
    predicted = model.predict(data.x_test)
    scores = {
        "accuracy": float(accuracy_score(data.y_test, predicted)),
        "f1": float(f1_score(data.y_test, predicted, average="macro")),
        "train_accuracy": float(accuracy_score(data.y_train, model.predict(data.x_train))),
    }
    if hasattr(model, "predict_proba"):
        scores["loss"] = float(
            log_loss(data.y_test, model.predict_proba(data.x_test), labels=CLASSES)
        )
    return scores


def _name(family: str, params: dict[str, Any]) -> str:
    return " ".join([family, *(f"{key}={value}" for key, value in params.items())])


def _as_csv(matrix: np.ndarray) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["shown", *(f"predicted_{digit}" for digit in CLASSES)])
    writer.writerows([digit, *row] for digit, row in zip(CLASSES, matrix.tolist(), strict=True))
    return out.getvalue()


def main() -> None:
    """Parse the command line and train."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--client", default="headrace", choices=["headrace", "mlflow"])
    parser.add_argument(
        "--tracking-uri", help="where to track; default: what the client does by default"
    )
    given = parser.parse_args()
    # Twenty passes are meant to be few.
    warnings.simplefilter("ignore", ConvergenceWarning)
    tracking = importlib.import_module(given.client)
    if given.tracking_uri:
        tracking.set_tracking_uri(given.tracking_uri)
    # Matrices as small as these are slower on several threads than on one.
    with threadpool_limits(1):
        train(tracking)


if __name__ == "__main__":
    main()
