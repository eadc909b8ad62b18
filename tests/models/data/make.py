"""Writes the folders beside it with the MLflow that is installed; see README.md."""

import sys
import warnings

import mlflow
import mlflow.pyfunc
import mlflow.sklearn
import numpy as np
import pandas as pd
from mlflow.models import infer_signature
from sklearn.linear_model import LogisticRegression

warnings.simplefilter("ignore")
release = f"mlflow-{mlflow.__version__}"
major = int(mlflow.__version__.split(".")[0])

frame = pd.DataFrame(
    {"length": [1.0, 2.0, 3.0, 4.0], "count": [1, 2, 3, 4], "ok": [True, False, True, False]}
)
model = LogisticRegression().fit(frame, [0, 0, 1, 1])
mlflow.sklearn.save_model(
    model,
    f"{release}/columns",
    signature=infer_signature(frame, model.predict(frame)),
    input_example=frame.head(2),
    **({"metadata": {"team": "fraud", "tags": ["a", "b"]}} if major > 1 else {}),
    **({"serialization_format": "cloudpickle"} if major > 2 else {}),
)

array = np.arange(8, dtype=np.float64).reshape(4, 2)
model = LogisticRegression().fit(array, [0, 0, 1, 1])
mlflow.sklearn.save_model(
    model,
    f"{release}/tensor",
    signature=infer_signature(array, model.predict_proba(array)),
    input_example=array[:2],
    **({"serialization_format": "cloudpickle"} if major > 2 else {}),
)

if major > 1:
    rows = [
        {"name": "a", "tags": ["x", "y"], "place": {"lat": 1.5, "lon": 2.5}},
        {"name": "b", "tags": ["z"], "place": {"lat": 1.0}},
    ]
    params = {"top": 3, "names": ["u", "v"], "strict": True}
    mlflow.pyfunc.save_model(
        f"{release}/nested",
        python_model="echo_model.py",
        signature=infer_signature(rows, ["a"], params),
        input_example=(rows, params),
    )
print(release, sys.version)
