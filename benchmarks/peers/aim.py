"""aim: RocksDB in the process. What it holds is not counted."""

from __future__ import annotations

from benchmarks.peers.tool import LOCAL, Tool

TOOLS = (
    Tool(
        name="aim",
        place=LOCAL,
        packages=("aim",),
        start='import aim\nrun = aim.Run(repo=".")',
        scalar='run.track(value, name="loss", step=step)',
        ten="run.track(ten, step=step)",
        finish="run.close()",
    ),
)
