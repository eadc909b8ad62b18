"""The nouns: frozen structs, shaped as they travel on the wire.

Field names are MLflow's. A struct encodes to exactly the JSON that MLflow's protocol has for it:
fields that hold their default are left out, and lists of ``{"key", "value"}`` pairs are also
offered as dictionaries under the name that users expect (``run.data.params["lr"]``).
"""

from headrace.entities.artifact import FileInfo
from headrace.entities.base import Entity, KeyValue
from headrace.entities.dataset import Dataset, DatasetInput
from headrace.entities.event import Event
from headrace.entities.experiment import Experiment
from headrace.entities.logged_model import (
    LoggedModel,
    LoggedModelData,
    LoggedModelInfo,
    LoggedModelMetric,
    LoggedModelState,
    LoggedModelStatus,
)
from headrace.entities.metric import Metric, MetricBucket
from headrace.entities.registry import ModelVersion, RegisteredModel, RegisteredModelAlias
from headrace.entities.run import (
    LoggedModelInput,
    LoggedModelOutput,
    Run,
    RunData,
    RunInfo,
    RunInputs,
    RunOutputs,
)
from headrace.entities.types import LifecycleStage, RunStatus, ViewType

#: MLflow's names for a key with its value.
Param = RunTag = ExperimentTag = InputTag = RegisteredModelTag = ModelVersionTag = KeyValue

__all__ = [
    "Dataset",
    "DatasetInput",
    "Entity",
    "Event",
    "Experiment",
    "ExperimentTag",
    "FileInfo",
    "InputTag",
    "KeyValue",
    "LifecycleStage",
    "LoggedModel",
    "LoggedModelData",
    "LoggedModelInfo",
    "LoggedModelInput",
    "LoggedModelMetric",
    "LoggedModelOutput",
    "LoggedModelState",
    "LoggedModelStatus",
    "Metric",
    "MetricBucket",
    "ModelVersion",
    "ModelVersionTag",
    "Param",
    "RegisteredModel",
    "RegisteredModelAlias",
    "RegisteredModelTag",
    "Run",
    "RunData",
    "RunInfo",
    "RunInputs",
    "RunOutputs",
    "RunStatus",
    "RunTag",
    "ViewType",
]
