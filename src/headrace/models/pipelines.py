"""What a pipeline of Transformers says, in the forms that MLflow gives it: texts, frames and arrays.

Forms by task, for a text or a list of texts:

* text-classification, image- and audio-classification: a frame of ``label`` and ``score``;
* zero-shot-classification: a frame of ``sequence``, ``labels`` and ``scores``;
* text-generation, summarization, translation, text2text-generation: texts;
* fill-mask: the likeliest token for each text; token-classification: the entities of each text, comma between;
* question-answering, table-question-answering: answers;
* feature-extraction: an array. Of one text in a list, its tokens' vectors; of a lone text, its first token's, as MLflow
  has both. Of several texts, one array each: MLflow gives the first alone.

Others give what the pipeline gives.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from headrace.errors import InvalidParameter
from headrace.models.flavor import Predict

_TEXTS = {
    "text-generation": "generated_text",
    "text2text-generation": "generated_text",
    "summarization": "summary_text",
    "question-answering": "answer",
    "table-question-answering": "answer",
    "automatic-speech-recognition": "text",
}
#: Prompts can stand in a text of the model's, in these.
_PROMPTED = (
    "feature-extraction",
    "fill-mask",
    "summarization",
    "text2text-generation",
    "text-generation",
)
_ONE_TEXT = (*_PROMPTED, "token-classification", "ner")
#: Tasks whose input is no text, sound or image that a function could be given.
_SILENT = (
    "document-question-answering",
    "image-to-text",
    "visual-question-answering",
    "image-segmentation",
    "depth-estimation",
    "object-detection",
    "video-classification",
    "zero-shot-image-classification",
    "zero-shot-object-detection",
    "zero-shot-audio-classification",
)


def answers(pipeline: Any) -> bool:
    """Whether a pipeline can be a function."""
    return pipeline.task not in _SILENT


def pipeline_predict(pipeline: Any, config: Mapping[str, Any]) -> Predict:
    """A pipeline as a function.

    Args:
        pipeline: As Transformers has it.
        config: Params that hold unless a call gives others.
    """
    task = pipeline.task
    shape = _shape_of(task)
    template = getattr(pipeline, "headrace_prompt_template", None)

    def predict(data: Any, params: Mapping[str, Any] | None) -> Any:
        settings = {**config, **(params or {})}
        collapse = settings.pop("collapse_whitespace", False)
        settings.pop("include_prompt", None)
        asked = _input(task, data)
        if template and task in _PROMPTED:
            asked = _prompted(template, asked)
        raw = _ask(pipeline, asked, settings)
        result = shape(raw, asked)
        if collapse and isinstance(result, list):
            return [re.sub(r"\s+", " ", each) if isinstance(each, str) else each for each in result]
        return result

    return predict


def _ask(pipeline: Any, asked: Any, settings: dict[str, Any]) -> Any:
    try:
        if isinstance(asked, dict) and pipeline.task != "text-classification":
            return pipeline(**asked, **settings)
        return pipeline(asked, **settings)
    except ValueError as problem:
        if "model_kwargs" in str(problem):
            raise InvalidParameter(f"The pipeline takes no such params: {problem}") from None
        raise


def _input(task: str, data: Any) -> Any:
    """Frames and arrays as texts, or as dicts of what the task takes."""
    if hasattr(data, "columns"):
        data = [dict(zip(data.columns, row, strict=True)) for row in data.itertuples(index=False)]
        if task == "zero-shot-classification" and data:
            return {
                "sequences": [each["sequences"] for each in data],
                "candidate_labels": data[0]["candidate_labels"],
            }
    elif hasattr(data, "tolist"):
        data = data.tolist()
    if task in _ONE_TEXT or task.startswith("translation"):
        return _texts(data)
    if task == "text-classification":
        pair = {"text", "text_pair"}
        one = data[0] if isinstance(data, list) and data else data
        return data if isinstance(one, dict) and set(one) <= pair else _texts(data)
    if isinstance(data, list) and len(data) == 1 and isinstance(data[0], dict):
        return data[0]
    return data


def _texts(data: Any) -> Any:
    """Texts of whatever holds them: a dict's or a row's first value."""

    def text(each: Any) -> Any:
        if isinstance(each, dict):
            each = next(iter(each.values()), None)
        elif isinstance(each, (list, tuple)) and len(each) == 1:
            each = each[0]
        if not isinstance(each, str):
            raise InvalidParameter(f"The pipeline takes texts; there is a {type(each).__name__}.")
        return each

    return [text(each) for each in data] if isinstance(data, (list, tuple)) else text(data)


def _prompted(template: str, asked: Any) -> Any:
    before, _, after = template.partition("{prompt}")
    if isinstance(asked, list):
        return [f"{before}{each}{after}" for each in asked]
    return f"{before}{asked}{after}"


Shape = Callable[[Any, Any], Any]


def _shape_of(task: str) -> Shape:
    if task in ("text-classification", "image-classification", "audio-classification"):
        return _frame
    if task == "zero-shot-classification":
        return _flat_frame
    if task == "fill-mask":
        return _likeliest
    if task in ("token-classification", "ner"):
        return _entities
    if task == "feature-extraction":
        return _vectors
    key = "translation_text" if task.startswith("translation") else _TEXTS.get(task)
    if key is None:
        return lambda raw, asked: raw
    return lambda raw, asked: _values(raw, key)


def _frame(raw: Any, asked: Any) -> Any:
    import pandas

    return pandas.DataFrame(raw if isinstance(raw, list) else [raw])


def _flat_frame(raw: Any, asked: Any) -> Any:
    import pandas

    return pandas.DataFrame(
        [
            {"sequence": each["sequence"], "labels": label, "scores": score}
            for each in (raw if isinstance(raw, list) else [raw])
            for label, score in zip(each["labels"], each["scores"], strict=True)
        ]
    )


def _values(raw: Any, key: str) -> list[Any]:
    """The texts under a key, at whatever depth."""
    if isinstance(raw, dict):
        return [raw[key].strip() if isinstance(raw[key], str) else raw[key]]
    return [found for each in raw for found in _values(each, key)]


def _likeliest(raw: Any, asked: Any) -> list[str]:
    """Of each text the first candidate of its first mask."""

    def first(found: Any) -> str:
        while not isinstance(found, dict):
            found = found[0]
        return str(found["token_str"]).strip()

    if isinstance(asked, list) and len(asked) > 1:
        return [first(each) for each in raw]
    return [first(raw)]


def _entities(raw: Any, asked: Any) -> list[str]:
    found = raw if raw and isinstance(raw[0], list) else [raw]
    return [
        ",".join(str(each.get("entity_group", each.get("entity"))) for each in one) for one in found
    ]


def _vectors(raw: Any, asked: Any) -> Any:
    import numpy

    if isinstance(asked, list) and len(asked) > 1:
        return [numpy.array(each[0]) for each in raw]
    return numpy.array(raw[0][0])
