"""Schemathesis, let loose on a running server with the server's own OpenAPI document.

Run by itself (``make fuzz``) it starts a server, sends 10,000 requests and more, and says what came back.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

import httpx

from support.server import Server

#: 501 and 503 are answers, not defects: a local folder has no presigned URLs.
_CONFIG = """
[checks]
not_a_server_error.expected-statuses = ["2xx", "3xx", "4xx", 501, 503]
"""
_CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_schema_conformance",
)
_REQUESTS = re.compile(r'headrace_http_requests_total\{.*status="(\d+)"\} ([0-9.e+]+)')


def fuzz(
    url: str, folder: Path, *, examples: int, seed: int = 1
) -> subprocess.CompletedProcess[str]:
    """Send generated requests, right and wrong ones, to every operation.

    Args:
        url: Of the server.
        folder: For the fuzzer's files.
        examples: How many generated requests an operation gets at most, beside those for coverage.
        seed: Of the generator.
    """
    config = folder / "schemathesis.toml"
    config.write_text(_CONFIG)
    command = [
        sys.executable,
        "-W",
        "ignore",
        "-m",
        "schemathesis.cli",
        "--config-file",
        str(config),
    ]
    return subprocess.run(
        [
            *command, "run", f"{url}/openapi.json",
            "--phases", "coverage,fuzzing",
            "--max-examples", str(examples),
            "--seed", str(seed),
            "--checks", ",".join(_CHECKS),
            "--continue-on-failure",
            "--warnings", "off",
            "--suppress-health-check", "all",
        ],
        capture_output=True,
        text=True,
        cwd=folder,
        check=False,
    )  # fmt: skip


def requests_by_status(metrics_page: str) -> Counter[int]:
    """How many requests a server has answered, by HTTP status."""
    counts: Counter[int] = Counter()
    for status, count in _REQUESTS.findall(metrics_page):
        counts[int(status)] += int(float(count))
    return counts


def main(wanted: int = 10_000) -> int:
    """Fuzz until so many requests were answered; 1 when one of them was a 500 or undocumented."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        server = Server(folder / "store", folder / "server.log", "--no-access-log")
        failed = False
        seed = 0
        try:
            counts: Counter[int] = Counter()
            while counts.total() < wanted and not failed:
                seed += 1
                done = fuzz(server.url, folder, examples=100, seed=seed)
                counts = requests_by_status(httpx.get(f"{server.url}/metrics", timeout=60).text)
                if done.returncode or 500 in counts:
                    failed = True
                    print(done.stdout[-10_000:], done.stderr[-2000:], server.output()[-10_000:])
        finally:
            server.stop()
        print(f"{counts.total()} requests: {dict(sorted(counts.items()))}")
        return int(failed)


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:])))
