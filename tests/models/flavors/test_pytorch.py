"""PyTorch's modules, by us and by MLflow."""

from __future__ import annotations

import io
import json
import os
import pickle
import warnings
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from headrace.errors import InvalidModel, InvalidParameter, PolicyViolation
from headrace.models.find import find_flavor
from headrace.models.flavors.pytorch import FLAVOR
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
ROWS = np.arange(12, dtype=np.float32).reshape(4, 3) / 7


class Net(torch.nn.Module):
    """Two layers, with what differs between training and use."""

    def __init__(self) -> None:
        super().__init__()
        self.first = torch.nn.Linear(3, 5)
        self.dropped = torch.nn.Dropout(0.5)
        self.second = torch.nn.Linear(5, 2)
        self.register_buffer("scale", torch.tensor([1.0, 2.0]))

    def forward(self, x):
        return self.second(self.dropped(torch.relu(self.first(x)))) * self.scale


class Pair(torch.nn.Module):
    """Two inputs, two outputs."""

    def forward(self, a: Any, b: Any) -> Any:
        return a + b, {"difference": a - b}


@pytest.fixture(scope="module")
def net() -> Any:
    torch.manual_seed(3)
    return Net().eval()


@pytest.fixture(scope="module")
def right(net: Any) -> Any:
    return net(torch.from_numpy(ROWS)).detach().numpy()


@pytest.fixture(scope="module")
def ours(net: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ours, exported."""
    folder = tmp_path_factory.mktemp("ours") / "m"
    save(FLAVOR, net, folder, input_example=ROWS)
    return folder


@pytest.fixture(scope="module")
def theirs(net: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """MLflow's, exported: its default."""
    folder = tmp_path_factory.mktemp("theirs") / "m"
    mlflow_save("pytorch", net, folder, input_example=ROWS)
    return folder


def test_mlflow_opens_what_we_export_and_we_open_what_it_exports(
    ours: Path, theirs: Path, right: Any
) -> None:
    with torch.no_grad():
        native = mlflow_load("pytorch", ours)(torch.from_numpy(ROWS)).numpy()
    assert np.array_equal(native, right)
    assert np.array_equal(mlflow_predict(ours, ROWS), right)
    for folder in (ours, theirs):
        assert formats(FLAVOR, folder) == {"torch-export"}
        audit(folder)
        with torch.no_grad():
            assert np.array_equal(load(FLAVOR, folder)(torch.from_numpy(ROWS)).numpy(), right)
        assert np.array_equal(predict(FLAVOR, folder, ROWS), right)
    assert set(section(FLAVOR, ours)) <= set(section(FLAVOR, theirs))


def test_an_exported_graph_takes_frames_doubles_and_other_numbers_of_rows(
    ours: Path, right: Any
) -> None:
    assert np.array_equal(predict(FLAVOR, ours, ROWS.astype(np.float64)[:3]), right[:3])
    frame = pd.DataFrame(ROWS, index=list("wxyz"))
    pd.testing.assert_frame_equal(
        predict(FLAVOR, ours, frame), pd.DataFrame(right, index=frame.index)
    )
    assert np.array_equal(predict(FLAVOR, ours, ROWS.tolist()), right)


def test_a_module_is_exported_as_it_is_used_not_as_it_is_trained(
    net: Any, tmp_path: Path, right: Any
) -> None:
    net.train()
    net.second.eval()
    try:
        save(FLAVOR, net, tmp_path / "m", input_example=torch.from_numpy(ROWS))
        assert (net.training, net.dropped.training, net.second.training) == (True, True, False)
    finally:
        net.eval()
    assert np.array_equal(predict(FLAVOR, tmp_path / "m", ROWS), right)


def test_several_inputs_come_by_place_or_by_name(tmp_path: Path) -> None:
    save(FLAVOR, Pair(), tmp_path / "m", input_example=(ROWS, ROWS))
    total, other = predict(FLAVOR, tmp_path / "m", (ROWS, 2 * ROWS))
    assert np.array_equal(total, 3 * ROWS)
    assert np.array_equal(other["difference"], -ROWS)
    total, _ = predict(FLAVOR, tmp_path / "m", {"a": ROWS, "b": ROWS})
    assert np.array_equal(total, 2 * ROWS)
    assert np.array_equal(
        mlflow_load("pytorch", tmp_path / "m")(*map(torch.from_numpy, (ROWS, ROWS)))[0].numpy(),
        2 * ROWS,
    )


def test_a_pickled_module_needs_a_word_from_the_loader(
    net: Any, right: Any, tmp_path: Path
) -> None:
    save(FLAVOR, net, tmp_path / "ours", serialization_format="pickle")
    mlflow_save("pytorch", net, tmp_path / "theirs", serialization_format="pickle")
    assert np.array_equal(mlflow_predict(tmp_path / "ours", ROWS), right)
    for folder in (tmp_path / "ours", tmp_path / "theirs"):
        assert formats(FLAVOR, folder) == {"torch-pickle"}
        with pytest.raises(PolicyViolation, match="torch-pickle"):
            load(FLAVOR, folder)
        model = load(FLAVOR, folder, allow=["torch-pickle"])
        assert not model.training
        assert np.array_equal(predict(FLAVOR, folder, ROWS, allow=["torch-pickle"]), right)


def test_torchscript_needs_a_word_from_the_loader(net: Any, right: Any, tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch would have everybody export
        scripted = torch.jit.script(net)
    save(FLAVOR, scripted, tmp_path / "ours", serialization_format="torchscript")
    mlflow_save("pytorch", scripted, tmp_path / "theirs", serialization_format="pickle")
    assert np.array_equal(mlflow_predict(tmp_path / "ours", ROWS), right)
    for folder in (tmp_path / "ours", tmp_path / "theirs"):
        assert formats(FLAVOR, folder) == {"torchscript"}
        with pytest.raises(PolicyViolation, match="torchscript"):
            load(FLAVOR, folder)
        assert np.array_equal(predict(FLAVOR, folder, ROWS, allow=["torchscript"]), right)
    with pytest.raises(InvalidParameter, match="torchscript"):
        save(FLAVOR, scripted, tmp_path / "m", input_example=ROWS)
    with pytest.raises(InvalidParameter, match="scripted or traced"):
        save(FLAVOR, net, tmp_path / "n", serialization_format="torchscript")


def test_weights_alone_are_safetensors(net: Any, right: Any, tmp_path: Path) -> None:
    save(FLAVOR, net.state_dict(), tmp_path / "dict")
    save(FLAVOR, net, tmp_path / "module", serialization_format="safetensors")
    for folder in (tmp_path / "dict", tmp_path / "module"):
        assert formats(FLAVOR, folder) == {"safetensors"}
        again = Net().eval()
        again.load_state_dict(load(FLAVOR, folder))
        assert np.array_equal(again(torch.from_numpy(ROWS)).detach().numpy(), right)
        with pytest.raises(InvalidModel, match="does not predict"):
            predict(FLAVOR, folder, ROWS)
    assert find_flavor(net.state_dict()).name == "pytorch"
    with pytest.raises(InvalidParameter, match="safetensors"):
        save(FLAVOR, net.state_dict(), tmp_path / "m", serialization_format="pickle")


def test_a_module_without_an_example_is_not_saved_by_default(net: Any, tmp_path: Path) -> None:
    with pytest.raises(InvalidParameter, match="input_example"):
        save(FLAVOR, net, tmp_path / "m")
    with pytest.raises(InvalidParameter, match="it is a dict"):
        save(FLAVOR, net, tmp_path / "n", input_example={"x": [1.0]})
    with pytest.raises(InvalidParameter, match="cannot trace"):
        save(FLAVOR, net, tmp_path / "o", input_example=ROWS[:, :2])
    assert find_flavor(net).name == "pytorch"


class Bomb:
    """What a pickle can do."""

    def __reduce__(self) -> Any:
        return os.mkdir, ("bomb",)


def rewritten(source: Path, folder: Path, changes: dict[str, bytes]) -> Path:
    """A copy of an exported model in which some records are others, or new ones."""
    (folder / "data").mkdir(parents=True)
    (folder / "MLmodel").write_bytes((source / "MLmodel").read_bytes())
    target = folder / "data" / "model.pt2"
    with zipfile.ZipFile(source / "data" / "model.pt2") as old, zipfile.ZipFile(target, "w") as new:
        root = old.namelist()[0].split("/", 1)[0]
        for name in old.namelist():
            if name.split("/", 1)[1] not in changes:
                new.writestr(name, old.read(name))
        for name, content in changes.items():
            new.writestr(f"{root}/{name}", content)
    return folder


def graph_of(source: Path) -> dict[str, Any]:
    with zipfile.ZipFile(source / "data" / "model.pt2") as archive:
        name = next(name for name in archive.namelist() if name.endswith("models/model.json"))
        graph: dict[str, Any] = json.loads(archive.read(name))
        return graph


def with_guard(graph: dict[str, Any]) -> None:
    graph["guards_code"] = ["__import__('os').mkdir('bomb') or L['x'].size()[0] >= 2"]


def with_expression(graph: dict[str, Any]) -> None:
    text = "__import__('os').mkdir('bomb') or Symbol('s77')"
    graph["graph_module"]["graph"]["tensor_values"]["x"]["sizes"][0] = {
        "as_expr": {"expr_str": text, "hint": {"as_int": 4}}
    }


def with_nested_text(graph: dict[str, Any]) -> None:
    graph["graph_module"]["graph"]["tensor_values"]["x"]["sizes"][0] = {
        "as_expr": {"expr_str": "Integer('os')", "hint": {"as_int": 4}}
    }


def with_target(graph: dict[str, Any]) -> None:
    graph["graph_module"]["graph"]["nodes"][0]["target"] = "torch.serialization.os.mkdir"


def with_dunder(graph: dict[str, Any]) -> None:
    graph["graph_module"]["graph"]["nodes"][0]["target"] = "torch.ops.aten.__class__.mro"


def with_file(graph: dict[str, Any]) -> None:
    graph["graph_module"]["graph"]["nodes"][0]["target"] = "torch.ops.aten.from_file.default"


def with_name(graph: dict[str, Any]) -> None:
    graph["graph_module"]["graph"]["inputs"][0]["as_tensor"]["name"] = "x=__import__('os')"


def with_container(graph: dict[str, Any]) -> None:
    call = graph["graph_module"]["module_call_graph"][0]["signature"]
    call["in_spec"] = json.dumps(
        [1, {"type": "collections.defaultdict", "context": "{}", "children_spec": []}]
    )


def with_key(graph: dict[str, Any]) -> None:
    call = graph["graph_module"]["module_call_graph"][0]["signature"]
    spec = json.loads(call["in_spec"])
    spec[1]["children_spec"][1]["context"] = json.dumps(["a' + \"b"])
    call["in_spec"] = json.dumps(spec)


@pytest.mark.parametrize(
    "change",
    [
        with_guard,
        with_expression,
        with_nested_text,
        with_target,
        with_dunder,
        with_file,
        with_name,
        with_container,
        with_key,
    ],
)
def test_a_graph_that_would_run_text_is_refused(
    ours: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    graph = graph_of(ours)
    change(graph)
    bad = rewritten(ours, tmp_path / "m", {"models/model.json": json.dumps(graph).encode()})
    assert formats(FLAVOR, bad) == {"torch-pickle"}
    with pytest.raises(PolicyViolation, match="torch-pickle"):
        load(FLAVOR, bad)
    assert not Path("bomb").exists()


def test_a_graph_with_a_pickle_in_it_is_refused(
    ours: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    saved = io.BytesIO()
    torch.save([Bomb()], saved)
    config = {"config": {"scale": {"path_name": "weight_0", "use_pickle": True}}}
    for number, changes in enumerate(
        [
            {"data/sample_inputs/model.pt": saved.getvalue()},
            {"data/sample_inputs/model.pt": pickle.dumps(Bomb())},
            {"data/constants/custom_obj_0": pickle.dumps(Bomb())},
            {"data/weights/model_weights_config.json": json.dumps(config).encode()},
            {"data/aotinductor/model/x.so": b"\x7fELF"},
        ]
    ):
        bad = rewritten(ours, tmp_path / f"m{number}", changes)
        assert formats(FLAVOR, bad) == {"torch-pickle"}
        with pytest.raises(PolicyViolation, match="torch-pickle"):
            load(FLAVOR, bad)
    assert not Path("bomb").exists()


def test_a_pickle_by_another_name_is_found_out(
    ours: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for number, name in enumerate(["model.pt2", "state_dict.safetensors", "model.pth"]):
        for content in (pickle.dumps(Bomb()), pickle.dumps(Bomb(), protocol=0)):
            folder = tmp_path / f"m{number}{len(content)}"
            (folder / "data").mkdir(parents=True)
            (folder / "MLmodel").write_bytes((ours / "MLmodel").read_bytes())
            (folder / "data" / name).write_bytes(content)
            assert formats(FLAVOR, folder) == {"torch-pickle"}
            with pytest.raises(PolicyViolation, match="torch-pickle"):
                load(FLAVOR, folder)
    saved = tmp_path / "m0" / "data"
    saved.mkdir(parents=True)
    (saved.parent / "MLmodel").write_bytes((ours / "MLmodel").read_bytes())
    torch.save(Bomb(), saved / "model.pt2")
    assert formats(FLAVOR, saved.parent) == {"torch-pickle"}
    (saved / "model.pt2").write_bytes(b"something")
    with pytest.raises(InvalidModel, match="not a model of PyTorch's"):
        load(FLAVOR, saved.parent)
    (saved / "model.pt2").unlink()
    with pytest.raises(InvalidModel, match="holds no model"):
        load(FLAVOR, saved.parent)
    assert not Path("bomb").exists()


def test_a_pickle_of_tensors_alone_is_opened_as_that(tmp_path: Path, net: Any) -> None:
    save(FLAVOR, net, tmp_path / "m", serialization_format="pickle")
    torch.save(net.state_dict(), tmp_path / "m" / "data" / "model.pth")
    assert formats(FLAVOR, tmp_path / "m") == {"torch-pickle"}
    state = load(FLAVOR, tmp_path / "m", allow=["torch-pickle"])
    assert torch.equal(state["scale"], net.scale)
