"""The interpreter and what is installed in it."""

from __future__ import annotations

import platform
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from headrace.tracking.capture.document import Document, Moment, json_document
from headrace.tracking.capture.packages import packages, requirements
from headrace.tracking.capture.scrub import scrub_text

#: Variables that change what a program does, or say which part of a job it is. No others are kept.
VARIABLES = (
    "CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "NVIDIA_VISIBLE_DEVICES",
    "CUDA_DEVICE_ORDER", "CUDA_LAUNCH_BLOCKING", "CUBLAS_WORKSPACE_CONFIG", "NVIDIA_TF32_OVERRIDE",
    "PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF", "TORCH_DISTRIBUTED_DEBUG", "TF_DETERMINISTIC_OPS",
    "TF_FORCE_GPU_ALLOW_GROWTH", "XLA_FLAGS", "JAX_PLATFORMS", "JAX_ENABLE_X64", "TOKENIZERS_PARALLELISM",
    "NCCL_DEBUG", "NCCL_SOCKET_IFNAME", "NCCL_IB_DISABLE", "NCCL_P2P_DISABLE", "NCCL_ALGO", "NCCL_PROTO",
    "OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS", "KMP_AFFINITY",
    "PYTHONHASHSEED", "PYTHONOPTIMIZE", "PYTHONPATH", "PYTHONDONTWRITEBYTECODE", "VIRTUAL_ENV",
    "CONDA_DEFAULT_ENV", "CONDA_PREFIX", "LD_LIBRARY_PATH", "LANG", "LC_ALL", "TZ",
)  # fmt: skip
#: Those that differ from one launch of the same thing to the next.
LAUNCH_VARIABLES = (
    "RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "NODE_RANK", "GROUP_RANK", "MASTER_ADDR",
    "MASTER_PORT", "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", "PMI_RANK", "PMI_SIZE",
    "SLURM_JOB_ID", "SLURM_JOB_NAME", "SLURM_ARRAY_JOB_ID", "SLURM_ARRAY_TASK_ID", "SLURM_PROCID",
    "SLURM_LOCALID", "SLURM_NODEID", "SLURM_NTASKS", "SLURM_NNODES", "SLURM_JOB_NODELIST",
    "SLURM_JOB_PARTITION", "SLURM_CPUS_PER_TASK", "SLURM_GPUS_ON_NODE", "PBS_JOBID", "LSB_JOBID", "JOB_ID",
    "RAY_JOB_ID",
)  # fmt: skip


def environment(moment: Moment) -> Iterator[Document]:
    """``requirements.txt`` and ``environment.json``."""
    installed = packages()
    lock = requirements(installed).encode("utf-8", "replace")
    yield Document(path="headrace/requirements.txt", content=lock)
    about: dict[str, Any] = {
        "python": platform.python_version(),
        "implementation": platform.python_implementation(),
        "compiler": platform.python_compiler(),
        "executable": sys.executable,
        "prefix": sys.prefix,
        "environment": _kind(),
        "platform": f"{platform.system()} {platform.machine()}",
        "distributions": len(installed),
        "frameworks": _frameworks(),
        "variables": _chosen(moment.environment, VARIABLES),
        "launch": _chosen(moment.environment, LAUNCH_VARIABLES),
    }
    yield json_document("environment.json", about)


def _chosen(environment: Mapping[str, str], names: tuple[str, ...]) -> dict[str, str]:
    return {name: scrub_text(environment[name]) for name in names if name in environment}


def _kind() -> str:
    if (Path(sys.prefix) / "conda-meta").is_dir():
        return "conda"
    return "venv" if sys.prefix != sys.base_prefix else "system"


def _frameworks() -> dict[str, Any]:
    """What the frameworks that are loaded already say of themselves; none is loaded for it."""
    found: dict[str, Any] = {}
    torch = sys.modules.get("torch")
    version = getattr(torch, "version", None)
    if torch is not None and version is not None:
        found["torch"] = {
            "version": str(getattr(torch, "__version__", "")),
            "cuda": getattr(version, "cuda", None),
            "hip": getattr(version, "hip", None),
            "cudnn": _cudnn(torch),
        }
    for name in ("tensorflow", "jax", "jaxlib"):
        module = sys.modules.get(name)
        if module is not None:
            found[name] = {"version": str(getattr(module, "__version__", ""))}
    return found


def _cudnn(torch: Any) -> int | None:
    try:
        found = torch.backends.cudnn.version()
        return None if found is None else int(found)
    except Exception:  # noqa: BLE001  whatever a half-loaded or mismatched library raises
        return None
