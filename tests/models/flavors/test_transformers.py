"""Transformers' pipelines, by us and by MLflow: random models of a few numbers, a tokenizer of a few words."""

from __future__ import annotations

import json
import os
import pickle
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from headrace.errors import InvalidModel, InvalidParameter, PolicyViolation
from headrace.models.find import find_flavor
from headrace.models.flavor import Permit
from headrace.models.flavors.transformers import FLAVOR
from headrace.models.mlmodel import MLModel
from headrace.models.policy import SAFE
from support.flavors import (
    audit,
    formats,
    load,
    mlflow_load,
    mlflow_predict,
    mlflow_save,
    predict,
    save,
    section,
)

torch = pytest.importorskip("torch")
TEXTS = ["the cat sat", "a dog ran on the mat"]
MASKED = ["the [MASK] sat", "a [MASK] ran"]
SETTINGS = {"text-generation": {"model_config": {"max_new_tokens": 3, "do_sample": False}}}
TASKS = {
    "text-classification": TEXTS,
    "token-classification": TEXTS,
    "fill-mask": MASKED,
    "text-generation": TEXTS,
    "feature-extraction": TEXTS,
}


@pytest.fixture(scope="module")
def library() -> Iterator[Any]:
    """Transformers, which fetches nothing."""
    os.environ["HF_HUB_OFFLINE"] = "1"
    yield pytest.importorskip("transformers")
    os.environ.pop("HF_HUB_OFFLINE")


@pytest.fixture(scope="module")
def tokenizer(library: Any) -> Any:
    tokenizers = pytest.importorskip("tokenizers")
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    words = tokenizers.Tokenizer(tokenizers.models.WordLevel(unk_token="[UNK]"))
    words.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
    words.train_from_iterator(
        TEXTS, tokenizers.trainers.WordLevelTrainer(special_tokens=special, show_progress=False)
    )
    words.post_processor = tokenizers.processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B [SEP]",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )
    return library.PreTrainedTokenizerFast(
        tokenizer_object=words,
        unk_token="[UNK]",
        pad_token="[PAD]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
        model_max_length=32,
    )


@pytest.fixture(scope="module")
def models(library: Any, tokenizer: Any) -> dict[str, Any]:
    torch.manual_seed(3)
    small = {"vocab_size": len(tokenizer), "num_hidden_layers": 1, "num_attention_heads": 2}
    bert = library.BertConfig(
        hidden_size=8, intermediate_size=8, max_position_embeddings=40, **small
    )
    gpt = library.GPT2Config(
        n_embd=8, n_positions=40, bos_token_id=2, eos_token_id=3, pad_token_id=0, **small
    )
    return {
        "text-classification": library.BertForSequenceClassification(bert).eval(),
        "token-classification": library.BertForTokenClassification(bert).eval(),
        "fill-mask": library.BertForMaskedLM(bert).eval(),
        "text-generation": library.GPT2LMHeadModel(gpt).eval(),
        "feature-extraction": library.BertModel(bert).eval(),
    }


@pytest.fixture(scope="module")
def ours(
    models: dict[str, Any], tokenizer: Any, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("ours")
    for task, model in models.items():
        parts = {"model": model, "tokenizer": tokenizer}
        save(FLAVOR, parts, root / task, **SETTINGS.get(task, {}))
    return {task: root / task for task in models}


def same(left: Any, right: Any) -> bool:
    if isinstance(left, pd.DataFrame):
        pd.testing.assert_frame_equal(left, right)
        return True
    return bool(np.array_equal(left, right))


@pytest.mark.parametrize("task", TASKS)
def test_mlflow_opens_what_we_save_and_we_open_what_it_saves(
    library: Any,
    models: dict[str, Any],
    tokenizer: Any,
    ours: dict[str, Path],
    tmp_path: Path,
    task: str,
) -> None:
    pipeline = library.pipeline(task, model=models[task], tokenizer=tokenizer)
    mlflow_save("transformers", pipeline, tmp_path / "theirs", **SETTINGS.get(task, {}))
    texts = TASKS[task]

    native = mlflow_load("transformers", ours[task])
    assert type(native) is type(pipeline)
    settings = SETTINGS.get(task, {}).get("model_config", {})
    right = pipeline(texts[0], **settings)
    for folder in (ours[task], tmp_path / "theirs"):
        assert formats(FLAVOR, folder) == {"transformers"}
        audit(folder)
        again = load(FLAVOR, folder)
        assert type(again) is type(pipeline)
        assert again(texts[0], **settings) == right
        assert same(predict(FLAVOR, folder, texts[0]), mlflow_predict(ours[task], texts[0]))
        if task != "feature-extraction":  # MLflow forgets all but the first
            assert same(predict(FLAVOR, folder, texts), mlflow_predict(ours[task], texts))
    theirs = section(FLAVOR, tmp_path / "theirs")
    assert {**section(FLAVOR, ours[task]), "env": None, "python_version": None} == {
        **theirs, "env": None, "python_version": None,
    }  # fmt: skip


def test_frames_pairs_and_params_are_taken(ours: dict[str, Path]) -> None:
    folder = ours["text-classification"]
    pairs = [{"text": "the cat", "text_pair": "a dog"}, {"text": "a", "text_pair": "mat"}]
    frame = pd.DataFrame(pairs)
    assert same(predict(FLAVOR, folder, frame), mlflow_predict(folder, frame))
    assert same(predict(FLAVOR, folder, pairs), predict(FLAVOR, folder, frame))
    column = pd.DataFrame({"text": TEXTS})
    assert same(predict(FLAVOR, folder, column), predict(FLAVOR, folder, TEXTS))
    assert same(predict(FLAVOR, folder, np.array(TEXTS)), predict(FLAVOR, folder, TEXTS))
    assert len(predict(FLAVOR, folder, TEXTS[0], {"top_k": None})) == 2
    with pytest.raises(InvalidParameter, match="takes texts"):
        predict(FLAVOR, folder, [1, 2])


def test_every_text_has_its_vectors(ours: dict[str, Path]) -> None:
    one = predict(FLAVOR, ours["feature-extraction"], TEXTS[:1])
    several = predict(FLAVOR, ours["feature-extraction"], TEXTS)
    assert one.shape == (5, 8)  # three words between two signs
    assert [each.shape for each in several] == [(5, 8), (8, 8)]
    assert np.allclose(several[0], one, atol=1e-6)


def test_params_and_a_prompt_are_kept_with_the_model(
    models: dict[str, Any], tokenizer: Any, tmp_path: Path
) -> None:
    parts = {"model": models["text-generation"], "tokenizer": tokenizer}
    settings = {"max_new_tokens": 2, "do_sample": False}
    save(FLAVOR, parts, tmp_path / "m", model_config=settings)
    described = MLModel.read(tmp_path / "m")
    described.metadata = {"prompt_template": "the {prompt} on"}
    described.write(tmp_path / "m")
    assert predict(FLAVOR, tmp_path / "m", "cat") == mlflow_predict(tmp_path / "m", "cat")
    longer = predict(FLAVOR, tmp_path / "m", "cat", {"max_new_tokens": 6})
    assert len(longer[0]) >= len(predict(FLAVOR, tmp_path / "m", "cat")[0])


def test_a_model_alone_is_loaded_as_its_parts(models: dict[str, Any], tmp_path: Path) -> None:
    model = models["text-classification"]
    save(FLAVOR, model, tmp_path / "m")
    parts = load(FLAVOR, tmp_path / "m")
    assert type(parts["model"]) is type(model)
    theirs = mlflow_load("transformers", tmp_path / "m", return_type="components")
    assert type(theirs["model"]) is type(model)
    assert "python_function" not in MLModel.read(tmp_path / "m").flavors
    with pytest.raises(InvalidModel, match="no pipeline"):
        predict(FLAVOR, tmp_path / "m", TEXTS)
    assert find_flavor(model).name == "transformers"


def test_numbers_are_of_the_type_that_was_asked_for(
    models: dict[str, Any], tokenizer: Any, tmp_path: Path
) -> None:
    parts = {"model": models["feature-extraction"], "tokenizer": tokenizer}
    save(FLAVOR, parts, tmp_path / "m", torch_dtype=torch.float64)
    assert load(FLAVOR, tmp_path / "m").model.dtype == torch.float64
    assert mlflow_load("transformers", tmp_path / "m").model.dtype == torch.float64


@pytest.fixture
def copy(ours: dict[str, Path], tmp_path: Path) -> Path:
    folder = tmp_path / "copy"
    shutil.copytree(ours["text-classification"], folder)
    return folder


def change(file: Path, **values: Any) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | values))


@pytest.mark.parametrize(
    ("place", "values"),
    [
        ("model/config.json", {"auto_map": {"AutoModel": "evil.Model"}}),
        ("model/config.json", {"custom_pipelines": {"x": {"impl": "evil.P"}}}),
        ("model/config.json", {"attn_implementation": "someone/kernel"}),
        ("components/tokenizer/tokenizer_config.json", {"auto_map": {"AutoTokenizer": ["e.T", None]}}),
    ],
)  # fmt: skip
def test_a_configuration_that_leads_to_code_is_found_out(
    copy: Path, place: str, values: dict[str, Any]
) -> None:
    change(copy / place, **values)
    assert formats(FLAVOR, copy) == {"transformers", "python"}
    with pytest.raises(PolicyViolation, match="python"):
        load(FLAVOR, copy)


@pytest.mark.parametrize(
    ("name", "content", "form"),
    [
        ("model/modeling_evil.py", b"raise SystemExit", "python"),
        ("model/adapter_config.json", b'{"base_model_name_or_path": "/x"}', "python"),
        ("model/pytorch_model.bin", pickle.dumps([1]), "torch-pickle"),
        ("components/tokenizer/vocab.txt", pickle.dumps([1], protocol=0), "torch-pickle"),
    ],
)
def test_files_that_would_run_are_found_out(
    copy: Path, name: str, content: bytes, form: str
) -> None:
    (copy / name).write_bytes(content)
    assert formats(FLAVOR, copy) == {"transformers", form}
    with pytest.raises(PolicyViolation, match=form):
        load(FLAVOR, copy)


def test_pickled_weights_are_opened_at_a_word_and_as_tensors_only(
    copy: Path, models: dict[str, Any]
) -> None:
    expected = predict(FLAVOR, copy, TEXTS)
    (copy / "model" / "model.safetensors").unlink()
    with pytest.raises(InvalidModel, match="safetensors"):
        load(FLAVOR, copy)
    torch.save(models["text-classification"].state_dict(), copy / "model" / "pytorch_model.bin")
    with pytest.raises(PolicyViolation, match="torch-pickle"):
        load(FLAVOR, copy)
    assert same(predict(FLAVOR, copy, TEXTS, allow=["torch-pickle"]), expected)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"pipeline_model_type": "pipeline"}, "has no 'pipeline' that is a PreTrainedModel"),
        ({"pipeline_model_type": "BertTokenizer"}, "has no 'BertTokenizer'"),
        ({"tokenizer_type": "BertModel"}, "has no 'BertModel'"),
        ({"components": ["../../elsewhere"]}, "no part of a pipeline"),
        ({"model_binary": "../m"}, "outside"),
        ({"source_model_revision": "abc"}, "on a hub"),
        ({"local_base_model_path": "/x"}, "another folder"),
        ({"torch_dtype": "load"}, "no type of torch's"),
        ({"task": "no-such"}, "cannot open"),
    ],
)
def test_names_in_mlmodel_lead_to_transformers_own_classes_alone(
    copy: Path, values: dict[str, Any], message: str
) -> None:
    conf = {**section(FLAVOR, copy), **values}
    with pytest.raises(InvalidModel, match=message):
        FLAVOR.load(copy, conf, Permit(formats=SAFE))


def test_links_out_of_the_folder_are_not_followed(copy: Path, tmp_path: Path) -> None:
    (tmp_path / "outside.json").write_text("{}")
    (copy / "model" / "generation_config.json").symlink_to(tmp_path / "outside.json")
    with pytest.raises(InvalidModel, match="leads out"):
        load(FLAVOR, copy)


def test_what_makes_no_pipeline_is_refused(
    models: dict[str, Any], tokenizer: Any, tmp_path: Path
) -> None:
    model = models["text-classification"]
    with pytest.raises(InvalidParameter, match="'config' is none"):
        save(FLAVOR, {"model": model, "config": 1}, tmp_path / "a")
    with pytest.raises(InvalidParameter, match="no pipeline"):
        save(FLAVOR, {"model": model, "tokenizer": tokenizer}, tmp_path / "b", task="no-such")
    with pytest.raises(InvalidParameter, match="save_pretrained"):
        save(FLAVOR, model, tmp_path / "c", save_pretrained=False)
