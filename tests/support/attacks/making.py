"""What attacks are made of: the payload, and folders of models around it."""

from __future__ import annotations

import io
import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

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


def in_new(folder: Path, name: str) -> Path:
    file = folder / name
    file.parent.mkdir(parents=True, exist_ok=True)
    return file
