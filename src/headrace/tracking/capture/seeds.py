"""One seed for every source of random numbers that a program has loaded, or loads later."""

from __future__ import annotations

import importlib.util
import logging
import os
import random
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

from headrace.errors import InvalidParameter
from headrace.tracking.capture.document import Document, json_document

TAG = "headrace.seed"

_logger = logging.getLogger("headrace")


def _seed_numpy(numpy: Any, n: int) -> None:
    numpy.random.seed(n)


def _seed_torch(torch: Any, n: int) -> None:
    torch.manual_seed(n)  # every device's, CUDA's when it starts


def _seed_tensorflow(tensorflow: Any, n: int) -> None:
    tensorflow.random.set_seed(n)


_LIBRARIES: dict[str, Callable[[Any, int], None]] = {
    "numpy": _seed_numpy,
    "torch": _seed_torch,
    "tensorflow": _seed_tensorflow,
}


class _Seeds:
    """The seed that was set, what it was given to, and who wants to know."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.seed: int | None = None
        self.seeded: list[str] = []
        self.later = _Later()
        self.watchers: list[Callable[[dict[str, str]], None]] = []
        os.register_at_fork(after_in_child=self._after_fork)

    def _after_fork(self) -> None:
        self.lock = threading.RLock()

    def give(self, name: str, library: Any) -> None:
        """Seed one library; one that fails is warned about, and training goes on."""
        with self.lock:
            if self.seed is None:
                return
            try:
                _LIBRARIES[name](library, self.seed)
            except Exception as error:  # noqa: BLE001  a library's own trouble is not worth a training
                _logger.warning("%s could not be seeded: %s", name, error)
            else:
                self.seeded.append(name)


class _Later(MetaPathFinder):
    """Seeds libraries when they are imported after the seed was set. Finds nothing by itself."""

    def __init__(self) -> None:
        self.waiting: set[str] = set()

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname not in self.waiting:
            return None
        self.waiting.discard(fullname)  # so that the next line asks the others
        try:
            spec = importlib.util.find_spec(fullname)
        finally:
            self.waiting.add(fullname)
        if spec is not None and spec.loader is not None and hasattr(spec.loader, "exec_module"):
            spec.loader = _Seeding(spec.loader, self)
        return spec


class _Seeding(Loader):
    """A library's own loader, and a seed at the end; the library does not see it."""

    def __init__(self, loader: Any, later: _Later) -> None:
        self._loader = loader
        self._later = later

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        found: ModuleType | None = self._loader.create_module(spec)
        return found

    def exec_module(self, module: ModuleType) -> None:
        module.__loader__ = self._loader
        if module.__spec__ is not None:
            module.__spec__.loader = self._loader
        self._loader.exec_module(module)
        self._later.waiting.discard(module.__name__)
        _seeds.give(module.__name__, module)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)


_seeds = _Seeds()


def seed(n: int) -> int:
    """Seed Python's `random`, NumPy, PyTorch (CUDA and all devices) and TensorFlow with one number.

    Libraries that are not imported yet are seeded when they are. JAX has no seed of its own to set: give
    it ``jax.random.key(headrace.seed(n))``. ``PYTHONHASHSEED`` is set for processes started from here;
    this process's own hashes are as they are. The seed is kept as the tag ``headrace.seed`` of the
    active run and of runs that start later.

    Args:
        n: 0 to 4,294,967,295, which every library takes.

    Returns:
        The same number.

    Raises:
        InvalidParameter: No such number.
    """
    try:
        n = n.__index__()
    except AttributeError:
        n = -1
    if not 0 <= n < 1 << 32:
        raise InvalidParameter("A seed is a whole number from 0 to 4294967295.")
    with _seeds.lock:
        _seeds.seed = n
        _seeds.seeded = ["random"]
        os.environ["PYTHONHASHSEED"] = str(n)
        random.seed(n)
        for name in _LIBRARIES:
            library = sys.modules.get(name)
            if library is not None:
                _seeds.give(name, library)
            else:
                _seeds.later.waiting.add(name)
        if _seeds.later not in sys.meta_path:
            sys.meta_path.insert(0, _seeds.later)
        watchers = list(_seeds.watchers)
    for watcher in watchers:
        watcher(tags())
    return n


def tags() -> dict[str, str]:
    """The tag of a run that starts now; empty when no seed was set."""
    return {} if _seeds.seed is None else {TAG: str(_seeds.seed)}


def watch(watcher: Callable[[dict[str, str]], None]) -> None:
    """Have a function called with `tags` whenever a seed is set, in the thread that sets it."""
    with _seeds.lock:
        _seeds.watchers.append(watcher)


def current() -> dict[str, Any]:
    """The seeds in force, as far as they can be read without changing anything."""
    found: dict[str, Any] = {
        "seed": _seeds.seed,
        "seeded": list(_seeds.seeded),
        "python_hash_seed": os.environ.get("PYTHONHASHSEED"),
        "hash_randomization": bool(sys.flags.hash_randomization),
    }
    torch = sys.modules.get("torch")
    if torch is not None:
        found["torch"] = _torch(torch)
    return found


def documents() -> Iterator[Document]:
    """``seeds.json``."""
    yield json_document("seeds.json", current())


def _torch(torch: Any) -> dict[str, Any]:
    try:
        return {
            "initial_seed": int(torch.initial_seed()),
            "deterministic_algorithms": bool(torch.are_deterministic_algorithms_enabled()),
            "cudnn_deterministic": bool(torch.backends.cudnn.deterministic),
            "cudnn_benchmark": bool(torch.backends.cudnn.benchmark),
        }
    except Exception:  # noqa: BLE001  whatever a half-loaded library raises
        return {}
