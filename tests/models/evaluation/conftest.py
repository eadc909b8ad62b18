"""Small data and models of evaluations."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np
import pytest

pd = importlib.import_module("pandas")


@pytest.fixture(scope="session")
def people() -> Any:
    """A frame with two labels, a probability of the positive one, and columns to slice by."""
    random = np.random.default_rng(7)
    count = 400
    churned = random.random(count) < 0.35
    return pd.DataFrame(
        {
            "age": random.integers(18, 80, count),
            "country": random.choice(["DE", "FR", "IT"], count, p=[0.5, 0.45, 0.05]),
            "plan": random.choice(["free", "pro"], count),
            "weight": random.random(count) + 0.1,
            "p": np.clip(churned * 0.3 + random.random(count) * 0.7, 0, 1),
            "churned": np.where(churned, "yes", "no"),
        }
    )
