"""The types that a skops file asks for, read from it without building any of them.

skops itself lists them (`skops.io.get_untrusted_types`), and what it builds without asking is not listed. Its schema is
also read here, for a second opinion: a name that is known to run what it is given is reported wherever it stands,
and whatever skops makes of it (CVE-2025-54412 and CVE-2025-54413 were such differences).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, BinaryIO

from headrace.models.inspection.dangerous import is_dangerous

#: LightGBM's scikit-learn classes. skops makes their Booster as pickle would, from LightGBM's own text: nobody calls it with
#: a file's name.
LIGHTGBM = frozenset(
    (
        "collections.OrderedDict",
        "lightgbm.basic.Booster",
        "lightgbm.sklearn.LGBMModel",
        "lightgbm.sklearn.LGBMClassifier",
        "lightgbm.sklearn.LGBMRegressor",
        "lightgbm.sklearn.LGBMRanker",
    )
)
#: Plain Python objects of scikit-learn that skops does not know, and that hold numbers and estimators only; functions that
#: compute, and do nothing else, whatever they are given; and LightGBM's.
HARMLESS = LIGHTGBM | frozenset(
    (
        "sklearn.utils._bunch.Bunch",
        "sklearn.compose._column_transformer.make_column_selector",
        "sklearn.metrics._scorer._PassthroughScorer",
        "sklearn.metrics._scorer._Scorer",
        "sklearn.multiclass._ConstantPredictor",
        "sklearn.cluster._bisect_k_means._BisectingTree",
        "sklearn.gaussian_process._gpc._BinaryGaussianProcessClassifierLaplace",
        "sklearn._loss.loss.HalfTweedieLoss",
        "sklearn._loss.loss.HalfTweedieLossIdentity",
        "sklearn.feature_selection._mutual_info.mutual_info_classif",
        "sklearn.feature_selection._mutual_info.mutual_info_regression",
        *(
            f"sklearn.feature_selection._univariate_selection.{name}"
            for name in ("chi2", "f_classif", "f_regression", "r_regression")
        ),
        *(
            f"sklearn.model_selection._split.{name}"
            for name in ("GroupKFold", "KFold", "ShuffleSplit", "StratifiedGroupKFold", "StratifiedKFold",
                         "StratifiedShuffleSplit", "TimeSeriesSplit")
        ),
        *(
            f"sklearn.gaussian_process.kernels.{name}"
            for name in ("CompoundKernel", "ConstantKernel", "DotProduct", "Exponentiation", "ExpSineSquared", "Matern",
                         "Product", "RBF", "RationalQuadratic", "Sum", "WhiteKernel")
        ),
        *(
            f"sklearn.metrics._{name}"
            for name in ("classification.accuracy_score", "classification.balanced_accuracy_score",
                         "classification.f1_score", "classification.log_loss", "classification.precision_score",
                         "classification.recall_score", "ranking.average_precision_score", "ranking.roc_auc_score",
                         "regression.mean_absolute_error", "regression.mean_squared_error", "regression.r2_score",
                         "regression.root_mean_squared_error")
        ),
        "sklearn.neural_network._stochastic_optimizers.AdamOptimizer",
        "sklearn.neural_network._stochastic_optimizers.SGDOptimizer",
        "sklearn.calibration._CalibratedClassifier",
        "sklearn.calibration._SigmoidCalibration",
    )
)  # fmt: skip
#: Compiled types of scikit-learn and numpy that run no code of the file's, but believe the numbers in it: a file that was made to
#: harm can crash the process when the model predicts.
CRASHING = frozenset(
    (
        "numpy.dtype",  # its flags say which bytes are pointers
        "sklearn.tree._tree.Tree",
        "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
        *(
            f"sklearn.neighbors._{kind}_tree.{name}{bits}"
            for kind, name in (("kd", "KDTree"), ("ball", "BallTree"))
            for bits in ("", "32", "64")
        ),
        *(
            f"sklearn.metrics._dist_metrics.{name}Distance{bits}"
            for name in ("Euclidean", "Manhattan", "Minkowski", "Chebyshev", "SEuclidean", "Haversine", "Hamming")
            for bits in ("", "32", "64")
        ),
    )
)  # fmt: skip
_MOST_SCHEMA = 1 << 28
_KNOWN = ("sklearn.", "numpy.", "scipy.", "collections.", "builtins.")


class UnreadableSchema(ValueError):
    """It is no schema of skops."""


def asked_types(stream: BinaryIO, schema: bytes) -> tuple[list[str], list[str]]:
    """Types that a loader has to trust, and names in the schema that run what they are given.

    Args:
        stream: The file, from its beginning.
        schema: Its ``schema.json``.

    Raises:
        UnreadableSchema: It is no schema of skops.
    """
    try:
        named = set(_names(json.loads(schema)))
    except (ValueError, RecursionError) as error:
        raise UnreadableSchema(f"its schema.json cannot be read: {error}") from None
    dangerous = sorted(name for name in named - LIGHTGBM if is_dangerous(name))
    try:
        from skops.io import get_untrusted_types
    except ImportError:
        # What skops would say is not known here; never less than it says of the types that can do harm.
        asked = {name for name in named if name in CRASHING or not name.startswith(_KNOWN)}
    else:
        try:
            asked = set(get_untrusted_types(file=stream))
        except Exception as error:  # noqa: BLE001 - skops raises whatever the file makes it raise
            raise UnreadableSchema(f"skops cannot read it: {error}") from None
    asked -= HARMLESS
    return sorted(asked | set(dangerous)), dangerous


def _names(tree: Any) -> Iterator[str]:
    """Every name of a type or a function in a schema."""
    todo = [tree]
    while todo:
        node = todo.pop()
        if isinstance(node, list):
            todo.extend(node)
        elif isinstance(node, dict):
            todo.extend(node.values())
            for module, name in (("__module__", "__class__"), ("module_path", "function")):
                if isinstance(node.get(module), str) and isinstance(node.get(name), str):
                    yield f"{node[module]}.{node[name]}"
