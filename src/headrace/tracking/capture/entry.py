"""What was started, by whom and where: the script, module, notebook or console of this process."""

from __future__ import annotations

import getpass
import os
import sys
from pathlib import Path
from typing import Any, Literal

import msgspec

Kind = Literal["script", "module", "notebook", "command", "console"]


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """What was started.

    Attributes:
        kind: A file, ``-m module``, a notebook, ``-c command``, or an interactive console.
        name: As MLflow's tag ``mlflow.source.name`` has it.
        path: The file, where there is one.
        module: Of ``-m``.
    """

    kind: Kind
    name: str
    path: Path | None = None
    module: str | None = None


def entry() -> Entry:
    """What this process was started with."""
    shell = _kernel()
    if shell is not None:
        path = _notebook(shell)
        return Entry(kind="notebook", name=str(path or "<notebook>"), path=path)
    name = source_name()
    main = sys.modules.get("__main__")
    file = getattr(main, "__file__", None)
    if name == "-c":
        return Entry(kind="command", name=name)
    path = next((Path(one).absolute() for one in (file, name) if one and Path(one).is_file()), None)
    if path is None:
        return Entry(kind="console", name=name)
    spec = getattr(main, "__spec__", None)
    if spec is not None:
        module = str(spec.name).removesuffix(".__main__")
        return Entry(kind="module", name=name, path=path, module=module)
    return Entry(kind="script", name=name, path=path)


def source_name() -> str:
    """The script of this process as it was called, else ``<console>``."""
    return (sys.argv[0] if sys.argv else "") or "<console>"


def user() -> str:
    """Name of the user of this process."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # no such user in this container
        return "unknown"


def command_line() -> list[str]:
    """How the interpreter was called, its own options included. Not scrubbed."""
    return list(sys.orig_argv)


def source_folder(given: Entry) -> Path:
    """The folder in whose repository the code is looked for.

    That of the file that was started; for what lies in the interpreter's own installation, such as
    the ``torchrun`` or ``pytest`` of a virtual environment, and where nothing was, the current one.
    """
    if given.path is not None:
        folder = given.path.resolve().parent
        if not is_installed(folder):
            return folder
    return current_folder()


def current_folder() -> Path:
    """The current folder; the root of the disk when that was removed."""
    try:
        return Path.cwd()
    except OSError:
        return Path(os.sep)


def is_installed(path: Path) -> bool:
    """Whether a path lies in the interpreter's installation or environment."""
    homes = {sys.prefix, sys.base_prefix, sys.exec_prefix}
    return any(path.is_relative_to(Path(home).resolve()) for home in homes if home != os.sep)


def _kernel() -> Any:
    """The shell of a notebook's kernel; None elsewhere, IPython's terminal included."""
    module = sys.modules.get("IPython")
    get = getattr(module, "get_ipython", None)
    shell = get() if get is not None else None
    return shell if getattr(shell, "kernel", None) is not None else None


def _notebook(shell: Any) -> Path | None:
    """The file of the notebook, as the front end says; not all say it."""
    namespace = getattr(shell, "user_ns", {})
    for said in (
        namespace.get("__vsc_ipynb_file__"),
        os.environ.get("__vsc_ipynb_file__"),  # noqa: SIM112
        os.environ.get("JPY_SESSION_NAME"),
        os.environ.get("IPYNB_FILE"),
    ):
        if isinstance(said, str) and said.endswith(".ipynb"):
            path = Path(said)
            # Jupyter gives the path from the server's root; the kernel runs in the notebook's folder.
            found = next((one for one in (path, Path(path.name)) if one.is_file()), path)
            return found.absolute()
    return None
