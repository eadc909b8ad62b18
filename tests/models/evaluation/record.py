"""Records what ``mlflow.models.evaluate`` finds, which takes it half a minute: writes mlflow.json, beside this file.

python tests/models/evaluation/record.py
"""

from __future__ import annotations

import importlib
import json
import os
import tempfile
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.linear_model import LogisticRegression

pd = importlib.import_module("pandas")
RECORDED = Path(__file__).parent / "mlflow.json"


def classification(classes: int) -> tuple[Any, Any]:
    """A model, and a frame with targets ``y``."""
    random = np.random.default_rng(classes)
    frame = pd.DataFrame(random.normal(size=(200, 3)), columns=list("abc"))
    scores = frame["a"] * 1.5 + random.normal(size=200) + classes / 2
    frame["y"] = scores.clip(0, classes - 1).round().astype(int)
    return LogisticRegression().fit(frame[["a", "b", "c"]], frame["y"]), frame


def regression() -> Any:
    """A frame with targets ``y`` and predictions ``f``."""
    random = np.random.default_rng(0)
    return pd.DataFrame({"y": random.normal(3, 1, 100), "f": random.normal(3, 1, 100)})


def record() -> dict[str, Any]:
    mlflow = importlib.import_module("mlflow")
    mlflow.set_tracking_uri(f"sqlite:///{Path.cwd() / 'mlflow.db'}")

    def judged(*arguments: Any, **keywords: Any) -> dict[str, float]:
        with mlflow.start_run():
            metrics = mlflow.models.evaluate(*arguments, **keywords).metrics
        return {name: float(value) for name, value in metrics.items()}

    found: dict[str, Any] = {"mlflow": mlflow.__version__}
    for classes in (2, 3):
        model, frame = classification(classes)
        folder = f"model-{classes}"
        mlflow.sklearn.save_model(model, folder, serialization_format="cloudpickle")
        found[f"{classes} classes"] = judged(
            folder,
            frame,
            targets="y",
            model_type="classifier",
            evaluator_config={"log_model_explainability": False},
        )
    found["regression"] = judged(
        data=regression(), targets="y", predictions="f", model_type="regressor"
    )
    return found


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        RECORDED.write_text(json.dumps(record(), indent=1) + "\n", encoding="utf-8")
