"""wandb without its server: the points go to a process of its own, which writes them to a file."""

from __future__ import annotations

from benchmarks.peers.tool import LOCAL, Tool

# Its file: a head of 7 bytes, then blocks of 32 KiB, filled with pieces of records as in LevelDB's log.
_COUNT = """
import pathlib, struct
from wandb.proto import wandb_internal_pb2
total = 0
for file in {path.resolve() for path in pathlib.Path().rglob("*.wandb")}:
    data, at, body = file.read_bytes(), 7, b""
    while at + 7 <= len(data):
        if 32768 - at % 32768 < 7:
            at += 32768 - at % 32768
            continue
        size, kind = struct.unpack_from("<HB", data, at + 4)
        body += data[at + 7 : at + 7 + size]
        at += 7 + size
        if kind in (1, 4):
            record = wandb_internal_pb2.Record.FromString(body)
            body = b""
            if record.WhichOneof("record_type") == "history":
                keys = (item.key or item.nested_key[0] for item in record.history.item)
                total += sum(not key.startswith("_") for key in keys)
print(total)
"""

TOOLS = (
    Tool(
        name="wandb offline",
        place=LOCAL,
        packages=("wandb",),
        start='import wandb\nrun = wandb.init(project="bench")',
        scalar='run.log({"loss": value}, step=step)',
        ten="run.log(ten, step=step)",
        finish="run.finish()",
        count=_COUNT,
        environment={"WANDB_MODE": "offline", "WANDB_DIR": "{folder}", "WANDB_SILENT": "true"},
    ),
)
