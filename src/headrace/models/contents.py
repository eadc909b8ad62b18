"""What each file of a model is, as its bytes say, and what opening it would do.

Shared by the audit, which refuses, and the scan, which explains. Nothing is imported that a file names, nothing is
unpickled, and nothing is unpacked to where it would stay. Memory, time and what is unpacked are bounded: a file that is over the bound
is reported as such, never passed over.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

from headrace.models.dangerous import is_dangerous
from headrace.models.findings import Finding
from headrace.models.pickles import UNKNOWN, Pickle, follow, is_headless, looks_pickled
from headrace.models.structure import Entry, open_plain

_HEAD = 1 << 16
_PICKLE_NAMES = (".pkl", ".pickle", ".pck", ".pcl", ".joblib", ".dill", ".cloudpickle", ".p")


def inspect_files(folder: Path, files: Iterable[Entry]) -> list[Finding]:
    """What is known of the files of a folder, in their order.

    Args:
        folder: The model's folder.
        files: As `headrace.models.structure.files_of` has them.
    """
    inspector = Inspector()
    for entry in files:
        with open_plain(folder / entry.path) as stream:
            inspector.look_at(entry.path, stream)
    return inspector.findings


class Inspector:
    """Looks at files, and at what lies in them."""

    def __init__(self) -> None:
        self.findings: list[Finding] = []

    def look_at(self, path: str, stream: BinaryIO, depth: int = 0) -> None:
        """Find out what a stream that can seek is."""
        head = stream.read(_HEAD)
        stream.seek(0)
        if path.lower().endswith(_PICKLE_NAMES) or looks_pickled(head) or is_headless(head):
            self._pickle(path, stream, depth)
        else:
            self.findings.append(Finding(path=path))

    def _pickle(self, path: str, stream: BinaryIO, depth: int) -> None:
        self.findings.append(judge_pickle(path, follow(stream)))


def judge_pickle(path: str, found: Pickle, format: str = "pickle") -> Finding:
    """A followed pickle as a finding."""
    dangerous = [name for name in found.imports if UNKNOWN in name.split(".") or is_dangerous(name)]
    reasons = [f"imports {name}" for name in dangerous[:20]]
    if found.broken:
        reasons.append(f"cannot be followed to its end ({found.broken})")
    return Finding(
        path=path,
        format=format,
        reasons=tuple(reasons),
        imports=found.imports,
        dangerous=bool(dangerous),
    )
