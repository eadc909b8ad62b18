"""PyTorch: modules as exported graphs, state dicts as safetensors; pickles and TorchScript on request.

The section in MLmodel is MLflow's: ``model_data`` (a folder), ``pytorch_version``. In that folder lies one of

* ``model.pt2``, torch.export's archive: the default, for MLflow opens it too. It needs an ``input_example``, by which
  the module is traced, in evaluation mode. torch evaluates text of such an archive, so it is read
  before (`headrace.models.inspection.exported`); one that is no plain graph is refused as what it is.
* ``state_dict.safetensors``, weights alone: what a dict of tensors becomes. MLflow does not open it.
* ``model.pth`` by torch.save, or TorchScript, with ``pickle_module_info.txt``, which MLflow needs and we
  do not read: it names a module to import.
"""

from __future__ import annotations

import contextlib
import inspect
import io
import pickle
import sys
import types
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from headrace.errors import InvalidModel, InvalidParameter, PolicyViolation
from headrace.models.flavor import Permit, Predict, Saved
from headrace.models.inspection.exported import exported_problem, opened_problem
from headrace.models.magic import head, is_pickle, saved_tensors_only, unknown, zip_members
from headrace.models.opening import accepted, require
from headrace.models.options import Options
from headrace.models.paths import inside

_DATA = "data"
_EXPORTED, _STATE, _PICKLED = "model.pt2", "state_dict.safetensors", "model.pth"
_FORMATS = ("pt2", "safetensors", "pickle", "torchscript")


class PyTorch:
    """See the module.

    Attributes:
        wants: Keywords of ``save_model`` that are everybody's, and that this flavor is given among its options.
    """

    name = "pytorch"
    library = "torch"
    wants = ("input_example", "signature")

    def claims(self, model: object) -> bool:
        torch: Any = sys.modules.get("torch")
        if torch is None:
            return False
        if isinstance(model, dict):
            return bool(model) and all(isinstance(each, torch.Tensor) for each in model.values())
        return isinstance(model, torch.nn.Module)

    def save(self, model: Any, folder: Path, options: Mapping[str, Any]) -> Saved:
        """Options.

        ``serialization_format``: ``pt2`` (default), ``safetensors`` (weights alone; the default for a
        dict of tensors), ``pickle``, ``torchscript`` (of a scripted module). ``input_example``: for
        ``pt2``, an array or a tensor, or a list or tuple of these. Its first dimension is left open if it is
        longer than 1, and so are those that ``signature`` has as -1.
        """
        import torch

        read = Options(self.name, options)
        weights_alone = isinstance(model, dict)
        form = read.one_of(
            "serialization_format", _FORMATS, default="safetensors" if weights_alone else "pt2"
        )
        example, signature = read.get("input_example"), read.get("signature")
        read.done()
        if weights_alone and form != "safetensors":
            raise InvalidParameter(f"A dict of tensors is saved as safetensors, not as {form}.")
        data = folder / _DATA
        data.mkdir()
        function: dict[str, Any] | None = {"data": _DATA, "config": {"device": None}}
        requirements: tuple[str, ...] = ("torch",)
        if form == "safetensors":
            _save_state(model if weights_alone else model.state_dict(), data / _STATE)
            function, requirements = None, ("torch", "safetensors")
        elif form == "pt2":
            if not _export(model, _tensors(example), signature, data / _EXPORTED):
                function = None
        else:
            _save_pickled(model, form, data)
        if function is not None and form != "pt2":
            function["pickle_module_name"] = "pickle"
        conf = {"model_data": _DATA, "pytorch_version": str(torch.__version__), "code": None}
        return Saved(
            conf=conf,
            python_function=function,
            loader_module="mlflow.pytorch",
            requirements=requirements,
        )

    def formats(self, folder: Path, conf: Mapping[str, Any]) -> frozenset[str]:
        return frozenset({_format(_file(folder, conf))})

    def load(self, folder: Path, conf: Mapping[str, Any], permit: Permit) -> Any:
        import torch

        path = _file(folder, conf)
        form = _format(path)
        require(permit, {form}, path)
        place = None if torch.cuda.is_available() else "cpu"
        try:
            if form == "safetensors":
                from safetensors.torch import load_file

                return load_file(path, device=place or "cpu")
            if path.suffix == ".pt2":
                return _load_exported(path, permit)
            if form == "torchscript":
                with _quiet():
                    return torch.jit.load(path, map_location=place).eval()
            model = torch.load(path, map_location=place, weights_only=_tensors_in(path))
        except (PolicyViolation, InvalidModel):
            raise
        except ImportError as problem:
            raise InvalidModel(
                f"'{path.name}' needs a module that is not installed: {problem}."
            ) from None
        except Exception as problem:
            raise InvalidModel(f"torch cannot open '{path.name}': {problem}") from problem
        return model.eval() if isinstance(model, torch.nn.Module) else model

    def predict(self, model: Any, conf: Mapping[str, Any]) -> Predict:
        """An array or a frame in, an array or a frame out; a dict is passed by the names of its keys."""
        import torch

        if not callable(model):
            raise InvalidModel(
                "A dict of weights does not predict; load it natively, into its module."
            )

        def predict(data: Any, params: Mapping[str, Any] | None) -> Any:
            arguments, named = _arguments(model, data)
            with torch.no_grad():
                result = model(*arguments, **named, **accepted(model.forward, params))
            if hasattr(data, "columns") and isinstance(result, torch.Tensor):
                import pandas

                return pandas.DataFrame(result.cpu().numpy(), index=data.index)
            return _arrays(result)

        return predict


def _file(folder: Path, conf: Mapping[str, Any]) -> Path:
    """The model's file. A folder is asked in MLflow's order; MLflow of before 1.0 named the file itself."""
    key = "flavors.pytorch.model_data"
    name = conf.get("model_data")
    data = inside(folder, name, key=key)
    if data.is_file():
        return data
    for each in (_PICKLED, _EXPORTED, _STATE):
        if (data / each).exists():
            return inside(folder, f"{name}/{each}", key=key)
    raise InvalidModel(f"'{name}' holds no model: there is no {_PICKLED}, {_EXPORTED} or {_STATE}.")


def _format(path: Path) -> str:
    if is_pickle(path):
        return "torch-pickle"
    members = zip_members(path)
    if members is None:
        if path.suffix == ".safetensors" and _is_safetensors(path):
            return "safetensors"
        raise unknown(path, "a model of PyTorch's")
    names = {name.split("/", 1)[-1] for name in members}
    if any(name.startswith("code/") for name in names) or "constants.pkl" in names:
        return "torchscript"
    if "data.pkl" in names or path.suffix != ".pt2":
        return "torch-pickle"
    return "torch-pickle" if exported_problem(path) else "torch-export"


def _is_safetensors(path: Path) -> bool:
    first = head(path, 9)
    size = int.from_bytes(first[:8], "little")
    return first[8:] == b"{" and size <= path.stat().st_size - 8


def _load_exported(path: Path, permit: Permit) -> Any:
    import torch

    problem = opened_problem(path)
    if problem and "torch-pickle" not in permit.formats:
        raise PolicyViolation(
            f"'{path.name}' is more than a graph and tensors: it {problem}. The loader's policy does not allow torch-pickle."
        )
    with _quiet():
        return torch.export.load(path).module()


def _save_state(state: Mapping[str, Any], path: Path) -> None:
    from safetensors.torch import save_file

    # Tensors that share memory are written each for itself: safetensors has no other way.
    save_file(
        {name: each.detach().cpu().clone().contiguous() for name, each in state.items()}, path
    )


def _save_pickled(model: Any, form: str, data: Path) -> None:
    import torch

    scripted = isinstance(model, torch.jit.ScriptModule)
    if form == "torchscript" and not scripted:
        raise InvalidParameter(
            "Only what torch.jit has scripted or traced is saved as torchscript."
        )
    (data / "pickle_module_info.txt").write_text("pickle")
    if scripted:
        model.save(str(data / _PICKLED))
        return
    import cloudpickle

    # What cloudpickle writes, pickle reads; so a class of the main module comes along.
    module: Any = types.ModuleType("headrace_cloudpickle")
    module.Pickler, module.dumps, module.dump = (
        cloudpickle.Pickler,
        cloudpickle.dumps,
        cloudpickle.dump,
    )
    try:
        torch.save(model, data / _PICKLED, pickle_module=module)
    except (pickle.PicklingError, TypeError, AttributeError) as problem:
        raise InvalidParameter(f"The module cannot be pickled: {problem}.") from problem


def _tensors(example: Any) -> tuple[Any, ...]:
    import numpy
    import torch

    if example is None:
        raise InvalidParameter(
            "A module is saved as a graph, which is found by tracing it: give input_example. Or give "
            "serialization_format: 'safetensors' saves its weights alone; 'pickle' all of it, for loaders who allow that."
        )
    if hasattr(example, "columns"):
        example = example.to_numpy(dtype=numpy.float32)
    several = isinstance(example, (list, tuple)) and all(
        isinstance(each, (numpy.ndarray, torch.Tensor)) for each in example
    )
    try:
        return tuple(
            each if isinstance(each, torch.Tensor) else _tensor(numpy.asarray(each))
            for each in (example if several else [example])
        )
    except TypeError:
        raise InvalidParameter(
            "To trace a module, input_example has to be an array or a tensor, or a list of these; "
            f"it is a {type(example).__name__}."
        ) from None


def _export(model: Any, examples: Sequence[Any], signature: Any, path: Path) -> bool:
    """Write a module as a graph. Whether MLflow can call it as a function: with one input it can."""
    import torch

    if isinstance(model, torch.jit.ScriptModule):
        raise InvalidParameter(
            "A scripted module has no graph to export: save it with serialization_format='torchscript'."
        )
    modes = {name: each.training for name, each in model.named_modules()}
    model.eval()
    try:
        with _quiet():
            program = torch.export.export(
                model, tuple(examples), dynamic_shapes=_open_dimensions(examples, signature)
            )
            buffer = io.BytesIO()
            torch.export.save(program, buffer)
    except Exception as problem:
        raise InvalidParameter(
            f"torch.export cannot trace the module: {problem}. Mend it, or give serialization_format: 'safetensors' "
            "saves its weights alone; 'pickle' all of it, for loaders who allow that."
        ) from problem
    finally:
        for name, each in model.named_modules():
            each.training = modes.get(name, each.training)
    path.write_bytes(buffer.getbuffer())
    found = exported_problem(path)
    if found:
        raise InvalidParameter(
            f"The module is exported, but not as a plain graph: it {found}. No loader would open that by default; "
            "give serialization_format: 'safetensors' or 'pickle'."
        )
    return len(examples) == 1


def _open_dimensions(examples: Sequence[Any], signature: Any) -> list[dict[int, Any] | None]:
    """Which dimensions may have other sizes later: rows, and what the signature leaves open."""
    import torch

    inputs = getattr(getattr(signature, "inputs", None), "inputs", None) or ()
    shapes = [getattr(each, "shape", None) for each in inputs]
    if len(shapes) != len(examples):
        shapes = [None] * len(examples)
    found: list[dict[int, Any] | None] = []
    for example, shape in zip(examples, shapes, strict=True):
        sizes = tuple(example.shape)
        dims = [i for i, size in enumerate(shape or ()) if size == -1 and i < len(sizes)] or [0]
        found.append({i: torch.export.Dim.AUTO for i in dims if i < len(sizes)} or None)
    return found


def _tensors_in(path: Path) -> bool:
    """Whether torch may be held to tensors: then nothing else is unpickled."""
    return saved_tensors_only(path)


def _arguments(model: Any, data: Any) -> tuple[list[Any], dict[str, Any]]:
    import numpy
    import torch

    tensors = _own_tensors(model)
    device = tensors[0].device if tensors else torch.device("cpu")
    kinds = {each.dtype for each in tensors if each.dtype.is_floating_point}

    def tensor(value: Any) -> Any:
        made = value if isinstance(value, torch.Tensor) else _tensor(numpy.asarray(value))
        # numpy's numbers are of double precision unless somebody says otherwise, a module's hardly ever are.
        if made.dtype == torch.float64 and kinds and torch.float64 not in kinds:
            made = made.to(next(iter(kinds)) if len(kinds) == 1 else torch.float32)
        return made.to(device)

    if isinstance(data, Mapping):
        named = {name: tensor(value) for name, value in data.items()}
        # A graph takes what it was traced with by place only, but knows the names.
        names = list(inspect.signature(model.forward).parameters)
        if isinstance(model, torch.fx.GraphModule) and set(names) == set(named):
            return [named[name] for name in names], {}
        return [], named
    if hasattr(data, "columns"):
        return [tensor(data.to_numpy(dtype=numpy.float32))], {}
    if isinstance(data, tuple):
        return [tensor(each) for each in data], {}
    return [tensor(data)], {}


def _tensor(array: Any) -> Any:
    """An array as a tensor; a copy if the array must not be written to, for a tensor can be."""
    import torch

    return torch.from_numpy(array if array.flags.writeable else array.copy())


def _own_tensors(model: Any) -> list[Any]:
    return [*model.parameters(), *model.buffers()] if hasattr(model, "parameters") else []


def _arrays(result: Any) -> Any:
    import torch

    if isinstance(result, torch.Tensor):
        return result.detach().cpu().numpy()
    if isinstance(result, Mapping):
        return {name: _arrays(each) for name, each in result.items()}
    if isinstance(result, (list, tuple)):
        return [_arrays(each) for each in result]
    return result


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """torch's warnings about its own doings are not the caller's to mend."""
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


FLAVOR = PyTorch()
