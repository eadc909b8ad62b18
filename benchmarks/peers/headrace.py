"""headrace: into the journal; its drain ships to a store or a server meanwhile, or later."""

from __future__ import annotations

from benchmarks.peers.tool import LOCAL, OFFLINE, SERVER, Tool

# With a journal of its own: what another process left behind must not arrive by being counted.
_COUNT = """
import os
os.environ["HEADRACE_JOURNAL_DIR"] = os.path.abspath("counting")
import headrace
client = headrace.Client()
total = 0
for run in headrace.search_runs(search_all_experiments=True, output_format="list"):
    for key in run.data.metrics:
        if not key.startswith("system/"):
            chart = client.get_metric_chart(run.info.run_id, key, buckets=1000)
            total += sum(bucket.count for bucket in chart)
print(total)
"""
_JOURNAL = {"HEADRACE_TRACKING_URI": "{uri}", "HEADRACE_JOURNAL_DIR": "{folder}/journal"}


def _tool(place: str, finish: str, **more: str) -> Tool:
    return Tool(
        name="headrace",
        place=place,
        packages=(),
        start="import headrace\nheadrace.start_run()",
        scalar='headrace.log_metric("loss", value, step=step)',
        ten="headrace.log(ten, step=step)",
        finish=finish,
        count=_COUNT,
        environment=_JOURNAL | more,
    )


_SHIPPED = "headrace.end_run()\nif not headrace.flush(3600):\n    raise SystemExit('flush gave up')"
TOOLS = (
    _tool(LOCAL, _SHIPPED),
    _tool(SERVER, _SHIPPED),
    _tool(OFFLINE, "headrace.end_run()", HEADRACE_OFFLINE="1"),
)
