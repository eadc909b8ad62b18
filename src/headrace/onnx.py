"""ONNX models under MLflow's names: thin over `headrace.models`."""

from typing import TYPE_CHECKING

from headrace.tracking.models import Face

_FACE = Face("onnx", "onnx_model")
save_model = _FACE.save_model
log_model = _FACE.log_model
load_model = _FACE.load_model

if not TYPE_CHECKING:
    __getattr__ = _FACE.absent
