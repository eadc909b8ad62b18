"""Hugging Face Transformers: pipelines, and models with their tokenizers, as JSON and safetensors.

The layout is MLflow's: ``model/`` as ``save_pretrained`` writes it, and ``components/tokenizer`` and the like beside it. MLmodel
names the classes (``pipeline_model_type``, ``tokenizer_type``), the ``task`` and ``torch_dtype``. Classes are looked up in
Transformers alone, nothing is fetched, and no remote code is run: a folder with Python code, or whose
configuration leads to code or to another model, is of the format ``python``; one with pickled weights ``torch-pickle``.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from headrace.errors import InvalidModel, InvalidParameter
from headrace.models.flavor import Permit, Predict, Saved
from headrace.models.magic import (
    has_pickle_inside,
    is_pickle,
    json_objects,
    read_json,
    zip_members,
)
from headrace.models.mlmodel import MLModel
from headrace.models.opening import files_inside, require
from headrace.models.options import Options
from headrace.models.paths import inside
from headrace.models.pipelines import answers, pipeline_predict

_MODEL, _COMPONENTS = "model", "components"
_KINDS = ("tokenizer", "feature_extractor", "image_processor")
#: The classes that a component may have: module and name of the base.
_BASES = {
    "tokenizer": ("tokenization_utils_base", "PreTrainedTokenizerBase"),
    "feature_extractor": ("feature_extraction_utils", "FeatureExtractionMixin"),
    "image_processor": ("image_processing_base", "ImageProcessingMixin"),
    "processor": ("processing_utils", "ProcessorMixin"),
}
#: What a model is for, by the end of its class's name.
_TASKS = {
    "ForSequenceClassification": "text-classification",
    "ForTokenClassification": "token-classification",
    "ForMaskedLM": "fill-mask",
    "ForCausalLM": "text-generation",
    "LMHeadModel": "text-generation",
    "ForImageClassification": "image-classification",
    "ForAudioClassification": "audio-classification",
    "Model": "feature-extraction",
}
#: Keys of configurations that lead to code.
_CODE_KEYS = ("auto_map", "custom_pipelines", "custom_generate")
#: Keys whose value names a kernel on a hub, when it has a slash.
_KERNEL_KEYS = ("attn_implementation", "_attn_implementation", "experts_implementation")
_MOST_BYTES = 16 * 1024 * 1024
_ELSEWHERE = {
    "source_model_revision": "its weights are on a hub, not in the folder",
    "local_base_model_path": "its weights are in another folder",
    "peft_adaptor": "it is an adapter to another model",
}


class Transformers:
    """See the module."""

    name = "transformers"
    library = "transformers"

    def claims(self, model: object) -> bool:
        model = model.get("model") if isinstance(model, dict) else model
        return _is_a(model, "modeling_utils", "PreTrainedModel") or (
            _is_a(model, "pipelines.base", "Pipeline")
        )

    def save(self, model: Any, folder: Path, options: Mapping[str, Any]) -> Saved:
        """A pipeline, a model, or a dict of ``model`` and of ``tokenizer``, ``feature_extractor``, ``image_processor``.

        Options, by MLflow's names. ``task``: of the pipeline that is made of a dict; by default what the
        model's class says. ``processor``: saved beside. ``torch_dtype``: the type of numbers to load with. ``model_config``: params of
        prediction, unless others are given then.
        """
        import transformers

        read = Options(self.name, options)
        task, dtype = read.get("task"), read.get("torch_dtype")
        processor, params = read.get("processor"), read.get("model_config")
        whole = read.get("save_pretrained", True)
        read.done()
        if not whole:
            raise InvalidParameter(
                "save_pretrained=False leaves the weights on a hub; a model's folder has to hold them."
            )
        parts, pipeline = _parts(model, task)
        net = parts.pop("model")
        net.save_pretrained(folder / _MODEL)
        components = {name: parts[name] for name in _KINDS if parts.get(name) is not None}
        saved = components | ({"processor": processor} if processor is not None else {})
        for name, each in saved.items():
            each.save_pretrained(folder / _COMPONENTS / name)
        conf: dict[str, Any] = {
            "transformers_version": transformers.__version__,
            "code": None,
            "task": pipeline.task if pipeline is not None else task or _task_of(net),
            "instance_type": type(pipeline).__name__ if pipeline is not None else None,
            "pipeline_model_type": type(net).__name__,
            "source_model_name": net.name_or_path,
            "model_binary": _MODEL,
            **{f"{name}_type": type(each).__name__ for name, each in saved.items()},
            "components": list(components),
        }
        if getattr(pipeline, "framework", None):
            conf["framework"] = pipeline.framework
        if dtype is not None or hasattr(net, "dtype"):
            conf["torch_dtype"] = str(net.dtype if dtype is None else dtype)
        function = {"config": dict(params)} if params else {}
        return Saved(
            conf=conf,
            python_function=function if pipeline is not None and answers(pipeline) else None,
            loader_module="mlflow.transformers",
            requirements=("transformers", "torch"),
        )

    def formats(self, folder: Path, conf: Mapping[str, Any]) -> frozenset[str]:
        return frozenset({"transformers"} | _unsafe(_files(folder, conf)))

    def load(self, folder: Path, conf: Mapping[str, Any], permit: Permit) -> Any:
        for key, why in _ELSEWHERE.items():
            if conf.get(key):
                raise InvalidModel(f"The model cannot be opened: {why} ({key}).")
        files = _files(folder, conf)
        unsafe = _unsafe(files)
        path = _model_path(folder, conf)
        require(permit, {"transformers"} | unsafe, path)
        remote = "python" in unsafe
        tensors = any(file.suffix == ".safetensors" for file in files)
        with _quiet():
            try:
                model = _class(
                    conf.get("pipeline_model_type"), _model_base(), path, remote
                ).from_pretrained(
                    str(path),
                    local_files_only=True,
                    trust_remote_code=remote,
                    use_safetensors=tensors or "torch-pickle" not in unsafe,
                    **_dtype(conf),
                )
                components = {
                    name: _component(folder, conf, name, remote) for name in _component_names(conf)
                }
                loaded = _assembled(model, components, conf)
            except (OSError, ValueError, KeyError, ImportError, TypeError, RuntimeError) as problem:
                raise InvalidModel(
                    f"Transformers cannot open '{path.name}': {problem}"
                ) from problem
        # Where MLflow keeps the text that goes around prompts: it belongs to predicting.
        metadata = MLModel.read(folder).metadata or {}
        if not isinstance(loaded, dict):
            loaded.headrace_prompt_template = metadata.get("prompt_template")
        return loaded

    def predict(self, model: Any, conf: Mapping[str, Any]) -> Predict:
        """Texts in; texts, frames or arrays out, as MLflow gives them: see `headrace.models.pipelines`."""
        if isinstance(model, dict):
            raise InvalidModel(
                "The model has no pipeline that could predict: its parts were saved without a tokenizer or the like."
            )
        if conf.get("inference_task"):
            raise InvalidModel(
                f"The task {conf['inference_task']} is MLflow's own dialogue; load the pipeline natively."
            )
        return pipeline_predict(model, conf.get("config") or {})


def _is_a(model: object, module: str, name: str) -> bool:
    found = sys.modules.get(f"transformers.{module}")
    base = getattr(found, name, None)
    return isinstance(base, type) and isinstance(model, base)


def _parts(model: Any, task: str | None) -> tuple[dict[str, Any], Any]:
    """A model's parts, and its pipeline if they make one."""
    if _is_a(model, "pipelines.base", "Pipeline"):
        return {name: getattr(model, name, None) for name in ("model", *_KINDS)}, model
    parts = dict(model) if isinstance(model, dict) else {"model": model}
    unknown = sorted(set(parts) - {"model", *_KINDS})
    if unknown:
        raise InvalidParameter(
            f"A model's parts are model, {', '.join(_KINDS)}; '{unknown[0]}' is none of them."
        )
    if len(parts) == 1:
        return parts, None
    import transformers

    try:
        with _quiet():
            pipeline = transformers.pipeline(task or _task_of(parts["model"]), **parts)
    except Exception as problem:
        raise InvalidParameter(
            f"The parts make no pipeline: {problem}. Say which task."
        ) from problem
    return parts, pipeline


def _task_of(model: Any) -> str:
    name = type(model).__name__
    for end, task in _TASKS.items():
        if name.endswith(end):
            return task
    raise InvalidParameter(f"Say which task a {name} is for: task='text-classification', say.")


def _model_path(folder: Path, conf: Mapping[str, Any]) -> Path:
    # "pipeline" is MLflow's of before 2.4.
    return inside(
        folder, conf.get("model_binary", "pipeline"), key="flavors.transformers.model_binary"
    )


def _files(folder: Path, conf: Mapping[str, Any]) -> list[Path]:
    found = files_inside(
        folder, conf.get("model_binary", "pipeline"), key="flavors.transformers.model_binary"
    )
    if (folder / _COMPONENTS).exists():
        found += files_inside(folder, _COMPONENTS, key="flavors.transformers.components")
    return found


def _unsafe(files: Iterable[Path]) -> set[str]:
    """What else of a folder would be opened than JSON, text and safetensors."""
    found = set()
    for file in files:
        if file.suffix in (".py", ".pyc", ".so"):
            found.add("python")
        elif file.suffix == ".json":
            if _leads_to_code(file):
                found.add("python")
        elif is_pickle(file) or has_pickle_inside(zip_members(file) or frozenset()):
            found.add("torch-pickle")
    return found


def _leads_to_code(file: Path) -> bool:
    if file.name == "adapter_config.json":
        return True  # the base model that it names would be fetched
    if file.stat().st_size > _MOST_BYTES:
        return "config" in file.name  # vocabularies are large, configurations are not
    for found in json_objects(read_json(file, file.name)):
        if any(found.get(key) for key in _CODE_KEYS):
            return True
        if any("/" in str(found.get(key)) for key in _KERNEL_KEYS):
            return True
    return False


def _model_base() -> type:
    import transformers

    base: type = transformers.PreTrainedModel
    return base


def _class(name: Any, base: type, path: Path, remote: bool) -> Any:
    """A class of Transformers' by its name; of the folder's own code if that may run."""
    import transformers

    found = getattr(transformers, name, None) if isinstance(name, str) else None
    if isinstance(found, type) and issubclass(found, base):
        return found
    if remote:
        mapped = read_json(path / "config.json", "config.json").get("auto_map") or {}
        for auto, where in mapped.items():
            if str(where).rsplit(".", 1)[-1] == name and auto.startswith("Auto"):
                return getattr(transformers, auto)
    raise InvalidModel(
        f"Transformers {transformers.__version__} has no '{name}' that is a {base.__name__}."
    )


def _component_names(conf: Mapping[str, Any]) -> list[str]:
    listed = conf.get("components") or []
    names = [*listed, *(["processor"] if conf.get("processor_type") else [])]
    for name in names:
        if name not in _BASES:
            raise InvalidModel(f"MLmodel: '{name}' is no part of a pipeline.")
    return names


def _component(folder: Path, conf: Mapping[str, Any], name: str, remote: bool) -> Any:
    module, base = _BASES[name]
    path = inside(folder, f"{_COMPONENTS}/{name}", key="flavors.transformers.components")
    kind = _class(
        conf.get(f"{name}_type"),
        getattr(__import__(f"transformers.{module}", fromlist=[base]), base),
        path,
        remote,
    )
    return kind.from_pretrained(str(path), local_files_only=True, trust_remote_code=remote)


def _dtype(conf: Mapping[str, Any]) -> dict[str, Any]:
    import torch
    import transformers

    if not conf.get("torch_dtype"):
        return {}
    found = getattr(torch, str(conf["torch_dtype"]).removeprefix("torch."), None)
    if not isinstance(found, torch.dtype):
        raise InvalidModel(f"MLmodel: torch_dtype '{conf['torch_dtype']}' is no type of torch's.")
    # It had another name before 4.56.
    version = tuple(int(each) for each in transformers.__version__.split(".")[:2])
    return {"dtype" if version >= (4, 56) else "torch_dtype": found}


def _assembled(model: Any, components: dict[str, Any], conf: Mapping[str, Any]) -> Any:
    import transformers

    if not components or not conf.get("task"):
        return {"task": conf.get("task"), "model": model, **components}
    return transformers.pipeline(str(conf["task"]), model=model, **components)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Transformers' advice about its own classes is not the caller's to follow."""
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


FLAVOR = Transformers()
