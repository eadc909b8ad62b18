"""``MLmodel`` files: read from anybody, written for everybody."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mlflow.models import Model

from headrace.errors import InvalidModel, InvalidParameter
from headrace.models import strict_yaml
from headrace.models.mlmodel import MLModel
from headrace.models.signature import ColSpec, ModelSignature, ParamSchema, ParamSpec, Schema

SIGNATURE = ModelSignature(
    Schema([ColSpec("double", "a"), ColSpec("string", "b", required=False)]),
    Schema([ColSpec("long")]),
    ParamSchema([ParamSpec("top", "long", 3)]),
)


def full() -> MLModel:
    return MLModel(
        flavors={"python_function": {"loader_module": "mlflow.sklearn", "data": None}},
        signature=SIGNATURE,
        artifact_path="mlflow-artifacts:/1/models/m-1/artifacts",
        run_id="8ede7df408dd42ed9fc39019ef7df309",
        model_id="m-1",
        model_uuid="m-1",
        utc_time_created="2026-01-02 03:04:05.678901",
        saved_input_example_info={"artifact_path": "input_example.json", "type": "dataframe"},
        metadata={"team": "fraud", "weights": [0.5, 1.0], "ünï": {"a": None}},
        model_size_bytes=1234,
        is_signature_from_type_hint=True,
        resources={"api_version": "1", "databricks": {}},
        auth_policy={"system_auth_policy": {"resources": {}}},
        prompts=["prompts:/p/1"],
        env_vars=["TOKEN"],
        extra={"made_by": "somebody else"},
    )


def test_numbers_that_take_for_ever_or_overflow_are_refused() -> None:
    for number in ("1" + ":59" * 100_000, "1" + ":59" * 300 + ".0", "0x" + "f" * 5000):
        with pytest.raises(InvalidModel, match="line 1"):
            MLModel.from_yaml(f"model_size_bytes: {number}\nflavors: {{}}\n")


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    written = full()
    written.write(tmp_path)
    assert MLModel.read(tmp_path) == written
    assert MLModel.read(tmp_path / "MLmodel") == written


def test_mlflow_reads_what_is_written_and_what_it_writes_then_is_read(tmp_path: Path) -> None:
    written = full()
    written.write(tmp_path)
    theirs = Model.load(str(tmp_path))
    assert theirs.signature.to_dict() == SIGNATURE.to_dict()
    assert theirs.metadata == written.metadata
    assert theirs.made_by == "somebody else"
    assert theirs.signature._is_signature_from_type_hint is True
    theirs.save(tmp_path / "MLmodel")
    assert MLModel.read(tmp_path) == written


def test_the_time_of_creation_is_set_when_there_is_none(tmp_path: Path) -> None:
    model = MLModel(flavors={"sklearn": {}})
    model.write(tmp_path)
    assert model.utc_time_created is not None
    assert MLModel.read(tmp_path).utc_time_created == model.utc_time_created
    assert "run_id" not in (tmp_path / "MLmodel").read_text()


def test_aliases_that_mlflow_writes_are_read(tmp_path: Path) -> None:
    shared = ["a", "b"]
    model = MLModel(flavors={"sklearn": {}}, metadata={"x": shared, "y": shared})
    model.write(tmp_path)
    assert "&id001" in (tmp_path / "MLmodel").read_text()
    assert MLModel.read(tmp_path).metadata == {"x": shared, "y": shared}


def test_metadata_that_yaml_cannot_say_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidParameter, match="metadata or flavors hold what MLmodel cannot say"):
        MLModel(flavors={}, metadata={"when": object()}).write(tmp_path)


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.dictionaries(
        st.text(max_size=8),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
            lambda inner: (
                st.lists(inner, max_size=4)
                | st.dictionaries(st.text(max_size=5), inner, max_size=4)
            ),
            max_leaves=12,
        ),
        max_size=5,
    )
)
def test_plain_yaml_is_read_as_pyyaml_reads_it(data: dict[str, object]) -> None:
    assert strict_yaml.load(yaml.safe_dump(data).encode()) == data


BOMB = "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"a{n}: &a{n} [{','.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 9)
)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"", "is empty"),
        (b"# nothing but a comment\n", "is empty"),
        (b"\x93NUMPY\x01\x00", "is not UTF-8"),
        (b"flavors: {a: [}", "line 1: "),
        (b"flavors:\n\t- x", "line 2: "),
        (b"just text", "holds a str"),
        (b"- a\n- b\n", "holds a list"),
        (b"flavors: {}\nflavors: {}\n", "line 2: the key 'flavors' is there twice"),
        (b"flavors: {sklearn: {a: 1, a: 2}}", "the key 'a' is there twice"),
        (b"flavors: {}\n---\nflavors: {}\n", "line 2: a second document"),
        (
            b"flavors: {}\nmetadata: !!python/object/apply:os.system ['false']\n",
            "line 2: the tag !!python/object/apply:os.system is refused",
        ),
        (b"flavors: !!python/name:os.system ''\n", "the tag !!python/name:os.system is refused"),
        (b"flavors: !mine {}\n", "the tag !mine is refused"),
        (b"flavors: {<<: {a: 1}}\n", "merge keys"),
        (b"flavors: &a [*a]\n", "the alias *a stands for nothing, or for what it is in"),
        (b"flavors: *b\n", "line 1: "),
        (BOMB.encode(), "unfolds to more than"),
        (b"flavors: " + b"[" * 200_000, "nested deeper than"),
        (b"flavors: " + b"{a: " * 200_000, "nested deeper than"),
        (b"flavors: {}\nrun_id: " + b"9" * 5000, "is no int"),
        (b"run_id: x\n", "flavors: the key is missing"),
        (b"flavors: 7\n", "flavors: expected a mapping from names to mappings, found int 7"),
        (b"flavors: {sklearn: 7}\n", "flavors.sklearn: expected a mapping, found int 7"),
        (b"flavors: {}\nmetadata: 7\n", "metadata: expected a mapping, found int 7"),
        (b"flavors: {}\nrun_id: [1]\n", "run_id: expected text, found list [1]"),
        (b"flavors: {}\nmodel_size_bytes: -1\n", "model_size_bytes: expected a number"),
        (b"flavors: {}\nsignature: x\n", "signature: expected a mapping, found str 'x'"),
        (b"flavors: {}\nsignature: {inputs: '['}\n", "signature: inputs: It is not JSON"),
        (b"flavors: {}\nsignature: {inputs: '[]'}\n", "signature: inputs: A schema needs"),
        (
            b'flavors: {}\nsignature: {outputs: \'[{"type": "int"}]\'}\n',
            "signature: outputs: There is no type 'int'",
        ),
        (
            b"flavors: {}\nsignature: {inputs: '" + b"[" * 100_000 + b"'}\n",
            "signature: inputs: It is not JSON",
        ),
    ],
)
def test_what_is_no_mlmodel_is_refused_with_file_and_line_or_key(
    tmp_path: Path, text: bytes, said: str
) -> None:
    file = tmp_path / "MLmodel"
    file.write_bytes(text)
    with pytest.raises(InvalidModel) as refused:
        MLModel.read(tmp_path)
    assert str(file) in refused.value.message
    assert said in refused.value.message
    assert len(refused.value.message) < len(str(file)) + 600


def test_a_huge_file_is_refused_without_reading_it_all(tmp_path: Path) -> None:
    file = tmp_path / "MLmodel"
    with file.open("wb") as stream:
        stream.truncate(50 << 30)  # sparse: it takes no room
    with pytest.raises(InvalidModel, match="more than 4,194,304 bytes"):
        MLModel.read(tmp_path)


def test_a_folder_without_mlmodel_is_no_model(tmp_path: Path) -> None:
    with pytest.raises(InvalidModel, match="a model is a folder with a file MLmodel"):
        MLModel.read(tmp_path)
    with pytest.raises(InvalidModel, match="a model is a folder"):
        MLModel.read(tmp_path / "nowhere")


def test_nested_types_are_read_to_a_bounded_depth() -> None:
    deep = '{"type": "array", "items": ' * 60 + '{"type": "long"}' + "}" * 60
    text = yaml.safe_dump({"flavors": {}, "signature": {"inputs": f"[{deep}]"}})
    with pytest.raises(InvalidModel, match="nested deeper than 50"):
        MLModel.from_yaml(text)
