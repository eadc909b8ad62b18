"""The machine: processor, memory, disk, GPUs, and what of them this process may use."""

from __future__ import annotations

import os
import platform
import shutil
import socket
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import psutil

from headrace.tracking.capture.document import Document, Moment, json_document
from headrace.tracking.capture.gpus import gpus

_CGROUPS = Path("/sys/fs/cgroup")
# What an unlimited cgroup of the first version says, about.
_UNLIMITED = 1 << 60
_NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")


def host(moment: Moment) -> Iterator[Document]:
    """``host.json``. Sizes are bytes."""
    about: dict[str, Any] = {
        "hostname": socket.gethostname(),
        "os": _os(),
        "kernel": f"{platform.system()} {platform.release()}",
        "machine": platform.machine(),
        "cpu": {
            "model": _cpu_model(),
            "physical_cores": psutil.cpu_count(logical=False),
            "logical_cores": psutil.cpu_count(),
            "affinity": _affinity(),
        },
        "memory": {"total": psutil.virtual_memory().total, "swap": _swap()},
        "disk": _disk(moment.folder),
        "gpus": gpus(),
        "limits": _limits(),
        "container": _container(moment.environment),
    }
    cluster = _kubernetes(moment.environment)
    if cluster:
        about["kubernetes"] = cluster
    yield json_document("host.json", about)


def _os() -> str:
    try:
        return platform.freedesktop_os_release().get("PRETTY_NAME", "")
    except OSError:
        return f"{platform.system()} {platform.mac_ver()[0] or platform.version()}"


def _cpu_model() -> str | None:
    """The processor's name. `platform.processor` starts a program for it."""
    try:
        with Path("/proc/cpuinfo").open(encoding="utf-8", errors="replace") as lines:
            for line in lines:
                key, _, value = line.partition(":")
                if key.strip() in ("model name", "Model", "cpu model", "Hardware"):
                    return value.strip()
    except OSError:
        if sys.platform == "win32":
            return os.environ.get("PROCESSOR_IDENTIFIER")
    return None


def _affinity() -> int | None:
    """How many processors this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None


def _swap() -> int | None:
    try:
        return int(psutil.swap_memory().total)
    except (OSError, RuntimeError):
        return None


def _disk(folder: Path) -> dict[str, Any] | None:
    try:
        usage = shutil.disk_usage(folder)
    except OSError:
        return None
    return {"folder": str(folder), "total": usage.total, "free": usage.free}


def _limits() -> dict[str, Any]:
    """What the control groups leave of the machine: bytes of memory, number of processors."""
    found: dict[str, Any] = {}
    try:
        groups = _read(Path("/proc/self/cgroup")).splitlines()
    except OSError:
        return found
    for line in groups:
        _, controllers, path = line.split(":", 2)
        if not controllers:
            _least(found, "memory", _each(_CGROUPS, path, "memory.max", _whole))
            _least(found, "cpus", _each(_CGROUPS, path, "cpu.max", _share))
        elif "memory" in controllers.split(","):
            home = _CGROUPS / "memory"
            _least(found, "memory", _each(home, path, "memory.limit_in_bytes", _whole))
        elif "cpu" in controllers.split(","):
            home = _CGROUPS / controllers
            _least(
                found, "cpus", _each(home, path, "cpu.cfs_quota_us", _whole, "cpu.cfs_period_us")
            )
    return found


def _least(found: dict[str, Any], name: str, values: Iterator[float]) -> None:
    least = min(values, default=None)
    if least is not None:
        found[name] = least


def _each(
    home: Path, path: str, file: str, parse: Any, divisor: str | None = None
) -> Iterator[float]:
    """A limit at each group from a process's own upward; within a container the path may lead nowhere."""
    folder = home / path.lstrip("/")
    for place in (folder, *folder.parents):
        if not place.is_relative_to(home) or ".." in place.parts:
            break
        try:
            value = parse(_read(place / file))
            if value is not None:
                yield value / parse(_read(place / divisor)) if divisor else value
        except (OSError, ValueError, ZeroDivisionError, TypeError):
            continue


def _whole(text: str) -> int | None:
    text = text.strip()
    value = -1 if text == "max" else int(text)
    return value if 0 <= value < _UNLIMITED else None


def _share(text: str) -> float | None:
    quota, period = text.split()
    return None if quota == "max" else int(quota) / int(period)


def _container(environment: Mapping[str, str]) -> str | None:
    """What kind of container this is in; None for none that can be told."""
    if environment.get("KUBERNETES_SERVICE_HOST"):
        return "kubernetes"
    if environment.get("APPTAINER_CONTAINER") or environment.get("SINGULARITY_CONTAINER"):
        return "apptainer"
    if Path("/run/.containerenv").exists():
        return "podman"
    if Path("/.dockerenv").exists():
        return "docker"
    return environment.get("container") or None


def _kubernetes(environment: Mapping[str, str]) -> dict[str, Any]:
    if not environment.get("KUBERNETES_SERVICE_HOST"):
        return {}
    try:
        namespace = _read(_NAMESPACE).strip()
    except OSError:
        namespace = None
    return {
        "pod": environment.get("POD_NAME") or environment.get("HOSTNAME"),
        "namespace": environment.get("POD_NAMESPACE") or namespace,
        "node": environment.get("NODE_NAME"),
    }


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace")
