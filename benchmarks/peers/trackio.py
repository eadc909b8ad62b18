"""trackio: a list in memory, which a thread writes to SQLite."""

from __future__ import annotations

from benchmarks.peers.tool import LOCAL, Tool

_COUNT = """
import json, sqlite3
rows = sqlite3.connect("bench.db").execute("SELECT metrics FROM metrics")
print(sum(len(json.loads(row[0])) for row in rows))
"""

TOOLS = (
    Tool(
        name="trackio",
        place=LOCAL,
        packages=("trackio",),
        start='import trackio\ntrackio.init(project="bench")',
        scalar='trackio.log({"loss": value}, step=step)',
        ten="trackio.log(ten, step=step)",
        finish="trackio.finish()",
        count=_COUNT,
        environment={"TRACKIO_DIR": "{folder}", "HF_HUB_DISABLE_TELEMETRY": "1"},
    ),
)
