"""The environment of a model: ``requirements.txt``, ``python_env.yaml``, ``conda.yaml``, and a lock.

The first three are MLflow's, key by key. ``requirements.txt`` pins MLflow first, whose loaders the folder names, then
what the model imports (`headrace.models.imports`), at the versions that are installed. ``requirements.lock``
is headrace's own: all that these bring along, at the versions that ran here.
"""

from __future__ import annotations

import logging
import platform
import shutil
import subprocess
from collections.abc import Iterable, Sequence
from os import PathLike
from pathlib import Path
from typing import Any, TypeAlias

import msgspec
import yaml

from headrace.errors import InvalidModel, InvalidParameter
from headrace.models import imports, strict_yaml
from headrace.models.mlmodel import MLFLOW_VERSION
from headrace.models.requirements import closure_of, installed, name_of, parse, pins

REQUIREMENTS = "requirements.txt"
CONSTRAINTS = "constraints.txt"
PYTHON_ENV = "python_env.yaml"
CONDA_ENV = "conda.yaml"
LOCK = "requirements.lock"

Requirements: TypeAlias = str | PathLike[str] | Iterable[str]

_log = logging.getLogger(__name__)
_Dumper: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
_BUILD = ("pip", "setuptools", "wheel")
_MLFLOW = ("mlflow", "mlflow-skinny")


class Environment(msgspec.Struct, frozen=True, kw_only=True):
    """What a model's folder says about the environment it needs.

    Attributes:
        python: The version of Python, None if nothing says so.
        requirements: Lines for pip.
        constraints: Lines for pip's ``-c``.
        lock: Lines of ``requirements.lock``; empty without one.
    """

    python: str | None = None
    requirements: tuple[str, ...] = ()
    constraints: tuple[str, ...] = ()
    lock: tuple[str, ...] = ()


def write_environment(
    folder: Path | str,
    *,
    requirements: Iterable[str] = (),
    pip_requirements: Requirements | None = None,
    extra_pip_requirements: Requirements | None = None,
    infer: bool = True,
    timeout: float = 120.0,
    loader: str = imports.LOADER,
) -> Environment:
    """Writes the files of a model's environment into its folder.

    Args:
        folder: The model's, with all its files. For the fresh process MLmodel must be there too.
        requirements: What the flavor needs: names, pinned to what is installed.
        pip_requirements: What to write instead of what is found out: lines, or a requirements file.
        extra_pip_requirements: What to write beside that.
        infer: Whether to find out what the model imports. False: only the flavor's.
        timeout: Seconds for the fresh process.
        loader: What loads the model in it, ``module:function``.

    Raises:
        InvalidParameter: Both kinds of ``pip_requirements`` are given, or a file is not there.
    """
    if pip_requirements is not None and extra_pip_requirements is not None:
        raise InvalidParameter("Give pip_requirements or extra_pip_requirements, not both")
    folder = Path(folder)
    constraints: list[str] = []
    if pip_requirements is not None:
        wanted, constraints = parse(pip_requirements)
    else:
        modules = _modules(folder, timeout, loader) if infer else set()
        wanted = pins(modules, requirements)
        if extra_pip_requirements is not None:
            extra, constraints = parse(extra_pip_requirements)
            replaced = {name_of(line) for line in extra} - {None}
            wanted = [line for line in wanted if name_of(line) not in replaced] + extra
    wanted = list(dict.fromkeys(wanted))
    if not any(name_of(line) in _MLFLOW for line in wanted):
        wanted.insert(0, f"mlflow=={MLFLOW_VERSION}")
    lock = _lock(wanted)
    if constraints:
        (folder / CONSTRAINTS).write_text(_text(constraints), encoding="utf-8")
        wanted.append(f"-c {CONSTRAINTS}")
    (folder / REQUIREMENTS).write_text(_text(wanted), encoding="utf-8")
    (folder / LOCK).write_text(_text(lock), encoding="utf-8")
    _write_yaml(folder / PYTHON_ENV, _python_env())
    _write_yaml(folder / CONDA_ENV, _conda_env(wanted))
    return Environment(
        python=platform.python_version(),
        requirements=tuple(wanted),
        constraints=tuple(constraints),
        lock=tuple(lock),
    )


def _modules(folder: Path, timeout: float, loader: str) -> set[str]:
    found = imports.named_modules(folder)
    if imports.own_code(folder) and (folder / "MLmodel").exists():
        try:
            found |= imports.seen_modules(folder, timeout, loader)
        except RuntimeError as error:
            _log.warning(
                "What the model imports could not be seen by loading it (%s). Its requirements are what its files name "
                "and what its flavor needs; give extra_pip_requirements if something is missing.",
                error,
            )
    return found


def read_environment(folder: Path | str) -> Environment:
    """What a model's folder says, MLflow's of any release included. Files that are not there say nothing.

    Raises:
        InvalidModel: A file cannot be read, or is not YAML.
    """
    folder = Path(folder)
    conda = _yaml(folder / CONDA_ENV)
    python = _yaml(folder / PYTHON_ENV).get("python") or _conda_python(conda)
    lines = _listed(folder / REQUIREMENTS) or _conda_pip(conda)
    return Environment(
        python=None if python is None else str(python),
        requirements=tuple(one for one in lines if not one.startswith("-c ")),
        constraints=tuple(_listed(folder / CONSTRAINTS)),
        lock=tuple(_listed(folder / LOCK)),
    )


def lock_with_hashes(folder: Path | str, timeout: float = 120.0) -> bool:
    """Writes the lock again with the hashes of all files, by ``uv``, which asks the package index.

    Returns:
        False if there is no ``uv`` here or it failed; the lock is as it was then.
    """
    uv = shutil.which("uv")
    folder = Path(folder)
    if uv is None:
        return False
    command = [uv, "pip", "compile", "--quiet", "--no-header", "--no-annotate", "--generate-hashes", LOCK, "-o", "-"]  # fmt: skip
    try:
        done = subprocess.run(
            command, cwd=folder, capture_output=True, timeout=timeout, check=False, stdin=subprocess.DEVNULL
        )  # fmt: skip
    except (subprocess.TimeoutExpired, OSError) as error:
        _log.warning("uv did not make a lock with hashes: %s", error)
        return False
    if done.returncode != 0:
        _log.warning("uv did not make a lock with hashes: %s", done.stderr.decode(errors="replace")[-500:])  # fmt: skip
        return False
    (folder / LOCK).write_bytes(done.stdout)
    return True


def _lock(wanted: Iterable[str]) -> list[str]:
    """All that the requirements bring along, as installed. MLflow's own is left out where it is not installed."""
    lines = [line for line in wanted if not line.startswith("-")]
    found = {one.name: one.pin() for one in closure_of(lines) if one.name not in _MLFLOW}
    # What was asked for in other words than a name (a URL, another version) stays as it was asked for.
    for line in lines:
        name = name_of(line)
        if name is None or (name not in found and name not in _MLFLOW):
            found[line] = line
        elif name in found and "==" in line:
            found[name] = line
    return [f"# Python {platform.python_version()}", *(found[name] for name in sorted(found))]


def _python_env() -> dict[str, Any]:
    return {
        "python": platform.python_version(),
        "build_dependencies": [_build(name) for name in _BUILD],
        "dependencies": [f"-r {REQUIREMENTS}"],
    }


def _build(name: str) -> str:
    there = installed().get(name)
    return there.pin() if there else name


def _conda_env(wanted: Sequence[str]) -> dict[str, Any]:
    pip = installed().get("pip")
    return {
        "channels": ["conda-forge"],
        "dependencies": [
            f"python={platform.python_version()}",
            f"pip<={pip.version}" if pip else "pip",
            {"pip": list(wanted)},
        ],
        "name": "mlflow-env",
    }


def _write_yaml(file: Path, data: dict[str, Any]) -> None:
    text = yaml.dump(data, Dumper=_Dumper, sort_keys=False, default_flow_style=False)
    file.write_text(str(text), encoding="utf-8")


def _text(lines: Iterable[str]) -> str:
    return "".join(f"{line}\n" for line in lines)


def _listed(file: Path) -> list[str]:
    try:
        text = file.read_text(encoding="utf-8")
    except FileNotFoundError:
        return []
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidModel(f"{file} cannot be read: {error}") from None
    stripped = (line.strip() for line in text.splitlines())
    return [line for line in stripped if line and not line.startswith("#")]


def _yaml(file: Path) -> dict[str, Any]:
    try:
        found = strict_yaml.load(file.read_bytes())
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise InvalidModel(f"{file} cannot be read: {error}") from None
    except strict_yaml.Unreadable as error:
        raise InvalidModel(f"{file}: {error}") from None
    return found if isinstance(found, dict) else {}


def _conda_python(conda: dict[str, Any]) -> str | None:
    for one in _dependencies(conda):
        if isinstance(one, str) and one.startswith("python="):
            return one.removeprefix("python").lstrip("=") or None
    return None


def _conda_pip(conda: dict[str, Any]) -> list[str]:
    for one in _dependencies(conda):
        if isinstance(one, dict) and isinstance(one.get("pip"), list):
            return [str(line) for line in one["pip"]]
    return []


def _dependencies(conda: dict[str, Any]) -> list[Any]:
    found = conda.get("dependencies")
    return found if isinstance(found, list) else []
