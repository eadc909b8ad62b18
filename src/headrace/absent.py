"""Names that people who come from MLflow look for and that are not here: what to say to them.

Asked only when a name was not found, so that it costs nothing; what is raised stays an AttributeError, for
``hasattr`` and whoever asks first.
"""

from __future__ import annotations

_AUTOLOG = (
    "headrace has no autologging yet: log what matters with log_params, log_metrics and log_model"
)
_GENAI = "headrace has no tracing and nothing else of MLflow's GenAI side"
_SERVING = "headrace does not serve models yet; `mlflow models serve` serves what headrace logs"
_FLAVOR = (
    "headrace has no flavor {name}: its flavors are pyfunc, sklearn, pytorch, onnx, xgboost, lightgbm, keras and "
    "transformers; save such a model as a headrace.pyfunc.PythonModel, or see docs/flavors.md for a flavor of your own"
)

#: By the module where a name is looked for (without ``headrace.``), and the name.
_WORDS = {
    **{f".{name}": _FLAVOR for name in (
        "catboost", "diviner", "h2o", "johnsnowlabs", "paddle", "pmdarima", "prophet", "sentence_transformers", "spacy", "spark",
        "statsmodels",
    )},
    ".tensorflow": _FLAVOR + "; models of Keras 3 go to headrace.keras",
    **{f".{name}": _GENAI for name in (
        "anthropic", "bedrock", "crewai", "dspy", "gemini", "genai", "get_trace", "groq", "langchain", "litellm",
        "llama_index", "load_prompt", "mistral", "openai", "register_prompt", "search_traces", "start_span", "trace", "tracing",
        "update_current_trace",
    )},
    ".projects": "headrace has no projects yet",
    ".run": "headrace has no projects yet",
    ".shap": "headrace.evaluate explains nothing: there is no SHAP",
    "models.EvaluationResult": "it is headrace.Evaluation",
    "models.MetricThreshold": "it is headrace.Threshold, whose limits are min, max, max_loss_vs_baseline and more; "
    "headrace.evaluate takes MLflow's MetricThreshold as well",
    "models.add_libraries_to_model": "wheels of a model's requirements are not packed into its folder; "
    "headrace.models.environment.lock_with_hashes pins them",
    "models.build_docker": _SERVING,
    "models.convert_input_example_to_serving_input": "save_model and log_model write serving_input_example.json beside the input example",
    "models.infer_pip_requirements": "save_model and log_model find the requirements; they are in requirements.txt of the folder",
    "models.predict": "load the model, headrace.models.load_model(uri), and call its predict; " + _SERVING,
    "models.set_retriever_schema": _GENAI,
    "models.update_model_requirements": "what was logged does not change: save the model with extra_pip_requirements=[...]",
    "models.validate_serving_input": "load the model, headrace.models.load_model(uri): its predict holds data against the "
    "signature; " + _SERVING,
    "models.ModelConfig": "a model's configuration is context.model_config, see save_model(model_config=...)",
    "pyfunc.spark_udf": "there is no Spark here; MLflow's mlflow.pyfunc.spark_udf takes what headrace logs",
    **{f"pyfunc.{name}": _GENAI for name in ("ChatAgent", "ChatModel", "ResponsesAgent")},
}  # fmt: skip


def missing(module: str, name: str) -> AttributeError:
    """The error for a name that a module does not have.

    Args:
        module: ``headrace``, ``headrace.models`` …
        name: What was asked for.
    """
    text = f"module '{module}' has no attribute '{name}'"
    within = module.removeprefix("headrace").removeprefix(".")
    word = _AUTOLOG if name == "autolog" else _WORDS.get(f"{within}.{name}")
    if word is not None:
        text += f": {word.format(name=name)}."
    return AttributeError(text, name=name)
