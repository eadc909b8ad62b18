"""Pages about the server itself: health, version, metrics, the OpenAPI document, and a front page."""

from __future__ import annotations

import html
from collections.abc import Callable
from typing import Any

from headrace.protocol.wire import encode
from headrace.server.exchange import Exchange, Handler, Reply
from headrace.server.metrics import CONTENT_TYPE

_TEXT = b"text/plain; charset=utf-8"
_HTML = b"text/html; charset=utf-8"
_SERVER_INFO = ("/api/3.0/mlflow/server-info", "/ajax-api/3.0/mlflow/server-info")

_FRONT = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>headrace</title>
<style>
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 40rem; margin: 4rem auto; padding: 0 1rem; }}
code {{ background: #8882; padding: .1em .3em; border-radius: .2em; }}
:root {{ color-scheme: light dark; }}
</style>
<h1>headrace {version}</h1>
<p>This is a headrace tracking server. It speaks MLflow's REST protocol: set your client's tracking URI to
this address, or run <code>export MLFLOW_TRACKING_URI=</code> with it.</p>
<ul>
<li><a href="{prefix}/openapi.json">openapi.json</a>: every operation this server offers</li>
<li><a href="{prefix}/health">health</a>, <a href="{prefix}/version">version</a>,
<a href="{prefix}/metrics">metrics</a></li>
</ul>
</html>
"""


def page_routes(
    *,
    version: str,
    static_prefix: str,
    document: Callable[[], dict[str, Any]],
    metrics_page: Callable[[], bytes],
    server_info: dict[str, Any],
) -> dict[str, dict[str, Handler]]:
    """Handlers by path and method.

    Args:
        version: Of headrace.
        static_prefix: For links.
        document: Makes the OpenAPI document; called once, when it is first asked for.
        metrics_page: Makes the metrics page.
        server_info: What MLflow's clients ask a server about itself.
    """
    front = _FRONT.format(
        version=html.escape(version), prefix=html.escape(static_prefix.rstrip("/"))
    )
    built: list[bytes] = []

    async def openapi(exchange: Exchange) -> Reply:
        exchange.operation = "openapi"
        if not built:
            built.append(encode(document()))
        return Reply(built[0])

    async def metrics(exchange: Exchange) -> Reply:
        exchange.operation = "metrics"
        return Reply(metrics_page(), content_type=CONTENT_TYPE)

    pages = {
        "/": _fixed("front", Reply(front.encode(), content_type=_HTML)),
        "/health": _fixed("health", Reply(b"OK", content_type=_TEXT)),
        "/version": _fixed("version", Reply(version.encode(), content_type=_TEXT)),
        "/metrics": metrics,
        "/openapi.json": openapi,
    }
    info = _fixed("server_info", Reply(encode(server_info)))
    return {
        path: {"GET": page} for path, page in (pages | dict.fromkeys(_SERVER_INFO, info)).items()
    }


def _fixed(name: str, reply: Reply) -> Handler:
    async def page(exchange: Exchange) -> Reply:
        exchange.operation = name
        return reply

    return page
