"""Many listeners of Server-Sent Events in one process: ``python listeners.py PORT COUNT SUBJECT...``.

Listener i follows the i-th subject, over and over; with ``*`` everything. It prints ``ready``, notes for every
event with a tag ``k<number>`` when it arrived (seconds of the monotonic clock, which all processes share),
and at a tag ``stop`` prints all of it as JSON: [[number, arrived], ...].
"""

from __future__ import annotations

import json
import re
import selectors
import socket
import sys
import time

_TAG = re.compile(rb'"after":\{"k(\d+)"')


def main(port: int, count: int, subjects: list[str]) -> None:
    """Listen until told to stop."""
    selector = selectors.DefaultSelector()
    for number in range(count):
        peer = socket.create_connection(("127.0.0.1", port))
        subject = subjects[number % len(subjects)]
        query = "" if subject == "*" else f"?subject={subject}"
        peer.sendall(
            f"GET /api/headrace/v1/events{query} HTTP/1.1\r\nHost: localhost\r\n"
            "Accept: text/event-stream\r\n\r\n".encode()
        )
        selector.register(peer, selectors.EVENT_READ)
    print("ready", flush=True)
    arrived: list[tuple[int, float]] = []
    while True:
        for key, _ in selector.select():
            data = key.fileobj.recv(65536)  # type: ignore[union-attr]
            now = time.monotonic()
            arrived += [(int(tag), now) for tag in _TAG.findall(data)]
            if b'"after":{"stop"' in data:
                print(json.dumps(arrived), flush=True)
                return


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:])
