"""What each file of a model is, as its bytes say, and what opening it would do.

Shared by the audit, which refuses, and the scan, which explains. Nothing is imported that a file names, nothing
is unpickled, and nothing is unpacked to where it would stay. Memory, time and what is unpacked are bounded: what is
over the bound is reported as such, never passed over.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterable
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

from headrace.models.inspection import (
    archives,
    exported,
    keras_config,
    numeric,
    skops_types,
    texts,
)
from headrace.models.inspection.dangerous import is_dangerous
from headrace.models.inspection.documents import Documents
from headrace.models.inspection.findings import Finding
from headrace.models.inspection.pickles import (
    UNKNOWN,
    Pickle,
    begins_pickle,
    follow,
    looks_pickled,
    may_be_pickle,
)
from headrace.models.structure import Entry, open_plain

_HEAD = 1 << 13
_MOST_DEPTH = 4
#: Opcodes of pickles that are followed, of all files together.
_MOST_OPCODES = 20_000_000
#: Bytes of a document that is read whole.
_MOST_DOCUMENT = 64 << 20
_PICKLE_NAMES = (
    ".pkl", ".pickle", ".pck", ".pcl", ".joblib", ".dill", ".cloudpickle", ".p", ".pt", ".pth", ".ckpt",
)  # fmt: skip
#: Members that make an archive what it is, and are looked at as that.
_LOOKED = {"schema.json": "skops", "config.json": "keras"}


def inspect_files(folder: Path, files: Iterable[Entry]) -> list[Finding]:
    """What is known of the files of a folder, in their order.

    Args:
        folder: The model's folder.
        files: As `headrace.models.structure.files_of` has them.
    """
    inspector = Inspector()
    for entry in files:
        with open_plain(folder / entry.path) as stream:
            inspector.look_at(entry.path, stream, entry.size)
    return inspector.findings


class Inspector:
    """Looks at files, and at what lies in them.

    Attributes:
        findings: One or more for each file, in the order of looking.
    """

    def __init__(self) -> None:
        self.findings: list[Finding] = []
        self._budget = archives.Budget()
        self._opcodes = _MOST_OPCODES

    def look_at(self, path: str, stream: BinaryIO, size: int, depth: int = 0) -> None:
        """Find out what a stream is.

        Args:
            path: How to call it.
            stream: At its beginning; one that can seek.
            size: In bytes.
            depth: How many archives it lies in.
        """
        if depth > _MOST_DEPTH:
            self._never(path, f"lies in more than {_MOST_DEPTH} archives")
            return
        before = len(self.findings)
        try:
            self._look(path, stream, size, depth)
        except archives.Bomb as error:
            self._never(path, f"is a decompression bomb: {error}")
        except Exception as error:  # noqa: BLE001 - what cannot be looked at must not pass, whatever it made the libraries raise
            self._never(path, f"cannot be looked at: {type(error).__name__}: {str(error)[:200]}")
        if len(self.findings) == before:
            self.findings.append(Finding(path=path))

    def _look(self, path: str, stream: BinaryIO, size: int, depth: int) -> None:
        head = stream.read(_HEAD)
        stream.seek(0)
        # First by its name, for that is how Python and the loaders go. Whatever else it is comes beside: a script or an
        # MLmodel can be a tar archive too, and a native library can carry HDF5.
        code = texts.is_code(path, head)
        if code:
            self._add(path, "python", "is code that can be imported")
        documents = Documents(self.findings)
        known = documents.by_name(path, stream, head, size)
        stream.seek(0)
        if archives.is_zip(stream, head):
            self._zip(path, stream, size, depth)
            if head.startswith(archives.ZIP):
                return
            # Something else to whoever reads from the beginning. Only in a tar archive can one lie by chance.
            if not archives.is_tar(head):
                self._note(
                    path, "is an archive to some readers and something else to others", never=True
                )
            stream.seek(0)
        for magic, name in archives.OPAQUE.items():
            if head.startswith(magic):
                self._add(path, "opaque", f"is packed as {name}: nobody can look into it here")
                return
        if begins_pickle(stream) or path.lower().endswith(_PICKLE_NAMES):
            self._pickle(path, stream, depth)
        elif head.startswith(numeric.NPY):
            self._npy(path, stream, depth)
        elif path.lower().endswith((".h5", ".hdf5")) or numeric.is_hdf5(stream, size):
            self._hdf5(path, stream)
        elif archives.is_tar(head):
            self._tar(path, stream, depth)
        elif (
            (archives.is_compressed(head) and self._compressed(path, stream, head, size, depth))
            or code
            or known
        ):
            return
        elif numeric.is_safetensors(head, size):
            self._safetensors(path, stream, size)
        elif path.lower().endswith(".onnx") or numeric.looks_like_onnx(head):
            self._onnx(path, stream, size)
        elif not documents.by_content(path, stream, head, size) and b"\0" in head:
            # Whatever its name: a model of ONNX in another order than it is written in.
            stream.seek(0)
            self._onnx(path, stream, size)

    # Formats

    def _pickle(self, path: str, stream: BinaryIO, depth: int) -> None:
        found = self._follow(stream)
        self.findings.append(judge_pickle(path, found))
        for count, nested in enumerate(found.nested):
            self.look_at(f"{path}!bytes {count + 1}", BytesIO(nested), len(nested), depth + 1)

    def _follow(self, stream: BinaryIO) -> Pickle:
        found = follow(stream, most_opcodes=self._opcodes)
        self._opcodes = max(0, self._opcodes - found.opcodes)
        return found

    def _npy(self, path: str, stream: BinaryIO, depth: int) -> None:
        try:
            if numeric.npy_has_objects(stream):
                finding = judge_pickle(path, self._follow(stream))
                self.findings.append(
                    _with_reason(finding, "is an array of Python objects, which are pickled")
                )
        except numeric.Wrong as error:
            self._never(path, f"begins as an array of numpy, but {error}")

    def _hdf5(self, path: str, stream: BinaryIO, *, weights: bool = False) -> None:
        try:
            problems = numeric.hdf5_problems(stream)
        except numeric.Wrong as error:
            self._never(path, f"begins as HDF5, but {error}")
            return
        for problem in problems:
            self._never(path, problem)
        stream.seek(0)
        if not weights and numeric.hdf5_is_model(stream):
            self._add(
                path, "keras-code", "is a model in Keras' old format, where safe mode is not asked"
            )

    def _safetensors(self, path: str, stream: BinaryIO, size: int) -> None:
        try:
            numeric.check_safetensors(stream, size)
        except numeric.Wrong as error:
            self._never(path, f"begins as safetensors, but {error}")
        else:
            self._add(path, "safetensors")

    def _onnx(self, path: str, stream: BinaryIO, size: int) -> None:
        try:
            used, problems = numeric.onnx_problems(stream, size)
        except numeric.Wrong as error:
            if path.lower().endswith(".onnx"):
                self._never(path, f"is called ONNX, but {error}")
            return
        for problem in problems:
            self._never(path, problem, format="onnx")
        if (used and not problems) or path.lower().endswith(".onnx"):
            reasons = (f"takes numbers from {', '.join(used[:5])}",) if used else ()
            self.findings.append(Finding(path=path, format="onnx", reasons=reasons))

    def _compressed(self, path: str, stream: BinaryIO, head: bytes, size: int, depth: int) -> bool:
        """Whether something came out of a file that begins as a compressed one does."""
        inner, length, damaged = archives.unpacked(stream, head, size, self._budget)
        with inner:
            if not length:
                return False
            if damaged:
                self._never(path, f"is compressed, and {damaged}")
            self.look_at(f"{path}!unpacked", inner, length, depth + 1)
        return True

    def _tar(self, path: str, stream: BinaryIO, depth: int) -> None:
        try:
            for member, content in archives.tar_members(stream):
                name = f"{path}!{member.name}"
                problem = archives.tar_problem(member)
                if problem:
                    self._never(name, problem)
                elif content is not None:
                    with archives.spooled(archives.pieces(content), self._budget) as inner:
                        self.look_at(name, inner, member.size, depth + 1)
        except archives.Bomb:
            raise
        except ValueError as error:
            self._never(path, f"is a damaged archive: {error}")

    # Zip archives

    def _zip(self, path: str, stream: BinaryIO, size: int, depth: int) -> None:
        try:
            archive = zipfile.ZipFile(stream)
        except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, EOFError) as error:
            self._never(path, f"is a damaged archive: {error}")
            return
        with archive:
            problems = archives.zip_problems(archive, size)
            for problem in problems:
                self._never(path, problem)
            if any("come out of" in problem or "members" in problem for problem in problems):
                return
            # An archive can be several things at once: whoever opens it takes it for what he looks for.
            kinds = _kinds_of(archive.namelist())
            if "skops" in kinds:
                self._skops(path, stream, archive)
            if "keras" in kinds:
                self._keras(path, archive)
            if "torch-export" in kinds:
                self._exported(path, archive)
            if "torchscript" in kinds:
                self._add(path, "torchscript", "holds a program")
            self._members(path, stream, archive, kinds, depth)

    def _members(
        self,
        path: str,
        stream: BinaryIO,
        archive: zipfile.ZipFile,
        kinds: frozenset[str],
        depth: int,
    ) -> None:
        for member in archive.infolist():
            if member.is_dir() or _LOOKED.get(member.filename) in kinds:
                continue
            name = f"{path}!{member.filename}"
            before = len(self.findings)
            try:
                inner = archives.stored(stream, member) or self._unpacked_member(archive, member)
                if inner is not None:
                    with inner:
                        self.look_at(name, inner, member.file_size, depth + 1)
            except archives.Bomb:
                raise
            except ValueError as error:
                self._never(name, f"is damaged, which some readers ignore: {error}")
            self.findings[before:] = [
                _in_archive(finding, kinds) for finding in self.findings[before:] if _tells(finding)
            ]

    def _unpacked_member(
        self, archive: zipfile.ZipFile, member: zipfile.ZipInfo
    ) -> BinaryIO | None:
        """A compressed member to look at; None when it holds numbers only, as most of a model's bytes do.

        Raises:
            ValueError: It is damaged.
        """
        head = archives.member_head(archive, member, _HEAD)
        if member.file_size > len(head) and not _is_worth_it(member.filename, head):
            return None
        return archives.spooled(archives.member_pieces(archive, member), self._budget)

    def _skops(self, path: str, stream: BinaryIO, archive: zipfile.ZipFile) -> None:
        try:
            schema = self._document(archive, "schema.json")
            stream.seek(0)
            types, dangerous = skops_types.asked_types(stream, schema)
        except archives.Bomb:
            raise
        except ValueError as error:
            self._never(path, f"is no file of skops: {error}")
            return
        reasons = [f"asks for {name}, which runs what it is given" for name in dangerous[:20]]
        self.findings.append(
            Finding(
                path=path,
                format="skops",
                types=tuple(types),
                reasons=tuple(reasons),
                dangerous=bool(dangerous),
            )
        )

    def _keras(self, path: str, archive: zipfile.ZipFile) -> None:
        try:
            code, dangerous = keras_config.judge(self._document(archive, "config.json"))
        except archives.Bomb:
            raise
        except (ValueError, KeyError) as error:
            self._never(path, f"is no file of Keras: {error}")
            return
        if code or dangerous:
            self.findings.append(
                Finding(
                    path=path,
                    format="keras-code",
                    reasons=tuple((dangerous + code)[:20]),
                    dangerous=bool(dangerous),
                )
            )
        else:
            self._add(path, "keras")

    def _exported(self, path: str, archive: zipfile.ZipFile) -> None:
        problems: list[str] = []
        pickled: list[str] = []
        for name in archive.namelist():
            if not name.endswith(".json"):
                continue
            try:
                content = self._document(archive, name)
                problems += exported.problems(content)
                pickled += exported.pickled(name.split("/", 1)[-1], content)
            except archives.Bomb:
                raise
            except ValueError as error:
                self._never(f"{path}!{name}", f"cannot be read: {error}")
        if problems:
            self._never(path, "; ".join(problems[:5]), format="torch-export")
        elif pickled:
            self._add(path, "torch-pickle", "; ".join(pickled[:5]))
        else:
            self._add(path, "torch-export")

    def _document(self, archive: zipfile.ZipFile, name: str) -> bytes:
        """A member that is read whole.

        Raises:
            Bomb: It is longer than any is.
            ValueError: It is damaged.
        """
        member = archive.getinfo(name)
        if member.file_size > _MOST_DOCUMENT:
            raise archives.Bomb(f"'{name}' has {member.file_size:,} bytes")
        self._budget.take(member.file_size)
        return b"".join(archives.member_pieces(archive, member))

    # Findings

    def _add(self, path: str, format: str, *reasons: str) -> None:
        self.findings.append(Finding(path=path, format=format, reasons=reasons))

    def _note(self, path: str, reason: str, *, never: bool = False) -> None:
        self.findings.append(Finding(path=path, reasons=(reason,), never=never))

    def _never(self, path: str, reason: str, format: str | None = None) -> None:
        self.findings.append(Finding(path=path, format=format, reasons=(reason,), never=True))


def judge_pickle(path: str, found: Pickle) -> Finding:
    """A followed pickle as a finding."""
    dangerous = [name for name in found.imports if UNKNOWN in name.split(".") or is_dangerous(name)]
    reasons = [
        f"imports {name}" if UNKNOWN not in name else "imports what only running it would tell"
        for name in dangerous[:20]
    ]
    others = [name for name in found.imports if name not in dangerous]
    if others:
        reasons.append(f"imports {', '.join(others[:10])}")
    if found.broken:
        reasons.append(f"cannot be followed to its end ({found.broken})")
    return Finding(
        path=path,
        format="pickle",
        reasons=tuple(dict.fromkeys(reasons)),
        imports=found.imports,
        dangerous=bool(dangerous),
        tensors=found.is_tensors,
    )


def _kinds_of(names: list[str]) -> frozenset[str]:
    """What a zip archive can be taken for, by the members without which it is not that."""
    kinds = set()
    bases = {name.rsplit("/", 1)[-1] for name in names}
    if "schema.json" in names:
        kinds.add("skops")
    if "config.json" in names:
        kinds.add("keras")
    if bases & {"archive_format", "serialized_exported_program.json"}:
        kinds.add("torch-export")
    if "constants.pkl" in bases or any("/code/" in name for name in names):
        kinds.add("torchscript")
    elif "data.pkl" in bases:
        kinds.add("torch-pickle")
    return frozenset(kinds)


def _is_worth_it(name: str, head: bytes) -> bool:
    """Whether a long member begins as something that is more than numbers."""
    return (
        head.startswith((*archives.ZIP, *archives.OPAQUE, numeric.NPY, numeric.HDF5))
        or looks_pickled(head)
        or archives.is_compressed(head)
        or archives.is_tar(head)
        or name.lower().endswith((*_PICKLE_NAMES, ".json", ".h5", ".hdf5", ".onnx"))
        or texts.is_code(name, head)
        or may_be_pickle(head)
        or zipfile.is_zipfile(BytesIO(head))
    )


def _in_archive(finding: Finding, kinds: frozenset[str]) -> Finding:
    """A member's finding, as it counts in an archive of those kinds."""
    if "torchscript" in kinds and finding.format in ("pickle", "python"):
        return _replace(finding, format="torchscript")
    if "torch-pickle" in kinds and finding.format == "pickle":
        return _replace(finding, format="torch-pickle")
    if kinds == {"torch-export"} and finding.tensors:
        # Whatever unpickles it gets tensors.
        return Finding(path=finding.path, imports=finding.imports)
    return finding


def _tells(finding: Finding) -> bool:
    return bool(finding.format or finding.reasons or finding.imports)


def _with_reason(finding: Finding, reason: str) -> Finding:
    return _replace(finding, reasons=(reason, *finding.reasons))


def _replace(finding: Finding, **changes: object) -> Finding:
    import msgspec

    return msgspec.structs.replace(finding, **changes)
