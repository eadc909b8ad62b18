"""``MLmodel``: the file that says what is in a model's folder.

The format is MLflow's, in both directions: what MLflow 1.x, 2.x and 3.x wrote is read, and what is written
here MLflow 3 loads. Keys that this version does not know are kept as they are. Reading opens nothing else and
runs nothing; see `headrace.models.strict_yaml` for what YAML is accepted.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import yaml

from headrace.errors import InvalidModel, InvalidParameter
from headrace.models import strict_yaml
from headrace.models.signature import ModelSignature, ParamSchema, Schema

FILE_NAME = "MLmodel"
#: The release of MLflow whose format is written.
MLFLOW_VERSION = "3.17.2"

_Dumper: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
_TEXT = (
    "artifact_path", "run_id", "model_id", "model_uuid", "utc_time_created", "mlflow_version",
)  # fmt: skip
_MAPPINGS = ("metadata", "saved_input_example_info")
_FLAGS = ("is_signature_from_type_hint", "type_hint_from_example")
#: Left out when they are None, because readers of MLmodel may not expect null there; MLflow does so too.
_LEFT_OUT = ("artifact_path", "run_id", "mlflow_version")


class MLModel(msgspec.Struct, kw_only=True):
    """What an ``MLmodel`` file says.

    Attributes:
        flavors: What each flavor needs to open the model, by the flavor's name. ``python_function`` is the one
            that every tool can use.
        signature: What the model takes and gives.
        artifact_path: Where the model was logged: a URI in MLflow 3, a path in a run before.
        run_id: The run that made it.
        model_id: Its id as a logged model.
        model_uuid: The same in MLflow 3; an id of its own before.
        utc_time_created: ``YYYY-MM-DD HH:MM:SS.ffffff`` in UTC.
        mlflow_version: The release of MLflow whose format it has.
        saved_input_example_info: See `headrace.models.examples`.
        metadata: The user's own.
        model_size_bytes: Of the folder, this file excluded.
        is_signature_from_type_hint: The signature came from type hints of ``predict``.
        type_hint_from_example: The data are converted to what the input example was.
        resources: What the model needs to be served, as MLflow writes it.
        auth_policy: Whose rights it is served with, as MLflow writes it.
        prompts: URIs of prompts that it uses.
        env_vars: Names of environment variables that were set when it was logged.
        extra: Keys that this version does not know.
    """

    flavors: dict[str, dict[str, Any]] = {}
    signature: ModelSignature | None = None
    artifact_path: str | None = None
    run_id: str | None = None
    model_id: str | None = None
    model_uuid: str | None = None
    utc_time_created: str | None = None
    mlflow_version: str | None = MLFLOW_VERSION
    saved_input_example_info: dict[str, Any] | None = None
    metadata: dict[str, Any] | None = None
    model_size_bytes: int | None = None
    is_signature_from_type_hint: bool = False
    type_hint_from_example: bool = False
    resources: Any = None
    auth_policy: Any = None
    prompts: list[str] | None = None
    env_vars: list[str] | None = None
    extra: dict[str, Any] = {}

    @classmethod
    def read(cls, path: Path | str) -> MLModel:
        """The model of a folder, or of an ``MLmodel`` file.

        Raises:
            InvalidModel: There is none, or it is not what it should be. The message names the file, the line
                or the key, and what to do.
        """
        path = Path(path)
        file = path / FILE_NAME if path.is_dir() else path
        try:
            with file.open("rb") as stream:
                data = stream.read(strict_yaml.MAX_BYTES + 1)
        except FileNotFoundError:
            raise InvalidModel(
                f"There is no {file}: a model is a folder with a file {FILE_NAME}"
            ) from None
        except OSError as error:
            raise InvalidModel(f"{file} cannot be read: {error.strerror or error}") from None
        if len(data) > strict_yaml.MAX_BYTES:
            raise InvalidModel(
                f"{file} is not an {FILE_NAME} file: it has more than {strict_yaml.MAX_BYTES:,} bytes"
            )
        return cls.from_yaml(data, source=str(file))

    @classmethod
    def load(cls, path: Path | str) -> MLModel:
        """The same as `read`, under MLflow's name.

        Raises:
            InvalidModel: As `read`.
            InvalidParameter: It is an address, not a folder.
        """
        if str(path).startswith(("models:", "runs:")) or "://" in str(path):
            raise InvalidParameter(
                f"'{path}' is an address, not a folder: headrace.models.get_model_info('{path}').model is its MLmodel."
            )
        return cls.read(path)

    def get_input_schema(self) -> Schema | None:
        """What the model takes; None if it does not say."""
        return None if self.signature is None else self.signature.inputs

    def get_output_schema(self) -> Schema | None:
        """What the model gives; None if it does not say."""
        return None if self.signature is None else self.signature.outputs

    def get_params_schema(self) -> ParamSchema | None:
        """The parameters that the model takes; None if it does not say."""
        return None if self.signature is None else self.signature.params

    @classmethod
    def from_yaml(cls, data: bytes | str, source: str = FILE_NAME) -> MLModel:
        """The model that some YAML describes.

        Args:
            data: Untrusted.
            source: Where it is from, for error messages.

        Raises:
            InvalidModel: As `read`.
        """
        try:
            found = strict_yaml.load(data.encode() if isinstance(data, str) else data)
        except strict_yaml.Unreadable as error:
            raise InvalidModel(
                f"{source} is not an {FILE_NAME} file: {error}. Save the model again, or get its folder again from where it was saved."
            ) from None
        if found is None:
            raise InvalidModel(
                f"{source} is empty. Save the model again, or get its folder again from where it was saved."
            )
        if not isinstance(found, dict):
            raise InvalidModel(
                f"{source} is not an {FILE_NAME} file: it holds a {type(found).__name__}, not a mapping with the key 'flavors'"
            )
        return cls.from_dict(found, source)

    @classmethod
    def from_dict(cls, given: Mapping[str, Any], source: str = FILE_NAME) -> MLModel:
        """The model that the keys of an ``MLmodel`` file describe.

        Raises:
            InvalidModel: A key is missing or has a value of another shape.
        """
        fields: dict[str, Any] = {}
        extra = {}
        for key, value in given.items():
            if key in _KEYS:
                fields[key] = _checked(key, value, source)
            else:
                extra[key] = value
        if fields.get("flavors") is None:
            raise _wrong("flavors", "the key is missing; it names what can open the model", source)
        fields.setdefault("mlflow_version", None)
        return cls(**fields, extra=extra)

    def to_dict(self) -> dict[str, Any]:
        """The keys of an ``MLmodel`` file; what is unset is left out where MLflow leaves it out."""
        found: dict[str, Any] = {**self.extra}
        for key in _KEYS:
            value = getattr(self, key)
            if value is not None:
                found[key] = value
        if self.signature is None:
            for flag in _FLAGS:
                found.pop(flag)
        else:
            found["signature"] = self.signature.to_dict()
        return found

    def to_yaml(self) -> str:
        """The text of an ``MLmodel`` file.

        Raises:
            InvalidParameter: Metadata or a flavor holds what YAML cannot say.
        """
        try:
            return str(yaml.dump(self.to_dict(), Dumper=_Dumper, default_flow_style=False))
        except (yaml.YAMLError, TypeError) as error:
            raise InvalidParameter(
                f"The model's metadata or flavors hold what {FILE_NAME} cannot say: {error}. "
                "Use text, numbers, booleans, lists and dictionaries."
            ) from None

    def write(self, folder: Path | str) -> Path:
        """Writes the file into a folder and sets the time of creation if there is none.

        Raises:
            InvalidParameter: As `to_yaml`.
        """
        if self.utc_time_created is None:
            self.utc_time_created = str(dt.datetime.now(dt.UTC).replace(tzinfo=None))
        file = Path(folder) / FILE_NAME
        file.write_text(self.to_yaml(), encoding="utf-8")
        return file


#: As MLflow calls it.
Model = MLModel
_KEYS = tuple(one for one in MLModel.__struct_fields__ if one != "extra")


def _checked(key: str, value: Any, source: str) -> Any:
    """A key's value, if it has the shape that the key asks for."""
    if key == "signature":
        return _signature(value, source)
    if key == "flavors":
        return _flavors(value, source)
    if key in _FLAGS:
        return bool(value)
    if value is None:
        return None
    if key in _TEXT:
        if isinstance(value, (dict, list, bool)):
            raise _wrong(key, f"expected text, found {_kind(value)}", source)
        return str(value)  # a run's id or a time without quotes is read as a number or a date
    if key in _MAPPINGS and not isinstance(value, dict):
        raise _wrong(key, f"expected a mapping, found {_kind(value)}", source)
    if key in ("prompts", "env_vars") and not isinstance(value, list):
        raise _wrong(key, f"expected a list, found {_kind(value)}", source)
    if key == "model_size_bytes" and (not isinstance(value, int) or value < 0):
        raise _wrong(key, f"expected a number of bytes, found {_kind(value)}", source)
    return value


def _flavors(value: Any, source: str) -> dict[str, dict[str, Any]]:
    if not isinstance(value, dict):
        raise _wrong("flavors", f"expected a mapping from names to mappings, found {_kind(value)}", source)  # fmt: skip
    flavors: dict[str, dict[str, Any]] = {}
    for name, conf in value.items():
        if not isinstance(name, str) or not isinstance(conf, (dict, type(None))):
            raise _wrong(f"flavors.{name}", f"expected a mapping, found {_kind(conf)}", source)
        flavors[name] = conf or {}
    return flavors


def _signature(value: Any, source: str) -> ModelSignature | None:
    if value is None:
        return None
    if not isinstance(value, dict):
        raise _wrong("signature", f"expected a mapping, found {_kind(value)}", source)
    if not any(value.get(part) for part in ("inputs", "outputs", "params")):
        return None  # MLflow has written empty ones
    try:
        return ModelSignature.from_dict(value)
    except InvalidParameter as error:
        raise _wrong("signature", error.message, source) from None


def _wrong(key: str, problem: str, source: str) -> InvalidModel:
    return InvalidModel(
        f"{source}: {key}: {problem}. Save the model again, or correct this key of the file."
    )


def _kind(value: object) -> str:
    text = repr(value)
    return f"{type(value).__name__} {text if len(text) <= 60 else text[:57] + '...'}"
