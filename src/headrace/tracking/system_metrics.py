"""What the machine is doing while a run goes on, under the names that MLflow gives it.

Percentages are of 100, sizes in megabytes (10^6 bytes), traffic since the first look. Beside MLflow's
names there are ``system/process/…``, of this process and its children. Who samples is one background
thread; `psutil` and NVML are loaded there.

    sampler = Sampler()      # in the background thread
    sampler.sample()         # {}: the first look sets the baselines
    ...                      # interval() seconds later, and so on
    sampler.sample()         # {"system/cpu_utilization_percentage": 12.5, …}
"""

from __future__ import annotations

import contextlib
import os
import re
import socket
from collections.abc import Iterator
from types import ModuleType
from typing import TYPE_CHECKING, Any

from headrace.client.environment import number, setting
from headrace.tracking.capture import switches

if TYPE_CHECKING:
    import psutil

_MEGABYTE = 1e6
#: Who we are among many: the number, and of how many, as launchers say it. torchrun, Slurm's srun,
#: Open MPI, MPICH and Intel MPI, and launchers that know only one machine.
_LAUNCHERS = (
    ("RANK", "WORLD_SIZE"),
    ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS"),
    ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"),
    ("PMI_RANK", "PMI_SIZE"),
    ("LOCAL_RANK", "LOCAL_WORLD_SIZE"),
)
_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9_.-]+")


def enabled(asked: bool | None) -> bool:
    """Whether a run's system metrics are sampled.

    Args:
        asked: What the user said to `start_run`; it counts more than the settings.

    Returns:
        By default true, unless ``HEADRACE_ENABLE_SYSTEM_METRICS_LOGGING`` (or MLflow's variable) is set
        to something else than ``true`` or ``1``, or ``HEADRACE_CAPTURE`` leaves out ``system-metrics``.
    """
    if asked is not None:
        return asked
    if (setting("ENABLE_SYSTEM_METRICS_LOGGING") or "true").lower() not in ("true", "1"):
        return False
    return switches.enabled("system-metrics")


def interval() -> float:
    """Seconds between two looks: ``HEADRACE_SYSTEM_METRICS_SAMPLING_INTERVAL``, default 10.

    Raises:
        InvalidParameter: The variable is no number.
    """
    return number("SYSTEM_METRICS_SAMPLING_INTERVAL", 10.0) or 10.0


def samples_before_logging() -> int:
    """Looks that are averaged into one: ``HEADRACE_SYSTEM_METRICS_SAMPLES_BEFORE_LOGGING``, default 1.

    Raises:
        InvalidParameter: The variable is no number.
    """
    return max(1, int(number("SYSTEM_METRICS_SAMPLES_BEFORE_LOGGING", 1)))


def rank() -> int | None:
    """Our number among the processes that were launched together; None when we are alone."""
    for name, size in _LAUNCHERS:
        text = os.environ.get(name, "")
        if text.isdecimal():
            return None if os.environ.get(size) == "1" else int(text)
    return None


def node_name() -> str:
    """What tells our metrics from those of other processes that write to the same run.

    ``HEADRACE_SYSTEM_METRICS_NODE_ID`` (or MLflow's variable); else ``rank-<n>``; else the host's name
    with the process id, because several processes of one host may write.
    """
    given = setting("SYSTEM_METRICS_NODE_ID")
    if given is not None:
        return _NOT_IN_NAMES.sub("-", given)
    number_of_us = rank()
    if number_of_us is not None:
        return f"rank-{number_of_us}"
    host = socket.gethostname().partition(".")[0] or "host"
    return f"{_NOT_IN_NAMES.sub('-', host)}-{os.getpid()}"


class Sampler:
    """Looks at the machine. For one thread, and one process: a forked child makes its own.

    Args:
        node: Part of the names, ``system/<node>/…``, where several processes write to one run.
    """

    def __init__(self, node: str = "") -> None:
        self._prefix = f"system/{node}/" if node else "system/"
        self._machine: _Machine | None = None
        self._wanted = samples_before_logging()
        self._looks = 0
        self._sums: dict[str, tuple[float, int]] = {}

    def sample(self) -> dict[str, float]:
        """Look once.

        Returns:
            Value by metric key, averaged over the looks since the last figures (traffic is the latest).
            Empty for the first look, which only sets the baselines, and while more looks are to come
            before logging. What a system does not tell is left out.
        """
        if self._machine is None:
            self._machine = _Machine()
            self._machine.look()
            return {}
        for key, value in self._machine.look():
            total, count = self._sums.get(key, (0.0, 0))
            self._sums[key] = (value, 1) if key in _TOTALS else (total + value, count + 1)
        self._looks += 1
        if self._looks < self._wanted:
            return {}
        sums, self._sums, self._looks = self._sums, {}, 0
        return {self._prefix + key: round(total / count, 3) for key, (total, count) in sums.items()}


#: What counts up, so that an average would say nothing.
_TOTALS = frozenset(("network_receive_megabytes", "network_transmit_megabytes"))


class _Machine:
    def __init__(self) -> None:
        import psutil  # only here: it takes milliseconds to load, and this is a thread beside the run

        self._psutil = psutil
        self._traffic: tuple[int, int] | None = None
        self._me = psutil.Process()
        self._children: dict[int, psutil.Process] = {}
        self._gpus = _gpus()

    def look(self) -> list[tuple[str, float]]:
        found: list[tuple[str, float]] = []
        for part in (self._cpu, self._memory, self._disk, self._network, self._process, self._gpu):
            # A container may hide any of it: what cannot be read is left out, the rest is told.
            with contextlib.suppress(
                self._psutil.Error, OSError, RuntimeError, NotImplementedError
            ):
                found.extend(part())
        return found

    def _cpu(self) -> Iterator[tuple[str, float]]:
        yield "cpu_utilization_percentage", self._psutil.cpu_percent()

    def _memory(self) -> Iterator[tuple[str, float]]:
        memory = self._psutil.virtual_memory()
        yield "system_memory_usage_megabytes", memory.used / _MEGABYTE
        yield "system_memory_usage_percentage", memory.used / memory.total * 100

    def _disk(self) -> Iterator[tuple[str, float]]:
        disk = self._psutil.disk_usage(os.sep)
        yield "disk_usage_percentage", disk.percent
        yield "disk_usage_megabytes", disk.used / _MEGABYTE
        yield "disk_available_megabytes", disk.free / _MEGABYTE

    def _network(self) -> Iterator[tuple[str, float]]:
        counters = self._psutil.net_io_counters()
        if counters is None:  # a machine without interfaces
            return
        if self._traffic is None:
            self._traffic = (counters.bytes_recv, counters.bytes_sent)
        yield "network_receive_megabytes", (counters.bytes_recv - self._traffic[0]) / _MEGABYTE
        yield "network_transmit_megabytes", (counters.bytes_sent - self._traffic[1]) / _MEGABYTE

    def _process(self) -> Iterator[tuple[str, float]]:
        """100 percent is one core, as in ``top``."""
        cpu, memory = 0.0, 0
        # The same objects each time: each counts from its own last look.
        found = {child.pid: child for child in self._me.children(recursive=True)}
        known = self._children
        self._children = {
            pid: known[pid] if known.get(pid) == child else child for pid, child in found.items()
        }
        for process in (self._me, *self._children.values()):
            with contextlib.suppress(self._psutil.Error):  # it has just ended
                cpu += process.cpu_percent()
                memory += process.memory_info().rss
        yield "process/cpu_utilization_percentage", cpu
        yield "process/memory_usage_megabytes", memory / _MEGABYTE

    def _gpu(self) -> Iterator[tuple[str, float]]:
        for gpu in self._gpus:
            yield from gpu.look()


class _Gpu:
    """A GPU of NVIDIA's. A figure that it does not tell is left out."""

    def __init__(self, nvml: ModuleType, index: int, handle: Any) -> None:
        self._nvml = nvml
        self._name = f"gpu_{index}_"
        self._handle = handle

    def look(self) -> Iterator[tuple[str, float]]:
        nvml, handle, name = self._nvml, self._handle, self._name
        with contextlib.suppress(nvml.NVMLError):
            memory = nvml.nvmlDeviceGetMemoryInfo(handle)
            yield f"{name}memory_usage_percentage", memory.used / memory.total * 100
            yield f"{name}memory_usage_megabytes", memory.used / _MEGABYTE
        with contextlib.suppress(nvml.NVMLError):
            yield f"{name}utilization_percentage", nvml.nvmlDeviceGetUtilizationRates(handle).gpu
        with contextlib.suppress(nvml.NVMLError):
            power = nvml.nvmlDeviceGetPowerUsage(handle)  # milliwatts
            yield f"{name}power_usage_watts", power / 1000
            limit = nvml.nvmlDeviceGetEnforcedPowerLimit(handle)
            yield f"{name}power_usage_percentage", power / limit * 100


def _gpus() -> list[_Gpu]:
    """The GPUs that CUDA shows us, numbered as NVML does (and MLflow, and ``nvidia-smi``)."""
    try:
        import pynvml as nvml  # only here: see psutil
    except ImportError:
        return []
    try:
        nvml.nvmlInit()
        all_of_them = []
        for index in range(nvml.nvmlDeviceGetCount()):
            handle = nvml.nvmlDeviceGetHandleByIndex(index)
            uuid = nvml.nvmlDeviceGetUUID(handle)
            all_of_them.append((handle, uuid if isinstance(uuid, str) else uuid.decode()))
    except nvml.NVMLError:  # no driver, or no right to ask it
        return []
    visible = visible_gpus(
        os.environ.get("CUDA_VISIBLE_DEVICES"), [uuid for _, uuid in all_of_them]
    )
    return [_Gpu(nvml, index, all_of_them[index][0]) for index in visible]


def visible_gpus(devices: str | None, uuids: list[str]) -> list[int]:
    """Which GPUs ``CUDA_VISIBLE_DEVICES`` leaves.

    Args:
        devices: The variable: numbers or beginnings of UUIDs between commas, of which CUDA takes those
            before the first that is wrong. None leaves all. Slices of a GPU (``MIG-…``) are none here:
            the figures of a whole one would not be the program's.
        uuids: UUID of each GPU, such as ``GPU-8932f937-…``.
    """
    if devices is None:
        return list(range(len(uuids)))
    found: list[int] = []
    for word in devices.split(","):
        word = word.strip()
        if word.isdecimal():
            matches = [int(word)] if int(word) < len(uuids) else []
        else:
            matches = [
                index
                for index, uuid in enumerate(uuids)
                if word.startswith("GPU-") and uuid.startswith(word)
            ]
        if len(matches) != 1 or matches[0] in found:
            break
        found += matches
    return found
