"""numpy's polynomials as a flavor of headrace. They are kept as JSON."""

import json
from pathlib import Path

import numpy
from numpy.polynomial import Polynomial

from headrace.errors import InvalidModel
from headrace.models.flavor import Saved
from headrace.models.options import Options
from headrace.models.paths import inside


class PolynomialFlavor:
    name = "polynomial"
    library = "numpy"

    def claims(self, model):
        return isinstance(model, Polynomial)

    def save(self, model, folder, options):
        read = Options(self.name, options)
        digits = read.get("digits", 17)
        read.done()
        coefficients = [float(f"{value:.{digits}g}") for value in model.convert().coef]
        (folder / "polynomial.json").write_text(json.dumps(coefficients))
        return Saved(
            conf={"data": "polynomial.json"},
            python_function={"data": "polynomial.json"},
            loader_module="headrace_polynomials",  # MLflow calls its _load_pyfunc, below
            requirements=("headrace-polynomials",),
        )

    def formats(self, folder, conf):
        return frozenset()  # JSON: data that nothing runs

    def load(self, folder, conf, permit):
        return _read(inside(folder, conf.get("data"), key="flavors.polynomial.data"))

    def predict(self, model, conf):
        return lambda data, params: model(numpy.asarray(data, dtype=float))


def _read(file):
    try:
        return Polynomial(json.loads(file.read_text()))
    except (ValueError, TypeError) as error:
        raise InvalidModel(f"{file.name} is no polynomial: {error}") from error


def _load_pyfunc(path):
    model = _read(Path(path))
    model.predict = lambda data: model(numpy.asarray(data, dtype=float))
    return model


FLAVOR = PolynomialFlavor()
