"""System metrics: MLflow's names, and who may write them."""

from __future__ import annotations

import os
import subprocess
import sys

import psutil
import pytest
from mlflow.system_metrics.metrics.cpu_monitor import CPUMonitor
from mlflow.system_metrics.metrics.disk_monitor import DiskMonitor
from mlflow.system_metrics.metrics.network_monitor import NetworkMonitor

from headrace.errors import InvalidParameter
from headrace.tracking import system_metrics
from headrace.tracking.system_metrics import Sampler, enabled, interval, node_name, rank

LAUNCHERS = ("RANK", "WORLD_SIZE", "SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "OMPI_COMM_WORLD_RANK",
             "OMPI_COMM_WORLD_SIZE", "PMI_RANK", "PMI_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")  # fmt: skip


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in LAUNCHERS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")


def test_the_names_and_units_are_mlflows() -> None:
    # How the background thread samples: once at the beginning, then after each interval.
    sampler = Sampler()
    assert sampler.sample() == {}
    sum(range(2_000_000))
    found = sampler.sample()
    theirs: dict[str, float] = {}
    for monitor in (CPUMonitor(), DiskMonitor(), NetworkMonitor()):
        monitor.collect_metrics()
        theirs.update(monitor.aggregate_metrics())
    ours = {"process/cpu_utilization_percentage", "process/memory_usage_megabytes"}
    assert set(found) == {f"system/{name}" for name in {*theirs, *ours}}
    for name in ("system_memory_usage_megabytes", "disk_usage_megabytes"):
        assert found[f"system/{name}"] == pytest.approx(theirs[name], rel=0.5)
    assert found["system/process/cpu_utilization_percentage"] > 0
    memory = psutil.Process().memory_info().rss / 1e6
    assert found["system/process/memory_usage_megabytes"] >= memory / 2


def test_children_count_and_the_node_is_in_the_names() -> None:
    sampler = Sampler("rank-3")
    sampler.sample()
    alone = sampler.sample()["system/rank-3/process/memory_usage_megabytes"]
    big = "x = bytearray(b'1') * 200_000_000; print(flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", big], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        assert child.stdout is not None
        child.stdout.readline()
        together = sampler.sample()["system/rank-3/process/memory_usage_megabytes"]
        child.communicate(b"\n", timeout=60)
    assert together > alone + 150


def test_several_looks_may_be_one_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_SYSTEM_METRICS_SAMPLES_BEFORE_LOGGING", "3")
    sampler = Sampler()
    some = [bool(sampler.sample()) for _ in range(7)]
    assert some == [False, False, False, True, False, False, True]


def test_it_is_on_unless_somebody_says_no(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HEADRACE_CAPTURE", raising=False)
    monkeypatch.delenv("MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING", raising=False)
    assert enabled(None)
    assert not enabled(False)
    monkeypatch.setenv("HEADRACE_CAPTURE", "-system-metrics")
    assert not enabled(None)
    assert enabled(True)
    monkeypatch.setenv("HEADRACE_CAPTURE", "on")
    monkeypatch.setenv("MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING", "false")
    assert not enabled(None)
    monkeypatch.setenv("HEADRACE_ENABLE_SYSTEM_METRICS_LOGGING", "1")
    assert enabled(None)


def test_the_interval_is_a_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL", raising=False)
    assert interval() == 10
    monkeypatch.setenv("MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL", "0.5")
    assert interval() == 0.5
    monkeypatch.setenv("HEADRACE_SYSTEM_METRICS_SAMPLING_INTERVAL", "often")
    with pytest.raises(InvalidParameter, match="often"):
        interval()


@pytest.mark.parametrize(
    ("environment", "number", "name"),
    [
        ({"RANK": "3", "WORLD_SIZE": "8"}, 3, "rank-3"),
        ({"RANK": "0", "WORLD_SIZE": "1"}, None, None),
        ({"SLURM_PROCID": "5", "SLURM_STEP_NUM_TASKS": "6"}, 5, "rank-5"),
        ({"SLURM_PROCID": "0", "SLURM_STEP_NUM_TASKS": "1"}, None, None),
        ({"OMPI_COMM_WORLD_RANK": "1", "LOCAL_RANK": "0"}, 1, "rank-1"),
        ({"PMI_RANK": "2"}, 2, "rank-2"),
        ({"LOCAL_RANK": "1"}, 1, "rank-1"),
        ({"RANK": "first"}, None, None),
        ({}, None, None),
        ({"MLFLOW_SYSTEM_METRICS_NODE_ID": "node 1/a", "RANK": "4"}, 4, "node-1-a"),
    ],
)
def test_who_we_are_among_many(
    environment: dict[str, str],
    number: int | None,
    name: str | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for key, value in environment.items():
        monkeypatch.setenv(key, value)
    assert rank() == number
    if name is None:
        assert node_name().endswith(f"-{os.getpid()}")
    else:
        assert node_name() == name


@pytest.mark.parametrize(
    ("devices", "visible"),
    [
        (None, [0, 1, 2]),
        ("", []),
        ("-1", []),
        ("2,0", [2, 0]),
        ("1,7,0", [1]),
        ("1,1", [1]),
        ("GPU-bb", [1]),
        ("GPU-c, 0", [2, 0]),
        ("GPU-", []),
        ("MIG-aa", []),
        ("none", []),
    ],
)
def test_only_the_gpus_that_cuda_shows_are_looked_at(
    devices: str | None, visible: list[int]
) -> None:
    assert system_metrics.visible_gpus(devices, ["GPU-aa", "GPU-bb", "GPU-cc"]) == visible


def test_a_machine_without_a_driver_has_no_gpu_metrics(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    if os.path.exists("/proc/driver/nvidia"):  # noqa: PTH110 - there the figures are real
        sampler = Sampler()
        sampler.sample()
        assert any("gpu_0_memory_usage_megabytes" in key for key in sampler.sample())
    else:
        assert system_metrics._gpus() == []
