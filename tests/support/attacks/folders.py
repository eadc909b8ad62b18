"""Archives, folders, and documents in them."""

from __future__ import annotations

import importlib.util
import io
import json
import marshal
import os
import pickle
import tarfile
import zipfile
import zlib
from pathlib import Path

from support.attacks.making import (
    Payload,
    attack,
    in_new,
    mlmodel,
    sklearn_model,
    zip_of,
)
from support.attacks.networks import torch_model
from support.attacks.skops import skops_call, skops_file, skops_text

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


@attack
def code_to_import(folder: Path, marker: Path) -> None:
    mlmodel(folder, python_function={"loader_module": "mlflow.sklearn", "code": "code"})
    in_new(folder, "code/sklearn/__init__.py").write_text(f"import os\nos.mkdir({str(marker)!r})\n")


@attack
def code_that_is_an_archive_too(folder: Path, marker: Path) -> None:
    """A script and an MLmodel, each a tar archive as well: the first line is a comment, and a header of tar."""
    mlmodel(folder, xgboost={"data": "model.json", "code": "code"})
    (folder / "model.json").write_text('{"learner": {}}')
    script = in_new(folder, "code/xgboost.py")
    script.write_text(f"import os\nos.mkdir({str(marker)!r})\n")
    for file in (folder / "MLmodel", script):
        text = file.read_bytes()
        text += b"\n" * (-len(text) % 512)
        file.write_bytes(_commented_header(len(text)) + text)


def _commented_header(size: int) -> bytes:
    numbers = b"0000644 0000000 0000000 " + f"{size:011o} ".encode() + b"00000000000 "
    before = b"#".ljust(100, b"x") + numbers
    after = b"0" + b"x" * 100 + b"ustar   " + b"x" * 64 + b"0000000 " * 2 + b" " * 166 + b"\n"
    return before + f"{sum(before + after) + 8 * 32:06o}  ".encode() + after


@attack
def bytecode_that_carries_numbers(folder: Path, marker: Path) -> None:
    """What is appended to bytecode is not read with it, and HDF5 may begin at byte 4096."""
    import h5py

    mlmodel(folder, xgboost={"data": "model.json"})
    (folder / "model.json").write_text('{"learner": {}}')
    code = compile(f"import os; os.mkdir({str(marker)!r})", "xgboost", "exec")
    content = importlib.util.MAGIC_NUMBER + bytes(12) + marshal.dumps(code)
    numbers = io.BytesIO()
    with h5py.File(numbers, "w") as file:
        file["x"] = [1.0]
    in_new(folder, "xgboost.pyc").write_bytes(content.ljust(4096, b"\0") + numbers.getvalue())


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
