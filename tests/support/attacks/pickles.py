"""Pickles, where they hide."""

from __future__ import annotations

import gzip
import io
import lzma
import os
import pickle
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from support.attacks.making import (
    Payload,
    attack,
    mlmodel,
    sklearn_model,
    text_pickle,
    zip_of,
)

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
def lzma_of_before_xz(folder: Path, marker: Path) -> None:
    """It has no mark that says what it is."""
    filters = [{"id": lzma.FILTER_LZMA1, "lc": 0, "lp": 2, "dict_size": 1 << 16}]
    content = lzma.compress(pickle.dumps(Payload(marker)), lzma.FORMAT_ALONE, filters=filters)
    sklearn_model(folder, "model.bin", content)


@attack
def zlib_with_a_small_window(folder: Path, marker: Path) -> None:
    machine = zlib.compressobj(wbits=9)
    content = machine.compress(pickle.dumps(Payload(marker))) + machine.flush()
    sklearn_model(folder, "model.bin", content)


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
