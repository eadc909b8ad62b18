"""ONNX: graphs of known operators, run by ONNX Runtime.

The section in MLmodel is MLflow's: ``onnx_version``, ``data``, ``providers``, ``onnx_session_options``. Of what a
folder says of the session, only what names no file and no library is taken: a provider's options can name a
library to load.
"""

from __future__ import annotations

import logging
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from headrace.errors import InvalidModel, InvalidParameter, PolicyViolation
from headrace.models.flavor import Permit, Predict, Saved
from headrace.models.magic import head, is_pickle, unknown
from headrace.models.opening import require
from headrace.models.options import Options
from headrace.models.paths import inside

_log = logging.getLogger(__name__)

_DATA = "model.onnx"
_PROVIDERS = ("CUDAExecutionProvider", "CPUExecutionProvider")
_CPU = "CPUExecutionProvider"

#: A protocol buffer's largest size is 2 GiB; what comes near to it has its tensors in a file of their own.
_LARGE = 2**31 - 2**24

#: Options of providers that are numbers and words.
_PROVIDER_OPTIONS = frozenset(
    {
        "arena_extend_strategy",
        "cudnn_conv_algo_search",
        "cudnn_conv_use_max_workspace",
        "device_id",
        "do_copy_in_default_stream",
        "enable_cuda_graph",
        "gpu_mem_limit",
        "prefer_nhwc",
        "trt_fp16_enable",
        "trt_int8_enable",
        "trt_max_workspace_size",
        "use_tf32",
    }
)

#: Entries of a session's configuration that are numbers and words; others name files and libraries.
_SESSION_ENTRIES = frozenset(
    {
        "session.disable_aot_function_inlining",
        "session.disable_prepacking",
        "session.disable_quant_qdq",
        "session.dynamic_block_base",
        "session.enable_quant_qdq_cleanup",
        "session.force_spinning_stop",
        "session.inter_op.allow_spinning",
        "session.intra_op.allow_spinning",
        "session.set_denormal_as_zero",
        "session.use_device_allocator_for_initializers",
        "session.use_env_allocators",
    }
)

_SESSION_OPTIONS = (
    "inter_op_num_threads",
    "intra_op_num_threads",
    "execution_mode",
    "graph_optimization_level",
    "extra_session_config",
)


class Onnx:
    """See the module."""

    name = "onnx"
    library = "onnx"

    def claims(self, model: object) -> bool:
        onnx: Any = sys.modules.get("onnx")
        return onnx is not None and isinstance(model, onnx.ModelProto)

    def save(self, model: Any, folder: Path, options: Mapping[str, Any]) -> Saved:
        """Options, by MLflow's names.

        ``onnx_execution_providers``: names of ONNX Runtime's providers, or pairs of a name and its options.
        ``onnx_session_options``: a dict of ``inter_op_num_threads``, ``intra_op_num_threads``,
        ``execution_mode`` (sequential, parallel), ``graph_optimization_level`` (0, 1, 2, 99) and
        ``extra_session_config``. ``save_as_external_data``: tensors in a file of their own; the default is
        to do so for models that are too large for one.
        """
        import onnx

        read = Options(self.name, options)
        listed = read.get("onnx_execution_providers", _PROVIDERS)
        settings = read.get("onnx_session_options")
        external = read.get("save_as_external_data")
        read.done()
        conf = {
            "onnx_version": onnx.__version__,
            "data": _DATA,
            "providers": [list(each) if isinstance(each, tuple) else each for each in listed],
            "onnx_session_options": dict(settings) if settings else None,
            "code": None,
        }
        try:
            _check_session(conf)
            _session_options(conf)
        except PolicyViolation as problem:
            raise InvalidParameter(problem.message) from None
        _write(model, folder / _DATA, model.ByteSize() > _LARGE if external is None else external)
        return Saved(
            conf=conf,
            python_function={"data": _DATA},
            loader_module="mlflow.onnx",
            requirements=("onnx", "onnxruntime"),
        )

    def formats(self, folder: Path, conf: Mapping[str, Any]) -> frozenset[str]:
        path = inside(folder, conf.get("data"), key="flavors.onnx.data")
        if is_pickle(path):
            return frozenset({"pickle"})
        # ir_version comes first: field 1, a small number.
        first = head(path, 2)
        if len(first) < 2 or first[0] != 0x08 or not 0 < first[1] < 0x80:
            raise unknown(path, "an ONNX model")
        return frozenset({"onnx"})

    def load(self, folder: Path, conf: Mapping[str, Any], permit: Permit) -> Any:
        import onnx
        from google.protobuf.message import DecodeError

        path = inside(folder, conf.get("data"), key="flavors.onnx.data")
        require(permit, self.formats(folder, conf), path)
        if is_pickle(path):
            raise PolicyViolation(f"'{path.name}' is a pickle; ONNX models are not opened so.")
        _check_session(conf)
        try:
            model = onnx.load(path, load_external_data=False)
        except (DecodeError, ValueError) as problem:
            raise InvalidModel(f"'{path.name}' is not an ONNX model: {problem}.") from None
        for tensor in onnx.external_data_helper._get_all_tensors(model):
            if onnx.external_data_helper.uses_external_data(tensor):
                places = [each.value for each in tensor.external_data if each.key == "location"]
                for place in places or [None]:
                    inside(folder, _beside(path, folder, place), key=f"the tensor {tensor.name}")
        try:
            onnx.checker.check_model(path)
            onnx.load_external_data_for_model(model, str(path.parent))
        except (onnx.checker.ValidationError, ValueError, OSError) as problem:
            raise InvalidModel(f"'{path.name}' is not a valid ONNX model: {problem}") from None
        return model

    def predict(self, model: Any, conf: Mapping[str, Any]) -> Predict:
        """Arrays by name in, arrays by name out; a frame in, a frame out, as MLflow has it."""
        import numpy

        session = _session(model, conf)
        inputs = {each.name: each.type for each in session.get_inputs()}
        outputs = [each.name for each in session.get_outputs()]

        def predict(data: Any, params: Mapping[str, Any] | None) -> Any:
            frame = hasattr(data, "columns")
            feed = _feed(data, list(inputs), frame)
            for name, value in feed.items():
                if inputs.get(name) == "tensor(float)" and value.dtype == numpy.float64:
                    feed[name] = value.astype(numpy.float32)
            results = dict(zip(outputs, session.run(outputs, feed), strict=True))
            if not frame:
                return results
            import pandas

            return pandas.DataFrame(
                {name: numpy.asarray(value).reshape(-1) for name, value in results.items()}
            )

        return predict


def _feed(data: Any, names: Sequence[str], frame: bool) -> dict[str, Any]:
    import numpy

    if isinstance(data, Mapping):
        return {name: numpy.asarray(value) for name, value in data.items()}
    if frame and len(names) > 1:
        absent = [name for name in names if name not in data.columns]
        if absent:
            raise InvalidParameter(f"The model's input '{absent[0]}' is no column of the frame.")
        return {name: data[name].to_numpy() for name in names}
    if len(names) != 1:
        raise InvalidParameter(
            f"The model has the inputs {', '.join(names)}: pass a dict of arrays, or a frame of these columns."
        )
    return {names[0]: data.to_numpy() if frame else numpy.asarray(data)}


def _beside(path: Path, folder: Path, place: str | None) -> str | None:
    """Where a tensor's file lies, from the model's folder; None stays what it is, for `inside` to refuse."""
    if place is None or Path(place).is_absolute():
        return place
    return (path.parent.relative_to(folder) / place).as_posix()


def _write(model: Any, path: Path, external: bool) -> None:
    import onnx

    if not external:
        onnx.save(model, path)
        return
    # onnx takes the tensors out of the model that it writes, so it gets one of its own.
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    onnx.save(copy, path, save_as_external_data=True, location=f"{path.name}.data")


def _check_session(conf: Mapping[str, Any]) -> None:
    """Refuse what a session could be told to load.

    Raises:
        PolicyViolation: An option names a file or a library, or is not known to be harmless.
        InvalidModel: The section is not of the right form.
    """
    for _, options in _providers(conf):
        for key in options:
            if key not in _PROVIDER_OPTIONS:
                raise PolicyViolation(f"A provider's option '{key}' is not taken from a model.")
    settings = conf.get("onnx_session_options") or {}
    if not isinstance(settings, Mapping):
        raise InvalidModel("onnx_session_options is no map.")
    for key in settings:
        if key not in _SESSION_OPTIONS:
            raise PolicyViolation(f"The session's option '{key}' is not taken from a model.")
    for key in settings.get("extra_session_config") or {}:
        if key not in _SESSION_ENTRIES:
            raise PolicyViolation(f"The session's entry '{key}' is not taken from a model.")


def _providers(conf: Mapping[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """Providers with their options. A lone name, and none at all, are read as MLflow reads them."""
    listed = conf.get("providers") or _PROVIDERS
    if not isinstance(listed, (str, list, tuple)):
        raise InvalidModel(f"providers is {listed!r}, which is no list of providers.")
    found: list[tuple[str, dict[str, Any]]] = []
    for each in [listed] if isinstance(listed, str) else listed:
        match each:
            case str():
                found.append((each, {}))
            case [str() as name, dict() as options]:
                found.append((name, options))
            case _:
                raise InvalidModel(f"providers has {each!r}, which is no provider's name.")
    return found


def _session_options(conf: Mapping[str, Any]) -> Any:
    import onnxruntime

    settings = conf.get("onnx_session_options") or {}
    options = onnxruntime.SessionOptions()
    try:
        for key in ("inter_op_num_threads", "intra_op_num_threads"):
            if settings.get(key):
                setattr(options, key, int(settings[key]))
        if settings.get("execution_mode"):
            modes = {
                "SEQUENTIAL": onnxruntime.ExecutionMode.ORT_SEQUENTIAL,
                "PARALLEL": onnxruntime.ExecutionMode.ORT_PARALLEL,
            }
            options.execution_mode = modes[str(settings["execution_mode"]).upper()]
        if settings.get("graph_optimization_level"):
            level = onnxruntime.GraphOptimizationLevel(int(settings["graph_optimization_level"]))
            options.graph_optimization_level = level
    except (KeyError, ValueError, TypeError) as problem:
        raise InvalidModel(f"onnx_session_options is not right: {problem}.") from None
    for key, value in (settings.get("extra_session_config") or {}).items():
        options.add_session_config_entry(key, str(value))
    return options


def _session(model: Any, conf: Mapping[str, Any]) -> Any:
    import onnxruntime

    _check_session(conf)
    available = set(onnxruntime.get_available_providers())
    wanted = [each for each in _providers(conf) if each[0] in available] or [(_CPU, {})]
    options = _session_options(conf)

    def opened(providers: list[tuple[str, dict[str, Any]]]) -> Any:
        if model.ByteSize() <= _LARGE:
            return onnxruntime.InferenceSession(
                model.SerializeToString(), options, providers=providers
            )
        with tempfile.TemporaryDirectory() as folder:
            _write(model, Path(folder, _DATA), external=True)
            return onnxruntime.InferenceSession(
                str(Path(folder, _DATA)), options, providers=providers
            )

    try:
        return opened(wanted)
    except Exception as problem:  # noqa: BLE001 - providers raise what they like when a driver is not there
        if [name for name, _ in wanted] == [_CPU]:
            raise InvalidModel(f"ONNX Runtime cannot open the model: {problem}") from None
        _log.warning("ONNX Runtime cannot use %s (%s); the CPU is used.", wanted, problem)
        return opened([(_CPU, {})])


FLAVOR = Onnx()
