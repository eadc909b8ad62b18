"""The client: `Client`, and the remote half of the protocol.

Import what you need from its module (`headrace.client.client`, `headrace.client.stores`); the package
itself loads nothing, so that `import headrace` stays light.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from headrace.client.client import Client as Client

__all__ = ["Client"]

if not TYPE_CHECKING:  # so that type checkers see the names above and no others

    def __getattr__(name: str) -> Any:
        if name == "Client":
            from headrace.client.client import Client

            return Client
        raise AttributeError(f"module 'headrace.client' has no attribute '{name}'")
