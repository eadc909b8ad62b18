"""One seed for all."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from headrace.errors import InvalidParameter
from headrace.tracking import capture
from headrace.tracking.capture import seeds

from .conftest import captured


@pytest.fixture(autouse=True)
def _unseeded(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Leave no seed behind."""
    monkeypatch.setenv("PYTHONHASHSEED", "0")
    python, numpy = random.getstate(), np.random.get_state()
    yield
    random.setstate(python)
    np.random.set_state(numpy)
    sys.meta_path[:] = [one for one in sys.meta_path if type(one) is not seeds._Later]
    seeds._seeds = seeds._Seeds()


def python(program: str) -> Any:
    """What a program prints, as JSON."""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout)


def test_the_same_seed_gives_the_same_numbers() -> None:
    assert seeds.seed(7) == 7
    first = random.random(), np.random.random()
    seeds.seed(7)
    assert (random.random(), np.random.random()) == first
    seeds.seed(8)
    assert (random.random(), np.random.random()) != first


def test_a_library_that_is_imported_later_is_seeded_then() -> None:
    program = (
        "import json, sys\n"
        "from headrace.tracking.capture.seeds import current, seed\n"
        "assert 'numpy' not in sys.modules\n"
        "seed(7)\n"
        "import numpy\n"
        "import numpy.random\n"
        "print(json.dumps([numpy.random.random(), current()['seeded'], type(numpy.__loader__).__name__,\n"
        "                  type(numpy.__spec__.loader).__name__]))"
    )
    seeds.seed(7)
    number, seeded, *loaders = python(program)
    assert number == np.random.random()
    assert seeded == ["random", "numpy"]
    assert loaders == [type(np.__loader__).__name__] * 2


def test_processes_started_from_here_hash_alike() -> None:
    seeds.seed(7)
    program = "print(hash('a'))"
    assert python(program) == python(program)
    assert os.environ["PYTHONHASHSEED"] == "7"


@pytest.mark.parametrize("bad", [-1, 1 << 32, 1.5, "7", None])
def test_what_no_library_takes_is_refused(bad: Any) -> None:
    with pytest.raises(InvalidParameter, match="4294967295"):
        seeds.seed(bad)
    assert seeds.seed(np.int64(3)) == 3
    assert type(seeds.seed(np.int64(3))) is int


def test_a_seed_is_a_tag_and_a_document(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "headrace.seed" not in capture.tags()
    assert captured().json("seeds.json")["seed"] is None
    told: list[dict[str, str]] = []
    seeds.watch(told.append)
    seeds.seed(7)
    assert told == [{"headrace.seed": "7"}]
    assert capture.tags()["headrace.seed"] == "7"
    about = captured().json("seeds.json")
    assert (about["seed"], about["seeded"], about["python_hash_seed"]) == (
        7,
        ["random", "numpy", *(["torch"] if "torch" in sys.modules else [])],
        "7",
    )
    monkeypatch.setenv("HEADRACE_CAPTURE", "-seeds")
    assert "headrace.seed" not in capture.tags()
