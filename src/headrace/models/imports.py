"""Which modules a model imports: read off its files, and seen when it is loaded in a fresh process.

Files first, for every model: pickles and skops files name each type that they are made of, Python files each
module that they import. That is exact for models without code of their own and costs milliseconds, and nothing is
run.

A model that carries code (a Python function, ``code_paths``) may import what no file names. It is loaded once in a
fresh process, ``python -m headrace.models.imports``, and predicts its input example if it has one. What its own code
asks for is recorded: imports by modules that no installed distribution owns. What libraries import on their own is
theirs to require.
"""

from __future__ import annotations

import argparse
import ast
import builtins
import importlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from headrace.models.requirements import installed

#: What loads the model in the fresh process: ``module:function``, called with the folder.
LOADER = "headrace.models.imports:load_own"
_MOST_BYTES = 64 << 20


def own_code(folder: Path) -> bool:
    """Whether a model carries code of its own: files of Python, or a pickled function."""
    return any(folder.rglob("*.py")) or any(folder.glob("python_model*"))


def named_modules(folder: Path) -> set[str]:
    """Modules that a model's files name. Nothing is run; files over 64 MiB are passed over."""
    from headrace.models.inspection.inspector import inspect_files
    from headrace.models.structure import files_of

    files = [one for one in files_of(folder) if one.size <= _MOST_BYTES]
    found: set[str] = set()
    for finding in inspect_files(folder, files):
        found.update((*finding.types, *finding.imports))
    for one in files:
        if one.path.endswith(".py"):
            found |= _imported(folder / one.path)
    local = {path.stem for path in folder.rglob("*.py")} | {
        path.parent.name for path in folder.rglob("__init__.py")
    }
    return {
        name
        for name in found
        if name.partition(".")[0].isidentifier() and name.partition(".")[0] not in local
    }


def _imported(file: Path) -> set[str]:
    try:
        tree = ast.parse(file.read_bytes())
    except (SyntaxError, ValueError, RecursionError):
        return set()
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found.update(one.name for one in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module)
    return found


def seen_modules(folder: Path, timeout: float = 120.0, loader: str = LOADER) -> set[str]:
    """Modules that a model's own code imports when it is loaded, found out in a fresh process.

    Args:
        folder: The model's, its MLmodel included.
        timeout: Seconds.
        loader: What loads it, ``module:function``.

    Raises:
        RuntimeError: It could not be loaded in that time; the message has the end of what it wrote.
    """
    with tempfile.TemporaryDirectory(prefix="headrace-imports-") as scratch:
        file = Path(scratch) / "modules.json"
        command = [sys.executable, "-m", __name__, str(folder), str(file), "--loader", loader]
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(one for one in sys.path if one)}
        try:
            done = subprocess.run(
                command,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                timeout=timeout,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise RuntimeError(f"it was not loaded within {timeout:g} seconds") from None
        if done.returncode != 0 or not file.exists():
            lines = done.stderr.decode(errors="replace").strip().splitlines()
            raise RuntimeError(lines[-1][:500] if lines else f"exit status {done.returncode}")
        return set(json.loads(file.read_text(encoding="utf-8")))


class Recorder:
    """Records which modules are asked for by code that no installed distribution owns."""

    def __init__(self) -> None:
        self.found: set[str] = set()
        self._owned: dict[str, bool] = {}
        self._libraries = {f"{Path(one.info).parent}{os.sep}" for one in installed().values()} - {
            f"{folder}{os.sep}" for folder in (str(Path.cwd()), "")
        }

    def take(self, caller: object, name: str) -> None:
        """Notes an import."""
        if isinstance(caller, str) and name and not self._is_owned(caller.partition(".")[0]):
            self.found.add(name)

    def _is_owned(self, top: str) -> bool:
        if top not in self._owned:
            file = getattr(sys.modules.get(top), "__file__", None)
            self._owned[top] = top != "__main__" and (
                top in sys.stdlib_module_names
                or top == "headrace"
                or (file is not None and self._is_library(str(file)))
            )
        return self._owned[top]

    def _is_library(self, file: str) -> bool:
        return any(file.startswith(folder) for folder in self._libraries)

    def record(self, action: Callable[[], Any]) -> Any:
        """Runs something and notes what it imports."""
        plain, by_name = builtins.__import__, importlib.import_module

        def statement(
            name: str, globals: Any = None, locals: Any = None, fromlist: Any = (), level: int = 0
        ) -> Any:
            if not level:
                self.take((globals or {}).get("__name__"), name)
            return plain(name, globals, locals, fromlist, level)

        def function(name: str, package: str | None = None) -> Any:
            if not name.startswith("."):
                self.take(sys._getframe(1).f_globals.get("__name__"), name)
            return by_name(name, package)

        builtins.__import__ = statement
        importlib.import_module = function
        try:
            return action()
        finally:
            builtins.__import__ = plain
            importlib.import_module = by_name


def main(arguments: Iterable[str] | None = None) -> None:
    """``python -m headrace.models.imports FOLDER OUT [--loader MODULE:FUNCTION]``: writes the modules as JSON."""
    parser = argparse.ArgumentParser(prog=f"python -m {__name__}")
    parser.add_argument("folder", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--loader", default=LOADER)
    given = parser.parse_args(None if arguments is None else list(arguments))
    module, _, function = given.loader.partition(":")
    load = getattr(importlib.import_module(module), function)
    recorder = Recorder()
    recorder.record(lambda: _try_example(load(given.folder), given.folder))
    given.out.write_text(json.dumps(sorted(recorder.found)), encoding="utf-8")


def load_own(folder: Path) -> Any:
    """The model of a folder that this user is saving: whatever is in it, it is his."""
    from headrace.models.formats import FORMATS
    from headrace.models.inspection.inspector import inspect_files
    from headrace.models.policy import Policy
    from headrace.models.structure import files_of

    load_folder = importlib.import_module("headrace.models.loading").load_folder
    types = {name for one in inspect_files(folder, files_of(folder)) for name in one.types}
    policy = Policy(formats=frozenset(FORMATS), trusted=frozenset(types))
    return load_folder(folder, as_="pyfunc", policy=policy)


def _try_example(model: Any, folder: Path) -> None:
    """Predicts the input example, for what is imported only then; that it fails is no matter here."""
    from headrace.models.examples import load_example
    from headrace.models.mlmodel import MLModel

    predict = getattr(model, "predict", None)
    try:
        described = MLModel.read(folder)
        example = load_example(folder, described.saved_input_example_info, described.signature)
        if predict is not None and example is not None:
            predict(example)
    except Exception:  # noqa: BLE001 - the model's own code; what it had imported is recorded
        pass


if __name__ == "__main__":
    main()
