"""Models that attack whoever opens them, made by code.

The payload is harmless: it makes the folder that it is told, and a test looks whether that is there. Each function
marked as an attack writes a model's folder around one known trick; `ATTACKS` has them all by name.
"""

from __future__ import annotations

from support.attacks import folders, networks, pickles, skops
from support.attacks.making import ATTACKS, Attack, Payload, mlmodel, sklearn_model, zip_of
from support.attacks.networks import torch_export
from support.attacks.skops import skops_call, skops_file

__all__ = [
    "ATTACKS",
    "Attack",
    "Payload",
    "folders",
    "mlmodel",
    "networks",
    "pickles",
    "sklearn_model",
    "skops",
    "skops_call",
    "skops_file",
    "torch_export",
    "zip_of",
]
