"""A model from code, for make.py."""

import mlflow


class Echo(mlflow.pyfunc.PythonModel):
    """Gives what it gets."""

    def predict(self, context, model_input, params=None):
        return model_input


mlflow.models.set_model(Echo())
