"""`headrace.evaluate`: evaluates a model, logs the result, and sets the checks of a registered version."""

from __future__ import annotations

import contextlib
import logging
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from headrace.entities import LoggedModelInput
from headrace.errors import InvalidParameter, Unsupported
from headrace.protocol.limits import check_key
from headrace.protocol.model_aliases import CHECK_TAG, PASSED
from headrace.tracking import data as datasets
from headrace.tracking.active import ActiveRun, active_run, start_run
from headrace.tracking.choice import choice
from headrace.tracking.models import load_model
from headrace.tracking.runs import log_inputs, log_metrics

if TYPE_CHECKING:
    from headrace.entities import ModelVersion
    from headrace.models.evaluation import Evaluation, Rows

_log = logging.getLogger("headrace")

#: Tag of a model version: the run that has the result of its last evaluation.
RUN_TAG = "headrace.evaluation.run_id"
#: Characters of a prefix: with the rest of it, a check's tag has to stay within what keys may have.
_LONGEST = 30
#: Folder of a run's artifacts.
FOLDER = "evaluation"

_URI = re.compile(r"file:|[A-Za-z][A-Za-z0-9+.\-]+:/")
#: Keys of MLflow's ``evaluator_config`` that say something here.
_CONFIG = {
    "label_list": "classes",
    "pos_label": "pos_label",
    "sample_weights": "sample_weight",
    "average": "average",
    "metric_prefix": "prefix",
}


def evaluate(
    model: Any = None,
    data: Any = None,
    targets: Any = None,
    kind: str | None = None,
    *,
    predictions: Any = None,
    features: Sequence[Any] | None = None,
    sample_weight: Any = None,
    pos_label: Any = None,
    classes: Sequence[Any] | None = None,
    average: str = "weighted",
    groups: Any = None,
    k: Sequence[int] = (1, 3, 5, 10),
    series: Any = None,
    time: Any = None,
    horizon: Any = None,
    quantiles: Mapping[float, Any] | None = None,
    history: Any = None,
    season: int = 1,
    slices: Sequence[Any] = (),
    small: int = 30,
    metrics: Any = None,
    thresholds: Mapping[str, Any] | None = None,
    baseline: Any = None,
    bootstrap: int = 0,
    confidence: float = 0.95,
    seed: int = 0,
    prefix: str = "",
    plots: bool = True,
    log: bool = True,
    model_id: str | None = None,
    model_type: str | None = None,
    extra_metrics: Any = None,
    evaluators: Any = None,
    evaluator_config: Mapping[str, Any] | None = None,
    feature_names: Sequence[Any] | None = None,
) -> Evaluation:
    """Evaluate a model or predictions, log the result, and say whether it passes.

    Metrics, plots and tables go to the active run, or to one that is made for it. Everything is computed before the
    first of it is logged: what raises has logged nothing. A registered version (``models:/name/3``,
    ``models:/name@alias``) gets its checks, which guards of aliases read: tags ``headrace.check.<name>``, ``passed`` or
    ``failed``, one for each threshold; and ``headrace.evaluation.run_id``.

    Args:
        model: A function of the features, an object with ``predict``, a model's URI or folder; or predictions, as an
            array or the name of a column.
        data: A pandas or polars frame, an array, columns by name, a path to CSV or Parquet, or a data set of
            `headrace.data`. Needless where predictions and targets are arrays.
        targets: The name of a column, or an array. Default: those of the data set.
        kind: ``classification``, ``regression``, ``ranking`` or ``forecasting``. Default: told from the targets and the
            model, where they leave no doubt.
        predictions: The name of a column, or an array, instead of a model.
        features: Columns that the model is given. Default: those that it names, else all but targets, predictions,
            weights and groups.
        sample_weight: Weights of rows: a column or an array.
        pos_label: The positive label of two. Default: the last class.
        classes: All labels, in the order of the columns of probabilities. Default: the model's, else those that occur.
        average: How metrics of more than two classes are averaged: ``weighted``, ``macro`` or ``micro``.
        groups: Ranking: a column or array of queries.
        k: Ranking: cut-offs.
        series: Forecasting: a column or array of series.
        time: Forecasting: a column or array of times.
        horizon: Forecasting: a column or array of steps ahead.
        quantiles: Forecasting: columns or arrays of predicted quantiles, by level: ``{0.1: "low", 0.9: "high"}``.
        history: Forecasting: targets before the forecast, for MASE: an array, arrays by series, or a frame.
        season: Forecasting: steps of a season, for MASE.
        slices: Groups of rows to measure by themselves: columns, tuples of columns, ``{name: query or function}``.
        small: A slice of fewer rows is flagged, and skipped by thresholds with ``*``.
        metrics: Functions ``(predictions, targets, data) -> float | dict``, or what `make_metric` made, in a list or by
            name. What goes wrong in one is in ``errors`` of the result.
        thresholds: What has to hold, by metric: ``{"accuracy_score": 0.9, "slice:country=DE/f1_score": Threshold(…)}``.
        baseline: What thresholds compare with: a model, predictions, an earlier result, or metrics by name.
        bootstrap: Resamples for confidence intervals; 0: none.
        confidence: Of the intervals.
        seed: Of the resamples.
        prefix: Put before the name of each metric and check that is logged; plots and tables go to ``evaluation/<prefix>``.
        plots: Draw plots, when logging.
        log: Log the result and set checks; else only return it.
        model_id: The logged model that the metrics are about. Default: the one that ``model`` says.
        model_type: ``kind`` under MLflow's name.
        extra_metrics: ``metrics`` under MLflow's name.
        evaluators: MLflow's ``default``; there are no others here.
        evaluator_config: MLflow's: ``label_list``, ``pos_label``, ``sample_weights``, ``average`` and ``metric_prefix``
            are used.
        feature_names: ``features`` under MLflow's name, for data that are an array: names of its columns.

    Returns:
        The result: ``metrics``, ``slices``, ``checks``, ``passed``, ``artifacts``, ``raise_for_failures()``.

    Raises:
        InvalidParameter: Something in what was given cannot be, or the model failed; the message says what, and where.
        NotFound: No model or file is there.
        Unsupported: What only MLflow has.
    """
    _need_libraries()
    from headrace.models.evaluation import Plan
    from headrace.models.evaluation import evaluate as compute

    if evaluators not in (None, "default", ["default"]):
        raise Unsupported(f"evaluators={evaluators!r}: there is 'default' only.")
    config = _configured(evaluator_config)
    prefix = config.pop("prefix", prefix)
    if prefix:
        check_key(f"{prefix}accuracy_score", "metric")
        if len(prefix) > _LONGEST:
            raise InvalidParameter(f"prefix='{prefix[:60]}…': at most {_LONGEST} characters.")
    plan = Plan(
        **{
            "kind": _one("kind", kind, "model_type", model_type),
            "predictions": predictions,
            "features": features,
            "sample_weight": sample_weight,
            "pos_label": pos_label,
            "classes": classes,
            "average": average,
            "groups": groups,
            "k": k,
            "series": series,
            "time": time,
            "horizon": horizon,
            "quantiles": quantiles,
            "history": history,
            "season": season,
            "slices": slices,
            "small": small,
            "metrics": _one("metrics", metrics, "extra_metrics", extra_metrics),
            "thresholds": thresholds,
            "baseline": _loaded(baseline).model
            if isinstance(baseline, str) and _is_uri(baseline)
            else baseline,
            "bootstrap": bootstrap,
            "confidence": confidence,
            "seed": seed,
            **config,
        }
    )
    subject = (
        _loaded(model) if isinstance(model, str | Path) and _is_uri(model) else _Subject(model)
    )
    rows = _rows(data, feature_names)
    result = compute(subject.model, rows, targets, plan)
    if log:
        about = model_id or subject.model_id or getattr(subject.model, "model_id", None)
        dataset = _described(rows, targets)
        _logged(result, prefix, dataset, about if isinstance(about, str) else None, plots=plots)
        if subject.version is not None:
            _set_checks(subject.version, result, prefix)
    return result


class _Subject(NamedTuple):
    """A model, the registered version that it is, and its id as a logged model."""

    model: Any
    version: ModelVersion | None = None
    model_id: str | None = None


def _need_libraries() -> None:
    try:
        import pandas  # noqa: F401
        import sklearn  # noqa: F401
    except ImportError as error:
        raise InvalidParameter(
            f"Evaluating needs scikit-learn and pandas ({error}): pip install 'headrace[evaluate]'"
        ) from None


def _one(name: str, value: Any, other: str, same: Any) -> Any:
    if value is not None and same is not None:
        raise InvalidParameter(f"Give {name} or {other}, not both: they are the same.")
    return same if value is None else value


def _configured(config: Mapping[str, Any] | None) -> dict[str, Any]:
    """What MLflow's configuration says in our words."""
    given = dict(config or {})
    if set(given) == {"default"}:
        given = dict(given["default"])
    ignored = sorted(set(given) - set(_CONFIG))
    if ignored:
        _log.info("evaluator_config has keys that say nothing here: %s", ", ".join(ignored))
    return {_CONFIG[key]: value for key, value in given.items() if key in _CONFIG}


def _is_uri(model: str | Path) -> bool:
    """Whether it names a model, rather than a column of predictions."""
    return (
        isinstance(model, Path)
        or _URI.match(model) is not None
        or (Path(model) / "MLmodel").exists()
    )


def _loaded(uri: str | Path) -> _Subject:
    """The model that an address names.

    An alias is resolved once: what is loaded is the version that gets the checks, whoever moves the alias meanwhile.
    """
    from headrace.models.download import locate_model
    from headrace.protocol.model_uris import parse_model_uri

    located = locate_model(uri, client=choice.client())
    version, at = located.version, str(uri)
    if version is not None:
        path = parse_model_uri(uri).path
        at = "/".join(part for part in ("models:", version.name, version.version, path) if part)
    model = load_model(at)
    return _Subject(model, version, located.model_id or getattr(model, "model_id", None))


def _rows(data: Any, names: Sequence[Any] | None) -> Rows | None:
    from headrace.models.evaluation import Rows

    if data is None:
        return None
    rows = Rows(data)
    if names is not None:
        if len(names) != len(rows.frame.columns):
            raise InvalidParameter(
                f"There are {len(names)} feature_names for {len(rows.frame.columns)} columns."
            )
        rows = Rows(rows.frame.set_axis(list(names), axis="columns"))
    return rows


def _described(rows: Rows | None, targets: Any) -> Any:
    """The data set to log as an input; None if there were no data."""
    if rows is None:
        return None
    if rows.dataset is not None:
        return rows.dataset
    if rows.data is not None:
        array = None if targets is None or isinstance(targets, str | int) else targets
        return datasets.from_numpy(rows.data, targets=None if array is None else _array(array))
    column = targets if isinstance(targets, str) else None
    name = None if rows.source is None else Path(rows.source).name.partition(".")[0]
    return datasets.from_pandas(rows.frame, source=rows.source, targets=column, name=name)


def _array(values: Any) -> Any:
    from headrace.models.evaluation.arrays import as_array

    return as_array(values, "targets")


def _logged(
    result: Evaluation, prefix: str, dataset: Any, model_id: str | None, *, plots: bool
) -> None:
    """Log a result to the active run, or to a new one."""
    kept = [one for one in result.artifacts.values() if plots or one.table is not None]
    for artifact in kept:
        _ = artifact.content  # all is drawn before anything is logged
    named = {f"{prefix}{name}": value for name, value in result.metrics.items()}
    models = [LoggedModelInput(model_id=model_id)] if model_id else []
    inputs = [] if dataset is None else [dataset]
    where = "/".join(part for part in (FOLDER, prefix.strip("_-./: ")) if part)
    with _run() as run, tempfile.TemporaryDirectory() as folder:
        result.run_id = run.info.run_id
        result.save(folder, plots=plots)
        if inputs or models:
            log_inputs(inputs, ["evaluation"] * len(inputs), [None] * len(inputs), models)
        log_metrics(named, model_id=model_id, dataset=dataset)
        choice.client().log_artifacts(result.run_id, folder, where)
        root = run.info.artifact_uri.rstrip("/")  # empty while the store is away
        for artifact in kept:
            artifact.uri = f"{root}/{where}/{artifact.file}" if root else None


@contextlib.contextmanager
def _run() -> Iterator[ActiveRun]:
    """The active run; else a new one, which ends with the block."""
    run = active_run()
    if run is not None:
        yield run
        return
    with start_run(run_name="evaluation") as made:
        yield made


def _set_checks(version: ModelVersion, result: Evaluation, prefix: str) -> None:
    """Write the checks to the version, those that failed first: a connection that breaks leaves no false pass."""
    client, key = choice.client(), (version.name, version.version)
    for check in sorted(result.checks.values(), key=lambda check: check.passed):
        word = PASSED if check.passed else "failed"
        client.set_model_version_tag(*key, f"{CHECK_TAG}{prefix}{check.name}", word)
    client.set_model_version_tag(*key, RUN_TAG, result.run_id)
