"""The other tools that log metrics, one small file each, as the lines that their users write."""

from __future__ import annotations

from benchmarks.peers import aim, headrace, mlflow, tensorboardx, trackio, wandb
from benchmarks.peers.tool import LOCAL, OFFLINE, SERVER, Tool

#: headrace where its points can go; every other tool is compared with these.
OURS = headrace.TOOLS
PEERS = (*mlflow.TOOLS, *wandb.TOOLS, *trackio.TOOLS, *aim.TOOLS, *tensorboardx.TOOLS)

__all__ = ["LOCAL", "OFFLINE", "OURS", "PEERS", "SERVER", "Tool"]
