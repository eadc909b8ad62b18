"""Files of text: what they would have imported, fetched or opened."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO

from headrace.models import strict_yaml
from headrace.models.find import flavor_packages
from headrace.models.inspection import keras_config, texts
from headrace.models.inspection.findings import Finding
from headrace.models.inspection.numeric import leads_out

_MOST = 64 << 20
_TELLING = (
    b"auto_map",
    b"custom_pipelines",
    b"trust_remote_code",
    b"attn_implementation",
    b"class_name",
    b"weight_map",
    b"\\u00",
)
#: Keys of MLmodel whose values are paths below its folder. Not ``model_code_path``: MLflow writes where the script
#: was when it was saved, and of that the last part counts.
_PATHS = frozenset(
    ("data", "model_path", "pickled_model", "code", "python_model", "model_weights", "artifact_path", "path",
     "model_binary", "components", "processor", "model_data", "env", "conda", "virtualenv", "model_config", "requirements_file",
     "serving_input_path", "extra_files", "save_path", "keras_model", "state_dict", "custom_objects")
)  # fmt: skip
#: Files that name a module which MLflow imports.
_MODULE_FILES = {"pickle_module_info.txt": ("mlflow.pytorch.pickle_module", "pickle", "cloudpickle"), "keras_module.txt": ("keras", "tensorflow.keras")}  # fmt: skip


class Documents:
    """Looks at texts, and adds what it finds to a list."""

    def __init__(self, findings: list[Finding]) -> None:
        self._findings = findings

    def by_name(self, path: str, stream: BinaryIO, head: bytes, size: int) -> bool:
        """Look at a file that is opened for its name, whatever its bytes are. Whether it is one.

        Some systems take letters of either case for the same.
        """
        name = path.rsplit("/", 1)[-1].rsplit("!", 1)[-1].lower()
        if name == "mlmodel":
            self._mlmodel(path, stream.read(strict_yaml.MAX_BYTES + 1))
        elif name in ("conda.yaml", "python_env.yaml"):
            self._environment(path, stream.read(strict_yaml.MAX_BYTES + 1))
        elif texts.is_requirements(path.lower()):
            self._notes(path, texts.requirement_problems(_text(stream.read(_MOST))))
        elif name in _MODULE_FILES:
            module = _text(stream.read(1000)).strip()
            if module not in _MODULE_FILES[name]:
                self._add(path, "python", f"has MLflow import the module {module[:200]}")
        elif name == "saved_model.pb":
            self._add(path, "opaque", "is a program of TensorFlow")
        elif name.endswith(".json"):
            self._json(path, stream, head, size)
        else:
            return False
        return True

    def by_content(self, path: str, stream: BinaryIO, head: bytes, size: int) -> bool:
        """Look at a file that is nothing but text or numbers. Whether it is one that is known."""
        if head.lstrip()[:1] == b"{":
            self._json(path, stream, head, size)
        elif head.startswith((b"tree\nversion=", b"tree\r\nversion=")):
            self._add(path, "lightgbm")
        else:
            return False
        return True

    def _json(self, path: str, stream: BinaryIO, head: bytes, size: int) -> None:
        if size > _MOST:
            if any(_tells(part) for part in _parts(stream)):
                self._add(
                    path, "opaque", f"has {size:,} bytes, more than are read, and may name code"
                )
        else:
            document = stream.read(_MOST)
            if _tells(document):
                self._document(path, document)
        if b'"learner"' in head[:200] or b"learner" in head[:32]:
            self._add(path, "xgboost")

    def _document(self, path: str, document: bytes) -> None:
        try:
            tree = texts.parsed(document)
        except ValueError:
            return
        problems = texts.config_problems(tree)
        code, dangerous = keras_config.judge_tree(tree)
        for problem in texts.index_problems(tree):
            self._never(path, problem)
        if problems:
            self._add(path, "python", *problems)
        if code or dangerous:
            self._findings.append(
                Finding(
                    path=path,
                    format="keras-code",
                    reasons=tuple((dangerous + code)[:20]),
                    dangerous=bool(dangerous),
                )
            )

    def _environment(self, path: str, content: bytes) -> None:
        try:
            self._notes(path, texts.environment_problems(strict_yaml.load(content)))
        except strict_yaml.Unreadable as error:
            self._never(path, f"is not plain YAML: {error}")

    def _mlmodel(self, path: str, content: bytes) -> None:
        try:
            tree = strict_yaml.load(content)
        except strict_yaml.Unreadable as error:
            self._never(path, f"is not plain YAML: {error}")
            return
        flavors = tree.get("flavors") if isinstance(tree, dict) else None
        if not isinstance(flavors, dict):
            return
        for key, value in _values(flavors):
            if key in _PATHS and leads_out(value):
                self._never(path, f"names '{value[:200]}' under '{key}', outside its folder")
        for conf in flavors.values():
            if isinstance(conf, dict):
                self._flavor(path, conf)

    def _flavor(self, path: str, conf: Mapping[str, Any]) -> None:
        module = conf.get("loader_module")
        known = {"mlflow", "headrace", *flavor_packages()}  # somebody has installed them here
        if isinstance(module, str) and module.partition(".")[0] not in known:
            self._add(path, "python", f"has the module {module[:200]} imported to load the model")
        if conf.get("model_code_path"):
            self._add(
                path,
                "python",
                f"has the code '{str(conf['model_code_path'])[:200]}' run to make the model",
            )
        if conf.get("code"):
            self._add(path, "python", f"has the folder '{str(conf['code'])[:200]}' imported from")
        trusted = conf.get("skops_trusted_types")
        if trusted:
            self._notes(
                path, [f"asks to trust {str(trusted)[:300]}; a model's own list is never read"]
            )

    def _add(self, path: str, format: str, *reasons: str) -> None:
        self._findings.append(Finding(path=path, format=format, reasons=reasons))

    def _notes(self, path: str, problems: list[str]) -> None:
        if problems:
            self._findings.append(Finding(path=path, reasons=tuple(problems)))

    def _never(self, path: str, reason: str) -> None:
        self._findings.append(Finding(path=path, reasons=(reason,), never=True))


def _tells(part: bytes) -> bool:
    """Whether JSON may hold a key that names code; a letter can be written as an escape."""
    return any(key in part for key in _TELLING)


def _parts(stream: BinaryIO) -> Iterator[bytes]:
    """A stream in parts, each with the end of the one before."""
    before = b""
    while part := stream.read(1 << 20):
        yield before + part
        before = part[-32:]


def _values(tree: Any) -> Iterator[tuple[str, str]]:
    """Each text in a tree with the key that it lies under."""
    todo: list[tuple[str, Any]] = [("", tree)]
    while todo:
        key, node = todo.pop()
        if isinstance(node, str):
            yield key, node
        elif isinstance(node, list):
            todo.extend((key, one) for one in node)
        elif isinstance(node, dict):
            todo.extend((str(name), one) for name, one in node.items())


def _text(content: bytes) -> str:
    return content.decode("utf-8", "replace")
