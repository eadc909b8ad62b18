"""Saving a model as a folder."""

from __future__ import annotations

import platform
import shutil
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Literal

from headrace.errors import AlreadyExists, InvalidParameter
from headrace.models.copying import copy_tree
from headrace.models.enforcement import compile_signature
from headrace.models.environment import write_environment
from headrace.models.examples import save_example, split_example
from headrace.models.find import PYTHON_FUNCTION, find_flavor, flavor_named, section_of
from headrace.models.flavor import Flavor, Permit, Saved
from headrace.models.formats import FORMATS
from headrace.models.hashing import folder_digest
from headrace.models.imports import own_code
from headrace.models.inference import infer_from_hints, infer_signature
from headrace.models.inspection.inspector import inspect_files
from headrace.models.mlmodel import FILE_NAME, MLModel
from headrace.models.produced import remember
from headrace.models.signature import ModelSignature
from headrace.models.structure import files_of

#: Where ``code_paths`` lie in a model's folder.
CODE = "code"


def save_model(
    model: Any,
    path: str | Path,
    *,
    flavor: str | None = None,
    signature: ModelSignature | Literal[False] | None = None,
    input_example: Any = None,
    metadata: Mapping[str, Any] | None = None,
    pip_requirements: Any = None,
    extra_pip_requirements: Any = None,
    code_paths: Sequence[str | Path] | None = None,
    mlmodel: MLModel | None = None,
    **options: Any,
) -> MLModel:
    """Save a model as a folder that MLflow opens too.

    The folder is written beside its place and moved there whole; if anything fails, nothing is left.

    Args:
        model: It. For a model from code, the script's path.
        path: The folder; it must not exist, or be empty.
        flavor: Its flavor's name; found from the model if it is not given.
        signature: What the model takes and gives. If it is not given, it comes from the annotations of
            ``predict``, else from the input example and what the model makes of it. False: none.
        input_example: Data that the model takes; a pair of data and parameters if it takes some.
        metadata: The user's own, kept in MLmodel.
        pip_requirements: What loading needs, instead of what is found out.
        extra_pip_requirements: What it needs beside that.
        code_paths: Files and folders of Python code that the model imports; they are copied into the folder
            ``code`` and put on the import path when the model is loaded.
        mlmodel: What MLmodel should hold beside that: the run's id, the logged model's.
        options: The flavor's own, as MLflow names them.

    Returns:
        What was written to MLmodel.

    Raises:
        InvalidParameter: The model is of no flavor or cannot be saved, an option is not known, or a file is
            not there.
        AlreadyExists: Something is at the path.
    """
    target = Path(path)
    _refuse_existing(target)
    chosen = _flavor_of(model, flavor, options)
    described = MLModel() if mlmodel is None else mlmodel
    with _unborn(target) as folder:
        saved = chosen.save(model, folder, {**options, **_wanted(chosen, signature, input_example)})
        input_example = _plain_example(input_example)
        _copy_code(code_paths, folder)
        _describe(described, chosen, saved, has_code=bool(code_paths))
        if metadata is not None:
            described.metadata = dict(metadata)
        if input_example is not None:
            described.saved_input_example_info = save_example(folder, input_example)
        _sign(described, chosen, saved, folder, signature, input_example)
        if own_code(folder):
            described.write(folder)  # for it is loaded, to see what it imports
        write_environment(
            folder,
            requirements=saved.requirements,
            pip_requirements=pip_requirements,
            extra_pip_requirements=extra_pip_requirements,
        )
        described.model_size_bytes = sum(
            entry.size for entry in files_of(folder) if entry.path != FILE_NAME
        )
        described.write(folder)
        digest = folder_digest(folder)
    remember(digest.hash)
    return described


def _flavor_of(model: Any, name: str | None, options: Mapping[str, Any]) -> Flavor:
    if name is not None:
        return flavor_named(name)
    if model is None and options.get("loader_module") is not None:
        return flavor_named(PYTHON_FUNCTION)
    return find_flavor(model)


def _wanted(flavor: Flavor, signature: Any, example: Any) -> dict[str, Any]:
    """What of everybody's keywords a flavor has asked to see, see `headrace.models.flavor`."""
    shared = {
        "input_example": split_example(example)[0],
        "signature": signature or None,
    }
    return {name: shared[name] for name in getattr(flavor, "wants", ())}


def _plain_example(example: Any) -> Any:
    """An example as it can be kept: tensors as arrays. Several arrays, by which a module is traced, cannot be."""
    data, params = split_example(example)
    if params is not None:
        return _plain_example(data), params
    if hasattr(example, "detach"):
        return example.detach().cpu().numpy()
    if (
        isinstance(example, (list, tuple))
        and example
        and all(hasattr(one, "dtype") for one in example)
    ):
        return None if any(getattr(one, "ndim", 0) for one in example) else example
    return example


def _describe(described: MLModel, flavor: Flavor, saved: Saved, *, has_code: bool) -> None:
    code = CODE if has_code else None
    if saved.python_function is not None:
        described.flavors[PYTHON_FUNCTION] = {
            "loader_module": saved.loader_module,
            "python_version": platform.python_version(),
            "env": {"conda": "conda.yaml", "virtualenv": "python_env.yaml"},
            **saved.python_function,
            **({"code": code} if code else {}),
        }
    if flavor.name != PYTHON_FUNCTION:
        described.flavors[flavor.name] = {**saved.conf, "code": code}


def _copy_code(code_paths: Sequence[str | Path] | None, folder: Path) -> None:
    if not code_paths:
        return
    if isinstance(code_paths, (str, Path)):
        raise InvalidParameter("code_paths must be a list of files and folders")
    for source in map(Path, code_paths):
        if not source.exists():
            raise InvalidParameter(f"code_paths: there is no file or folder {source}")
        copy_tree(source, folder / CODE / source.resolve().name)


def _sign(
    described: MLModel,
    flavor: Flavor,
    saved: Saved,
    folder: Path,
    given: ModelSignature | Literal[False] | None,
    example: Any,
) -> None:
    """Set the signature: the one given, from annotations, or from the example and its prediction."""
    if given is False:
        described.signature = None
        return
    if given is not None:
        described.signature = given
        _check_example(given, example)
        return
    data, params = split_example(example)
    hinted = infer_from_hints(saved.typed, params) if saved.typed is not None else None
    if hinted is not None:
        described.signature, described.is_signature_from_type_hint = hinted, True
        return
    if example is None or saved.python_function is None:
        return
    conf = section_of(described, flavor.name)
    loaded = flavor.load(folder, conf, _own_permit(folder))
    try:
        prediction = flavor.predict(loaded, conf)(data, params)
    except Exception as error:
        raise InvalidParameter(
            f"the model does not take its input example: {type(error).__name__}: {error}. Give another"
            " input_example, or none and a signature"
        ) from error
    described.signature = infer_signature(data, prediction, params)


def _refuse_existing(target: Path) -> None:
    try:
        if not any(target.iterdir()):
            return
    except FileNotFoundError:
        return
    except NotADirectoryError:
        raise AlreadyExists(
            f"there is a file at {target}, or where one of its folders would be"
        ) from None
    raise AlreadyExists(
        f"the folder {target} exists and is not empty: give another path, or remove it"
    )


def _check_example(signature: ModelSignature, example: Any) -> None:
    if example is None:
        return
    data, params = split_example(example)
    enforcer = compile_signature(signature)
    try:
        enforcer.inputs(data)
        enforcer.params(params)
    except InvalidParameter as error:
        raise InvalidParameter(
            f"the input example is not what the signature says: {error}"
        ) from error


def _own_permit(folder: Path) -> Permit:
    """For what was written here a moment ago: everything that is in it."""
    found = inspect_files(folder, files_of(folder))
    types = frozenset(name for finding in found for name in finding.types)
    return Permit(formats=frozenset(FORMATS), trusted=types)


@contextmanager
def _unborn(target: Path) -> Iterator[Path]:
    """A folder beside its place, moved there at the end; removed, with the folders made for it, on failure."""
    made = _make_folders(target.absolute().parent)
    folder = target.absolute().parent / f".{target.name}.{uuid.uuid4().hex[:12]}"
    try:
        folder.mkdir()
        yield folder
        try:
            folder.rename(target)
        except OSError as error:
            raise AlreadyExists(f"cannot put the model at {target}: {error.strerror}") from error
    except BaseException:  # cleans up, raises again
        shutil.rmtree(folder, ignore_errors=True)
        for parent in made:
            with suppress(OSError):  # somebody else has put something there meanwhile
                parent.rmdir()
        raise


def _make_folders(folder: Path) -> list[Path]:
    """Make a folder; those that were made, the innermost first."""
    missing = []
    while not folder.exists():
        missing.append(folder)
        folder = folder.parent
    for one in reversed(missing):
        one.mkdir(exist_ok=True)
    return missing
