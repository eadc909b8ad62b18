"""Files of text that make others import, install or fetch something."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

#: Code, by the names under which Python imports it, and native code by its first bytes.
CODE_NAMES = (
    ".py",
    ".pyc",
    ".pyo",
    ".pyd",
    ".pyx",
    ".so",
    ".dll",
    ".dylib",
    ".pth-link",
    ".egg",
    ".whl",
    ".ipynb",
)
_NATIVE = (b"\x7fELF", b"MZ\x90\x00", b"\xcf\xfa\xed\xfe", b"\xce\xfa\xed\xfe", b"\xca\xfe\xba\xbe")
_REQUIREMENTS = re.compile(r"(?:^|/)(?:requirements[^/]*|constraints)\.txt$")
_MARKED = re.compile(
    r"https?://|ftp://|s3://|gs://|file:|\bgit\+|\bhg\+|\bsvn\+|\bbzr\+", re.IGNORECASE
)
_OPTIONS = re.compile(
    r"^\s*(?:--(?:index-url|extra-index-url|find-links|trusted-host|requirement|constraint|editable|config-settings?|global-option)|-[ifrcef]\b)"
)  # fmt: skip


def is_code(path: str, head: bytes) -> bool:
    """Whether Python or the system would import a file."""
    return (
        path.lower().endswith(CODE_NAMES)
        or head.startswith(_NATIVE)
        or (head[2:4] == b"\r\n" and path.endswith(".pyc"))
    )


def is_requirements(path: str) -> bool:
    return _REQUIREMENTS.search(path) is not None


def requirement_problems(text: str) -> list[str]:
    """Lines of a requirements file that install from somewhere else than the index that the loader has chosen."""
    found = []
    for line in text.splitlines():
        bare = line.split(" #")[0].strip()
        if not bare or bare.startswith("#"):
            continue
        if _OPTIONS.match(bare):
            found.append(f"chooses where to install from: {bare[:200]}")
        elif _MARKED.search(bare) or " @ " in bare:
            found.append(f"installs from an address: {bare[:200]}")
        elif bare.startswith((".", "/", "~")) or bare.endswith((".whl", ".tar.gz", ".zip")):
            found.append(f"installs from a path: {bare[:200]}")
    return found[:20]


def environment_problems(tree: Any) -> list[str]:
    """The same for the dependencies of ``conda.yaml`` and ``python_env.yaml``, already parsed."""
    if not isinstance(tree, dict):
        return []
    found = [
        f"installs from the channel {channel}"
        for channel in tree.get("channels") or ()
        if isinstance(channel, str) and ("/" in channel or ":" in channel)
    ]
    found += [f"sets the variable {name}" for name in tree.get("variables") or ()]
    for text in _strings([tree.get("dependencies"), tree.get("build_dependencies")]):
        found += requirement_problems(text)
    return found[:20]


def config_problems(document: bytes) -> list[str]:
    """Keys of a transformers configuration that name code to fetch or import.

    Raises:
        ValueError: It is no JSON.
    """
    try:
        tree = json.loads(document)
    except RecursionError:
        raise ValueError("it is nested too deep") from None
    found: list[str] = []
    todo: list[Any] = [tree]
    while todo:
        node = todo.pop()
        if isinstance(node, list):
            todo.extend(node)
        elif isinstance(node, dict):
            todo.extend(node.values())
            if node.get("auto_map"):
                found.append(
                    f"names code of its own to import (auto_map: {str(node['auto_map'])[:200]})"
                )
            if node.get("custom_pipelines"):
                found.append("names pipelines of its own to import (custom_pipelines)")
            for key in (
                "attn_implementation",
                "_attn_implementation",
                "_attn_implementation_internal",
            ):
                if "/" in str(node.get(key) or ""):
                    found.append(f"fetches code from a repository ({key}: {str(node[key])[:200]})")
            if node.get("trust_remote_code"):
                found.append("asks for trust_remote_code")
    return list(dict.fromkeys(found))


def _strings(tree: Any) -> Iterator[str]:
    todo = [tree]
    while todo:
        node = todo.pop()
        if isinstance(node, str):
            yield node
        elif isinstance(node, list):
            todo.extend(node)
        elif isinstance(node, dict):
            todo.extend(node.values())
