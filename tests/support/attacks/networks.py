"""PyTorch, Keras, ONNX, safetensors: graphs that do more than compute."""

from __future__ import annotations

import base64
import io
import json
import marshal
import pickle
import struct
import zipfile
from pathlib import Path
from typing import Any

from support.attacks.making import (
    Payload,
    attack,
    in_new,
    mlmodel,
    zip_of,
)
from support.attacks.skops import skops_text

# PyTorch


def torch_zip(marker: Path) -> bytes:
    return zip_of({"archive/data.pkl": pickle.dumps(Payload(marker), 2), "archive/version": "3\n"})


def torch_model(folder: Path, content: bytes, file: str = "data/model.pth") -> None:
    mlmodel(
        folder,
        pytorch={"model_data": "data", "pytorch_version": "2.5.0"},
        python_function={"loader_module": "mlflow.pytorch", "data": "data"},
    )
    (folder / file).parent.mkdir(parents=True, exist_ok=True)
    (folder / file).write_bytes(content)


@attack
def torch_pickle(folder: Path, marker: Path) -> None:
    torch_model(folder, torch_zip(marker))


@attack
def torch_pickle_of_old(folder: Path, marker: Path) -> None:
    head = pickle.dumps(0x1950A86A20F9469CFC6C, 2) + pickle.dumps(1001, 2) + pickle.dumps({}, 2)
    torch_model(folder, head + pickle.dumps(Payload(marker), 2))


@attack
def torch_pickle_marked_as_encrypted(folder: Path, marker: Path) -> None:
    """PyTorch does not look at the mark; zip readers of Python refuse to look inside."""
    content = bytearray(torch_zip(marker))
    for magic, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        at = content.find(magic)
        while at >= 0:
            content[at + offset] |= 1
            at = content.find(magic, at + 4)
    torch_model(folder, bytes(content))


@attack
def torch_pickle_with_a_wrong_checksum(folder: Path, marker: Path) -> None:
    content = bytearray(torch_zip(marker))
    for magic, offset in ((b"PK\x03\x04", 14), (b"PK\x01\x02", 16)):
        at = content.find(magic)
        while at >= 0:
            content[at + offset : at + offset + 4] = b"\1\2\3\4"
            at = content.find(magic, at + 4)
    torch_model(folder, bytes(content))


@attack
def torch_pickle_under_another_name(folder: Path, marker: Path) -> None:
    torch_model(
        folder,
        zip_of({"archive/data.PKL_": pickle.dumps(Payload(marker), 2)}),
        "data/weights.safetensors",
    )


@attack
def torch_module_to_import(folder: Path, marker: Path) -> None:
    torch_model(folder, b"evil_module", "data/pickle_module_info.txt")


@attack
def torch_program(folder: Path, marker: Path) -> None:
    members = {
        "m/data.pkl": b"\x80\x02}.",
        "m/code/__torch__.py": "def forward(self): ...",
        "m/constants.pkl": b"\x80\x02).",
    }
    torch_model(folder, zip_of(members))


def torch_export(**members: bytes | str) -> bytes:
    return zip_of(
        {"m/archive_format": "pt2", "m/archive_version": "0", "m/models/model.json": "{}"}
        | {f"m/{name}": content for name, content in members.items()}
    )


@attack
def torch_export_with_an_opaque_object(folder: Path, marker: Path) -> None:
    torch_model(
        folder,
        torch_export(**{"data/constants/opaque_obj_0": pickle.dumps(Payload(marker))}),
        "data/model.pt2",
    )


@attack
def torch_export_with_an_expression(folder: Path, marker: Path) -> None:
    """What is read as the size of a tensor is evaluated."""
    graph = {
        "sizes": [{"as_expr": {"expr_str": f"__import__('os').mkdir('{marker}')", "hint": None}}]
    }
    torch_model(folder, torch_export(**{"models/model.json": json.dumps(graph)}), "data/model.pt2")


@attack
def torch_export_that_calls_what_it_likes(folder: Path, marker: Path) -> None:
    graph = {"nodes": [{"target": "torch.hub.os.mkdir", "inputs": [], "outputs": []}]}
    torch_model(folder, torch_export(**{"models/model.json": json.dumps(graph)}), "data/model.pt2")


# Keras


def keras_file(layer: dict[str, Any], **members: bytes) -> bytes:
    config = {
        "module": "keras",
        "class_name": "Sequential",
        "config": {"name": "s", "layers": [layer]},
        "registered_name": None,
    }
    return zip_of(
        {
            "metadata.json": '{"keras_version": "3.9.0"}',
            "config.json": json.dumps(config),
            **members,
        }
    )


def keras_model(folder: Path, content: bytes, file: str = "data/model.keras") -> None:
    mlmodel(folder, keras={"data": "data", "save_format": "keras"})
    (folder / file).parent.mkdir(parents=True, exist_ok=True)
    (folder / file).write_bytes(content)


def keras_function(module: str, name: str, **arguments: Any) -> dict[str, Any]:
    """A Lambda layer over a function that is named."""
    function = {"module": module, "class_name": "function", "config": name, "registered_name": name}
    return {
        "module": "keras.layers",
        "class_name": "Lambda",
        "config": {"function": function, "arguments": arguments},
    }


def bytecode() -> str:
    return base64.b64encode(marshal.dumps((lambda x: x).__code__)).decode()


@attack
def keras_lambda(folder: Path, marker: Path) -> None:
    function = {
        "class_name": "__lambda__",
        "config": {"code": bytecode(), "defaults": None, "closure": None},
    }
    layer = {"module": "keras.layers", "class_name": "Lambda", "config": {"function": function}}
    keras_model(folder, keras_file(layer))


@attack
def keras_module(folder: Path, marker: Path) -> None:
    """CVE-2025-1550: the configuration names what is imported and called."""
    keras_model(
        folder,
        keras_file(
            {
                "module": "os",
                "class_name": "function",
                "config": "mkdir",
                "registered_name": "mkdir",
            }
        ),
    )


@attack
def keras_that_turns_safe_mode_off(folder: Path, marker: Path) -> None:
    """CVE-2025-9906."""
    keras_model(folder, keras_file(keras_function("keras.config", "enable_unsafe_deserialization")))


@attack
def keras_that_fetches(folder: Path, marker: Path) -> None:
    """CVE-2025-8747: a function of Keras itself fetches and unpacks."""
    layer = {
        "module": "keras.utils",
        "class_name": "function",
        "config": "get_file",
        "registered_name": "get_file",
    }
    keras_model(folder, keras_file(layer))


@attack
def keras_that_reads_a_file(folder: Path, marker: Path) -> None:
    """CVE-2025-12058: a vocabulary from any path."""
    layer = {
        "module": "keras.layers",
        "class_name": "StringLookup",
        "config": {"vocabulary": "/etc/passwd"},
    }
    keras_model(folder, keras_file(layer))


@attack
def keras_wrapper_of_torch(folder: Path, marker: Path) -> None:
    layer = {
        "module": "keras.layers",
        "class_name": "TorchModuleWrapper",
        "config": {"module": bytecode()},
    }
    keras_model(folder, keras_file(layer))


@attack
def keras_of_old(folder: Path, marker: Path) -> None:
    """CVE-2025-9905: safe mode is not asked."""
    import h5py

    with h5py.File(in_new(folder, "data/model.h5"), "w") as file:
        file.attrs["model_config"] = json.dumps({"class_name": "Sequential", "config": {}})
    mlmodel(folder, keras={"data": "data", "save_format": "h5"})


@attack
def keras_weights_from_elsewhere(folder: Path, marker: Path) -> None:
    """CVE-2026-1669: weights that are a link to another file."""
    import h5py

    weights = io.BytesIO()
    with h5py.File(weights, "w") as file:
        file["layers"] = h5py.ExternalLink("/etc/secret.h5", "/")
    layer = {
        "module": "keras.layers",
        "class_name": "Dense",
        "config": {"units": 1},
        "registered_name": None,
    }
    keras_model(folder, keras_file(layer, **{"model.weights.h5": weights.getvalue()}))


@attack
def keras_weights_that_claim_too_much(folder: Path, marker: Path) -> None:
    import h5py

    weights = io.BytesIO()
    with h5py.File(weights, "w") as file:
        file.create_dataset("vars/0", shape=(1 << 40,), dtype="f8", chunks=(1 << 10,))
    layer = {
        "module": "keras.layers",
        "class_name": "Dense",
        "config": {"units": 1},
        "registered_name": None,
    }
    keras_model(folder, keras_file(layer, **{"model.weights.h5": weights.getvalue()}))


@attack
def keras_pickled_objects(folder: Path, marker: Path) -> None:
    layer = {
        "module": "keras.layers",
        "class_name": "Dense",
        "config": {"units": 1},
        "registered_name": None,
    }
    keras_model(folder, keras_file(layer))
    (folder / "data" / "custom_objects.cloudpickle").write_bytes(pickle.dumps(Payload(marker)))


@attack
def keras_that_is_skops_as_well(folder: Path, marker: Path) -> None:
    """A harmless file of skops to who looks for that, and a Lambda layer to Keras."""
    schema = json.dumps({"protocol": 2, "_skops_version": "0.16.0", **skops_text("harmless")})
    keras_model(
        folder, keras_file(keras_function("os", "mkdir"), **{"schema.json": schema.encode()})
    )


@attack
def keras_as_a_folder(folder: Path, marker: Path) -> None:
    """Keras opens folders, too; the name of the class is written with an escape."""
    mlmodel(folder, keras={"data": "data", "save_format": "keras"})
    function = {"class_name": "__lambda__", "config": {"code": bytecode()}}
    layer = {"module": "keras.layers", "class_name": "Lambda", "config": {"function": function}}
    config = json.dumps(
        {"module": "keras", "class_name": "Sequential", "config": {"layers": [layer]}}
    )
    in_new(folder, "data/model.keras/config.json").write_text(
        config.replace("class_", "\\u0063lass_")
    )


@attack
def keras_of_old_behind_other_bytes(folder: Path, marker: Path) -> None:
    """HDF5 may begin at any power of two."""
    import h5py

    with h5py.File(in_new(folder, "data/model.bin"), "w", userblock_size=1 << 16) as file:
        file.attrs["model_config"] = json.dumps({"class_name": "Sequential", "config": {}})
    mlmodel(folder, keras={"data": "data", "save_format": "h5"})


@attack
def torch_export_that_is_skops_as_well(folder: Path, marker: Path) -> None:
    schema = json.dumps({"protocol": 2, "_skops_version": "0.16.0", **skops_text("harmless")})
    graph = {"nodes": [{"target": "torch.hub.os.mkdir", "inputs": [], "outputs": []}]}
    archive = torch_export(**{"models/model.json": json.dumps(graph)})
    with zipfile.ZipFile(io.BytesIO(archive)) as old:
        members: dict[str, bytes | str] = {name: old.read(name) for name in old.namelist()}
    torch_model(folder, zip_of(members | {"schema.json": schema}), "data/model.pt2")


# ONNX, safetensors


def protobuf(field: int, content: bytes) -> bytes:
    length, out = len(content), bytearray()
    while length > 0x7F:
        out.append(length & 0x7F | 0x80)
        length >>= 7
    return bytes([field << 3 | 2]) + bytes([*out, length]) + content


def onnx_reading(location: str) -> bytes:
    """A model whose one tensor takes its numbers from that place."""
    entry = protobuf(13, protobuf(1, b"location") + protobuf(2, location.encode()))
    return b"\x08\x08" + protobuf(7, protobuf(5, protobuf(8, b"w") + entry))


@attack
def onnx_external_data(folder: Path, marker: Path) -> None:
    """CVE-2024-27318 and its like."""
    mlmodel(folder, onnx={"data": "model.onnx"})
    (folder / "model.onnx").write_bytes(onnx_reading("../../../etc/passwd"))


@attack
def onnx_external_data_of_an_attribute(folder: Path, marker: Path) -> None:
    mlmodel(folder, onnx={"data": "model.onnx"})
    tensor = protobuf(13, protobuf(1, b"location") + protobuf(2, b"/etc/passwd"))
    node = protobuf(4, b"Constant") + protobuf(5, protobuf(1, b"value") + protobuf(5, tensor))
    (folder / "model.onnx").write_bytes(b"\x08\x08" + protobuf(7, protobuf(1, node)))


@attack
def onnx_under_another_name(folder: Path, marker: Path) -> None:
    """Its parts in another order, so that it does not begin as ONNX does."""
    mlmodel(folder, onnx={"data": "weights.bin"})
    (folder / "weights.bin").write_bytes(
        onnx_reading("../../../etc/passwd")[2:] + b"\x08\x08\x1a\x01\0"
    )


@attack
def shards_from_elsewhere(folder: Path, marker: Path) -> None:
    mlmodel(folder, transformers={"model_binary": "model"})
    index = {"metadata": {}, "weight_map": {"w": "../../../home/you/secret.safetensors"}}
    in_new(folder, "model/model.safetensors.index.json").write_text(json.dumps(index))


@attack
def safetensors_with_a_hole(folder: Path, marker: Path) -> None:
    header = json.dumps({"w": {"dtype": "F32", "shape": [1], "data_offsets": [100, 104]}}).encode()
    mlmodel(folder, transformers={"model_binary": "model"})
    (folder / "model.safetensors").write_bytes(
        struct.pack("<Q", len(header)) + header + b"\0" * 104
    )
