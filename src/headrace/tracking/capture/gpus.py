"""The NVIDIA GPUs, as the driver's library says, else as its files do. No framework is loaded for it."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

_DRIVER = Path("/proc/driver/nvidia")


def gpus() -> dict[str, Any] | None:
    """Driver version, its CUDA version, and each device's name, id and bytes of memory; None without
    a driver."""
    if not _DRIVER.exists() and not Path("/dev/dxg").exists() and Path("/proc").exists():
        return None  # Linux without the driver: do not even look for its library
    try:
        import pynvml  # optional, and of use on few machines
    except ImportError:
        return _from_files()
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return _from_files()
    try:
        return _from_library(pynvml)
    except pynvml.NVMLError:
        return _from_files()
    finally:
        with contextlib.suppress(pynvml.NVMLError):
            pynvml.nvmlShutdown()  # counted: others that use the library keep it


def _from_library(nvml: Any) -> dict[str, Any]:
    version = nvml.nvmlSystemGetCudaDriverVersion_v2()
    devices = []
    for index in range(nvml.nvmlDeviceGetCount()):
        handle = nvml.nvmlDeviceGetHandleByIndex(index)
        devices.append(
            {
                "index": index,
                "name": _text(nvml.nvmlDeviceGetName(handle)),
                "uuid": _text(nvml.nvmlDeviceGetUUID(handle)),
                "memory": _memory(nvml, handle),
            }
        )
    return {
        "driver": _text(nvml.nvmlSystemGetDriverVersion()),
        "cuda": f"{version // 1000}.{version % 1000 // 10}",
        "devices": devices,
    }


def _memory(nvml: Any, handle: Any) -> int | None:
    try:
        return int(nvml.nvmlDeviceGetMemoryInfo(handle).total)
    except nvml.NVMLError:  # parts of a GPU, and chips that share the processor's memory
        return None


def _text(value: Any) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


def _from_files() -> dict[str, Any] | None:
    devices: list[dict[str, Any]] = []
    try:
        for folder in sorted((_DRIVER / "gpus").iterdir()):
            text = (folder / "information").read_text(errors="replace")
            lines = (line.partition(":") for line in text.splitlines())
            about = {key.strip(): value.strip() for key, _, value in lines}
            devices.append(
                {"index": len(devices), "name": about.get("Model"), "uuid": about.get("GPU UUID")}
            )
        first = (_DRIVER / "version").read_text(errors="replace").partition("\n")[0]
    except OSError:
        if not devices:
            return None
        first = ""
    numbers = [word for word in first.split() if word[:1].isdigit() and "." in word]
    return {"driver": numbers[0] if numbers else None, "devices": devices}
