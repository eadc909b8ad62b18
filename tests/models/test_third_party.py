"""A flavor of somebody else's, installed as a distribution of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import headrace
from support.flavors import mlflow_predict

HERE = Path(__file__).parent / "third_party"
DOCS = Path(__file__).parents[2] / "docs" / "flavors.md"

USES = """
import sys
from numpy.polynomial import Polynomial
import headrace.models as models

folder = sys.argv[1]
saved = models.save_model(Polynomial([1, 0, 2]), folder, digits=5, pip_requirements=[])
assert list(saved.flavors) == ["python_function", "polynomial"], saved.flavors
native = models.load_folder(folder, as_="native", policy=models.Policy(strict="always"))
assert native == Polynomial([1, 0, 2])
print(models.load_folder(folder).predict([0, 1, 2]).tolist())

from headrace.models.find import flavor_named
try:
    flavor_named("polynomials")
except Exception as error:
    assert "polynomial (of headrace-polynomials)" in str(error), error
try:
    models.save_model(Polynomial([1]), folder + "2", digit=5)
except Exception as error:
    assert "no option digit; it has digits" in str(error), error
"""


def test_it_is_found_saves_and_loads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = tmp_path / "source"
    shutil.copytree(HERE, source)
    place = tmp_path / "site"
    install = ["pip", "install", "--no-deps", "--no-build-isolation", "--no-index", "--quiet"]
    quiet = ["--disable-pip-version-check", "--root-user-action=ignore", "--target", str(place)]
    subprocess.run([sys.executable, "-m", *install, *quiet, str(source)], check=True, timeout=100)
    src = str(Path(headrace.__file__).parents[1])
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(place), src])}
    done = subprocess.run(
        [sys.executable, "-c", USES, str(tmp_path / "model")],
        capture_output=True, text=True, timeout=100, env=environment, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[1.0, 3.0, 9.0]"
    monkeypatch.syspath_prepend(place)
    assert mlflow_predict(tmp_path / "model", [0, 1, 2]).tolist() == [1.0, 3.0, 9.0]


def test_the_documentation_shows_it_whole() -> None:
    text = DOCS.read_text()
    code = (HERE / "headrace_polynomials.py").read_text()
    assert code in text
    assert (HERE / "pyproject.toml").read_text() in text
    assert len(code.splitlines()) < 60
