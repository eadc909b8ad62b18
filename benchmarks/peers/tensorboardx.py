"""tensorboardX: a queue of ten events before a thread that writes the event file.

Several scalars are several calls: its ``add_scalars`` makes an event file per key.
"""

from __future__ import annotations

from benchmarks.peers.tool import LOCAL, Tool

# A record: its length, a checksum, the event, a checksum. The first only says the file's version.
_COUNT = """
import pathlib, struct
total = 0
for file in pathlib.Path("events").glob("events.out.*"):
    data, at = file.read_bytes(), 0
    while at < len(data):
        at += 16 + struct.unpack_from("<Q", data, at)[0]
        total += 1
    total -= 1
print(total)
"""

TOOLS = (
    Tool(
        name="tensorboardX",
        place=LOCAL,
        packages=("tensorboardX",),
        start='from tensorboardX import SummaryWriter\nwriter = SummaryWriter("events")',
        scalar='writer.add_scalar("loss", value, step)',
        ten="for key, number in ten.items():\n    writer.add_scalar(key, number, step)",
        finish="writer.close()",
        count=_COUNT,
    ),
)
